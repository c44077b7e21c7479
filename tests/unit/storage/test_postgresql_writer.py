"""What the store in PostgreSQL promises beyond what all stores do: see the contract, ``--engine postgresql``."""

import asyncio
import contextlib
from functools import partial

import pytest

from p2p_oicp.errors import StoreError, StoreUnavailable
from p2p_oicp.storage import Lane, open_for_change, open_readonly, open_store, query_once
from p2p_oicp.storage.datasets.apply import allocate_numbers
from p2p_oicp.storage.event_log import Event, EventType, emit
from p2p_oicp.storage.statements import Statement

INSERT = Statement("INSERT INTO counters (name, value) VALUES (:name, 1)", {})
NAMES = Statement("SELECT name FROM counters ORDER BY name", {})
EVENTS = Statement("SELECT first_number, count FROM event_batches ORDER BY first_number", {})
END_OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'p2p-oicp'"


@pytest.fixture
def url(cluster) -> str:
    pytest.importorskip("asyncpg")
    return cluster.new_schema()


async def test_a_second_process_is_refused_and_a_later_one_finds_everything(url):
    async with open_store(url) as store:
        await store.write(partial(_insert, name="a"))
        with pytest.raises(StoreUnavailable, match="another node uses it"):
            async with open_store(url):
                pass
    async with open_store(url) as store:
        assert await _names(store) == ["a"]


async def test_jobs_of_one_key_run_in_order_and_others_beside_them(url):
    order = []

    def job(tx, key, number):
        tx.all(NAMES)
        order.append((key, number))

    async with open_store(url) as store:
        jobs = [store.write(partial(job, key=key, number=number), about=(key,)) for number in range(20) for key in "ab"]
        await asyncio.gather(*jobs)
    # A job may run again: of each key, the last runs are in order.
    assert [entry for entry in order if entry[0] == "a"][-20:] == [("a", number) for number in range(20)]


async def test_a_job_that_fails_fails_alone(url):
    def failing(tx):
        tx.run(INSERT, name="never")
        raise ValueError("no")

    async with open_store(url) as store:
        good = [store.write(partial(_insert, name=f"{number:02}"), about=(f"{number}",)) for number in range(30)]
        results = await asyncio.gather(*good[:15], store.write(failing), *good[15:], return_exceptions=True)
        assert [type(result) for result in results if result is not None] == [ValueError]
        assert await _names(store) == [f"{number:02}" for number in range(30)]


async def test_events_are_numbered_without_gaps_by_transactions_side_by_side(url):
    def job(tx):
        emit(tx, Event(EventType.ACTION, "done", 1.0, "x"))

    async with open_store(url) as store:
        await asyncio.gather(*(store.write(job, lane) for _ in range(50) for lane in Lane))
        rows = await store.query(EVENTS)
    expected = 1
    for row in rows:
        assert row["first_number"] == expected
        expected += row["count"]
    assert expected == 101


async def test_numbers_are_taken_once_by_transactions_side_by_side(url):
    async with open_store(url) as store:
        take = [store.write(partial(allocate_numbers, name="change", count=3), about=(f"{n}",)) for n in range(40)]
        ranges = await asyncio.gather(*take)
    assert sorted(number for each in ranges for number in each) == list(range(1, 121))


async def test_a_node_whose_connections_are_lost_goes_on(url, cluster):
    async with open_store(url) as store:
        await store.write(partial(_insert, name="a"))
        await asyncio.to_thread(cluster.execute, END_OTHERS)
        await store.write(partial(_insert, name="b"))
        assert await _names(store) == ["a", "b"]
        assert await store.failure() is None


async def test_nothing_is_acknowledged_that_was_not_committed(url):
    """A job that catches the error of a statement leaves a transaction that a COMMIT would end without storing it."""

    def job(tx):
        tx.run(INSERT, name="a")
        with contextlib.suppress(Exception):  # what no job should do
            tx.run(INSERT, name="a")

    async with open_store(url) as store:
        with pytest.raises(StoreError, match="has not committed"):
            await store.write(job)
        assert await _names(store) == []


def test_commands_read_and_change_the_database_of_a_node(url):
    with open_for_change(url) as tx:
        tx.run(INSERT, name="a")
        emit(tx, Event(EventType.ACTION, "done", 1.0, "x"))
    with open_readonly(url) as store:
        assert [row["name"] for row in store.rows(NAMES)] == ["a"]
    assert [tuple(row) for row in query_once(url, EVENTS)] == [(1, 1)]


def test_a_server_that_is_not_there_is_named_without_the_password():
    pytest.importorskip("asyncpg")
    with pytest.raises(StoreUnavailable, match=r"postgresql://p2p@127\.0\.0\.1:1/p2p: cannot be reached") as caught:
        query_once("postgresql://p2p:secret@127.0.0.1:1/p2p", NAMES)
    assert "secret" not in str(caught.value)


def _insert(tx, name):
    tx.run(INSERT, name=name)


async def _names(store) -> list[str]:
    return [row["name"] for row in await store.query(NAMES)]
