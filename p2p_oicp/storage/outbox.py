"""The transactional outbox: messages to deliver to peers and to the own backend, and dead letters.

Invariants:
    A message is inserted in the transaction of the domain change that it reports.
    It is deleted only after an acknowledged answer, or by a person (`discard`); a refused one stays as a dead letter.
    The messages of one session and destination are sent in the order of their ids: only the oldest waiting one is due.

"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import bindparam, case, exists, func, or_, select, update
from sqlalchemy import delete as sql_delete

from p2p_oicp.errors import FailureCause
from p2p_oicp.storage import cdrs, peer_state, sessions
from p2p_oicp.storage.cdrs import CdrState, Verdict
from p2p_oicp.storage.peer_state import Destination
from p2p_oicp.storage.peers import name_of
from p2p_oicp.storage.schema import outbox
from p2p_oicp.storage.statements import compiled, inserting_named, list_parameter, listed
from p2p_oicp.storage.transactions import Row, Transaction

WAITING = "waiting"
DEAD = "dead"
#: Of a message that waits for one of our own backends which is configured no more; the table has it as waiting.
HELD = "held"
BACKEND_PREFIX = "backend:"
#: Before the names of our own systems: backends, and OCPI partners.
OWN_PREFIXES = (BACKEND_PREFIX, "ocpi:")
CDR_OPERATION = "ChargeDetailRecord"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxMessage:
    """A message to deliver; ``sender_id`` is the party in the URL's path, where the operation has one there."""

    id: int
    destination: str
    operation: str
    sender_id: str | None
    role: str
    session_key: str
    body: bytes
    created_at: float
    attempts: int
    next_try_at: float


_MESSAGE_COLUMNS = (
    "id",
    "destination",
    "operation",
    "sender_id",
    "role",
    "session_key",
    "body",
    "created_at",
    "attempts",
    "next_try_at",
)
_INSERT_COLUMNS = (
    "destination",
    "state",
    "operation",
    "sender_id",
    "role",
    "session_key",
    "coalesce_key",
    "body",
    "created_at",
    "next_try_at",
)
_INSERT = inserting_named(outbox, *_INSERT_COLUMNS)
# Only the oldest waiting message of a session is sendable; the index outbox_by_session finds an earlier one.
_earlier = outbox.alias("earlier")
_is_first_of_session = ~exists().where(
    _earlier.c.destination == outbox.c.destination,
    _earlier.c.state == WAITING,
    _earlier.c.session_key == outbox.c.session_key,
    _earlier.c.id < outbox.c.id,
)
_sendable = (outbox.c.destination == bindparam("destination_"), outbox.c.state == WAITING, _is_first_of_session)
# A time further ahead than any backoff means that the clock was set back: such a message is due.
_is_due = (outbox.c.next_try_at <= bindparam("now_")) | (outbox.c.next_try_at > bindparam("too_far_"))
# Order: by the time since which they are due; a message that fails again and again does not block untried ones.
DUE = compiled(
    select(*(outbox.c[name] for name in _MESSAGE_COLUMNS))
    .where(*_sendable, _is_due)
    .order_by(outbox.c.next_try_at, outbox.c.id)
    .limit(bindparam("limit"))
)
NEXT_DUE = compiled(select(func.min(outbox.c.next_try_at).label("at")).where(*_sendable))
_DELETE = compiled(sql_delete(outbox).where(outbox.c.id == bindparam("id_")))
_DELETE_COALESCED = compiled(
    sql_delete(outbox).where(
        outbox.c.destination == bindparam("destination_"),
        outbox.c.state == WAITING,
        outbox.c.session_key == bindparam("session_"),
        outbox.c.coalesce_key == bindparam("coalesce_key_"),
    )
)
# A dead letter keeps its row and its body, so that a person can look at it and requeue it.
_RECORD_FAILURE = compiled(
    update(outbox)
    .where(outbox.c.id == bindparam("id_"))
    .values(
        attempts=outbox.c.attempts + 1,
        state=bindparam("state"),
        next_try_at=bindparam("next_try_at"),
        last_error=bindparam("last_error"),
        last_cause=bindparam("last_cause"),
    )
)
_MAKE_DUE = compiled(
    update(outbox)
    .where(
        outbox.c.destination == bindparam("destination_"),
        outbox.c.state == WAITING,
        outbox.c.next_try_at > bindparam("next_try_at"),
    )
    .values(next_try_at=bindparam("next_try_at"))
)


def from_rows(rows: Iterable[Row]) -> list[OutboxMessage]:
    """Return the rows of ``DUE`` as messages."""
    return [OutboxMessage(**dict(row)) for row in rows]


def enqueue(  # noqa: PLR0913 - one argument a column
    tx: Transaction,
    *,
    destination: str,
    operation: str,
    sender_id: str | None,
    role: str,
    session_key: str,
    body: bytes,
    now: float,
    coalesce_key: str = "",
) -> None:
    """Insert a message that is due now.

    With a ``coalesce_key`` it replaces a waiting message of the same session and key, which it makes needless: of
    several Progress notifications, only the newest is delivered.
    """
    if coalesce_key:
        tx.run(_DELETE_COALESCED, destination_=destination, session_=session_key, coalesce_key_=coalesce_key)
    tx.run(
        _INSERT,
        destination=destination,
        state=WAITING,
        operation=operation,
        sender_id=sender_id,
        role=role,
        session_key=session_key,
        coalesce_key=coalesce_key,
        body=body,
        created_at=now,
        next_try_at=now,
    )


def delete(tx: Transaction, message_id: int) -> None:
    """Delete a message that was acknowledged."""
    tx.run(_DELETE, id_=message_id)


def reschedule(
    tx: Transaction, message_id: int, next_try_at: float, error: str, cause: FailureCause = FailureCause.OTHER
) -> None:
    """Record a failed attempt; the next one is at ``next_try_at`` (seconds since the epoch)."""
    tx.run(_RECORD_FAILURE, id_=message_id, state=WAITING, next_try_at=next_try_at, last_error=error, last_cause=cause)


def mark_dead(
    tx: Transaction, message_id: int, now: float, error: str, cause: FailureCause = FailureCause.MESSAGE_REFUSED
) -> None:
    """Turn a message that was refused for good into a dead letter, which waits for a person."""
    tx.run(_RECORD_FAILURE, id_=message_id, state=DEAD, next_try_at=now, last_error=error, last_cause=cause)


def make_due(tx: Transaction, destination: str, now: float) -> None:
    """Make all waiting messages of a destination due now."""
    tx.run(_MAKE_DUE, destination_=destination, next_try_at=now)


#: Whether a message is for a system of our own.
IS_OWN = or_(*(outbox.c.destination.startswith(prefix) for prefix in OWN_PREFIXES))
_is_for_destination = (bindparam("destination_") == "") | (name_of(outbox.c.destination) == bindparam("destination_"))
_REQUEUE = compiled(
    update(outbox)
    .where(outbox.c.id == bindparam("id_"))
    .values(state=WAITING, attempts=0, next_try_at=bindparam("next_try_at"))
)
_DESTINATION_OF = compiled(
    select(outbox.c.destination, outbox.c.operation, outbox.c.role, outbox.c.session_key).where(
        outbox.c.id == bindparam("id_")
    )
)
# Dead letters stay dead: their backend has refused them.
_MOVE = compiled(
    update(outbox)
    .where(
        IS_OWN,
        outbox.c.destination != bindparam("to_"),
        (bindparam("id_") == 0) | (outbox.c.id == bindparam("id_")),
        case(
            (bindparam("from_") != "", outbox.c.destination == bindparam("from_")),
            else_=or_(bindparam("id_") != 0, outbox.c.destination.not_in(listed("backends"))),
        ),
    )
    .values(destination=bindparam("to_"), attempts=0, next_try_at=bindparam("next_try_at"))
)
_DISCARDED = compiled(
    select(
        name_of(outbox.c.destination).label("destination"),
        *(outbox.c[name] for name in ("operation", "role", "session_key", "body")),
    ).where(outbox.c.id == bindparam("id_"))
)
_FIND_CDR = compiled(
    select(outbox.c.id).where(
        outbox.c.role == bindparam("role_"),
        outbox.c.session_key == bindparam("key_"),
        outbox.c.operation == CDR_OPERATION,
    )
)
_ALL_DEAD = compiled(
    select(
        outbox.c.id,
        outbox.c.destination,
        outbox.c.operation,
        outbox.c.role,
        outbox.c.session_key,
        name_of(outbox.c.destination).label("name"),
    ).where(outbox.c.state == DEAD, _is_for_destination)
)


class RequeuedMessages(NamedTuple):
    """How many messages of a destination were made due; ``name`` is for people."""

    destination: str
    name: str
    messages: int


def find_cdr(tx: Transaction, role: str, session_key: str) -> int | None:
    """Return the id of the message, waiting or dead, that has the CDR of a session; None where there is none."""
    row = tx.one(_FIND_CDR, role_=role, key_=session_key)
    return None if row is None else int(row["id"])


def requeue(tx: Transaction, message_id: int, now: float) -> str | None:
    """Make a message due now, dead or waiting; return its destination, None where there is no such message."""
    row = tx.one(_DESTINATION_OF, id_=message_id)
    if row is None:
        return None
    tx.run(_REQUEUE, id_=message_id, next_try_at=now)
    _reopen(tx, row, now)
    # A person believes that the destination is up again, so its open circuit does not hold the message back.
    peer_state.reset_health(tx, Destination(row["destination"]))
    return str(row["destination"])


def move(
    tx: Transaction, *, to: str, backends: Collection[str], now: float, source: str = "", message_id: int = 0
) -> int:
    """Give messages of one of our own backends to another one, and make them due now; return how many.

    Args:
        tx: the transaction.
        to: the destination of the other backend.
        backends: the destinations of all our backends.
        now: seconds since the epoch.
        source: the destination whose messages are moved; empty: all messages that are held.
        message_id: only this message, whatever backend it is for; 0: all.
    """
    moved = tx.run(
        _MOVE, to_=to, from_=source, id_=message_id, backends=list_parameter(sorted(backends)), next_try_at=now
    )
    # A person believes that it is up.
    peer_state.reset_health(tx, Destination(to))
    return moved


def requeue_dead(tx: Transaction, destination_name: str, now: float) -> list[RequeuedMessages]:
    """Make all dead letters of a destination (empty: of all) due now; return how many of each."""
    requeued: Counter[tuple[str, str]] = Counter()
    for row in tx.all(_ALL_DEAD, destination_=destination_name):
        tx.run(_REQUEUE, id_=row["id"], next_try_at=now)
        _reopen(tx, row, now)
        requeued[row["destination"], row["name"]] += 1
    for destination, _ in requeued:
        peer_state.reset_health(tx, Destination(destination))
    return [RequeuedMessages(destination, name, count) for (destination, name), count in requeued.items()]


def _reopen(tx: Transaction, row: Row, now: float) -> None:
    """Note that a CDR that was dead waits again."""
    if row["operation"] == CDR_OPERATION:
        cdrs.set_state(tx, row["role"], row["session_key"], now, Verdict(CdrState.WAITING))


def discard(tx: Transaction, message_id: int, now: float) -> bool:
    """Delete a message for good and note it in its session's events; return whether there was one."""
    row = tx.one(_DISCARDED, id_=message_id)
    if row is None:
        return False
    delete(tx, message_id)
    if row["operation"] == CDR_OPERATION:
        cdrs.set_state(tx, row["role"], row["session_key"], now, Verdict(CdrState.DEAD, text="discarded by a person"))
    event = f"{row['operation']} for {row['destination']} discarded"
    sessions.add_event(tx, row["role"], row["session_key"], now, event, row["body"])
    return True
