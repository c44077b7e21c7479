"""Reads the event log (`storage.event_log`): from a number on, or backwards from the newest.

A row that cannot be read, of a damaged file, is logged and left out: it hides no other one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import structlog
from sqlalchemy import bindparam, func, select

from p2p_oicp.storage.event_log import Event
from p2p_oicp.storage.schema import event_batches, event_epochs
from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.transactions import Row

log = structlog.get_logger(__name__)

SelectedT = TypeVar("SelectedT")


class NumberedEvent(msgspec.Struct, frozen=True):
    """An event with its number in this database."""

    number: int
    event: Event


@dataclass(frozen=True, slots=True)
class EventEpochs:
    """Which database has written which events.

    Attributes:
        starts: the first number and the store epoch of each, the present one last; there is at least one.
    """

    starts: tuple[tuple[int, int], ...]

    def epoch_of(self, number: int) -> int:
        """Return the store epoch of an event."""
        return next((epoch for first, epoch in reversed(self.starts) if first <= number), self.starts[0][1])

    def position_after(self, epoch_id: int | None, number: int, last: int) -> tuple[int, bool]:
        """Return the number after which a reader goes on, and whether it is that of the event that the reader has.

        Args:
            epoch_id: of the last event that the reader has; None: it knows only the number.
            number: of that event.
            last: the number of the newest event.
        """
        if epoch_id is None:
            return min(number, last), number <= last
        ends = [first - 1 for first, _ in self.starts[1:]] + [last]
        for (_, epoch), end in zip(self.starts, ends, strict=True):
            if epoch == epoch_id:
                return min(number, end), number <= end
        return 0, False


_decode = msgspec.json.Decoder(list[Event]).decode
_batches = event_batches.c
_BATCHES_FROM = compiled(
    select(_batches.first_number, _batches.count, _batches.events)
    .where(
        _batches.first_number
        >= func.coalesce(
            select(func.max(_batches.first_number))
            .where(_batches.first_number <= bindparam("number"))
            .scalar_subquery(),
            0,
        )
    )
    .order_by(_batches.first_number)
    .limit(bindparam("limit"))
)
_BATCHES_BEFORE = compiled(
    select(_batches.first_number, _batches.count, _batches.events)
    .where(_batches.first_number < bindparam("number"))
    .order_by(_batches.first_number.desc())
    .limit(bindparam("limit"))
)
_LAST = compiled(
    select((_batches.first_number + _batches.count - 1).label("number")).order_by(_batches.first_number.desc()).limit(1)
)
_EPOCHS = compiled(select(event_epochs.c.first_number, event_epochs.c.epoch_id).order_by(event_epochs.c.first_number))
_FIRST = compiled(select(func.min(_batches.first_number).label("number")))
# How many events one row has depends on the load; so many rows are read at a time.
_BATCHES_PER_READ = 50
# Events of a rare type may be far apart: a page of them ends after so many reads, and the next one goes on.
_MAX_READS = 40


async def last_number(store: Store) -> int:
    """Return the number of the newest event as of the last commit, 0 where there is none."""
    rows = await store.query_inline(_LAST)
    return int(rows[0]["number"]) if rows else 0


async def first_number(store: Store) -> int:
    """Return the number of the oldest event that is kept, or the next one's where there is none."""
    number = (await store.query_inline(_FIRST))[0]["number"]
    return await last_number(store) + 1 if number is None else int(number)


async def events_after(store: Store, number: int, limit: int, types: Iterable[str] = ()) -> list[NumberedEvent]:
    """Return up to ``limit`` events with higher numbers, the oldest first.

    Args:
        store: the database.
        number: of the last event that the caller knows; 0: all that are kept.
        limit: how many at most.
        types: of `EventType`; none: all.
    """
    found: list[NumberedEvent] = []
    selected, next_number = frozenset(types), number + 1
    while len(found) < limit:
        rows = await store.query(_BATCHES_FROM, number=next_number, limit=_BATCHES_PER_READ)
        if not rows or (last := rows[-1]["first_number"] + rows[-1]["count"] - 1) < next_number:
            break
        numbered = (event for row in rows for event in _numbered(row))
        found += (
            each for each in numbered if each.number >= next_number and (not selected or each.event.type in selected)
        )
        next_number = last + 1
    return found[:limit]


async def events_before(
    store: Store, number: int | None, limit: int, select_event: Callable[[NumberedEvent], Awaitable[SelectedT | None]]
) -> tuple[list[SelectedT], int | None]:
    """Return what is made of up to ``limit`` events with lower numbers, the newest first, and where to go on.

    The second is the number to go on before; None where nothing is left.

    Args:
        store: the database.
        number: None: from the newest on.
        limit: how many at most.
        select_event: returns what is made of an event; None: it is left out.
    """
    selected: list[SelectedT] = []
    before = await last_number(store) + 1 if number is None else number
    if limit < 1:
        return [], before
    for _ in range(_MAX_READS):
        rows = await store.query(_BATCHES_BEFORE, number=before, limit=_BATCHES_PER_READ)
        for event in (event for row in rows for event in reversed(_numbered(row))):
            if event.number >= before or (made := await select_event(event)) is None:
                continue
            selected.append(made)
            if len(selected) == limit:
                return selected, event.number
        if not rows:
            return selected, None
        before = rows[-1]["first_number"]
    return selected, before


def _numbered(row: Row) -> list[NumberedEvent]:
    first = row["first_number"]
    try:
        events = _decode(row["events"])
    except msgspec.DecodeError as error:
        log.warning("events.row_not_readable", first=first, count=row["count"], error=str(error))
        return []
    return [NumberedEvent(first + position, event) for position, event in enumerate(events)]


async def read_epochs(store: Store) -> EventEpochs:
    """Return which database has written which events; `delivery.store_epochs` has begun the present one."""
    return EventEpochs(tuple((row["first_number"], row["epoch_id"]) for row in await store.query_inline(_EPOCHS)))
