"""Lists of what is stored, for people and programs: sessions, CDRs, EVSEs, quarantined records, tokens.

Each list comes in pages: a statement takes filters (an empty text selects all), a ``limit``, and the position behind
which it goes on. `Listing` makes the position of the next page from the last row. The command line and the admin API
show the same members, by the functions below.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import msgspec
import orjson
from sqlalchemy import Column, ColumnElement, and_, bindparam, case, func, literal, or_, select

from p2p_oicp.clock import format_timestamp
from p2p_oicp.logs import printable
from p2p_oicp.storage.datasets.models import DatasetKind
from p2p_oicp.storage.peers import name_of
from p2p_oicp.storage.schema import (
    cdrs,
    dataset_records,
    destinations,
    evse_index,
    outbox,
    quarantine,
    sessions,
    tokens,
)
from p2p_oicp.storage.sessions import SHOWN_COLUMNS, SessionState
from p2p_oicp.storage.statements import Statement, compiled, listed
from p2p_oicp.storage.store import Row

Json = dict[str, object]

# "=", "+", "-" and "@" begin a formula, and their wide forms do in some programs; escaped control characters do not.
_FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# What serves idempotency only: digests, and the stored responses, which the events show anyway; and keys, instead of
# which people are shown the ids as they were written (RULES I11).
_HIDDEN_COLUMNS = frozenset({"request_digest", "start_response", "stop_digest", "stop_response"}) | frozenset(
    {"session_key", "evse_key", "operator_key", "provider_key"}
)
#: Of a filter that is 0 or 1: both.
ANY = -1
_FLAG_COLUMNS = ("offline", "id_generated_here", "unconfirmed")
_TIME_COLUMNS = frozenset({"created_at", "updated_at", "progress_at"})


@dataclass(frozen=True, slots=True)
class Listing:
    """A list in pages.

    Attributes:
        statement: one page.
        filters: the parameters that select, with what selects all.
        order: the columns that say where a page ends, with the parameters that the next one begins behind, and where
            the first one begins.
    """

    statement: Statement
    filters: Mapping[str, object]
    order: Mapping[str, tuple[str, object]]

    def first(self) -> dict[str, object]:
        """Return the position of the first page."""
        return dict(self.order.values())

    def position_after(self, row: Row) -> list[object]:
        """Return the position behind a row, in the order of ``order``."""
        return [row[column] for column in self.order]

    def parameters(self, position: Sequence[object] | None, **filters: object) -> dict[str, object]:
        """Return the parameters of a page behind ``position``; raise ValueError for one of another list."""
        begin = self.first()
        if position is not None:
            if [type(each) for each in position] != [type(each) for each in begin.values()]:
                raise ValueError("no position of this list")
            begin = dict(zip(begin, position, strict=True))
        return {**self.filters, **filters, **begin}


def _listing(statement: object, filters: Mapping[str, object], order: Mapping[str, tuple[str, object]]) -> Listing:
    return Listing(compiled(statement), MappingProxyType(filters), MappingProxyType(order))  # type: ignore[arg-type]


def _begins_with(key: Column[str], parameter: str) -> ColumnElement[bool]:
    # Not LIKE: what is looked for may have its wildcards. No key has a character behind "~".
    return and_(key >= bindparam(parameter), key < bindparam(parameter) + literal("~"))


_behind_session = or_(
    sessions.c.created_at < bindparam("before_"),
    and_(
        sessions.c.created_at == bindparam("before_"),
        or_(
            sessions.c.session_key > bindparam("after_"),
            and_(sessions.c.session_key == bindparam("after_"), sessions.c.role > bindparam("after_role_")),
        ),
    ),
)
#: The newest first.
SESSIONS = _listing(
    select(*SHOWN_COLUMNS)
    .where(
        _behind_session,
        or_(bindparam("state_") == "", sessions.c.state == bindparam("state_")),
        or_(bindparam("role_") == "", sessions.c.role == bindparam("role_")),
        or_(bindparam("peer_") == "", name_of(sessions.c.peer) == bindparam("peer_")),
        or_(bindparam("evse_") == "", sessions.c.evse_key == bindparam("evse_")),
        sessions.c.created_at >= bindparam("since_"),
    )
    .order_by(sessions.c.created_at.desc(), sessions.c.session_key, sessions.c.role)
    .limit(bindparam("limit")),
    {"state_": "", "role_": "", "peer_": "", "evse_": "", "since_": 0.0},
    {"created_at": ("before_", math.inf), "session_key": ("after_", ""), "role": ("after_role_", "")},
)
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
_marks = (
    or_(bindparam("unconfirmed_") == ANY, cdrs.c.unconfirmed == bindparam("unconfirmed_")),
    or_(bindparam("doubtful_") == ANY, cdrs.c.doubts.is_not(None) == bindparam("doubtful_")),
)
#: The newest first, without their bodies.
CDRS = _listing(
    select(*_CDR_COLUMNS)
    .where(
        cdrs.c.id < bindparam("before_"),
        or_(bindparam("state_") == "", cdrs.c.state == bindparam("state_")),
        or_(bindparam("role_") == "", cdrs.c.role == bindparam("role_")),
        or_(bindparam("peer_") == "", name_of(cdrs.c.peer) == bindparam("peer_")),
        cdrs.c.received_at >= bindparam("since_"),
        *_marks,
    )
    .order_by(cdrs.c.id.desc())
    .limit(bindparam("limit")),
    {"state_": "", "role_": "", "peer_": "", "since_": 0.0, "unconfirmed_": ANY, "doubtful_": ANY},
    {"id": ("before_", 2**62)},
)
#: The CDRs of a session with their bodies, one for each role.
CDRS_OF_SESSION = compiled(
    select(*_CDR_COLUMNS, cdrs.c.body).where(cdrs.c.session_key == bindparam("key_")).order_by(cdrs.c.role)
)
#: What waits for a peer or backend because of a session, or was refused; it waits as long as the circuit is open, too.
MESSAGES_OF_SESSION = compiled(
    select(
        outbox.c.id,
        name_of(outbox.c.destination).label("destination"),
        *(outbox.c[name] for name in ("operation", "role", "state", "created_at", "attempts", "last_error")),
        case(
            (destinations.c.next_try_at > outbox.c.next_try_at, destinations.c.next_try_at), else_=outbox.c.next_try_at
        ).label("next_try_at"),
    )
    .select_from(outbox.outerjoin(destinations, _circuit))
    .where(outbox.c.session_key == bindparam("key_"))
    .order_by(outbox.c.id)
)
_status = dataset_records.alias("status")
_evse_data = (
    select(
        dataset_records.c.id,
        dataset_records.c.key,
        name_of(dataset_records.c.source).label("source"),
        dataset_records.c.raw,
        dataset_records.c.changed_at,
        _status.c.raw.label("status"),
        _status.c.changed_at.label("status_changed_at"),
    )
    .select_from(
        dataset_records.join(evse_index, evse_index.c.record_id == dataset_records.c.id).outerjoin(
            _status,
            and_(
                _status.c.dataset == int(DatasetKind.EVSE_STATUS),
                _status.c.key == dataset_records.c.key,
                _status.c.source == dataset_records.c.source,
                _status.c.deleted == 0,
            ),
        )
    )
    .where(dataset_records.c.dataset == int(DatasetKind.EVSE_DATA), dataset_records.c.deleted == 0)
)
#: EVSE data that is not withdrawn, with the status of the same source.
EVSES = _listing(
    _evse_data.where(
        dataset_records.c.id > bindparam("after_"),
        or_(bindparam("operator_") == "", evse_index.c.operator_key == bindparam("operator_")),
        or_(bindparam("country_") == "", evse_index.c.country == bindparam("country_")),
        or_(bindparam("evse_") == "", _begins_with(dataset_records.c.key, "evse_")),
        or_(
            bindparam("source_") == "",
            case((dataset_records.c.source == "", "own"), else_=name_of(dataset_records.c.source))
            == bindparam("source_"),
        ),
    )
    .order_by(dataset_records.c.id)
    .limit(bindparam("limit")),
    {"operator_": "", "country_": "", "evse_": "", "source_": ""},
    {"id": ("after_", 0)},
)
#: One EVSE, of each source that has it.
EVSE_BY_KEY = compiled(_evse_data.where(dataset_records.c.key == bindparam("key_")).order_by(dataset_records.c.source))
_evse_points = _evse_data.add_columns(evse_index.c.latitude, evse_index.c.longitude)
#: EVSEs with where they are, in degrees: those with these ids, or the first whose keys begin so and that are somewhere.
EVSE_POINTS = compiled(_evse_points.where(dataset_records.c.id.in_(listed("ids"))).order_by(dataset_records.c.key))
EVSE_POINTS_BY_KEY = compiled(
    _evse_points.where(_begins_with(dataset_records.c.key, "evse_"), evse_index.c.geo_cell.is_not(None))
    .order_by(dataset_records.c.key)
    .limit(bindparam("limit"))
)
#: The newest first.
QUARANTINE = _listing(
    select(
        quarantine.c.id,
        name_of(quarantine.c.source).label("source"),
        *(
            quarantine.c[name]
            for name in ("operation", "findings", "record", "first_seen_at", "last_seen_at", "occurrences")
        ),
    )
    .where(
        quarantine.c.id < bindparam("before_"),
        or_(bindparam("source_") == "", name_of(quarantine.c.source) == bindparam("source_")),
        or_(bindparam("operation_") == "", quarantine.c.operation == bindparam("operation_")),
    )
    .order_by(quarantine.c.id.desc())
    .limit(bindparam("limit")),
    {"source_": "", "operation_": ""},
    {"id": ("before_", 2**62)},
)
TOKENS = _listing(
    select(tokens.c.token_key, tokens.c.token, tokens.c.pin_hash.is_not(None).label("has_pin"), tokens.c.added_at)
    .where(
        tokens.c.token_key > bindparam("after_"),
        or_(bindparam("token_") == "", _begins_with(tokens.c.token_key, "token_")),
    )
    .order_by(tokens.c.token_key)
    .limit(bindparam("limit")),
    {"token_": ""},
    {"token_key": ("after_", "")},
)


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
        "delivered_at": _time(row["forwarded_at"]),
        "verdict_at": _time(row["verdict_at"]),
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
        "next_try": _time(row["next_try_at"]) if is_waiting else None,
    }


def evse_to_json(row: Row) -> Json:
    """Return an EVSE: its record as it is stored, with its numbers as they were written, and its status."""
    status = orjson.loads(row["status"]) if row["status"] else {}
    return {
        "source": row["source"] or "own",
        "changed_at": format_timestamp(row["changed_at"]),
        "status": status.get("EvseStatus"),
        "status_changed_at": _time(row["status_changed_at"]),
        "record": msgspec.Raw(row["raw"]),
    }


def evse_point_to_json(row: Row) -> Json:
    """Return an EVSE as a map shows it."""
    record, status = orjson.loads(row["raw"]), orjson.loads(row["status"]) if row["status"] else {}
    names, address = record.get("ChargingStationNames"), record.get("Address")
    return {
        "evse_id": str(record.get("EvseID") or row["key"]),
        "latitude": row["latitude"],
        "longitude": row["longitude"],
        "status": status.get("EvseStatus"),
        "station": _text_of(names[0] if isinstance(names, list) and names else None, "value"),
        "city": _text_of(address, "City"),
        "source": row["source"] or "own",
    }


def _text_of(record: object, name: str) -> str:
    value = record.get(name) if isinstance(record, dict) else None
    return value if isinstance(value, str) else ""


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


def _time(at: float | None) -> str | None:
    return format_timestamp(at) if at else None


def csv_cell(cell: object) -> object:
    """Return a cell that no spreadsheet takes for a formula: texts in it were written by others."""
    if not isinstance(cell, str):
        return cell
    text = printable(cell)
    return f"'{text}" if text.lstrip().startswith(_FORMULA_STARTS) else text


# Counts for people: each is read from an index, or bounded, so that a page of a large node opens at once.
_shown_states = [SessionState.CHARGING.value, SessionState.UNCERTAIN.value]
_open_sessions = (
    select(sessions.c.state)
    .where(sessions.c.state.in_(map(literal, _shown_states)))
    .limit(bindparam("limit"))
    .subquery()
)
#: How many sessions charge and how many are uncertain, of at most ``limit``: the index ``sessions_by_state`` is read.
OPEN_SESSIONS = compiled(select(_open_sessions.c.state, func.count().label("records")).group_by(_open_sessions.c.state))
#: The newest CDR that had come before a time; read from the newest backwards.
LAST_CDR_BEFORE = compiled(
    select(cdrs.c.id).where(cdrs.c.received_at < bindparam("before_")).order_by(cdrs.c.id.desc()).limit(1)
)
# A text, for SQLite takes a blob for its own binary JSON.
#: The energy of the CDRs behind an id, in kWh as it was written.
CDR_ENERGY_AFTER = Statement(
    "SELECT id, json_extract(CAST(body AS TEXT), '$.ConsumedEnergy') AS energy FROM cdrs "
    "WHERE id > :after_ ORDER BY id LIMIT :limit",
    {},
)
