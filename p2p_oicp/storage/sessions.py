"""Sessions, their state machine, and the log of events that each went through.

The state machine is pure (`can_transition`, `next_state`)::

    requested ─► authorized ─► charging ─► ended ─► settled
        │  └───► uncertain ──────▲───────────▲
        └──────► refused         │           │
    authorized, uncertain, charging, ended without a CDR ─► expired ─┘

A session is *uncertain* when its start may have reached the CPO and no answer came back. *Expired* only means that
nothing was received for too long: a late message (and what is to be paid) still counts. No transition leads back.

A row is identified by (role, session_key): a node of a company with both roles may hold both sides of one session.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec
from msgspec.structs import astuple
from sqlalchemy import BindParameter, ColumnElement, and_, bindparam, exists, func, literal, or_, select, text
from sqlalchemy import delete as sql_delete
from sqlalchemy import update as sql_update

from p2p_oicp.storage.event_log import Event, EventType, emit
from p2p_oicp.storage.peers import name_of
from p2p_oicp.storage.schema import cdrs, session_aliases, session_events, sessions
from p2p_oicp.storage.statements import Statement, compiled, inserting, inserting_named
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.transactions import Row, Transaction


class SessionState(StrEnum):
    """State of a session; see the diagram above."""

    REQUESTED = "requested"
    AUTHORIZED = "authorized"
    UNCERTAIN = "uncertain"
    CHARGING = "charging"
    ENDED = "ended"
    SETTLED = "settled"
    REFUSED = "refused"
    EXPIRED = "expired"


#: A request is a duplicate for so long: others send the same one up to 12 times within 3 minutes (RULES H4).
IDEMPOTENCY_WINDOW_SECONDS = 300.0

_LATER_STATES = frozenset({SessionState.CHARGING, SessionState.ENDED, SessionState.SETTLED, SessionState.EXPIRED})
TRANSITIONS: Mapping[SessionState, frozenset[SessionState]] = MappingProxyType(
    {
        # A notification may overtake the answer to the start, hence also the later states.
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
#: A refused start has no session: every later message of it is refused (RULES B2), and its id is free again.
REFUSED_STATES = frozenset({SessionState.REFUSED})
#: States after which the same request opens another session (RULES L5).
OVER_STATES = frozenset({SessionState.ENDED, SessionState.SETTLED, SessionState.EXPIRED})
#: States in which a stop is passed on: not where the CDR is there already, or the session was refused or has expired.
STOPPABLE_STATES = frozenset(
    {SessionState.REQUESTED, SessionState.AUTHORIZED, SessionState.UNCERTAIN, SessionState.CHARGING, SessionState.ENDED}
)
#: States that expire after `authorize_ttl`: the driver had to plug in by then.
PENDING_STATES = frozenset({SessionState.REQUESTED, SessionState.AUTHORIZED})
#: States that expire only after `session_ttl` (days): a car may charge that long, and its CDR may be late.
ACTIVE_STATES = frozenset({SessionState.UNCERTAIN, SessionState.CHARGING, SessionState.ENDED})
_STATE_BY_NOTIFICATION = MappingProxyType(
    {"Start": SessionState.CHARGING, "Progress": SessionState.CHARGING, "End": SessionState.ENDED}
)


def can_transition(current: str, target: str) -> bool:
    """Return whether a session may go from one state to the other."""
    return SessionState(target) in TRANSITIONS[SessionState(current)]


def next_state(current: str, target: str) -> SessionState:
    """Return the state after an event that leads to ``target``; a late event changes nothing."""
    return SessionState(target) if can_transition(current, target) else SessionState(current)


def next_state_after_notification(current: str, notification_type: str) -> SessionState:
    """Return the state after a charging notification of a type (Start, Progress, End, Error)."""
    target = _STATE_BY_NOTIFICATION.get(notification_type)
    return SessionState(current) if target is None else next_state(current, target)


class Session(msgspec.Struct, frozen=True, gc=False):
    """One charging process as this node knows it; ``*_key`` are canonical ids, ``*_id`` ids as received.

    Both are empty where unknown.

    Attributes:
        kind: ``authorize`` (opened by the CPO's side), ``remote`` or ``reservation`` (opened by the EMP's side).
        request_digest: the hash of the request that opened it; a duplicate is found by it (RULES H4).
        start_response, stop_response: the JSON that was answered; a duplicate gets it again.
        identification_key: what started it.
        stop_identification_keys: what else may stop it, separated by blanks.
        offline: 1 where this node authorized it itself, so that the EMP does not know it yet.
        progress_at: EventOccurred of the last Progress notification; the next one is at least 300 s apart.
        id_generated_here: 1 where the request that opened it carried no SessionID.
        unconfirmed: 1 where nothing is known of it but what a later message says: both databases were restored.
    """

    # A Struct and no data class: one is made twice in most requests, in 0.15 µs instead of 1.2 (for 7 fields).

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
    evse_id: str = ""
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
    unconfirmed: int = 0


class _StatusCode(msgspec.Struct, frozen=True):
    code: str = msgspec.field(name="Code")


class _Response(msgspec.Struct, frozen=True):
    status_code: _StatusCode = msgspec.field(name="StatusCode")


_decode_response = msgspec.json.Decoder(_Response).decode


def refusal_code(session: Session) -> str:
    """Return the code that the start of a refused session was answered with; empty for any other session."""
    if session.state not in REFUSED_STATES or not session.start_response:
        return ""
    return _decode_response(session.start_response).status_code.code


_COLUMN_NAMES = Session.__struct_fields__
_all_columns = tuple(sessions.c[name] for name in _COLUMN_NAMES)
_by_key = (sessions.c.role == bindparam("role_"), sessions.c.session_key == bindparam("key_"))

_INSERT = inserting(sessions, _COLUMN_NAMES, instead="OR IGNORE")
_DELETE = compiled(sql_delete(sessions).where(*_by_key))
GET = compiled(select(*_all_columns).where(*_by_key))
_GET_STATE = compiled(select(sessions.c.state, sessions.c.peer).where(*_by_key))
_BY_REQUEST = compiled(
    select(*_all_columns)
    .where(
        sessions.c.role == bindparam("role_"),
        sessions.c.request_digest == bindparam("digest_"),
        sessions.c.created_at >= bindparam("since_"),
        # A literal: SQLite uses the partial index ``sessions_by_request`` only where its condition is in the text.
        sessions.c.id_generated_here == text("1"),
    )
    .order_by(sessions.c.created_at.desc())
    .limit(1)
)
_INSERT_EVENT = inserting_named(
    session_events, "role", "session_key", "at", "event", "body", "digest", instead="OR IGNORE"
)
_by_session = (session_events.c.role == bindparam("role_"), session_events.c.session_key == bindparam("key_"))
_is_uncertain = sessions.c.state == SessionState.UNCERTAIN.value
UNCERTAIN = compiled(select(*_all_columns).where(_is_uncertain, sessions.c.role == bindparam("role_")))
#: What was under way when the node stopped, started by an EMP; an authorized session is stored when it is decided.
INTERRUPTED = compiled(
    select(sessions.c.role, sessions.c.session_key).where(
        sessions.c.state == SessionState.REQUESTED.value,
        or_(sessions.c.kind == "remote", sessions.c.kind == "reservation"),
    )
)
_has_cdr = exists().where(cdrs.c.role == sessions.c.role, cdrs.c.session_key == sessions.c.session_key)


def _state_in(states: Iterable[SessionState]) -> ColumnElement[bool]:
    return or_(*(sessions.c.state == state.value for state in sorted(states)))


# The index ``sessions_by_state`` has the role before the time.
_any_role = or_(sessions.c.role == text("'cpo'"), sessions.c.role == text("'emp'"))
_never_started = and_(_any_role, _state_in(PENDING_STATES), sessions.c.updated_at < bindparam("pending_cutoff"))
# A session whose CDR is here waits only for the delivery of it, which may take as long as the peer is down.
_timed_out = and_(_any_role, _state_in(ACTIVE_STATES), sessions.c.updated_at < bindparam("active_cutoff"), ~_has_cdr)
_STALE = compiled(
    select(sessions.c.role, sessions.c.session_key).where(or_(_never_started, _timed_out)).limit(bindparam("limit"))
)
# For output to people: with the names of peers.
SHOWN_COLUMNS = tuple(name_of(column).label("peer") if column is sessions.c.peer else column for column in _all_columns)
_state_and_role = (sessions.c.state, sessions.c.role)
COUNT_BY_STATE = compiled(select(*_state_and_role, func.count().label("records")).group_by(*_state_and_role))
# Both roles by name: the primary key begins with the role, and without it the whole of it would be read.
BY_KEY = compiled(
    select(*SHOWN_COLUMNS)
    .where(sessions.c.role.in_((literal("cpo"), literal("emp"))), sessions.c.session_key == bindparam("key_"))
    .order_by(sessions.c.role)
)
EVENTS = compiled(
    select(session_events.c.at, session_events.c.event, session_events.c.body)
    .where(*_by_session)
    .order_by(session_events.c.id)
)
#: The sessions with a peer that were opened since, in pages: those behind ``key_``, in the order of the primary key, so
#: that all pages together read the table once.
OPENED_SINCE = compiled(
    select(*_all_columns)
    .where(
        sessions.c.role == bindparam("role_"),
        sessions.c.session_key > bindparam("key_"),
        sessions.c.peer == bindparam("peer_"),
        sessions.c.created_at >= bindparam("since_"),
    )
    .order_by(sessions.c.session_key)
    .limit(bindparam("limit"))
)
#: The sessions of a party that are not over: with one peer, or with all (an empty ``peer_``).
OPEN_OF_PARTY = compiled(
    select(sessions.c.session_id)
    .distinct()
    .where(
        _state_in(PENDING_STATES | ACTIVE_STATES),
        ~_has_cdr,
        or_(sessions.c.operator_key == bindparam("party_"), sessions.c.provider_key == bindparam("party_")),
        or_(bindparam("peer_") == "", sessions.c.peer == bindparam("peer_")),
    )
    .limit(100)
)
_INSERT_ALIAS = inserting_named(session_aliases, "role", "alias_key", "session_key", instead="OR REPLACE")
_GET_ALIAS = compiled(
    select(session_aliases.c.session_key).where(
        session_aliases.c.role == bindparam("role_"), session_aliases.c.alias_key == bindparam("key_")
    )
)
_MOVE_EVENTS = compiled(sql_update(session_events).where(*_by_session).values(session_key=bindparam("session_key")))
_update_statements: dict[tuple[str, ...], Statement] = {}


def from_rows(rows: Iterable[Row]) -> list[Session]:
    """Return the rows of ``GET``, ``UNCERTAIN`` or ``OPENED_SINCE`` as sessions."""
    return [Session(*row) for row in rows]


def insert_or_get(tx: Transaction, session: Session) -> Session | None:
    """Insert a session; where one exists under its id, return that instead and change nothing."""
    if tx.insert(_INSERT, astuple(session)):
        at = session.updated_at
        emit(tx, Event(EventType.SESSION, session.state, at, session.session_key, session.role, session.peer))
        return None
    return get(tx, session.role, session.session_key)


def insert_with_event(tx: Transaction, session: Session, event: str) -> bool:
    """Insert a session that a later message opens, with the event that says why; return False where its id is in use.

    It may be in use by a refused start or by other parties.
    """
    if insert_or_get(tx, session) is not None:
        return False
    add_event(tx, session.role, session.session_key, session.updated_at, event)
    return True


def delete(tx: Transaction, role: str, session_key: str) -> None:
    """Delete a session without its events: the id of a refused start is free for another one."""
    tx.run(_DELETE, role_=role, key_=session_key)


def get(tx: Transaction, role: str, session_key: str) -> Session | None:
    """Return the session, or None."""
    row = tx.one(GET, role_=role, key_=session_key)
    return Session(*row) if row else None


async def get_now(store: Store, role: str, session_key: str) -> Session | None:
    """Return the session as of the last commit, without waiting for the writer, or None."""
    return next(iter(from_rows(await store.query_inline(GET, role_=role, key_=session_key))), None)


def by_request(tx: Transaction, role: str, digest: bytes, since: float) -> Session | None:
    """Return the newest session that the same request opened at or after ``since``, if its id was generated here."""
    row = tx.one(_BY_REQUEST, role_=role, digest_=digest, since_=since)
    return Session(*row) if row else None


async def by_request_now(store: Store, role: str, digest: bytes, since: float) -> Session | None:
    """Return what `by_request` returns, as of the last commit, without waiting for the writer."""
    rows = await store.query_inline(_BY_REQUEST, role_=role, digest_=digest, since_=since)
    return next(iter(from_rows(rows)), None)


def update(tx: Transaction, role: str, session_key: str, now: float, /, **values: object) -> None:
    """Set columns of a session, but not its state; a changed ``session_key`` renames it."""
    # One statement for each set of columns, compiled at its first use; the program has a handful of such sets.
    column_names = tuple(sorted(values))
    statement = _update_statements.get(column_names)
    if statement is None:
        columns: dict[str, BindParameter[object]] = {name: bindparam(name) for name in (*column_names, "updated_at")}
        statement = _update_statements[column_names] = compiled(sql_update(sessions).where(*_by_key).values(columns))
    tx.run(statement, role_=role, key_=session_key, updated_at=now, **values)


def add_alias(tx: Transaction, role: str, alias_key: str, session_key: str) -> None:
    """Let a session be found by an id that it had before, too."""
    tx.run(_INSERT_ALIAS, role=role, alias_key=alias_key, session_key=session_key)


def current_key(tx: Transaction, role: str, session_key: str) -> str:
    """Return the key of a session under its present id; the same key where no other session has had that id."""
    row = tx.one(_GET_ALIAS, role_=role, key_=session_key)
    return session_key if row is None else str(row["session_key"])


def rename(tx: Transaction, session: Session, session_key: str, session_id: str, now: float) -> None:
    """Give a session another id, with its events; it is found by the id before as well."""
    update(
        tx, session.role, session.session_key, now, session_key=session_key, session_id=session_id, id_generated_here=1
    )
    tx.run(_MOVE_EVENTS, role_=session.role, key_=session.session_key, session_key=session_key)
    add_alias(tx, session.role, session.session_key, session_key)
    add_event(tx, session.role, session_key, now, f"was {session.session_id} here before")


def transition(
    tx: Transaction, role: str, session_key: str, now: float, /, target: SessionState, **values: object
) -> SessionState:
    """Apply an event that leads to ``target``, and set columns; return the state afterwards (`next_state`)."""
    row = tx.one(_GET_STATE, role_=role, key_=session_key)
    state = next_state(row["state"], target) if row else target
    update(tx, role, session_key, now, state=state, **values)
    if row and row["state"] != state:
        key, peer = str(values.get("session_key", session_key)), str(values.get("peer", row["peer"]))
        emit(tx, Event(EventType.SESSION, state, now, key, role, peer))
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
    """Append an event to a session's log; return False, and change nothing, where its ``digest`` is there already."""
    return tx.run(_INSERT_EVENT, role=role, session_key=session_key, at=now, event=event, body=body, digest=digest) == 1


def mark_interrupted(tx: Transaction, now: float) -> list[str]:
    """Make the starts uncertain that nobody waits for any more, because the node has stopped; return their keys."""
    rows = tx.all(INTERRUPTED)
    for row in rows:
        transition(tx, row["role"], row["session_key"], now, SessionState.UNCERTAIN)
        add_event(tx, row["role"], row["session_key"], now, "uncertain: this node stopped before the answer came")
    return [row["session_key"] for row in rows]


def expire(tx: Transaction, now: float, *, authorize_ttl: float, session_ttl: float, limit: int) -> list[str]:
    """Expire up to ``limit`` sessions without news, and return their keys.

    ``authorize_ttl`` is in seconds after the last change, for `PENDING_STATES`; ``session_ttl`` for `ACTIVE_STATES`
    whose CDR is not there.
    """
    rows = tx.all(_STALE, pending_cutoff=now - authorize_ttl, active_cutoff=now - session_ttl, limit=limit)
    for row in rows:
        transition(tx, row["role"], row["session_key"], now, SessionState.EXPIRED)
        add_event(tx, row["role"], row["session_key"], now, "expired")
    return [row["session_key"] for row in rows]
