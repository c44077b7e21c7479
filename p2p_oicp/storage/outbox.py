"""Messages owed to peers and to our own backend; a row leaves only on an acknowledged answer, or to the dead letters.

Letters of one session go in their order: only its oldest waiting letter (its head) is ever due.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, exists, func, insert, select, update

from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.tables import outbox
from p2p_oicp.storage.writer import Transaction

WAITING = "waiting"
DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One message on its way; ``party`` is the sender's id for the URL path, where the operation has one there."""

    id: int
    destination: str
    operation: str
    party: str | None
    role: str
    session_key: str
    body: bytes
    created_at: float
    attempts: int
    next_try_at: float


_LETTER = (
    "id",
    "destination",
    "operation",
    "party",
    "role",
    "session_key",
    "body",
    "created_at",
    "attempts",
    "next_try_at",
)
_NEW = (
    "destination",
    "state",
    "operation",
    "party",
    "role",
    "session_key",
    "topic",
    "body",
    "created_at",
    "next_try_at",
)
_PUT = compiled(insert(outbox).values({name: bindparam(name) for name in _NEW}))
_earlier = outbox.alias("earlier")
_is_head = ~exists().where(
    _earlier.c.destination == outbox.c.destination,
    _earlier.c.state == WAITING,
    _earlier.c.session_key == outbox.c.session_key,
    _earlier.c.id < outbox.c.id,
)
_heads = (outbox.c.destination == bindparam("destination_"), outbox.c.state == WAITING, _is_head)
# A time further ahead than any backoff means that the clock was set back: such a letter is due.
_due = (outbox.c.next_try_at <= bindparam("now_")) | (outbox.c.next_try_at > bindparam("too_far_"))
# Who has been due longest first: a letter that fails again and again does not stand before those not tried yet.
DUE = compiled(
    select(*(outbox.c[name] for name in _LETTER))
    .where(*_heads, _due)
    .order_by(outbox.c.next_try_at, outbox.c.id)
    .limit(bindparam("most"))
)
NEXT_DUE = compiled(select(func.min(outbox.c.next_try_at).label("at")).where(*_heads))
DEPTHS = compiled(
    select(
        outbox.c.destination,
        outbox.c.state,
        func.count().label("letters"),
        func.min(outbox.c.created_at).label("oldest"),
        func.sum(outbox.c.attempts).label("attempts"),
        func.min(outbox.c.next_try_at).label("next_try_at"),
    )
    .group_by(outbox.c.destination, outbox.c.state)
    .order_by(outbox.c.destination)
)
_DELETE = compiled(delete(outbox).where(outbox.c.id == bindparam("id_")))
_SUPERSEDE = compiled(
    delete(outbox).where(
        outbox.c.destination == bindparam("destination_"),
        outbox.c.state == WAITING,
        outbox.c.session_key == bindparam("session_"),
        outbox.c.topic == bindparam("topic_"),
    )
)
_FAILED = compiled(
    update(outbox)
    .where(outbox.c.id == bindparam("id_"))
    .values(
        attempts=outbox.c.attempts + 1,
        state=bindparam("state"),
        next_try_at=bindparam("next_try_at"),
        last_error=bindparam("last_error"),
    )
)
_HURRY = compiled(
    update(outbox)
    .where(
        outbox.c.destination == bindparam("destination_"),
        outbox.c.state == WAITING,
        outbox.c.next_try_at > bindparam("next_try_at"),
    )
    .values(next_try_at=bindparam("next_try_at"))
)


def letters(rows: Iterable[sqlite3.Row]) -> list[Letter]:
    """Return the rows of ``DUE`` as letters."""
    return [Letter(**dict(row)) for row in rows]


def put(  # noqa: PLR0913 - one argument a column
    tx: Transaction,
    *,
    destination: str,
    operation: str,
    party: str | None,
    role: str,
    session_key: str,
    body: bytes,
    now: float,
    topic: str = "",
) -> None:
    """Owe a message to ``destination``; with a ``topic`` it replaces what waits of the same session and topic."""
    if topic:
        tx.run(_SUPERSEDE, destination_=destination, session_=session_key, topic_=topic)
    tx.run(
        _PUT,
        destination=destination,
        state=WAITING,
        operation=operation,
        party=party,
        role=role,
        session_key=session_key,
        topic=topic,
        body=body,
        created_at=now,
        next_try_at=now,
    )


def remove(tx: Transaction, letter_id: int) -> None:
    """Remove a letter that was acknowledged."""
    tx.run(_DELETE, id_=letter_id)


def postpone(tx: Transaction, letter_id: int, until: float, error: str) -> None:
    """Note a failed attempt; the next one is at ``until``."""
    tx.run(_FAILED, id_=letter_id, state=WAITING, next_try_at=until, last_error=error)


def bury(tx: Transaction, letter_id: int, now: float, error: str) -> None:
    """Keep a letter that was refused for good as a dead letter, for a person to see."""
    tx.run(_FAILED, id_=letter_id, state=DEAD, next_try_at=now, last_error=error)


def hurry(tx: Transaction, destination: str, now: float) -> None:
    """Everything that waits for ``destination`` is due now."""
    tx.run(_HURRY, destination_=destination, next_try_at=now)
