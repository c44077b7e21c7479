"""Large pushes: all or nothing over a crash, and nobody waits behind one."""

import asyncio

import bcrypt
import pytest

from p2p_oicp.errors import StoreError
from p2p_oicp.storage.datasets import staging
from tests.support.dataset_messages import PUSH_AUTHENTICATION, card_record, push_authentication, qr_record
from tests.support.messages import PULL_STATUS, PUSH_STATUS, START, authorize_start, push_status
from tests.support.pulls import known


async def statuses(caller) -> dict[str, str]:
    answer = (await caller.post(PULL_STATUS, {"ProviderID": "DE-GDF"})).json
    groups = answer["EvseStatuses"]["OperatorEvseStatus"]
    return {record["EvseID"]: record["EvseStatus"] for group in groups for record in group["EvseStatusRecord"]}


def spots(count: int, status: str) -> dict[str, str]:
    return {f"{number:05}": status for number in range(count)}


def fail_at(monkeypatch, step: str, calls: int) -> None:
    """Let a step of applying a large push fail when it has succeeded so many times."""
    work, left = getattr(staging, step), calls

    def fail(*args, **kwargs):
        nonlocal left
        left -= 1
        if left < 0:
            raise StoreError("power failed")
        return work(*args, **kwargs)

    monkeypatch.setattr(staging, step, fail)


@pytest.mark.parametrize(
    ("step", "calls", "expected"),
    [
        ("commit_import", 0, {"Available": 500}),
        ("upsert_records", 0, {"Occupied": 900}),
        ("upsert_records", 2, {"Occupied": 900}),
        ("record_request", 0, {"Occupied": 900}),
    ],
    ids=["before the decision", "after it", "in the middle", "at the end"],
)
async def test_a_node_that_crashes_in_a_large_push_has_all_of_it_or_nothing(
    stopped, monkeypatch, step, calls, expected
):
    async with stopped.running("a"):
        await stopped.a.post(PUSH_STATUS, push_status(**spots(500, "Available")))
        with monkeypatch.context() as patch:
            fail_at(patch, step, calls)
            answer = await stopped.a.post(PUSH_STATUS, push_status(**spots(900, "Occupied")))
            assert answer.status == 503
    async with stopped.running("a"):
        found = list((await statuses(stopped.a_peer)).values())
        assert {status: found.count(status) for status in set(found)} == expected


async def test_an_interrupted_push_of_a_removed_peer_deletes_nothing_and_is_applied_when_it_is_repeated(
    stopped, monkeypatch
):
    again = push_status(**spots(900, "Occupied"))
    async with stopped.running("b"):
        await stopped.b_peer.post(PUSH_STATUS, push_status(**spots(500, "Available")))
        with monkeypatch.context() as patch:
            fail_at(patch, "upsert_records", 0)
            assert (await stopped.b_peer.post(PUSH_STATUS, again)).status == 503
    peers = stopped.folder / "b" / "peers.toml"
    entry = peers.read_text()
    peers.write_text("")
    async with stopped.running("b"):
        pass
    peers.write_text(entry)
    async with stopped.running("b"):
        assert await statuses(stopped.b) == {f"DE*GEF*E{name}": "Available" for name in spots(500, "")}
        assert (await stopped.b_peer.post(PUSH_STATUS, again)).code == "000"
        assert set((await statuses(stopped.b)).values()) == {"Occupied"}
    assert [path.name for path in (stopped.folder / "b" / "data").glob("*-import-*")] == []


PIN = "4711"
RFID_RECORDS = [card_record(f"AABBCC{number:02}") for number in range(5)]
CONTRACTS = [qr_record(f"DE-GDF-C{number:08}-X", PIN=PIN) for number in range(110)]


@pytest.mark.parametrize(
    ("before", "action", "pushed", "step", "expected"),
    [
        (RFID_RECORDS, "fullLoad", RFID_RECORDS[1:] + CONTRACTS, "upsert_records", (4, 110)),
        (RFID_RECORDS, "insert", CONTRACTS, "upsert_records", (5, 110)),
        (RFID_RECORDS + CONTRACTS, "delete", RFID_RECORDS[:2] + CONTRACTS, "mark_keys_deleted", (3, 0)),
    ],
    ids=["fullLoad", "insert", "delete"],
)
async def test_pins_of_a_large_push_reach_no_file_and_a_crash_costs_nothing_else(
    stopped, monkeypatch, before, action, pushed, step, expected
):
    monkeypatch.setenv("P2P_OICP_SECURITY__PIN_ROUNDS", "4")
    async with stopped.running("b"):
        await stopped.b.post(PUSH_AUTHENTICATION, push_authentication(*before))
        with monkeypatch.context() as patch:
            fail_at(patch, step, 1)
            assert (
                await stopped.b.post(PUSH_AUTHENTICATION, push_authentication(*pushed, action=action))
            ).status == 503
    files = list((stopped.folder / "b" / "data").glob("node.sqlite3*"))
    assert [path.name for path in files if "-import-" in path.name] != []
    assert [path.name for path in files if b'"PIN"' in path.read_bytes()] == []
    async with stopped.running("b"):
        found = [record.get("QRCodeIdentification") for record in await known(stopped.b_peer)]
    contracts = [code for code in found if code]
    assert (len(found) - len(contracts), len(contracts)) == expected
    for code in contracts[:1] + contracts[-1:]:
        assert bcrypt.checkpw(PIN.encode(), code["HashedPIN"]["Value"].encode())


async def test_an_authorization_does_not_wait_behind_a_large_push(pair):
    pushing = asyncio.create_task(pair.a.post(PUSH_STATUS, push_status(**spots(14_000, "Available"))))
    await asyncio.sleep(0)
    answered = 0
    while not pushing.done():
        assert (await pair.a.post(START, authorize_start(CPOPartnerSessionID=str(answered)))).code == "000"
        answered += not pushing.done()
    assert (await pushing).json["Result"] is True
    assert answered >= 3
