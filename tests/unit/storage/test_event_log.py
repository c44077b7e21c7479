"""The event log has what was committed, numbered without gaps, and nothing else."""

import asyncio
from unittest.mock import AsyncMock

import pytest

from p2p_oicp.storage import Lane, event_log, event_queries, open_for_change, open_store
from p2p_oicp.storage.event_log import Event, EventType, emit
from p2p_oicp.storage.event_queries import events_after, events_before
from p2p_oicp.storage.statements import Statement

DAMAGE = Statement("UPDATE event_batches SET events = :events WHERE first_number = :first", {})


def event(subject: str, type_: EventType = EventType.PEER, at: float = 1.0) -> Event:
    return Event(type_, "added", at, subject)


def emitting(*subjects: str, at: float = 1.0):
    def job(tx) -> None:
        for subject in subjects:
            emit(tx, event(subject, at=at))

    return job


async def subjects(store, after: int = 0, limit: int = 1000, types=()) -> list[tuple[int, str]]:
    return [(each.number, each.event.subject) for each in await events_after(store, after, limit, types)]


@pytest.mark.one_writer
async def test_events_are_numbered_in_the_order_of_their_jobs_across_lanes(store):
    await asyncio.gather(*(store.write(emitting(f"{n}a", f"{n}b")) for n in range(40)))
    await store.write(emitting("bulk"), Lane.BULK)
    found = await subjects(store)
    assert [number for number, _ in found] == list(range(1, 82))
    assert [subject for _, subject in found[:4]] == ["0a", "0b", "1a", "1b"]
    assert found[-1] == (81, "bulk")


async def test_a_job_that_fails_has_no_events_and_leaves_no_gap(store):
    def failing(tx) -> None:
        emit(tx, event("never"))
        raise LookupError

    results = await asyncio.gather(
        store.write(emitting("a")), store.write(failing), store.write(emitting("b")), return_exceptions=True
    )
    assert isinstance(results[1], LookupError)
    assert sorted(await subjects(store)) in ([(1, "a"), (2, "b")], [(1, "b"), (2, "a")])


@pytest.mark.sqlite
@pytest.mark.parametrize("lane", Lane)
async def test_a_group_that_cannot_be_committed_has_no_events(store, lane):
    await store.write(emitting("before"), lane)

    def full(tx) -> None:
        emit(tx, event("lost"))
        tx._connection.execute("PRAGMA max_page_count = 1")
        tx._connection.execute("CREATE TABLE larger AS SELECT randomblob(100000)")

    with pytest.raises(Exception, match=r"full|cannot"):
        await store.write(full, lane)
    await store.write(emitting("after"), lane)
    assert await subjects(store) == [(1, "before"), (2, "after")]


@pytest.mark.parametrize("after", range(8))
async def test_reading_goes_on_after_any_number(store, after):
    for group in (("a", "b", "c"), ("d",), ("e", "f")):
        await store.write(emitting(*group))
    everything = list(enumerate("abcdef", 1))
    assert await subjects(store, after) == everything[after:]
    assert await subjects(store, after, limit=2) == everything[after : after + 2]


@pytest.mark.one_writer
@pytest.mark.parametrize(
    "damaged", [b"", b"[1]", b'[["\xff"]]', b"\0" * 40], ids=["empty", "other", "no text", "zeros"]
)
@pytest.mark.parametrize("row", range(3))
async def test_a_row_that_cannot_be_read_hides_no_other(store, row, damaged):
    groups = (("a", "b"), ("c", "d"), ("e", "f"))
    for group in groups:
        await store.write(emitting(*group))
    await store.write(lambda tx: tx.run(DAMAGE, events=damaged, first=2 * row + 1))
    left = [each for each in enumerate("abcdef", 1) if each[1] not in groups[row]]
    assert await subjects(store) == left
    assert await subjects(store, after=2 * row + 1) == [each for each in left if each[0] > 2 * row + 1]

    async def numbered(each):
        return each.number, each.event.subject

    newest, cursor = await events_before(store, None, 10, numbered)
    assert (newest, cursor) == (left[::-1], None)


async def test_a_page_without_room_has_no_events_and_goes_on_where_it_was(store):
    await store.write(emitting("a", "b"))
    assert await events_before(store, None, 0, AsyncMock()) == ([], 3)


async def test_types_are_selected_however_many_others_lie_between(store):
    for number in range(150):
        await store.write(lambda tx, number=number: emit(tx, event(str(number))))
    await store.write(lambda tx: emit(tx, event("key", EventType.KEY)))
    assert await subjects(store, 0, 1, ["key"]) == [(151, "key")]


async def test_old_events_are_deleted_and_numbers_go_on(store):
    for at in (1.0, 2.0, 3.0):
        await store.write(emitting("x", "y", at=at))
    assert await event_queries.first_number(store) == 1
    assert await store.write(lambda tx: event_log.purge(tx, cutoff=10.0, limit=100)) == 2
    assert await event_queries.first_number(store) == 5
    await store.write(emitting("z"))
    assert await subjects(store) == [(5, "x"), (6, "y"), (7, "z")]
    assert await event_queries.last_number(store) == 7


@pytest.mark.sqlite
async def test_numbers_go_on_after_a_restart_and_beside_a_command(database):
    async with open_store(database) as store:
        assert (await event_queries.first_number(store), await event_queries.last_number(store)) == (1, 0)
        await store.write(emitting("first"))
        with open_for_change(database) as tx:
            emit(tx, event("command"))
        await store.write(emitting("third"))
    async with open_store(database) as store:
        await store.write(emitting("fourth"))
        assert await subjects(store) == [(1, "first"), (2, "command"), (3, "third"), (4, "fourth")]
