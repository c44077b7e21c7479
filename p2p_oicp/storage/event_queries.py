"""Reads the event log (`storage.event_log`) from a number on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import bindparam, func, select

from p2p_oicp.storage.event_log import Event
from p2p_oicp.storage.schema import event_batches
from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.store import Store


class NumberedEvent(msgspec.Struct, frozen=True):
    """An event with its number in this database."""

    number: int
    event: Event


_decode = msgspec.json.Decoder(list[Event]).decode
_batches = event_batches.c
_BATCHES_FROM = compiled(
    select(_batches.first_number, _batches.events)
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
_LAST = compiled(
    select((_batches.first_number + _batches.count - 1).label("number")).order_by(_batches.first_number.desc()).limit(1)
)
_FIRST = compiled(select(func.min(_batches.first_number).label("number")))
# How many events one row has depends on the load; so many rows are read at a time.
_BATCHES_PER_READ = 50


def last_number(store: Store) -> int:
    """Return the number of the newest event as of the last commit, 0 where there is none."""
    rows = store.query_inline(_LAST)
    return int(rows[0]["number"]) if rows else 0


def first_number(store: Store) -> int:
    """Return the number of the oldest event that is kept, or the next one's where there is none."""
    number = store.query_inline(_FIRST)[0]["number"]
    return last_number(store) + 1 if number is None else int(number)


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
        numbered = [event for row in rows for event in _numbered(row["first_number"], _decode(row["events"]))]
        if not numbered or numbered[-1].number < next_number:
            break
        found += (
            each for each in numbered if each.number >= next_number and (not selected or each.event.type in selected)
        )
        next_number = numbered[-1].number + 1
    return found[:limit]


def _numbered(first: int, events: Sequence[Event]) -> list[NumberedEvent]:
    return [NumberedEvent(first + position, event) for position, event in enumerate(events)]


def to_members(numbered: NumberedEvent, **subject: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON values
    """Return an event as a JSON object, with what is known of its subject; empty members are left out."""
    event = numbered.event
    members = {"number": numbered.number, "type": event.type, "what": event.what, "at": event.at, **subject}
    members |= {"role": event.role, "text": event.text}
    members |= {"count": event.count} if event.count > 1 else {}
    return {name: value for name, value in members.items() if value not in ("", None)}
