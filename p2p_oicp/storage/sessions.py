"""Sessions, and the events they went through."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

import msgspec
from msgspec.structs import astuple
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    and_,
    bindparam,
    delete,
    exists,
    insert,
    or_,
    select,
    text,
    update,
)

from p2p_oicp.storage.lifecycle import BEFORE_CHARGING, UNDER_WAY, State, moved
from p2p_oicp.storage.statements import Statement, compiled, inserting
from p2p_oicp.storage.tables import cdrs, session_events, sessions
from p2p_oicp.storage.writer import Transaction


class Session(msgspec.Struct, frozen=True):
    """One charging process as this node knows it; keys are canonical ids, empty text means not known.

    ``medium`` is what started it, ``stop_media`` (blank-separated) what else may stop it. ``offline``: authorized by
    this node itself, so that the other side has not heard of it yet. ``named_here``: the request that opened it does
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
    answer: bytes | None = None
    medium: str = ""
    stop_media: str = ""
    offline: int = 0
    progress_at: float | None = None
    stop_digest: bytes | None = None
    stop_answer: bytes | None = None
    named_here: int = 0


_COLUMNS = Session.__struct_fields__
_columns = tuple(sessions.c[name] for name in _COLUMNS)
_of_key = (sessions.c.role == bindparam("role_"), sessions.c.session_key == bindparam("key_"))

_INSERT = inserting(sessions, _COLUMNS, instead="OR IGNORE")
_FORGET = compiled(delete(sessions).where(*_of_key))
GET = compiled(select(*_columns).where(*_of_key))
_STATE = compiled(select(sessions.c.state).where(*_of_key))
_BY_REQUEST = compiled(
    select(*_columns)
    .where(
        sessions.c.role == bindparam("role_"),
        sessions.c.request_digest == bindparam("digest_"),
        sessions.c.created_at >= bindparam("since_"),
        sessions.c.named_here == text("1"),  # the index is for these only
    )
    .order_by(sessions.c.created_at.desc())
    .limit(1)
)
_EVENT = compiled(
    insert(session_events)
    .values({name: bindparam(name) for name in ("role", "session_key", "at", "event", "body", "digest")})
    .prefix_with("OR IGNORE")
)
_of_session = (session_events.c.role == bindparam("role_"), session_events.c.session_key == bindparam("key_"))
UNCERTAIN = compiled(
    select(*_columns).where(
        sessions.c.state == State.UNCERTAIN.value,
        sessions.c.role == bindparam("role_"),
    )
)
_has_record = exists().where(cdrs.c.role == sessions.c.role, cdrs.c.session_key == sessions.c.session_key)


def _in_one_of(states: Iterable[State]) -> ColumnElement[bool]:
    return or_(*(sessions.c.state == state.value for state in sorted(states)))


_unheard_of = and_(_in_one_of(BEFORE_CHARGING), sessions.c.updated_at < bindparam("authorized_before"))
_silent = and_(_in_one_of(UNDER_WAY), sessions.c.updated_at < bindparam("heard_before"), ~_has_record)
_STALE = compiled(
    select(sessions.c.role, sessions.c.session_key).where(or_(_unheard_of, _silent)).limit(bindparam("most"))
)
LIST = compiled(
    select(*_columns)
    .where(or_(bindparam("state_") == "", sessions.c.state == bindparam("state_")))
    .order_by(sessions.c.created_at.desc())
    .limit(bindparam("most"))
)
OF_KEY = compiled(select(*_columns).where(sessions.c.session_key == bindparam("key_")).order_by(sessions.c.role))
EVENTS = compiled(
    select(session_events.c.at, session_events.c.event, session_events.c.body)
    .where(*_of_session)
    .order_by(session_events.c.id)
)
_updates: dict[tuple[str, ...], Statement] = {}


def as_sessions(rows: Iterable[sqlite3.Row]) -> list[Session]:
    """Return the rows of ``GET`` or ``UNCERTAIN`` as sessions."""
    return [Session(*row) for row in rows]


def open_session(tx: Transaction, session: Session) -> Session | None:
    """Store a new session; return the one already there under this id, if there is one, and change nothing."""
    if tx.insert(_INSERT, astuple(session)):
        return None
    return get(tx, session.role, session.session_key)


def forget(tx: Transaction, role: str, session_key: str) -> None:
    """Free the id of a session that never came to be; its events stay."""
    tx.run(_FORGET, role_=role, key_=session_key)


def get(tx: Transaction, role: str, session_key: str) -> Session | None:
    """Return the session, or None."""
    row = tx.one(GET, role_=role, key_=session_key)
    return Session(*row) if row else None


def find_request(tx: Transaction, role: str, digest: bytes, since: float) -> Session | None:
    """Return the newest session named here that the same request opened at or after ``since``."""
    row = tx.one(_BY_REQUEST, role_=role, digest_=digest, since_=since)
    return Session(*row) if row else None


def change(tx: Transaction, role: str, session_key: str, now: float, /, **values: object) -> None:
    """Set columns of a session, but not its state; a changed ``session_key`` renames it."""
    names = tuple(sorted(values))
    statement = _updates.get(names)
    if statement is None:
        columns: dict[str, BindParameter[object]] = {name: bindparam(name) for name in (*names, "updated_at")}
        statement = _updates[names] = compiled(update(sessions).where(*_of_key).values(columns))
    tx.run(statement, role_=role, key_=session_key, updated_at=now, **values)


def move(tx: Transaction, role: str, session_key: str, now: float, /, towards: State, **values: object) -> State:
    """Let an event lead the session ``towards`` a state, and set columns; return the state it has then (lifecycle)."""
    row = tx.one(_STATE, role_=role, key_=session_key)
    state = moved(row["state"], towards) if row else towards
    change(tx, role, session_key, now, state=state, **values)
    return state


def note(
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
    return tx.run(_EVENT, role=role, session_key=session_key, at=now, event=event, body=body, digest=digest) == 1


def expire(tx: Transaction, now: float, *, authorize_ttl: float, session_ttl: float, most: int) -> list[str]:
    """Expire what nothing was heard of for so many seconds; return the keys, at most ``most``."""
    rows = tx.all(_STALE, authorized_before=now - authorize_ttl, heard_before=now - session_ttl, most=most)
    for row in rows:
        move(tx, row["role"], row["session_key"], now, State.EXPIRED)
        note(tx, row["role"], row["session_key"], now, "expired")
    return [row["session_key"] for row in rows]
