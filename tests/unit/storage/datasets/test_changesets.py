"""Replicated state: the four actions of a push, small and large, the change sequence, and what a crash leaves."""

import asyncio
import threading
from dataclasses import replace

import msgspec
import pytest
import structlog

from p2p_oicp.errors import StoreError
from p2p_oicp.storage import Lane, open_store
from p2p_oicp.storage.datasets import change_feed, staging
from p2p_oicp.storage.datasets.coordinator import DatasetCoordinator, PullImport
from p2p_oicp.storage.datasets.models import OWN, UNCHANGED, ApplyResult, DatasetKind, ReplaceScope
from p2p_oicp.storage.spool import SpoolFile
from p2p_oicp.storage.sqlite.backup import back_up
from p2p_oicp.storage.statements import Statement
from tests.support.changesets import STAGED, any_source, living, many, push, spool_files

NEWEST = Statement("SELECT value FROM counters WHERE name = 'change'", {})
COPY = change_feed.ReplicaScope("peer", DatasetKind.EVSE_STATUS, None)


@pytest.fixture
def coordinator(store) -> DatasetCoordinator:
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
async def test_a_push_does_what_its_action_says(store, coordinator, action, records, expected, others):
    """``others`` are further records of each push, which make it too large for one transaction."""
    before = many(others) if action in {"update", "delete", "fullLoad"} else {}
    await coordinator.apply(push("fullLoad", A1="Available", A2="Occupied", **before))
    more = many(others, "Reserved") if action in {"insert", "update", "delete"} else {}
    assert (await coordinator.apply(push(action, **records, **more))).conflicts == ()
    assert {key: status for key, status in (await living(store)).items() if key.startswith("A")} == expected
    assert (await store.query(STAGED))[0]["n"] == 0


@pytest.mark.parametrize("others", [0, 600], ids=["small", "large"])
@pytest.mark.parametrize(
    ("action", "contradicted"), [("insert", "A1"), ("update", "A9")], ids=["insert of a known", "update of an unknown"]
)
async def test_a_push_that_contradicts_the_store_changes_nothing(store, coordinator, action, contradicted, others):
    known = many(others) if action == "update" else {}
    await coordinator.apply(push("fullLoad", A1="Available", **known))
    before, number = await living(store), await newest(store)
    applied = await coordinator.apply(push(action, A1="Occupied", A9="Occupied", **many(others, "Reserved")))
    assert applied == ApplyResult(0, (contradicted,))
    assert (await living(store), await newest(store)) == (before, number)
    assert (await store.query(STAGED))[0]["n"] == 0


@pytest.mark.parametrize("others", [0, 600], ids=["small", "large"])
async def test_only_real_changes_get_a_number(store, coordinator, others):
    await coordinator.apply(push("fullLoad", A1="Available", A2="Available", **many(others)))
    before = await newest(store)
    assert (await coordinator.apply(push("fullLoad", A1="Available", A2="Available", **many(others)))).changed == 0
    assert await newest(store) == before
    assert (await coordinator.apply(push("fullLoad", A1="Available", A2="Occupied", **many(others)))).changed == 1
    assert await newest(store) == before + 1


async def test_a_withdrawn_evse_leaves_a_tombstone_behind_the_cursor(store, coordinator):
    await coordinator.apply(push("fullLoad", A1="Available", A2="Available"))
    cursor = await newest(store)
    await coordinator.apply(push("fullLoad", A1="Available"))
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
async def test_a_change_knows_whether_the_peer_had_the_record(store, coordinator, actions, deleted, had):
    await coordinator.apply(push("fullLoad", A="Available", Z="Available"))
    cursor = await newest(store)
    for number, (action, key) in enumerate(actions):
        await coordinator.apply(push(action, **{key: f"Reserved{number}"}))
    (change,) = await change_feed.load_changes(store, COPY, "DEABC", cursor, 10)
    assert (change.deleted, change.existed_at_cursor) == (deleted, had)


async def test_copies_of_peers_are_kept_apart_from_our_own_state(store, coordinator):
    await coordinator.apply(push("fullLoad", A1="Available"))
    await coordinator.apply(push("fullLoad", source="peer", operator="DEXYZ", X1="Available"))
    await coordinator.apply(push("fullLoad", source="peer", operator="DEXYZ"))
    assert await living(store) == {"A1": "available"}


async def leave(_file: SpoolFile) -> None:
    """Remove nothing, as a crash does."""


async def recover(store) -> list[str]:
    """Start with this store; return the events that are logged."""
    with structlog.testing.capture_logs() as logs:
        await DatasetCoordinator(store, lambda: 200.0).recover(any_source)
    return [entry["event"] for entry in logs]


async def test_a_crash_before_the_decision_leaves_nothing_of_a_large_push(database, monkeypatch):
    async with open_store(database) as store:
        crash_after(store, monkeypatch, 1)
        monkeypatch.setattr(SpoolFile, "remove", leave)
        with pytest.raises(StoreError):
            await DatasetCoordinator(store, lambda: 100.0).apply(push("fullLoad", **many(600)))
    monkeypatch.undo()
    async with open_store(database) as store:
        assert spool_files(database) != []
        assert await recover(store) == []
        assert await living(store) == {}
        assert (await store.query(STAGED))[0]["n"] == 0
        assert spool_files(database) == []


@pytest.mark.parametrize("jobs_before_the_crash", [2, 3, 4, 5, 6])
async def test_a_crash_after_the_decision_is_made_good_at_the_next_start(database, monkeypatch, jobs_before_the_crash):
    change = push("fullLoad", **many(600, "Occupied"))
    async with open_store(database) as store:
        await DatasetCoordinator(store, lambda: 100.0).apply(push("fullLoad", A1="Available", **many(700)))
        crash_after(store, monkeypatch, jobs_before_the_crash)
        with pytest.raises(StoreError):
            await DatasetCoordinator(store, lambda: 150.0).apply(change)
    async with open_store(database) as store:
        assert await recover(store) == ["import.resumed"]
        assert await living(store) == many(600, "occupied")
        assert (await store.query(STAGED))[0]["n"] == 0
        assert spool_files(database) == []


async def test_an_interrupted_import_of_a_source_that_is_not_known_any_more_is_given_up(database, monkeypatch):
    async with open_store(database) as store:
        crash_after(store, monkeypatch, 2)
        with pytest.raises(StoreError):
            await DatasetCoordinator(store, lambda: 150.0).apply(push("fullLoad", source="peer", **many(600)))
    async with open_store(database) as store:
        await DatasetCoordinator(store, lambda: 200.0).recover(lambda source: source == OWN)
        assert await living(store, "peer") == {}
        assert (await store.query(STAGED))[0]["n"] == 0
        assert spool_files(database) == []


async def test_a_backup_in_the_middle_of_a_large_push_is_made_good_where_it_is_restored(database, monkeypatch):
    copy = database.with_name("copy.sqlite3")
    async with open_store(database) as store:
        crash_after(store, monkeypatch, 2)
        with pytest.raises(StoreError):
            await DatasetCoordinator(store, lambda: 150.0).apply(push("fullLoad", **many(600, "Occupied")))
        back_up(database, copy)
    async with open_store(copy) as store:
        assert await recover(store) == ["import.resumed"]
        assert await living(store) == many(600, "occupied")
        assert (await store.query(STAGED))[0]["n"] == 0


async def test_a_backup_begins_anew_where_a_large_push_ended_meanwhile(database, monkeypatch):
    copy = database.with_name("copy.sqlite3")
    async with open_store(database) as store:
        crash_after(store, monkeypatch, 2)
        with pytest.raises(StoreError):
            await DatasetCoordinator(store, lambda: 150.0).apply(push("fullLoad", **many(600, "Occupied")))
    found, blocks = [()], SpoolFile.blocks
    monkeypatch.setattr(SpoolFile, "blocks", lambda file, size: found.pop() if found else blocks(file, size))
    back_up(database, copy)
    async with open_store(copy) as store:
        assert await recover(store) == ["import.resumed"]


@pytest.mark.parametrize("is_removed", [True, False], ids=["removed", "cut short"])
async def test_a_large_push_whose_spool_file_is_not_whole_is_logged_and_does_not_keep_the_node_down(
    database, monkeypatch, is_removed
):
    async with open_store(database) as store:
        crash_after(store, monkeypatch, 2)
        with pytest.raises(StoreError):
            await DatasetCoordinator(store, lambda: 150.0).apply(push("fullLoad", **many(600, "Occupied")))
    (path,) = spool_files(database)
    path.unlink() if is_removed else path.write_bytes(path.read_bytes()[:-1])
    async with open_store(database) as store:
        assert await recover(store) == ["import.spool_missing"]
        assert (await store.query(STAGED))[0]["n"] == 0


async def test_a_push_that_changes_little_of_much_is_one_job(store, coordinator, monkeypatch):
    await coordinator.apply(push("fullLoad", **many(900)))
    another = push("fullLoad", **(many(899) | {"E00007": "Occupied"}))
    records = [one if one.key == "E00007" else msgspec.structs.replace(one, raw=UNCHANGED) for one in another.records]
    crash_after(store, monkeypatch, 1)
    await coordinator.apply(replace(another, records=records))
    expected = many(899, "available") | {"E00007": "occupied"}
    assert await living(store) == expected


@pytest.mark.parametrize(("jobs_before_the_crash", "is_decided"), [(0, False), (1, True), (2, True), (5, True)])
async def test_a_pull_is_never_half_of_one_whenever_it_crashes(
    database, monkeypatch, jobs_before_the_crash, is_decided
):
    before = {"A1": "available", **many(300, "available")}
    async with open_store(database) as store:
        coordinator = DatasetCoordinator(store, lambda: 100.0)
        await coordinator.apply(push("fullLoad", A1="Available", **many(300)))
        pulled = push("fullLoad", **many(550, "Occupied"))
        intake = PullImport(coordinator, pulled.dataset, pulled.source, ReplaceScope.SOURCE)
        for record in pulled.records:
            await intake.add_record(record)
        crash_after(store, monkeypatch, jobs_before_the_crash)
        with pytest.raises(StoreError):
            await intake.apply(pulled.groups)
    async with open_store(database) as store:
        await recover(store)
        assert await living(store) == (many(550, "occupied") if is_decided else before)
        assert (await store.query(STAGED))[0]["n"] == 0
        assert spool_files(database) == []


@pytest.mark.parametrize("others", [0, 300], ids=["small", "large"])
async def test_of_a_record_that_changes_twice_during_a_pull_the_last_state_counts(store, coordinator, others):
    await coordinator.apply(push("fullLoad", A1="Available", A2="Available"))
    pulled = push("insert", A1="Occupied", A3="Occupied", **many(others))
    intake = PullImport(coordinator, pulled.dataset, pulled.source, ReplaceScope.NOTHING)
    for key in ("A1", "A2", "A3"):
        await intake.add_deletion(key)
    for record in pulled.records:
        await intake.add_record(record)
    await intake.add_deletion("A3")
    await intake.apply(pulled.groups)
    assert await living(store) == {"A1": "occupied", **many(others, "available")}


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
    coordinator = DatasetCoordinator(store, lambda: 100.0)
    crash_after(store, monkeypatch, 5)
    with pytest.raises(StoreError):
        await coordinator.apply(push("fullLoad", **many(900)))
    monkeypatch.undo()
    await coordinator.apply(push("update", E00899="Reserved"))
    assert await living(store) == many(900, "available") | {"E00899": "reserved"}


async def test_an_error_at_the_end_of_a_large_push_costs_no_record_that_it_named_unchanged(
    store, coordinator, monkeypatch
):
    await coordinator.apply(push("fullLoad", A1="Available", **many(900)))
    another = push("fullLoad", **(many(900) | many(200, "Occupied")))
    unchanged = [msgspec.structs.replace(record, raw=UNCHANGED) for record in another.records[200:]]
    with monkeypatch.context() as patch:
        patch.setattr(staging, "end_import", fail)
        with pytest.raises(StoreError):
            await coordinator.apply(replace(another, records=[*another.records[:200], *unchanged]))
    await coordinator.apply(push("update", E00899="Reserved"))
    assert await living(store) == many(900, "available") | many(200, "occupied") | {"E00899": "reserved"}


def fail(*_, **__) -> None:
    raise StoreError("power failed")


async def test_a_single_change_gets_through_while_a_large_push_of_another_peer_goes_on(store, coordinator):
    large = asyncio.create_task(coordinator.apply(push("fullLoad", source="peer", operator="DEXYZ", **many(3000))))
    await asyncio.sleep(0)
    await coordinator.apply(push("fullLoad", A1="Available"))
    assert not large.done()
    await large
    assert len(await living(store, "peer")) == 3000


async def test_pushes_of_one_source_are_applied_one_after_the_other(store, coordinator):
    pushes = [push("fullLoad", **many(600, status)) for status in ("Available", "Occupied", "Reserved")]
    await asyncio.gather(*(coordinator.apply(one) for one in pushes))
    assert await living(store) == many(600, "reserved")


async def test_changes_of_single_records_share_a_commit_and_what_replaces_them_sees_them(store, coordinator):
    gate = threading.Event()
    holding_up = asyncio.create_task(store.write(lambda _: gate.wait(10), Lane.BULK))
    changes = [push("insert", **{f"A{number}": "Available"}) for number in range(3)]
    changes += [push("insert", A1="Available"), push("fullLoad", A2="Occupied")]
    applying = []
    for change in changes:
        applying.append(asyncio.create_task(coordinator.apply(change)))
        await asyncio.sleep(0)
    await store.query_bulk(STAGED)
    queued, replacing = applying[:-1], applying[-1]
    # The writer is held up: none of them is committed, and still each has let the next one queue its write.
    assert [task.done() for task in applying] == [False] * 5
    gate.set()
    await holding_up
    assert [(await task).changed for task in queued] == [2, 1, 1, 0]
    assert (await queued[-1]).conflicts == ("A1",)
    assert (await replacing).changed == 3
    assert await living(store) == {"A2": "occupied"}
