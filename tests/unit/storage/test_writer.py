"""The writer commits in groups, and no caller gets its result before the commit."""

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from p2p_oicp.errors import StoreBusy, StoreError
from p2p_oicp.storage import Lane, Store, Transaction, open_store
from p2p_oicp.storage.statements import Statement

INSERT = Statement("INSERT INTO counters (name, value) VALUES (:name, 1)", {})
NAMES = Statement("SELECT name FROM counters ORDER BY name", {})


def insert(name: str):
    return lambda tx: tx.run(INSERT, name=name)


async def names(store: Store) -> list[str]:
    return [row["name"] for row in await store.query(NAMES)]


def committed_outside(database: Path) -> set[str]:
    with closing(sqlite3.connect(database)) as other:
        return {row[0] for row in other.execute("SELECT name FROM counters")}


@pytest.mark.sqlite
async def test_a_write_is_visible_to_others_when_it_returns(store, database):
    await store.write(insert("a"))
    assert committed_outside(database) == {"a"}


async def test_a_failing_job_leaves_no_trace_and_does_not_harm_the_others_of_its_group(store):
    def fail_after_writing(tx: Transaction) -> None:
        tx.run(INSERT, name="half")
        raise LookupError("a rule was broken")

    results = await asyncio.gather(
        store.write(insert("a")), store.write(fail_after_writing), store.write(insert("b")), return_exceptions=True
    )
    assert isinstance(results[1], LookupError)
    assert await names(store) == ["a", "b"]


async def test_a_job_with_one_write_that_is_refused_leaves_the_others_of_its_group(store):
    def refuse(_tx: Transaction) -> None:
        raise LookupError("a rule was broken")

    await store.write(insert("a"))
    results = await asyncio.gather(
        store.write_once(insert("b")),
        store.write_once(refuse),
        store.write_once(insert("a")),
        store.write(insert("c")),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [int, LookupError, StoreError, int]
    assert await names(store) == ["a", "b", "c"]


@pytest.mark.one_writer
async def test_a_job_that_fails_between_two_writes_without_a_savepoint_takes_its_group_back(store):
    def fail_after_writing(tx: Transaction) -> None:
        tx.run(INSERT, name="half")
        raise LookupError("a rule was broken")

    results = await asyncio.gather(
        store.write(insert("a")), store.write_once(fail_after_writing), store.write(insert("b")), return_exceptions=True
    )
    assert all(isinstance(result, StoreError) for result in results)
    await store.write(insert("c"))
    assert await names(store) == ["c"]


async def test_a_database_error_reaches_the_caller_as_a_store_error(store):
    await store.write(insert("a"))
    with pytest.raises(StoreError, match=r"(?i)unique"):
        await store.write(insert("a"))


async def test_a_cancelled_caller_does_not_disturb_the_writer(store):
    task = asyncio.create_task(store.write(insert("a")))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await store.write(insert("b"))
    assert "b" in await names(store)


async def test_a_full_queue_refuses_instead_of_growing(database):
    async with open_store(database, queue_limit=3) as store:
        results = await asyncio.gather(*(store.write(insert(f"{n}")) for n in range(50)), return_exceptions=True)
        refused = [result for result in results if isinstance(result, StoreBusy)]
        assert refused
        assert len(await names(store)) == 50 - len(refused)


async def test_both_lanes_are_served(store):
    writes = [store.write(insert(f"bulk {n}"), Lane.BULK) for n in range(5)]
    writes += [store.write(insert(f"interactive {n}")) for n in range(5)]
    await asyncio.gather(*writes)
    assert len(await names(store)) == 10


@pytest.mark.one_writer
async def test_a_job_that_arrives_during_a_bulk_job_waits_for_no_other(store):
    loop, order, has_arrived = asyncio.get_running_loop(), [], threading.Event()
    interactive: list[asyncio.Task[None]] = []

    def arrive() -> None:
        interactive.append(asyncio.create_task(_write()))
        loop.call_soon(has_arrived.set)

    async def _write() -> None:
        await store.write(lambda _: order.append("interactive"))

    def first(_: Transaction) -> None:
        loop.call_soon_threadsafe(arrive)
        has_arrived.wait(5)
        order.append("bulk")

    await asyncio.gather(
        store.write(first, Lane.BULK), *(store.write(lambda _: order.append("bulk"), Lane.BULK) for _ in "ab")
    )
    await asyncio.gather(*interactive)
    assert order == ["bulk", "interactive", "bulk", "bulk"]


@pytest.mark.sqlite
async def test_closing_finishes_what_waits(database):
    async with open_store(database) as store:
        writes = [asyncio.create_task(store.write(insert(f"{n}"))) for n in range(200)]
        await asyncio.sleep(0)
    assert len(await asyncio.gather(*writes)) == 200
    assert len(committed_outside(database)) == 200


async def test_a_closed_store_refuses_jobs(database):
    async with open_store(database) as store:
        pass
    with pytest.raises(StoreError, match="shutting down"):
        await store.write(insert("late"))


@pytest.mark.sqlite
@pytest.mark.parametrize(("free", "says"), [(0, "the disk is full: 0 bytes are free"), (1 << 30, None)])
async def test_a_full_disk_is_a_failure_while_small_transactions_still_succeed(store, monkeypatch, free, says):
    monkeypatch.setattr(store.spool, "free_bytes", lambda: free)
    await store.write(lambda _: None)
    failure = await store.failure()
    assert (failure or "").startswith(says) if says else failure is None
