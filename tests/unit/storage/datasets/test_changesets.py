"""Replicated state: the four actions of a push, small and large, the change sequence, and what a crash leaves."""

import asyncio
from dataclasses import replace

import msgspec
import pytest
import structlog

from p2p_oicp.errors import StoreError
from p2p_oicp.storage import Lane, open_store
from p2p_oicp.storage.datasets import change_feed
from p2p_oicp.storage.datasets.coordinator import DatasetCoordinator, PullImport
from p2p_oicp.storage.datasets.models import OWN, UNCHANGED, ApplyResult, DatasetKind, ReplaceScope
from p2p_oicp.storage.spool import Spool
from p2p_oicp.storage.sqlite.backup import back_up
from p2p_oicp.storage.statements import Statement
from tests.support.changesets import STAGED, journaled, living, many, push

NEWEST = Statement("SELECT value FROM counters WHERE name = 'change'", {})
COPY = change_feed.ReplicaScope("peer", DatasetKind.EVSE_STATUS, None)


@pytest.fixture
def keeper(store) -> DatasetCoordinator:
    return DatasetCoordinator(store, lambda: 100.0)


async def newest(store) -> int:
    return (await store.query(NEWEST))[0]["value"]


@pytest.mark.parametrize("others", [0, 600], ids=["small", "large"])
@pytest.mark.parametrize(
    ("action", "records", "expected"),
    [
        ("fullLoad", {"A3": "Available"}, {"A3": "available"}),
        ("fullLoad", {}, {}),
        ("insert", {"A3": "Available"}, {"A1": "available", "A2": "occupied", "A3": "available"}),
        ("update", {"A1": "Occupied"}, {"A1": "occupied", "A2": "occupied"}),
        ("delete", {"A1": "Available"}, {"A2": "occupied"}),
        ("delete", {"A9": "Available"}, {"A1": "available", "A2": "occupied"}),
    ],
    ids=["fullLoad replaces", "empty fullLoad withdraws all", "insert", "update", "delete", "delete of nothing"],
)
async def test_a_push_does_what_its_action_says(store, keeper, action, records, expected, others):
    """``others`` are further records of each push, which make it too large for one transaction."""
    before = many(others) if action in {"update", "delete", "fullLoad"} else {}
    await keeper.apply(push("fullLoad", A1="Available", A2="Occupied", **before))
    more = many(others, "Reserved") if action in {"insert", "update", "delete"} else {}
    assert (await keeper.apply(push(action, **records, **more))).conflicts == ()
    assert {key: status for key, status in (await living(store)).items() if key.startswith("A")} == expected
    assert (await store.query(STAGED))[0]["n"] == 0


@pytest.mark.parametrize("others", [0, 600], ids=["small", "large"])
@pytest.mark.parametrize(
    ("action", "contradicted"), [("insert", "A1"), ("update", "A9")], ids=["insert of a known", "update of an unknown"]
)
async def test_a_push_that_contradicts_the_store_changes_nothing(store, keeper, action, contradicted, others):
    known = many(others) if action == "update" else {}
    await keeper.apply(push("fullLoad", A1="Available", **known))
    before, number = await living(store), await newest(store)
    applied = await keeper.apply(push(action, A1="Occupied", A9="Occupied", **many(others, "Reserved")))
    assert applied == ApplyResult(0, (contradicted,))
    assert (await living(store), await newest(store)) == (before, number)
    assert (await store.query(STAGED))[0]["n"] == 0


@pytest.mark.parametrize("others", [0, 600], ids=["small", "large"])
async def test_only_real_changes_get_a_number(store, keeper, others):
    await keeper.apply(push("fullLoad", A1="Available", A2="Available", **many(others)))
    before = await newest(store)
    assert (await keeper.apply(push("fullLoad", A1="Available", A2="Available", **many(others)))).changed == 0
    assert await newest(store) == before
    assert (await keeper.apply(push("fullLoad", A1="Available", A2="Occupied", **many(others)))).changed == 1
    assert await newest(store) == before + 1


async def test_a_withdrawn_evse_leaves_a_tombstone_behind_the_cursor(store, keeper):
    await keeper.apply(push("fullLoad", A1="Available", A2="Available"))
    cursor = await newest(store)
    await keeper.apply(push("fullLoad", A1="Available"))
    (change,) = await change_feed.load_changes(store, COPY, "DEABC", cursor, 10)
    assert (change.deleted, change.existed_at_cursor, b"A2" in change.raw) == (True, True, True)


@pytest.mark.parametrize(
    ("actions", "deleted", "had"),
    [
        ([("insert", "B")], False, False),
        ([("insert", "B"), ("delete", "B")], True, False),
        ([("delete", "A"), ("insert", "A")], False, True),
        ([("delete", "A"), ("insert", "A"), ("delete", "A")], True, True),
        ([("update", "A")], False, True),
    ],
    ids=["new", "came and went", "went and came back", "came back and went again", "changed"],
)
async def test_a_change_knows_whether_the_peer_had_the_record(store, keeper, actions, deleted, had):
    await keeper.apply(push("fullLoad", A="Available", Z="Available"))
    cursor = await newest(store)
    for number, (action, key) in enumerate(actions):
        await keeper.apply(push(action, **{key: f"Reserved{number}"}))
    (change,) = await change_feed.load_changes(store, COPY, "DEABC", cursor, 10)
    assert (change.deleted, change.existed_at_cursor) == (deleted, had)


async def test_copies_of_peers_are_kept_apart_from_our_own_state(store, keeper):
    await keeper.apply(push("fullLoad", A1="Available"))
    await keeper.apply(push("fullLoad", source="peer", operator="DEXYZ", X1="Available"))
    await keeper.apply(push("fullLoad", source="peer", operator="DEXYZ"))
    assert await living(store) == {"A1": "available"}


async def test_a_crash_before_the_decision_leaves_nothing_of_a_large_push(database, monkeypatch):
    async with open_store(database) as store:
        crash_after(store, monkeypatch, 1)
        with pytest.raises(StoreError):
            await DatasetCoordinator(store, lambda: 100.0).apply(journaled(push("fullLoad", **many(600))))
    async with open_store(database) as store:
        assert (await store.query(STAGED))[0]["n"] > 0
        assert await DatasetCoordinator(store, lambda: 200.0).recover() == []
        assert await living(store) == {}
        assert (await store.query(STAGED))[0]["n"] == 0
        assert [path.name for path in database.parent.glob("*-push-*")] == []


@pytest.mark.parametrize("jobs_before_the_crash", [3, 4, 5, 6])
async def test_a_crash_after_the_decision_is_made_good_at_the_next_start(database, monkeypatch, jobs_before_the_crash):
    change = journaled(push("fullLoad", **many(600, "Occupied")))
    async with open_store(database) as store:
        await DatasetCoordinator(store, lambda: 100.0).apply(push("fullLoad", A1="Available", **many(700)))
        crash_after(store, monkeypatch, jobs_before_the_crash)
        with pytest.raises(StoreError):
            await DatasetCoordinator(store, lambda: 150.0).apply(change)
    async with open_store(database) as store:
        keeper = DatasetCoordinator(store, lambda: 200.0)
        (interrupted,) = await keeper.recover()
        assert interrupted.source_request == change.source_request
        await keeper.resume(interrupted, change.records, ())
        assert await living(store) == many(600, "occupied")
        assert (await store.query(STAGED))[0]["n"] == 0
        assert [path.name for path in database.parent.glob("*-push-*")] == []


async def test_a_backup_in_the_middle_of_a_large_push_is_made_good_where_it_is_restored(database, monkeypatch):
    change, copy = journaled(push("fullLoad", **many(600, "Occupied"))), database.with_name("copy.sqlite3")
    async with open_store(database) as store:
        crash_after(store, monkeypatch, 3)
        with pytest.raises(StoreError):
            await DatasetCoordinator(store, lambda: 150.0).apply(change)
        back_up(database, copy)
    async with open_store(copy) as store:
        (interrupted,) = await DatasetCoordinator(store, lambda: 200.0).recover()
        assert interrupted.source_request == change.source_request


async def test_a_backup_begins_anew_where_a_large_push_ended_meanwhile(database, monkeypatch):
    change, copy = journaled(push("fullLoad", **many(600, "Occupied"))), database.with_name("copy.sqlite3")
    async with open_store(database) as store:
        crash_after(store, monkeypatch, 3)
        with pytest.raises(StoreError):
            await DatasetCoordinator(store, lambda: 150.0).apply(change)
    found, read = [None], Spool.read
    monkeypatch.setattr(Spool, "read", lambda journal, number: found.pop() if found else read(journal, number))
    back_up(database, copy)
    async with open_store(copy) as store:
        assert len(await DatasetCoordinator(store, lambda: 200.0).recover()) == 1


async def test_a_large_push_whose_journal_somebody_removed_is_told_of_and_does_not_keep_the_node_down(
    database, monkeypatch
):
    async with open_store(database) as store:
        crash_after(store, monkeypatch, 3)
        with pytest.raises(StoreError):
            await DatasetCoordinator(store, lambda: 150.0).apply(journaled(push("fullLoad", **many(600, "Occupied"))))
    for path in database.parent.glob("*-push-*"):
        path.unlink()
    async with open_store(database) as store:
        with structlog.testing.capture_logs() as logs:
            assert await DatasetCoordinator(store, lambda: 200.0).recover() == []
    assert [told["event"] for told in logs] == ["import.spool_missing"]


async def test_a_push_that_changes_little_of_much_is_one_job(store, keeper, monkeypatch):
    await keeper.apply(push("fullLoad", **many(900)))
    another = push("fullLoad", **(many(899) | {"E00007": "Occupied"}))
    records = [one if one.key == "E00007" else msgspec.structs.replace(one, raw=UNCHANGED) for one in another.records]
    crash_after(store, monkeypatch, 1)
    await keeper.apply(replace(another, records=records))
    expected = many(899, "available") | {"E00007": "occupied"}
    assert await living(store) == expected


@pytest.mark.parametrize(("jobs_before_the_crash", "is_decided"), [(2, False), (3, True), (4, True), (6, True)])
async def test_a_pull_is_never_half_of_one_whenever_it_crashes(
    database, monkeypatch, jobs_before_the_crash, is_decided
):
    before = {"A1": "available", **many(300, "available")}
    async with open_store(database) as store:
        keeper = DatasetCoordinator(store, lambda: 100.0)
        await keeper.apply(push("fullLoad", A1="Available", **many(300)))
        pulled = replace(push("fullLoad"), replace_scope=ReplaceScope.SOURCE)
        intake = PullImport(keeper, pulled)
        for record in push("fullLoad", **many(550, "Occupied")).records:
            await intake.add_record(record)
        crash_after(store, monkeypatch, jobs_before_the_crash - 1)
        with pytest.raises(StoreError):
            await intake.apply(pulled.groups)
    async with open_store(database) as store:
        assert await DatasetCoordinator(store, lambda: 200.0).recover() == []
        assert await living(store) == (many(550, "occupied") if is_decided else before)
        assert (await store.query(STAGED))[0]["n"] == 0


def crash_after(store, monkeypatch, jobs: int) -> None:
    write, left = store.write, jobs

    async def fail(job, lane=Lane.INTERACTIVE):
        nonlocal left
        left -= 1
        if left < 0:
            raise StoreError("power failed")
        return await write(job, lane)

    monkeypatch.setattr(store, "write", fail)


async def test_what_a_failing_disk_interrupted_is_made_good_before_the_next_push(store, monkeypatch):
    keeper = DatasetCoordinator(store, lambda: 100.0)
    crash_after(store, monkeypatch, 5)
    with pytest.raises(StoreError):
        await keeper.apply(journaled(push("fullLoad", **many(900))))
    monkeypatch.undo()
    await keeper.apply(push("update", E00899="Reserved"))
    assert await living(store) == many(900, "available") | {"E00899": "reserved"}


async def test_a_single_change_gets_through_while_a_large_push_of_another_peer_goes_on(store, keeper):
    large = asyncio.create_task(keeper.apply(push("fullLoad", source="peer", operator="DEXYZ", **many(3000))))
    await asyncio.sleep(0)
    await keeper.apply(push("fullLoad", A1="Available"))
    assert not large.done()
    await large
    assert len(await living(store, "peer")) == 3000


async def test_pushes_of_one_source_are_applied_one_after_the_other(store, keeper):
    pushes = [push("fullLoad", **many(600, status)) for status in ("Available", "Occupied", "Reserved")]
    await asyncio.gather(*(keeper.apply(one) for one in pushes))
    assert await living(store) == many(600, "reserved")


async def test_changes_of_single_records_share_a_commit_and_what_replaces_them_sees_them(store, keeper):
    async def begin(action: str, **records: str):
        async with keeper.exclusive(DatasetKind.EVSE_STATUS, OWN) as turn:
            return await turn.submit(push(action, **records))

    begun = [await begin("insert", **{f"A{number}": "Available"}) for number in range(3)]
    assert [applying.done() for applying in begun] == [False, False, False]
    again = await begin("insert", A1="Available")
    replaced = await begin("fullLoad", A2="Occupied")
    assert [(await applying).changed for applying in begun] == [2, 1, 1]
    assert (await again).conflicts == ("A1",)
    assert (await replaced).changed == 3
    assert await living(store) == {"A2": "occupied"}
