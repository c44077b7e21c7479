"""Lists of what is stored, for people and programs: sessions, CDRs, EVSEs, quarantined records, tokens.

Each list comes in pages (`storage.paging`), found by an index whatever is filtered by. The command line and the admin
API show the same members, by the functions below.
"""

from __future__ import annotations

import math

import orjson
from sqlalchemy import Column, ColumnElement, and_, bindparam, case, func, literal, or_, select, union_all

from p2p_oicp.clock import format_timestamp
from p2p_oicp.logs import printable
from p2p_oicp.storage.paging import Listing, Order, PageQuery
from p2p_oicp.storage.peers import name_of
from p2p_oicp.storage.schema import (
    cdrs,
    destinations,
    outbox,
    peers,
    quarantine,
    sessions,
    tokens,
)
from p2p_oicp.storage.sessions import SHOWN_COLUMNS
from p2p_oicp.storage.statements import Statement, by_index, compiled, written
from p2p_oicp.storage.transactions import Row

Json = dict[str, object]

# "=", "+", "-" and "@" begin a formula, and their wide forms do in some programs; escaped control characters do not.
_FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# What serves idempotency only: digests, and the stored responses, which the events show anyway; and keys, instead of
# which people are shown the ids as they were written (RULES I11).
_HIDDEN_COLUMNS = frozenset({"request_digest", "start_response", "stop_digest", "stop_response"}) | frozenset(
    {"session_key", "evse_key", "operator_key", "provider_key"}
)
#: In the place of a filter: so few rows are in the chosen state that they are read by it, and sorted.
FEW = "few_"
MAX_FEW = 2000
_FLAG_COLUMNS = ("offline", "id_generated_here", "unconfirmed")
_TIME_COLUMNS = frozenset({"created_at", "updated_at", "progress_at"})


def begins_with(key: ColumnElement[str], parameter: str) -> ColumnElement[bool]:
    """Return whether a key begins with a parameter, by the order of an index."""
    # Not LIKE: what is looked for may have its wildcards. No key has a character behind "~".
    return and_(key >= bindparam(parameter), key < bindparam(parameter) + literal("~"))


def _is_of(peer: ColumnElement[str], parameter: str) -> ColumnElement[bool]:
    """Return whether a column is of the peer with a name: names are looked up once, not for each row."""
    ids = select(peers.c.id).where(peers.c.name == bindparam(parameter))
    return peer.in_(union_all(ids, select(bindparam(parameter))))


def _count_of_state(state: Column[str]) -> Statement:
    counted = select(state).where(state == bindparam("state_")).limit(bindparam("limit")).subquery()
    return compiled(select(func.count().label("records")).select_from(counted))


def _select_sessions(filters: frozenset[str]) -> PageQuery:
    """Walk the index of the list: it has all that is filtered by, so that only the rows of the page are read."""
    conditions = {
        "state_": sessions.c.state == bindparam("state_"),
        "role_": sessions.c.role == bindparam("role_"),
        "peer_": _is_of(sessions.c.peer, "peer_"),
        "evse_": sessions.c.evse_key == bindparam("evse_"),
        "since_": sessions.c.created_at >= bindparam("since_"),
    }
    is_behind = or_(
        sessions.c.created_at < bindparam("before_"),
        sessions.c.session_key < bindparam("before_key_"),
        and_(sessions.c.session_key == bindparam("before_key_"), sessions.c.role < bindparam("before_role_")),
    )
    query = (
        select(*SHOWN_COLUMNS)
        .where(
            sessions.c.created_at <= bindparam("before_"),
            is_behind,
            *(conditions[name] for name in sorted(filters - {FEW})),
        )
        .order_by(sessions.c.created_at.desc(), sessions.c.session_key.desc(), sessions.c.role.desc())
        .limit(bindparam("limit"))
    )
    order = (
        Order("created_at", "before_", math.inf),
        Order("session_key", "before_key_", "~"),
        Order("role", "before_role_", "~"),
    )
    index = "sessions_by_state" if FEW in filters else "sessions_listed"
    return PageQuery(by_index(compiled(query), sessions, index), order)


#: The newest first.
SESSIONS = Listing(_select_sessions, ("state_", "role_", "peer_", "evse_", "since_", FEW))
#: How many sessions are in a state, at most ``limit``.
SESSIONS_IN_STATE = _count_of_state(sessions.c.state)
_NEWEST = Order("id", "before_", 2**62)
_circuit = and_(destinations.c.peer == outbox.c.destination, destinations.c.dataset == "")
_CDR_COLUMNS = (
    cdrs.c.id,
    cdrs.c.session_key,
    cdrs.c.role,
    name_of(cdrs.c.peer).label("peer"),
    *(
        cdrs.c[name]
        for name in (
            "state", "unconfirmed", "doubts", "verdict_code", "verdict_text", "verdict_at", "received_at",
            "forwarded_at",
        )
    ),
)  # fmt: skip


def _select_cdrs(filters: frozenset[str]) -> PageQuery:
    """As `_select_sessions`; what is doubtful stands in an index of its own."""
    conditions = {
        "state_": cdrs.c.state == bindparam("state_"),
        "role_": cdrs.c.role == bindparam("role_"),
        "peer_": _is_of(cdrs.c.peer, "peer_"),
        "since_": cdrs.c.received_at >= bindparam("since_"),
        "unconfirmed_": cdrs.c.unconfirmed == bindparam("unconfirmed_"),
        "doubtful_": case((cdrs.c.doubts.is_not(None), 1), else_=0) == bindparam("doubtful_"),
    }
    query = (
        select(*_CDR_COLUMNS)
        .where(cdrs.c.id < bindparam("before_"), *(conditions[name] for name in sorted(filters - {FEW})))
        .order_by(cdrs.c.id.desc())
        .limit(bindparam("limit"))
    )
    index = "cdrs_by_state" if FEW in filters else "cdrs_listed"
    return PageQuery(by_index(compiled(query), cdrs, index), (_NEWEST,))


#: The newest first, without their bodies.
CDRS = Listing(_select_cdrs, ("state_", "role_", "peer_", "since_", "unconfirmed_", "doubtful_", FEW))
#: How many CDRs are in a state, at most ``limit``.
CDRS_IN_STATE = _count_of_state(cdrs.c.state)
#: The CDRs of a session with their bodies, one for each role.
CDRS_OF_SESSION = compiled(
    select(*_CDR_COLUMNS, cdrs.c.body)
    .where(cdrs.c.role.in_((literal("cpo"), literal("emp"))), cdrs.c.session_key == bindparam("key_"))
    .order_by(cdrs.c.role)
)
# No index begins with the session: one that has it is read as far as messages wait, and of the table their rows.
_waiting = select(outbox.c.id).where(outbox.c.session_key == bindparam("key_")).subquery()
#: What waits for a peer or backend because of a session, or was refused; it waits as long as the circuit is open, too.
MESSAGES_OF_SESSION = by_index(
    compiled(
        select(
            outbox.c.id,
            name_of(outbox.c.destination).label("destination"),
            *(outbox.c[name] for name in ("operation", "role", "state", "created_at", "attempts", "last_error")),
            case(
                (destinations.c.next_try_at > outbox.c.next_try_at, destinations.c.next_try_at),
                else_=outbox.c.next_try_at,
            ).label("next_try_at"),
        )
        .select_from(_waiting.join(outbox, outbox.c.id == _waiting.c.id).outerjoin(destinations, _circuit))
        .order_by(outbox.c.id)
    ),
    outbox,
    "outbox_by_session",
)


def _select_quarantined(filters: frozenset[str]) -> PageQuery:
    """Find the page in an index: the records are long, and there are at most some thousand of each source."""
    conditions = {
        "source_": _is_of(quarantine.c.source, "source_"),
        "operation_": quarantine.c.operation == bindparam("operation_"),
    }
    page = select(quarantine.c.id).where(
        quarantine.c.id < bindparam("before_"), *(conditions[name] for name in sorted(filters))
    )
    ids = page.order_by(quarantine.c.id.desc()).limit(bindparam("limit")).subquery()
    names = ("operation", "findings", "record", "first_seen_at", "last_seen_at", "occurrences")
    query = (
        select(quarantine.c.id, name_of(quarantine.c.source).label("source"), *(quarantine.c[name] for name in names))
        .select_from(ids.join(quarantine, quarantine.c.id == ids.c.id))
        .order_by(quarantine.c.id.desc())
    )
    return PageQuery(compiled(query), (_NEWEST,))


#: The newest first.
QUARANTINE = Listing(_select_quarantined, ("source_", "operation_"))


def _select_tokens(filters: frozenset[str]) -> PageQuery:
    begins = [begins_with(tokens.c.token_key, "token_")] if filters else []
    query = (
        select(tokens.c.token_key, tokens.c.token, tokens.c.pin_hash.is_not(None).label("has_pin"), tokens.c.added_at)
        .where(tokens.c.token_key > bindparam("after_"), *begins)
        .order_by(tokens.c.token_key)
        .limit(bindparam("limit"))
    )
    return PageQuery(compiled(query), (Order("token_key", "after_", ""),))


TOKENS = Listing(_select_tokens, ("token_",))


def session_to_json(row: Row) -> Json:
    """Return a session, in terms of OICP and with times as text."""
    values = {name: row[name] for name in row.keys() if name not in _HIDDEN_COLUMNS}  # noqa: SIM118  # a Row iterates values
    times = {
        name: format_timestamp(value) for name, value in values.items() if name in _TIME_COLUMNS and value is not None
    }
    return values | times | {name: bool(values[name]) for name in _FLAG_COLUMNS}


def session_event_to_json(row: Row) -> Json:
    """Return one line of a session's log, with its whole message."""
    message = orjson.loads(row["body"]) if row["body"] else None
    return {"at": format_timestamp(row["at"]), "event": row["event"], "message": message}


def cdr_to_json(row: Row) -> Json:
    """Return a CDR without the record itself: its state, and what was said of it."""
    return {
        "session_id": row["session_key"],
        "role": row["role"],
        "peer": row["peer"],
        "state": row["state"],
        "unconfirmed": bool(row["unconfirmed"]),
        "doubts": row["doubts"],
        "code": row["verdict_code"],
        "reason": row["verdict_text"],
        "received_at": format_timestamp(row["received_at"]),
        "delivered_at": time_or_none(row["forwarded_at"]),
        "verdict_at": time_or_none(row["verdict_at"]),
    }


def message_to_json(row: Row) -> Json:
    """Return a message that waits because of a session, or that was refused for good: since when, and why."""
    is_waiting = row["state"] == "waiting"
    return {
        "id": row["id"],
        "operation": row["operation"],
        "destination": row["destination"],
        "role": row["role"],
        "state": row["state"],
        "waiting_since": format_timestamp(row["created_at"]),
        "tries": row["attempts"],
        "last_error": row["last_error"],
        "next_try": time_or_none(row["next_try_at"]) if is_waiting else None,
    }


def quarantined_to_json(row: Row) -> Json:
    """Return a rejected record with its findings."""
    return {
        "source": row["source"],
        "operation": row["operation"],
        "occurrences": row["occurrences"],
        "first_seen": format_timestamp(row["first_seen_at"]),
        "last_seen": format_timestamp(row["last_seen_at"]),
        "findings": orjson.loads(row["findings"]),
        "record": bytes(row["record"]).decode(errors="replace"),
    }


def token_to_json(row: Row) -> Json:
    """Return a token; of its PIN only whether it has one."""
    return {"token": row["token"], "pin": bool(row["has_pin"]), "added_at": format_timestamp(row["added_at"])}


def time_or_none(at: float | None) -> str | None:
    """Return a time as text, for which 0 is none."""
    return format_timestamp(at) if at else None


def csv_cell(cell: object) -> object:
    """Return a cell that no spreadsheet takes for a formula: texts in it were written by others."""
    if not isinstance(cell, str):
        return cell
    text = printable(cell)
    return f"'{text}" if text.lstrip().startswith(_FORMULA_STARTS) else text


# Counts for people: each is read from an index, or bounded, so that a page of a large node opens at once.
#: The newest CDR that had come before a time; read backwards from the newest, from the index of the list.
LAST_CDR_BEFORE = by_index(
    compiled(
        select(cdrs.c.id)
        .where(cdrs.c.id > 0, cdrs.c.received_at < bindparam("before_"))
        .order_by(cdrs.c.id.desc())
        .limit(1)
    ),
    cdrs,
    "cdrs_listed",
)
#: The energy of the CDRs behind an id, in kWh as it was written.
CDR_ENERGY_AFTER = written(
    lambda d: (
        f"SELECT id, {d.member('body', 'ConsumedEnergy')} AS energy FROM cdrs "
        "WHERE id > :after_ ORDER BY id LIMIT :limit"
    )
)
