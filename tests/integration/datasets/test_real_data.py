"""Real data: replicated equal between two nodes, and what is dirty refused or quarantined one by one, with a reason."""

import json

import pytest

from p2p_oicp.cli.feed import FEED_KINDS, all_operators, read_feed
from p2p_oicp.storage.datasets import quarantine
from tests.support.dataset_messages import PULL_DATA, pull_data
from tests.support.messages import PULL_STATUS
from tests.support.paths import SHARED
from tests.support.waiting import eventually

DATA = SHARED / "data"
if not DATA.exists():
    pytest.skip("needs the public charging data, which are not part of the project", allow_module_level=True)

CLEAN, DIRTY, FEED = (
    (DATA / name).read_bytes()
    for name in (
        "swiss-2019-evse-data.json",
        "swiss-2019-evse-data-dirty.json",
        "swiss-2023-evse-statuses.json",
    )
)


def speak_for(stopped, operators: list[str]) -> None:
    """Let node A be the CPO of these operators, and node B know it."""
    listed = json.dumps(operators)
    for file in (stopped.folder / "a" / "node.toml", stopped.folder / "b" / "peers.toml"):
        file.write_text(file.read_text().replace('operators = ["DE*GEF"]', f"operators = {listed}"))


async def push(caller, path: str, operator: str, message) -> dict:
    answer = await caller.post(path.format(operator), message)
    assert answer.code == "000", answer.json
    return answer.json


async def statuses(caller) -> dict[str, str]:
    answer = (await caller.post(PULL_STATUS, {"ProviderID": "DE-GDF"})).json
    return {
        record["EvseID"]: record["EvseStatus"]
        for group in answer["EvseStatuses"]["OperatorEvseStatus"]
        for record in group["EvseStatusRecord"]
    }


async def evse_data(caller) -> list[str]:
    """Return all records as canonical text, sorted, without the times at which a node stored them."""
    records = (await caller.post(PULL_DATA + "?size=2000", pull_data())).json["content"]
    return sorted(json.dumps({**record, "lastUpdate": ""}, sort_keys=True) for record in records)


async def until_equal(read, ours, theirs, count: int) -> None:
    async def is_complete() -> bool:
        return len(await read(theirs)) >= count

    await eventually(is_complete, timeout=30, interval=0.1)
    assert await read(ours) == await read(theirs)


async def test_a_national_status_feed_arrives_equal(stopped):
    pushes = read_feed(FEED_KINDS["push-evse-status"], FEED).pushes
    speak_for(stopped, [operator.text for operator in all_operators(pushes)])
    count = sum(len(one.records) for one in pushes)
    assert count > 12_800
    async with stopped.running("a"), stopped.running("b"):
        for one in pushes:
            await push(stopped.a, "evsepush/v21/operators/{}/status-records", one.operator.text, one.message())
        await until_equal(statuses, stopped.a_peer, stopped.b, count)


async def test_real_evse_data_arrives_equal(stopped):
    messages = json.loads(CLEAN)
    speak_for(stopped, [message["OperatorEvseData"]["OperatorID"] for message in messages])
    async with stopped.running("a"), stopped.running("b"):
        for message in messages:
            operator = message["OperatorEvseData"]["OperatorID"]
            await push(stopped.a, "evsepush/v23/operators/{}/data-records", operator, message)
        await until_equal(evse_data, stopped.a_peer, stopped.b, 400)


def dirty_records() -> list[dict]:
    return [record for message in json.loads(DIRTY) for record in message["OperatorEvseData"]["EvseDataRecord"]]


def in_a_push(records: list[dict], operator: str = "CH*REP") -> dict:
    group = {"OperatorID": operator, "OperatorName": "dirty", "EvseDataRecord": records}
    return {"ActionType": "insert", "OperatorEvseData": group}


async def test_every_dirty_record_of_a_backend_is_refused_with_a_reason(stopped):
    speak_for(stopped, ["CH*REP"])
    reasons = []
    async with stopped.running("a"):
        for record in dirty_records():
            answer = await stopped.a.post("evsepush/v23/operators/CH*REP/data-records", in_a_push([record]))
            assert answer.status == 400
            reasons.append([error["errorMessage"] for error in answer.json["validationErrors"]])
        assert await evse_data(stopped.a_peer) == []
    assert len(reasons) == 582
    assert all(all(reason) for reason in reasons)


async def test_every_dirty_record_of_a_peer_is_quarantined_with_a_reason_and_the_clean_ones_are_applied(stopped):
    speak_for(stopped, ["CH*REP"])
    clean = next(m for m in json.loads(CLEAN) if m["OperatorEvseData"]["OperatorID"] == "CH*REP")
    records = clean["OperatorEvseData"]["EvseDataRecord"]
    async with stopped.running("b") as node:
        mixed = [*records[:110], *dirty_records(), *records[110:]]
        response = await push(stopped.b_peer, "evsepush/v23/operators/{}/data-records", "CH*REP", in_a_push(mixed))
        assert "582 records were quarantined" in response["StatusCode"]["AdditionalInfo"]
        assert len(await evse_data(stopped.b)) == len(records)
        rows = await node.store.query(quarantine.LIST_ALL)
    assert sum(row["occurrences"] for row in rows) == 582
    assert all(json.loads(row["findings"]) for row in rows)


@pytest.mark.parametrize("message", json.loads(DIRTY), ids=lambda m: m["OperatorEvseData"]["OperatorID"])
async def test_the_dirty_messages_as_they_are_store_nothing_and_say_why(stopped, message):
    operator = message["OperatorEvseData"]["OperatorID"]
    speak_for(stopped, ["CH*IBA", "CH*CCC", "CH*REP"])
    async with stopped.running("a"):
        answer = await stopped.a.post(f"evsepush/v23/operators/{operator}/data-records", message)
        assert answer.status in {400, 401}
        assert answer.json.get("validationErrors") or answer.json["StatusCode"]["AdditionalInfo"]
        assert await evse_data(stopped.a_peer) == []
