"""Sessions, and the events they went through."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, fields
from enum import StrEnum

from sqlalchemy import BindParameter, bindparam, insert, select, update

from p2p_oicp.storage.statements import Statement, compiled
from p2p_oicp.storage.tables import session_events, sessions
from p2p_oicp.storage.writer import Transaction


class State(StrEnum):
    """Where a session stands."""

    REQUESTED = "requested"
    AUTHORIZED = "authorized"
    UNCERTAIN = "uncertain"
    CHARGING = "charging"
    ENDED = "ended"
    SETTLED = "settled"
    REFUSED = "refused"


OPEN_STATES = frozenset({State.AUTHORIZED, State.UNCERTAIN, State.CHARGING, State.ENDED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One charging process as this node knows it; keys are canonical ids, empty text means not known."""

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

    @property
    def is_open(self) -> bool:
        """Whether the parties may still speak of it: not refused, not unanswered, not settled."""
        return self.state in OPEN_STATES


_COLUMNS = tuple(field.name for field in fields(Session))
_of_key = (sessions.c.role == bindparam("role_"), sessions.c.session_key == bindparam("key_"))

_INSERT = compiled(insert(sessions).values({name: bindparam(name) for name in _COLUMNS}).prefix_with("OR IGNORE"))
_GET = compiled(select(*(sessions.c[name] for name in _COLUMNS)).where(*_of_key))
_BY_REQUEST = compiled(
    select(*(sessions.c[name] for name in _COLUMNS))
    .where(
        sessions.c.role == bindparam("role_"),
        sessions.c.request_digest == bindparam("digest_"),
        sessions.c.created_at >= bindparam("since_"),
    )
    .order_by(sessions.c.created_at.desc())
    .limit(1)
)
_EVENT = compiled(
    insert(session_events)
    .values({name: bindparam(name) for name in ("role", "session_key", "at", "event", "body", "digest")})
    .prefix_with("OR IGNORE")
)
_updates: dict[tuple[str, ...], Statement] = {}


def _session(row: sqlite3.Row) -> Session:
    return Session(**dict(row))


def open_session(tx: Transaction, session: Session) -> Session | None:
    """Store a new session; return the one already there under this id, if there is one, and change nothing."""
    values = {name: getattr(session, name) for name in _COLUMNS}
    if tx.run(_INSERT, **values):
        return None
    return get(tx, session.role, session.session_key)


def get(tx: Transaction, role: str, session_key: str) -> Session | None:
    """Return the session, or None."""
    row = tx.one(_GET, role_=role, key_=session_key)
    return _session(row) if row else None


def find_request(tx: Transaction, role: str, digest: bytes, since: float) -> Session | None:
    """Return the newest session that the same request opened at or after ``since``."""
    row = tx.one(_BY_REQUEST, role_=role, digest_=digest, since_=since)
    return _session(row) if row else None


def change(tx: Transaction, role: str, session_key: str, now: float, /, **values: object) -> None:
    """Set columns of a session; a changed ``session_key`` renames it."""
    names = tuple(sorted(values))
    statement = _updates.get(names)
    if statement is None:
        columns: dict[str, BindParameter[object]] = {name: bindparam(name) for name in (*names, "updated_at")}
        statement = _updates[names] = compiled(update(sessions).where(*_of_key).values(columns))
    tx.run(statement, role_=role, key_=session_key, updated_at=now, **values)


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
