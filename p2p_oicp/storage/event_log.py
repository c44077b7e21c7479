"""The event log: what happened, numbered without gaps, written in the transaction of what happened.

A job of a transaction adds its events with `emit`; they are written with the commit, all events of a group of jobs as
one row (`write_pending`): a row for each would cost an AuthorizeStart twice what it may. A job that is rolled back
has no events.

An event holds keys and ids, and no names: whoever shows it looks them up (``events.view``).
A restored database counts on from its backup. So the id of an event is its number with the epoch of the database in
which it was written (`begin_epoch`): no two events have the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from p2p_oicp.storage.statements import Statement
from p2p_oicp.storage.transactions import Transaction

_encode = msgspec.json.Encoder().encode


class EventType(StrEnum):
    """What an event is about; `Event.what` says what has become of it."""

    SESSION = "session"
    CDR = "cdr"
    EVSE_STATUS = "evse_status"
    PEER = "peer"
    KEY = "key"
    CERTIFICATE = "certificate"
    BACKEND = "backend"
    WEBHOOK = "webhook"
    REFUSAL = "refusal"
    FINDING = "finding"
    ACTION = "action"


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One event as it is stored.

    Attributes:
        type: an `EventType`.
        what: the state that a session or CDR has now (``authorized``, ``disputed``), an EVSE's status (``Available``),
            what happened to a peer, key or certificate (``removed``, ``rotated``), why a request was refused (its
            status code), what was found in a message, or what a person has done.
        at: seconds since the epoch.
        subject: the canonical key of the session or EVSE, the name of the operation, else the id of a peer or key.
        role: ``cpo`` or ``emp``, of this node in a session or CDR.
        peer: the id of the peer that it is about; of an EVSE's status, the source.
        text: why, in words.
        count: how often, since the last event of the same cause (`limited_events`).
    """

    type: str
    what: str
    at: float
    subject: str
    role: str = ""
    peer: str = ""
    text: str = ""
    count: int = 1


# One statement: another process (a command) may have written events since the last commit.
_APPEND = Statement(
    "INSERT INTO event_batches (first_number, count, at, events) SELECT "
    "coalesce((SELECT first_number + count FROM event_batches ORDER BY first_number DESC LIMIT 1), 1), "
    ":count, :at, :events",
    {},
)
# The newest row stays, whatever its age: the next number comes from it.
_PURGE = Statement(
    "DELETE FROM event_batches WHERE first_number IN (SELECT first_number FROM event_batches WHERE at < :cutoff "
    "AND first_number < (SELECT max(first_number) FROM event_batches) ORDER BY first_number LIMIT :limit)",
    {},
)
# Numbers go on in a restored database; of two events with the same number, the epochs differ.
_BEGIN_EPOCH = Statement(
    "INSERT INTO event_epochs (first_number, epoch_id) SELECT "
    "coalesce((SELECT first_number + count FROM event_batches ORDER BY first_number DESC LIMIT 1), 1), :epoch_id "
    "WHERE :epoch_id NOT IN (SELECT epoch_id FROM event_epochs) "
    "ON CONFLICT (first_number) DO UPDATE SET epoch_id = :epoch_id",
    {},
)


def emit(tx: Transaction, event: Event) -> None:
    """Add an event to the transaction of what happened."""
    tx.pending_events.append(event)


def write_pending(tx: Transaction) -> bool:
    """Write the events of a group of jobs, before its commit; return whether there are any."""
    if not (events := tx.pending_events):
        return False
    tx.run(_APPEND, count=len(events), at=events[0].at, events=_encode_texts(events))
    events.clear()
    return True


def begin_epoch(tx: Transaction, epoch_id: int) -> None:
    """Let the next event be the first of a store epoch, unless its events have begun already."""
    tx.run(_BEGIN_EPOCH, epoch_id=epoch_id)


def _encode_texts(events: Sequence[Event]) -> bytes:
    try:
        return _encode(events)
    except UnicodeEncodeError:  # bytes of a caller's header that are no text: a question mark for each
        return json.dumps(msgspec.to_builtins(events), ensure_ascii=False).encode("utf-8", "replace")


def purge(tx: Transaction, *, cutoff: float, limit: int) -> int:
    """Delete up to ``limit`` rows of events before ``cutoff`` (seconds since the epoch); return how many it were."""
    return tx.run(_PURGE, cutoff=cutoff, limit=limit)
