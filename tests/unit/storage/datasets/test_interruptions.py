"""Changes of state that an error, a cancellation or a crash interrupts: wholly applied, or nothing is left of them."""

import asyncio
import threading

import pytest

from p2p_oicp.errors import StoreError
from p2p_oicp.storage import Lane, open_store
from p2p_oicp.storage.datasets import staging
from p2p_oicp.storage.datasets.coordinator import DatasetCoordinator, PullImport
from p2p_oicp.storage.datasets.models import ApplyResult, ReplaceScope
from p2p_oicp.storage.spool import Spool, SpoolFile
from p2p_oicp.storage.sqlite.backup import back_up
from tests.support.changesets import STAGED, any_source, living, many, push, spool_files


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


@pytest.mark.parametrize("is_pushed_before", [False, True], ids=["after a restart", "before the next push"])
async def test_a_pull_whose_end_was_interrupted_withdraws_nothing_that_it_named(
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
@pytest.mark.parametrize(
    ("module", "step", "is_decided"),
    [
        (Spool, "_create", False),
        (SpoolFile, "_append", False),
        (SpoolFile, "_sync", True),
        (staging, "commit_import", True),
        (staging, "end_import", True),
    ],
    ids=lambda told: getattr(told, "__name__", str(told)).rpartition(".")[2],
)
async def test_a_change_whose_caller_gives_up_is_older_than_all_that_comes_after_it(
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


async def test_what_replaces_records_sees_those_whose_caller_gave_up(store):
    coordinator, gate = DatasetCoordinator(store, lambda: 100.0), threading.Event()
    holding_up = asyncio.create_task(store.write(lambda _: gate.wait(10), Lane.BULK))
    given_up = asyncio.create_task(coordinator.apply(push("insert", **many(50))))
    await asyncio.sleep(0)
    given_up.cancel()
    replacing = asyncio.create_task(coordinator.apply(push("fullLoad", A1="Available")))
    await asyncio.sleep(0)
    await store.query_bulk(STAGED)  # what `replacing` looks for by now, it has found
    gate.set()
    await asyncio.gather(holding_up, replacing)
    await store.write(lambda _: None, Lane.BULK)  # nothing waits any more
    assert given_up.cancelled()
    assert await living(store) == {"A1": "available"}


def cancel_in(monkeypatch, task: asyncio.Task, module, step: str) -> None:
    """Let the caller give up while a step of its change is on its way to the database."""
    work, loop = getattr(module, step), asyncio.get_running_loop()

    def give_up(*args, **kwargs):
        loop.call_soon_threadsafe(task.cancel)
        return work(*args, **kwargs)

    monkeypatch.setattr(module, step, give_up)


@pytest.mark.parametrize("change", [pull, push_much])
async def test_nothing_is_left_of_a_change_that_fails_before_its_decision(database, store, monkeypatch, change):
    coordinator = DatasetCoordinator(store, lambda: 100.0)
    with monkeypatch.context() as patch:
        fail_from_call(patch, staging, "commit_import", 1)
        with pytest.raises(StoreError):
            await change(coordinator, **many(300))
    assert (await living(store), (await store.query(STAGED))[0]["n"]) == ({}, 0)
    assert spool_files(database) == []


async def test_spool_files_that_lie_beside_a_restored_database_do_not_count(database, monkeypatch):
    copy = database.with_name("copy.sqlite3")
    async with open_store(database) as store:
        fail_from_call(monkeypatch, staging, "upsert_records", 1)
        with pytest.raises(StoreError):
            await push_much(DatasetCoordinator(store, lambda: 100.0), **many(300))
        monkeypatch.undo()
        back_up(database, copy)
    copy.replace(database)
    for path in (*spool_files(database), database.with_name(f"{database.name}-import-other")):
        path.write_bytes(b"of another time")
    async with open_store(database) as store:
        await DatasetCoordinator(store, lambda: 200.0).recover(any_source)
        assert await living(store) == many(300, "available")
    assert spool_files(database) == []


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
