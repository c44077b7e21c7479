"""The states of a session, and which one may follow which; pure.

::

    requested ─► authorized ─► charging ─► ended ─► settled
        │  └───► uncertain ──────▲───────────▲
        └──────► refused         │           │
    authorized, uncertain, charging, ended without a record ─► expired ─┘

A session is *uncertain* when its start may have arrived and nobody said so. *Expired* only says that nothing was heard
for too long: what is told late (and what is to be paid) still counts. Nothing ever leads back.

Sessions, and the events they went through.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec
from msgspec.structs import astuple
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    and_,
    bindparam,
    exists,
    insert,
    or_,
    select,
    text,
)
from sqlalchemy import (
    delete as sql_delete,
)
from sqlalchemy import (
    update as sql_update,
)

from p2p_oicp.storage.schema import cdrs, session_events, sessions
from p2p_oicp.storage.sqlite.writer import Transaction
from p2p_oicp.storage.statements import Statement, compiled, inserting


class SessionState(StrEnum):
    """Where a session stands."""

    REQUESTED = "requested"
    AUTHORIZED = "authorized"
    UNCERTAIN = "uncertain"
    CHARGING = "charging"
    ENDED = "ended"
    SETTLED = "settled"
    REFUSED = "refused"
    EXPIRED = "expired"


_LATER_STATES = frozenset({SessionState.CHARGING, SessionState.ENDED, SessionState.SETTLED, SessionState.EXPIRED})
TRANSITIONS: Mapping[SessionState, frozenset[SessionState]] = MappingProxyType(
    {
        # A notification may be faster than the answer to the start.
        SessionState.REQUESTED: frozenset({SessionState.AUTHORIZED, SessionState.UNCERTAIN, SessionState.REFUSED})
        | _LATER_STATES,
        SessionState.UNCERTAIN: frozenset({SessionState.AUTHORIZED, SessionState.REFUSED}) | _LATER_STATES,
        SessionState.AUTHORIZED: _LATER_STATES,
        SessionState.CHARGING: _LATER_STATES - {SessionState.CHARGING},
        SessionState.ENDED: frozenset({SessionState.SETTLED, SessionState.EXPIRED}),
        SessionState.EXPIRED: _LATER_STATES - {SessionState.EXPIRED},
        SessionState.SETTLED: frozenset(),
        SessionState.REFUSED: frozenset(),
    }
)
#: What a refused or forgotten start leaves: nobody may speak of it any more (box B2).
REFUSED_STATES = frozenset({SessionState.REFUSED})
#: A stop is pointless when all is told, and not to be had when nobody knows the session any more.
STOPPABLE_STATES = frozenset(
    {SessionState.REQUESTED, SessionState.AUTHORIZED, SessionState.UNCERTAIN, SessionState.CHARGING, SessionState.ENDED}
)
#: What expires when nothing is heard after the start.
PENDING_STATES = frozenset({SessionState.REQUESTED, SessionState.AUTHORIZED})
#: What expires when nothing is heard for very long.
ACTIVE_STATES = frozenset({SessionState.UNCERTAIN, SessionState.CHARGING, SessionState.ENDED})
_STATE_BY_NOTIFICATION = MappingProxyType(
    {"Start": SessionState.CHARGING, "Progress": SessionState.CHARGING, "End": SessionState.ENDED}
)


def can_transition(current: str, target: str) -> bool:
    """Say whether a session may go from one state to the other."""
    return SessionState(target) in TRANSITIONS[SessionState(current)]


def next_state(current: str, target: str) -> SessionState:
    """Return the state after an event that leads ``towards`` a state; one that comes late changes nothing."""
    return SessionState(target) if can_transition(current, target) else SessionState(current)


def next_state_after_notification(current: str, notification_type: str) -> SessionState:
    """Return the state after a notification of a ``kind`` (Start, Progress, End, Error)."""
    target = _STATE_BY_NOTIFICATION.get(notification_type)
    return SessionState(current) if target is None else next_state(current, target)


class Session(msgspec.Struct, frozen=True):
    """One charging process as this node knows it; keys are canonical ids, empty text means not known.

    ``identification_key`` is what started it, ``stop_identification_keys`` (blank-separated) what else may stop it. ``offline``: authorized by
    this node itself, so that the other side has not heard of it yet. ``id_generated_here``: the request that opened it does
    not carry its SessionID. (A Struct, for it is made twice in most requests: a tenth of the cost of a data class.)
    """

    role: str
    session_key: str
    session_id: str
    kind: str
    state: str
    peer: str
    request_digest: bytes
    created_at: float
    updated_at: float
    operator_key: str = ""
    operator_id: str = ""
    provider_key: str = ""
    provider_id: str = ""
    evse_key: str = ""
    cpo_partner_session_id: str | None = None
    emp_partner_session_id: str | None = None
    start_response: bytes | None = None
    identification_key: str = ""
    stop_identification_keys: str = ""
    offline: int = 0
    progress_at: float | None = None
    stop_digest: bytes | None = None
    stop_response: bytes | None = None
    id_generated_here: int = 0


_COLUMN_NAMES = Session.__struct_fields__
_all_columns = tuple(sessions.c[name] for name in _COLUMN_NAMES)
_by_key = (sessions.c.role == bindparam("role_"), sessions.c.session_key == bindparam("key_"))

_INSERT = inserting(sessions, _COLUMN_NAMES, instead="OR IGNORE")
_DELETE = compiled(sql_delete(sessions).where(*_by_key))
GET = compiled(select(*_all_columns).where(*_by_key))
_GET_STATE = compiled(select(sessions.c.state).where(*_by_key))
_BY_REQUEST = compiled(
    select(*_all_columns)
    .where(
        sessions.c.role == bindparam("role_"),
        sessions.c.request_digest == bindparam("digest_"),
        sessions.c.created_at >= bindparam("since_"),
        sessions.c.id_generated_here == text("1"),  # the index is for these only
    )
    .order_by(sessions.c.created_at.desc())
    .limit(1)
)
_INSERT_EVENT = compiled(
    insert(session_events)
    .values({name: bindparam(name) for name in ("role", "session_key", "at", "event", "body", "digest")})
    .prefix_with("OR IGNORE")
)
_by_session = (session_events.c.role == bindparam("role_"), session_events.c.session_key == bindparam("key_"))
UNCERTAIN = compiled(
    select(*_all_columns).where(
        sessions.c.state == SessionState.UNCERTAIN.value,
        sessions.c.role == bindparam("role_"),
    )
)
_has_cdr = exists().where(cdrs.c.role == sessions.c.role, cdrs.c.session_key == sessions.c.session_key)


def _state_in(states: Iterable[SessionState]) -> ColumnElement[bool]:
    return or_(*(sessions.c.state == state.value for state in sorted(states)))


_never_started = and_(_state_in(PENDING_STATES), sessions.c.updated_at < bindparam("pending_cutoff"))
_timed_out = and_(_state_in(ACTIVE_STATES), sessions.c.updated_at < bindparam("active_cutoff"), ~_has_cdr)
_STALE = compiled(
    select(sessions.c.role, sessions.c.session_key).where(or_(_never_started, _timed_out)).limit(bindparam("limit"))
)
LIST = compiled(
    select(*_all_columns)
    .where(or_(bindparam("state_") == "", sessions.c.state == bindparam("state_")))
    .order_by(sessions.c.created_at.desc())
    .limit(bindparam("limit"))
)
BY_KEY = compiled(select(*_all_columns).where(sessions.c.session_key == bindparam("key_")).order_by(sessions.c.role))
EVENTS = compiled(
    select(session_events.c.at, session_events.c.event, session_events.c.body)
    .where(*_by_session)
    .order_by(session_events.c.id)
)
_update_statements: dict[tuple[str, ...], Statement] = {}


def from_rows(rows: Iterable[sqlite3.Row]) -> list[Session]:
    """Return the rows of ``GET`` or ``UNCERTAIN`` as sessions."""
    return [Session(*row) for row in rows]


def insert_or_get(tx: Transaction, session: Session) -> Session | None:
    """Store a new session; return the one already there under this id, if there is one, and change nothing."""
    if tx.insert(_INSERT, astuple(session)):
        return None
    return get(tx, session.role, session.session_key)


def delete(tx: Transaction, role: str, session_key: str) -> None:
    """Free the id of a session that never came to be; its events stay."""
    tx.run(_DELETE, role_=role, key_=session_key)


def get(tx: Transaction, role: str, session_key: str) -> Session | None:
    """Return the session, or None."""
    row = tx.one(GET, role_=role, key_=session_key)
    return Session(*row) if row else None


def by_request(tx: Transaction, role: str, digest: bytes, since: float) -> Session | None:
    """Return the newest session named here that the same request opened at or after ``since``."""
    row = tx.one(_BY_REQUEST, role_=role, digest_=digest, since_=since)
    return Session(*row) if row else None


def update(tx: Transaction, role: str, session_key: str, now: float, /, **values: object) -> None:
    """Set columns of a session, but not its state; a changed ``session_key`` renames it."""
    column_names = tuple(sorted(values))
    statement = _update_statements.get(column_names)
    if statement is None:
        columns: dict[str, BindParameter[object]] = {name: bindparam(name) for name in (*column_names, "updated_at")}
        statement = _update_statements[column_names] = compiled(sql_update(sessions).where(*_by_key).values(columns))
    tx.run(statement, role_=role, key_=session_key, updated_at=now, **values)


def transition(
    tx: Transaction, role: str, session_key: str, now: float, /, target: SessionState, **values: object
) -> SessionState:
    """Let an event lead the session ``towards`` a state, and set columns; return the state it has then (lifecycle)."""
    row = tx.one(_GET_STATE, role_=role, key_=session_key)
    state = next_state(row["state"], target) if row else target
    update(tx, role, session_key, now, state=state, **values)
    return state


def add_event(
    tx: Transaction,
    role: str,
    session_key: str,
    now: float,
    event: str,
    body: bytes | None = None,
    *,
    digest: bytes | None = None,
) -> bool:
    """Add an event to a session's story; return False, and change nothing, where its ``digest`` is there already."""
    return tx.run(_INSERT_EVENT, role=role, session_key=session_key, at=now, event=event, body=body, digest=digest) == 1


def expire(tx: Transaction, now: float, *, authorize_ttl: float, session_ttl: float, limit: int) -> list[str]:
    """Expire what nothing was heard of for so many seconds; return the keys, at most ``most``."""
    rows = tx.all(_STALE, pending_cutoff=now - authorize_ttl, active_cutoff=now - session_ttl, limit=limit)
    for row in rows:
        transition(tx, row["role"], row["session_key"], now, SessionState.EXPIRED)
        add_event(tx, row["role"], row["session_key"], now, "expired")
    return [row["session_key"] for row in rows]
