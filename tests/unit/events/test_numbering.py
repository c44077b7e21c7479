"""The id of an event stays the same through backups and restores, and a reader goes on where it can."""

import pytest

from p2p_oicp.events import format_id
from p2p_oicp.storage import event_log, event_queries
from p2p_oicp.storage.event_log import Event, EventType, emit
from p2p_oicp.storage.event_queries import EventEpochs

A, B, C = 0xA, 0xB, 0xC
#: A wrote 1 to 99, B 100 to 149, C the rest, up to 180.
RESTORED_TWICE = EventEpochs(((1, A), (100, B), (150, C)))


@pytest.mark.parametrize(
    ("epoch", "number", "position", "is_exact"),
    [
        (None, 0, 0, True),
        (None, 180, 180, True),
        (None, 181, 180, False),
        (A, 99, 99, True),
        (A, 120, 99, False),
        (B, 149, 149, True),
        (B, 150, 149, False),
        (C, 180, 180, True),
        (C, 200, 180, False),
        (0xD, 20, 0, False),
    ],
)
def test_a_reader_goes_on_after_the_last_event_that_is_still_the_same(epoch, number, position, is_exact):
    assert RESTORED_TWICE.position_after(epoch, number, 180) == (position, is_exact)


def test_an_event_has_the_epoch_of_the_database_that_wrote_it():
    ids = [format_id(RESTORED_TWICE.epoch_of(number), number) for number in (1, 99, 100, 149, 150)]
    assert [each[11] for each in ids] == ["a", "a", "b", "b", "c"]


async def test_an_epoch_begins_with_the_next_event_and_only_once(store):
    async def begin(epoch: int) -> None:
        await store.write(lambda tx: event_log.begin_epoch(tx, epoch))

    await begin(A)
    for _ in range(3):
        await store.write(lambda tx: emit(tx, Event(EventType.PEER, "added", 1.0, "x")))
    await begin(A)
    await begin(B)
    assert (await event_queries.read_epochs(store)).starts == ((1, A), (4, B))
    # A database that was restored twice without an event in between.
    await begin(C)
    assert (await event_queries.read_epochs(store)).starts == ((1, A), (4, C))
