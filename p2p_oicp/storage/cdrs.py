"""Charge detail records: one per SessionID and role; a different second one is refused and kept as evidence.

A CDR is stored as the bytes that were received and never changed or deleted (disputes); pages join these bytes.

States (`CdrState`)::

    CPO side   waiting ─► delivered ─► accepted      EMP side   waiting ─► accepted
                  │           └─► disputed ─► accepted             │  └─► disputed ─► accepted
                  └─► dead                                         └─► dead

*Unconfirmed* is a mark beside the state: neither this node nor the other one knows the session any more, because both
databases were restored (DESIGN section 5, "After a restore").
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from types import MappingProxyType

import msgspec
from msgspec.structs import asdict
from sqlalchemy import BigInteger, BindParameter, and_, bindparam, case, exists, func, or_, select, text, update

from p2p_oicp.oicp import ChargeDetailRecord, InvalidMessage
from p2p_oicp.storage import sessions
from p2p_oicp.storage.event_log import Event, EventType, emit
from p2p_oicp.storage.peers import name_of
from p2p_oicp.storage.schema import cdr_reconciliations, cdrs, conflicting_cdrs, outbox
from p2p_oicp.storage.statements import Statement, compiled, inserting_named, list_parameter, listed, optional
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.transactions import Row, Transaction


class CdrState(StrEnum):
    """State of a CDR; see the diagram above."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    ACCEPTED = "accepted"
    DISPUTED = "disputed"
    DEAD = "dead"


_by_key = (cdrs.c.role == bindparam("role_"), cdrs.c.session_key == bindparam("key_"))
# OR IGNORE: that a session has a CDR is seen by the row count, in one statement and without a race.
_INSERT = inserting_named(
    cdrs,
    "role",
    "session_key",
    "peer",
    "operator_key",
    "provider_key",
    "session_end",
    "received_at",
    "digest",
    "body",
    "state",
    "unconfirmed",
    "doubts",
    instead="OR IGNORE",
)
_GET = compiled(select(cdrs.c.digest, cdrs.c.body).where(*_by_key))
_VERDICT_COLUMNS = ("state", "verdict_code", "verdict_text", "verdict_at")
_GET_STATUS = compiled(
    select(
        cdrs.c.state,
        cdrs.c.unconfirmed,
        cdrs.c.digest,
        cdrs.c.peer,
        cdrs.c.verdict_code,
        cdrs.c.verdict_text,
        cdrs.c.verdict_at,
    ).where(*_by_key)
)
_SET_MARK = compiled(update(cdrs).where(*_by_key).values(unconfirmed=bindparam("unconfirmed"), peer=bindparam("peer")))
_INSERT_CONFLICTING = inserting_named(
    conflicting_cdrs, "role", "session_key", "received_at", "digest", "body", instead="OR IGNORE"
)

# One statement for all combinations of filters: an empty list, or an empty text, selects all.
_filters = (
    cdrs.c.role == bindparam("role_"),
    or_(
        cdrs.c.provider_key == bindparam("provider_"),
        cdrs.c.provider_key == "",
        # None of this EMP's providers: a CDR of its session all the same (RULES L3).
        and_(bindparam("providers_") != "[]", cdrs.c.provider_key.not_in(listed("providers_"))),
    ),
    or_(bindparam("peer_") == "", cdrs.c.peer == bindparam("peer_")),
    cdrs.c.session_end >= bindparam("from_"),
    cdrs.c.session_end <= bindparam("to_"),
    or_(bindparam("sessions_") == "[]", cdrs.c.session_key.in_(listed("sessions_"))),
    or_(bindparam("operators_") == "[]", cdrs.c.operator_key.in_(listed("operators_"))),
    or_(
        optional("forwarded_", BigInteger).is_(None),
        case((cdrs.c.forwarded_at.is_not(None), 1), else_=0) == bindparam("forwarded_"),
    ),
)
#: The bodies of one page, in the order of their ids, so that earlier pages stay as they are while CDRs come in.
PAGE = compiled(
    select(cdrs.c.body).where(*_filters).order_by(cdrs.c.id).limit(bindparam("size_")).offset(bindparam("offset_"))
)
COUNT = compiled(select(func.count().label("records")).select_from(cdrs).where(*_filters))
_received_between = (cdrs.c.received_at >= bindparam("since_"), cdrs.c.received_at < bindparam("until_"))
RECEIVED_BETWEEN = compiled(
    select(
        cdrs.c.role,
        name_of(cdrs.c.peer).label("peer"),
        cdrs.c.session_key,
        cdrs.c.received_at,
        cdrs.c.forwarded_at,
        cdrs.c.state,
        cdrs.c.unconfirmed,
        cdrs.c.verdict_code,
        cdrs.c.verdict_text,
        cdrs.c.body,
    )
    .where(*_received_between)
    .order_by(cdrs.c.id)
)
COUNT_RECEIVED_BETWEEN = compiled(select(func.count().label("records")).select_from(cdrs).where(*_received_between))
#: The CDRs of sessions with a peer that were received, delivered or decided since, in pages: ids above ``after_``.
RECEIVED_SINCE = compiled(
    select(
        cdrs.c.id,
        cdrs.c.session_key,
        cdrs.c.digest,
        cdrs.c.body,
        cdrs.c.state,
        cdrs.c.verdict_code,
        cdrs.c.verdict_text,
        cdrs.c.received_at,
    )
    .where(
        # An expression: with an index on the role each page would read and sort all of them.
        cdrs.c.role.concat("") == bindparam("role_"),
        cdrs.c.peer == bindparam("peer_"),
        or_(cdrs.c.received_at >= bindparam("since_"), cdrs.c.forwarded_at >= bindparam("since_")),
        cdrs.c.id > bindparam("after_"),
    )
    .order_by(cdrs.c.id)
    .limit(bindparam("limit"))
)
#: The CDRs that are stored and not delivered: nobody could be asked about their sessions; with ``doubts``, a person is.
HELD = compiled(
    select(cdrs.c.session_key, cdrs.c.peer, cdrs.c.body, cdrs.c.doubts)
    .where(
        cdrs.c.role == bindparam("role_"),
        # A literal: SQLite uses a partial index only where its condition is in the text.
        cdrs.c.unconfirmed == text("1"),
        cdrs.c.state == CdrState.WAITING.value,
        ~exists().where(
            outbox.c.role == cdrs.c.role,
            outbox.c.session_key == cdrs.c.session_key,
            outbox.c.operation == "ChargeDetailRecord",
        ),
    )
    .order_by(cdrs.c.id)
)
#: How many CDRs of each role something speaks against.
DOUBTFUL = compiled(
    select(cdrs.c.role, func.count().label("records")).where(cdrs.c.doubts.is_not(None)).group_by(cdrs.c.role)
)
#: How many CDRs are in each state, at each role: read from the index ``cdrs_by_state`` alone.
COUNT_BY_STATE = compiled(
    select(cdrs.c.state, cdrs.c.role, func.count().label("records")).group_by(cdrs.c.state, cdrs.c.role)
)
RECONCILED_UNTIL = compiled(select(cdr_reconciliations.c.until).where(cdr_reconciliations.c.peer == bindparam("peer_")))
_MARK_RECONCILED = inserting_named(cdr_reconciliations, "peer", "until", instead="OR REPLACE")


_NEXT_STATES: Mapping[CdrState, frozenset[CdrState]] = MappingProxyType(
    {
        CdrState.WAITING: frozenset(CdrState) - {CdrState.WAITING},
        # A dead one was sent again by a person.
        CdrState.DEAD: frozenset(CdrState) - {CdrState.DEAD},
        CdrState.DELIVERED: frozenset({CdrState.ACCEPTED, CdrState.DISPUTED}),
        # To itself: its reason may change. To waiting: a person asks the backend again.
        CdrState.DISPUTED: frozenset({CdrState.ACCEPTED, CdrState.DISPUTED, CdrState.WAITING}),
        CdrState.ACCEPTED: frozenset(),
    }
)


def _set_state_statement(target: CdrState) -> Statement:
    """Return the update to a state, of a CDR whose state may become that one."""
    earlier_states = sorted(state for state, targets in _NEXT_STATES.items() if target in targets)
    columns: dict[str, BindParameter[object]] = {name: bindparam(name) for name in (*_VERDICT_COLUMNS, "forwarded_at")}
    may_follow = or_(*(cdrs.c.state == text(f"'{state}'") for state in earlier_states))
    return compiled(update(cdrs).where(*_by_key, may_follow).values(columns))


_SET_STATE: Mapping[CdrState, Statement] = MappingProxyType({state: _set_state_statement(state) for state in CdrState})


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where a delivery, or what the EMP's backend said, leads a CDR.

    Attributes:
        state: the CDR's next state.
        code: the OICP code of a refusal.
        text: the words of who refused it.
        is_final: no verdict is expected to follow; False for one that is delivered to a node that will tell it.
    """

    state: CdrState
    code: str = ""
    text: str = ""
    is_final: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CdrStatus:
    """What is stored of a CDR beside its bytes; ``digest`` is the SHA-256 of these, ``peer`` empty where unknown."""

    verdict: Verdict
    is_unconfirmed: bool
    digest: bytes
    peer: str


class CdrRow(msgspec.Struct, frozen=True, kw_only=True):
    """A CDR to insert; keys are canonical ids, ``session_end`` is in seconds since the epoch.

    ``digest`` is the SHA-256 of the CDR as its sender sent it, by which the sender knows it; empty: that of ``body``.
    """

    role: str
    session_key: str
    peer: str
    operator_key: str
    provider_key: str
    session_end: float
    body: bytes
    state: CdrState = CdrState.WAITING
    unconfirmed: bool = False
    doubts: str | None = None
    digest: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class CdrFilter:
    """Selects CDRs; empty values select all.

    Attributes:
        provider_key: the EMP of the drivers; CDRs without a known EMP are included.
        provider_keys: all of this EMP's company: CDRs of its sessions under any other are included, too.
        since, until: bounds of SessionEnd in seconds since the epoch, both included.
        forwarded: whether the CDR was delivered to the next hop; None for both.

    """

    role: str
    provider_key: str
    since: float
    until: float
    peer: str = ""
    provider_keys: tuple[str, ...] = ()
    session_keys: tuple[str, ...] = ()
    operator_keys: tuple[str, ...] = ()
    forwarded: bool | None = None

    def parameters(self) -> dict[str, object]:
        """Return the parameters of ``PAGE`` and ``COUNT``."""
        return {
            "role_": self.role,
            "provider_": self.provider_key,
            "peer_": self.peer,
            "providers_": list_parameter(self.provider_keys),
            "from_": self.since,
            "to_": self.until,
            "sessions_": list_parameter(self.session_keys),
            "operators_": list_parameter(self.operator_keys),
            "forwarded_": self.forwarded,
        }


class InsertResult(Enum):
    """Result of `insert`."""

    NEW = auto()
    DUPLICATE = auto()
    CONFLICT = auto()


def insert(tx: Transaction, cdr: CdrRow, now: float) -> InsertResult:
    """Insert a session's CDR; where there is one, tell a duplicate from a conflicting one, which is kept as evidence.

    The same members in another notation (of ids, of numbers, of JSON) are a duplicate (RULES H4).
    """
    # The digest finds the usual duplicate, the same bytes again, without parsing both CDRs.
    digest = cdr.digest or hashlib.sha256(cdr.body).digest()
    if tx.run(_INSERT, **{**asdict(cdr), "digest": digest}, received_at=now):
        emit(tx, Event(EventType.CDR, "received", now, cdr.session_key, cdr.role, cdr.peer, cdr.doubts or ""))
        return InsertResult.NEW
    existing = tx.one(_GET, role_=cdr.role, key_=cdr.session_key)
    if existing is not None and (existing["digest"] == digest or _is_same_cdr(existing["body"], cdr.body)):
        return InsertResult.DUPLICATE
    key = cdr.session_key
    if tx.run(_INSERT_CONFLICTING, role=cdr.role, session_key=key, received_at=now, digest=digest, body=cdr.body):
        emit(tx, Event(EventType.FINDING, "conflicting_cdr", now, key, cdr.role, cdr.peer))
    return InsertResult.CONFLICT


def _is_same_cdr(first: bytes, second: bytes) -> bool:
    try:
        return ChargeDetailRecord.from_json(first) == ChargeDetailRecord.from_json(second)
    except InvalidMessage:
        return False


def is_stored(tx: Transaction, role: str, session_key: str) -> bool:
    """Return whether the CDR of a session is stored."""
    return tx.one(_GET, role_=role, key_=session_key) is not None


def get_status(tx: Transaction, role: str, session_key: str) -> CdrStatus | None:
    """Return the status of a session's CDR, None where there is none."""
    row = tx.one(_GET_STATUS, role_=role, key_=session_key)
    return None if row is None else _to_status(row)


def get_body(tx: Transaction, role: str, session_key: str) -> bytes:
    """Return the bytes of a CDR that is there."""
    row = tx.one(_GET, role_=role, key_=session_key)
    return row["body"] if row is not None else b""


async def get_status_now(store: Store, role: str, session_key: str) -> CdrStatus | None:
    """Return the same as of the last commit."""
    rows = await store.query_inline(_GET_STATUS, role_=role, key_=session_key)
    return _to_status(rows[0]) if rows else None


def _to_status(row: Row) -> CdrStatus:
    verdict = Verdict(CdrState(row["state"]), row["verdict_code"] or "", row["verdict_text"] or "")
    return CdrStatus(verdict=verdict, is_unconfirmed=bool(row["unconfirmed"]), digest=row["digest"], peer=row["peer"])


def set_state(tx: Transaction, role: str, session_key: str, now: float, verdict: Verdict) -> bool:
    """Change the state of a CDR; return False, and change nothing, where the states above have no such step."""
    has_arrived = verdict.state not in {CdrState.WAITING, CdrState.DEAD}
    changed = tx.run(
        _SET_STATE[verdict.state],
        role_=role,
        key_=session_key,
        state=verdict.state,
        verdict_code=verdict.code or None,
        verdict_text=verdict.text or None,
        verdict_at=now,
        forwarded_at=now if has_arrived else None,
    )
    if changed:
        text = f"{verdict.code} {verdict.text}".strip()
        emit(tx, Event(EventType.CDR, verdict.state, now, session_key, role, text=text))
    return changed == 1


def apply_verdict(tx: Transaction, role: str, session_key: str, verdict: Verdict, now: float) -> bool:
    """Apply a verdict to a CDR and its session; return False where it changes nothing: an earlier one stands."""
    if not set_state(tx, role, session_key, now, verdict):
        return False
    words = f" {verdict.code} {verdict.text}".rstrip()
    sessions.add_event(tx, role, session_key, now, f"charge detail record {verdict.state}{words}")
    if verdict.is_final and verdict.state in {CdrState.ACCEPTED, CdrState.DELIVERED}:
        sessions.transition(tx, role, session_key, now, sessions.SessionState.SETTLED)
    return True


def set_unconfirmed(tx: Transaction, role: str, session_key: str, peer: str, *, unconfirmed: bool) -> None:
    """Set or remove the mark of a CDR, and set its peer, which may not have been known before."""
    tx.run(_SET_MARK, role_=role, key_=session_key, unconfirmed=int(unconfirmed), peer=peer)


def mark_reconciled(tx: Transaction, peer: str, until: float) -> None:
    """Record that ``peer`` was asked for all its CDRs with a SessionEnd before ``until``."""
    tx.run(_MARK_RECONCILED, peer=peer, until=until)
