"""Large changes that a crash, an error or a cancellation interrupts: applied as a whole, or nothing is left of them."""

import asyncio
from dataclasses import replace

import msgspec
import pytest
import structlog

from p2p_oicp.errors import StoreError
from p2p_oicp.storage import open_store
from p2p_oicp.storage.datasets import staging
from p2p_oicp.storage.datasets.coordinator import DatasetCoordinator, PullImport
from p2p_oicp.storage.datasets.models import OWN, UNCHANGED, ApplyResult, ReplaceScope
from p2p_oicp.storage.sqlite.backup import back_up
from p2p_oicp.storage.sqlite.spool import Spool, SpoolFile
from tests.support.changesets import STAGED, any_source, crash_after, living, many, push, spool_files

pytestmark = pytest.mark.sqlite


NOW = 1_800_000_000.0


async def pull(coordinator: DatasetCoordinator, **records: str) -> ApplyResult:
    """Pull everything that a source has."""
    pulled = push("fullLoad", **records)
    intake = PullImport(coordinator, pulled.dataset, pulled.source, ReplaceScope.SOURCE)
    try:
        for record in pulled.records:
            await intake.add_record(record)
        return await intake.apply(pulled.groups)
    except BaseException:
        await intake.discard()
        raise


async def push_much(coordinator: DatasetCoordinator, **records: str) -> ApplyResult:
    return await coordinator.apply(push("fullLoad", **records))


async def leave(_file: SpoolFile) -> None:
    """Remove nothing, as a crash does."""


async def recover(store) -> list[str]:
    """Start with this store; return the events that are logged."""
    with structlog.testing.capture_logs() as logs:
        await DatasetCoordinator(store, lambda: 200.0).recover(any_source)
    return [entry["event"] for entry in logs]


async def test_a_crash_before_the_commit_point_leaves_nothing_of_a_large_push(database, monkeypatch):
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
async def test_an_import_that_a_crash_interrupts_behind_its_commit_point_is_finished_at_the_next_start(
    database, monkeypatch, jobs_before_the_crash
):
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


@pytest.mark.parametrize(("jobs_before_the_crash", "is_decided"), [(0, False), (1, True), (2, True), (5, True)])
async def test_a_pull_is_applied_as_a_whole_or_not_at_all_whenever_it_crashes(
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


async def test_an_interrupted_import_of_an_unknown_source_is_discarded(database, monkeypatch):
    async with open_store(database) as store:
        crash_after(store, monkeypatch, 2)
        with pytest.raises(StoreError):
            await DatasetCoordinator(store, lambda: 150.0).apply(push("fullLoad", source="peer", **many(600)))
    async with open_store(database) as store:
        await DatasetCoordinator(store, lambda: 200.0).recover(lambda source: "us" if source == OWN else None)
        assert await living(store, "peer") == {}
        assert (await store.query(STAGED))[0]["n"] == 0
        assert spool_files(database) == []


@pytest.mark.parametrize("is_removed", [True, False], ids=["removed", "cut short"])
async def test_an_import_without_its_whole_spool_file_is_logged_and_the_node_starts(database, monkeypatch, is_removed):
    async with open_store(database) as store:
        crash_after(store, monkeypatch, 2)
        with pytest.raises(StoreError):
            await DatasetCoordinator(store, lambda: 150.0).apply(push("fullLoad", **many(600, "Occupied")))
    (path,) = spool_files(database)
    path.unlink() if is_removed else path.write_bytes(path.read_bytes()[:-1])
    async with open_store(database) as store:
        assert await recover(store) == ["import.spool_missing"]
        assert (await store.query(STAGED))[0]["n"] == 0


async def test_a_backup_in_the_middle_of_a_large_push_finishes_it_where_it_is_restored(database, monkeypatch):
    copy = database.with_name("copy.sqlite3")
    async with open_store(database) as store:
        crash_after(store, monkeypatch, 2)
        with pytest.raises(StoreError):
            await DatasetCoordinator(store, lambda: 150.0).apply(push("fullLoad", **many(600, "Occupied")))
        back_up(database, copy, NOW)
    async with open_store(copy) as store:
        assert await recover(store) == ["import.resumed"]
        assert await living(store) == many(600, "occupied")
        assert (await store.query(STAGED))[0]["n"] == 0


async def test_a_backup_begins_again_if_an_import_ended_meanwhile(database, monkeypatch):
    copy = database.with_name("copy.sqlite3")
    async with open_store(database) as store:
        crash_after(store, monkeypatch, 2)
        with pytest.raises(StoreError):
            await DatasetCoordinator(store, lambda: 150.0).apply(push("fullLoad", **many(600, "Occupied")))
    found, blocks = [()], SpoolFile.blocks
    monkeypatch.setattr(SpoolFile, "blocks", lambda file, size: found.pop() if found else blocks(file, size))
    back_up(database, copy, NOW)
    async with open_store(copy) as store:
        assert await recover(store) == ["import.resumed"]


async def test_spool_files_beside_a_restored_database_are_replaced_or_removed(database, monkeypatch):
    copy = database.with_name("copy.sqlite3")
    async with open_store(database) as store:
        fail_from_call(monkeypatch, staging, "upsert_records", 1)
        with pytest.raises(StoreError):
            await push_much(DatasetCoordinator(store, lambda: 100.0), **many(300))
        monkeypatch.undo()
        back_up(database, copy, NOW)
    copy.replace(database)
    for path in (*spool_files(database), database.with_name(f"{database.name}-import-other")):
        path.write_bytes(b"of another time")
    async with open_store(database) as store:
        await DatasetCoordinator(store, lambda: 200.0).recover(any_source)
        assert await living(store) == many(300, "available")
    assert spool_files(database) == []


async def test_an_import_that_a_failing_disk_interrupted_is_finished_before_the_next_push(store, monkeypatch):
    coordinator = DatasetCoordinator(store, lambda: 100.0)
    crash_after(store, monkeypatch, 5)
    with pytest.raises(StoreError):
        await coordinator.apply(push("fullLoad", **many(900)))
    monkeypatch.undo()
    await coordinator.apply(push("update", E00899="Reserved"))
    assert await living(store) == many(900, "available") | {"E00899": "reserved"}


async def test_an_error_at_the_end_of_a_large_push_deletes_no_record_that_it_contains_unchanged(store, monkeypatch):
    coordinator = DatasetCoordinator(store, lambda: 100.0)
    await coordinator.apply(push("fullLoad", A1="Available", **many(900)))
    another = push("fullLoad", **(many(900) | many(200, "Occupied")))
    unchanged = [msgspec.structs.replace(record, raw=UNCHANGED) for record in another.records[200:]]
    with monkeypatch.context() as patch:
        fail_from_call(patch, staging, "end_import", 1)
        with pytest.raises(StoreError):
            await coordinator.apply(replace(another, records=[*another.records[:200], *unchanged]))
    await coordinator.apply(push("update", E00899="Reserved"))
    assert await living(store) == many(900, "available") | many(200, "occupied") | {"E00899": "reserved"}


@pytest.mark.parametrize("is_pushed_before", [False, True], ids=["after a restart", "before the next push"])
async def test_a_pull_whose_end_was_interrupted_deletes_nothing_that_it_contains(
    database, monkeypatch, is_pushed_before
):
    async with open_store(database) as store:
        coordinator = DatasetCoordinator(store, lambda: 100.0)
        await pull(coordinator, **many(450))
        with monkeypatch.context() as patch:
            fail_from_call(patch, staging, "end_import", 1)
            with pytest.raises(StoreError):
                await pull(coordinator, **many(450))
        if is_pushed_before:
            await coordinator.apply(push("update", E00000="Available"))
    async with open_store(database) as store:
        await DatasetCoordinator(store, lambda: 200.0).recover(any_source)
        assert await living(store) == many(450, "available")
        assert (await store.query(STAGED))[0]["n"] == 0


@pytest.mark.parametrize("change", [pull, push_much])
async def test_nothing_is_left_of_a_change_that_fails_at_its_commit_point(database, store, monkeypatch, change):
    coordinator = DatasetCoordinator(store, lambda: 100.0)
    with monkeypatch.context() as patch:
        fail_from_call(patch, staging, "commit_import", 1)
        with pytest.raises(StoreError):
            await change(coordinator, **many(300))
    assert (await living(store), (await store.query(STAGED))[0]["n"]) == ({}, 0)
    assert spool_files(database) == []


@pytest.mark.parametrize("change", [pull, push_much])
@pytest.mark.parametrize(
    ("module", "step", "is_decided"),
    [
        (Spool, "_create", False),
        (SpoolFile, "_append", False),
        (SpoolFile, "_sync", True),
        (staging, "commit_import", True),
        (staging, "end_import", True),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)).rpartition(".")[2],
)
async def test_a_change_whose_caller_is_cancelled_is_older_than_all_later_changes(
    database, monkeypatch, change, module, step, is_decided
):
    async with open_store(database) as store:
        coordinator = DatasetCoordinator(store, lambda: 100.0)
        await coordinator.apply(push("fullLoad", **many(3)))
        task = asyncio.create_task(change(coordinator, **many(300, "Occupied")))
        with monkeypatch.context() as patch:
            cancel_in(patch, task, module, step)
            with pytest.raises(asyncio.CancelledError):
                await task
        expected = many(300, "occupied") if is_decided else many(3, "available")
        await coordinator.apply(push("update", E00001="Reserved"))
        assert await living(store) == expected | {"E00001": "reserved"}
    async with open_store(database) as store:
        await DatasetCoordinator(store, lambda: 200.0).recover(any_source)
        assert await living(store) == expected | {"E00001": "reserved"}
        assert (await store.query(STAGED))[0]["n"] == 0
        assert spool_files(database) == []


def cancel_in(monkeypatch, task: asyncio.Task, module, step: str) -> None:
    """Let the caller give up while a step of its change is on its way to the database."""
    work, loop = getattr(module, step), asyncio.get_running_loop()

    def give_up(*args, **kwargs):
        loop.call_soon_threadsafe(task.cancel)
        return work(*args, **kwargs)

    monkeypatch.setattr(module, step, give_up)


def fail_from_call(monkeypatch, module, step: str, number: int) -> None:
    """Let a step fail from this call on."""
    work, left = getattr(module, step), number

    def fail(*args, **kwargs):
        nonlocal left
        left -= 1
        if left <= 0:
            raise StoreError("power failed")
        return work(*args, **kwargs)

    monkeypatch.setattr(module, step, fail)
