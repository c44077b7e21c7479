"""Charge detail records: one per SessionID and role; a different second one is refused and kept as evidence.

A CDR is stored as the bytes that were received and never changed or deleted (disputes); pages join these bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from enum import Enum, auto

from sqlalchemy import bindparam, func, or_, select, update

from p2p_oicp.oicp import ChargeDetailRecord, InvalidMessage
from p2p_oicp.storage.peers import name_of
from p2p_oicp.storage.schema import cdr_reconciliations, cdrs, conflicting_cdrs
from p2p_oicp.storage.sqlite.writer import Transaction
from p2p_oicp.storage.statements import compiled, inserting_named, list_parameter, listed

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
    instead="OR IGNORE",
)
_GET = compiled(select(cdrs.c.digest, cdrs.c.body).where(*_by_key))
_MARK_FORWARDED = compiled(update(cdrs).where(*_by_key).values(forwarded_at=bindparam("forwarded_at")))
_INSERT_CONFLICTING = inserting_named(
    conflicting_cdrs, "role", "session_key", "received_at", "digest", "body", instead="OR IGNORE"
)

# One statement for all combinations of filters: an empty list, or an empty text, selects all.
_filters = (
    cdrs.c.role == bindparam("role_"),
    or_(cdrs.c.provider_key == bindparam("provider_"), cdrs.c.provider_key == ""),
    or_(bindparam("peer_") == "", cdrs.c.peer == bindparam("peer_")),
    cdrs.c.session_end >= bindparam("from_"),
    cdrs.c.session_end <= bindparam("to_"),
    or_(bindparam("sessions_") == "[]", cdrs.c.session_key.in_(listed("sessions_"))),
    or_(bindparam("operators_") == "[]", cdrs.c.operator_key.in_(listed("operators_"))),
    or_(bindparam("forwarded_").is_(None), cdrs.c.forwarded_at.is_not(None) == bindparam("forwarded_")),
)
#: The bodies of one page, in the order of their ids, so that earlier pages stay as they are while CDRs come in.
PAGE = compiled(
    select(cdrs.c.body).where(*_filters).order_by(cdrs.c.id).limit(bindparam("size_")).offset(bindparam("offset_"))
)
COUNT = compiled(select(func.count().label("records")).select_from(cdrs).where(*_filters))
RECEIVED_BETWEEN = compiled(
    select(
        cdrs.c.role,
        name_of(cdrs.c.peer).label("peer"),
        cdrs.c.session_key,
        cdrs.c.received_at,
        cdrs.c.forwarded_at,
        cdrs.c.body,
    )
    .where(cdrs.c.received_at >= bindparam("since_"), cdrs.c.received_at < bindparam("until_"))
    .order_by(cdrs.c.id)
)
RECONCILED_UNTIL = compiled(select(cdr_reconciliations.c.until).where(cdr_reconciliations.c.peer == bindparam("peer_")))
_MARK_RECONCILED = inserting_named(cdr_reconciliations, "peer", "until", instead="OR REPLACE")


@dataclass(frozen=True, slots=True, kw_only=True)
class CdrRow:
    """A CDR to insert; keys are canonical ids, ``session_end`` is in seconds since the epoch, ``body`` as received."""

    role: str
    session_key: str
    peer: str
    operator_key: str
    provider_key: str
    session_end: float
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CdrFilter:
    """Selects CDRs; empty values select all.

    Attributes:
        provider_key: the EMP of the drivers; CDRs without a known EMP are included.
        since, until: bounds of SessionEnd in seconds since the epoch, both included.
        forwarded: whether the CDR was delivered to the next hop; None for both.

    """

    role: str
    provider_key: str
    since: float
    until: float
    peer: str = ""
    session_keys: tuple[str, ...] = ()
    operator_keys: tuple[str, ...] = ()
    forwarded: bool | None = None

    def parameters(self) -> dict[str, object]:
        """Return the parameters of ``PAGE`` and ``COUNT``."""
        return {
            "role_": self.role,
            "provider_": self.provider_key,
            "peer_": self.peer,
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
    digest = hashlib.sha256(cdr.body).digest()
    if tx.run(_INSERT, **asdict(cdr), received_at=now, digest=digest):
        return InsertResult.NEW
    existing = tx.one(_GET, role_=cdr.role, key_=cdr.session_key)
    if existing is not None and (existing["digest"] == digest or _is_same_cdr(existing["body"], cdr.body)):
        return InsertResult.DUPLICATE
    tx.run(
        _INSERT_CONFLICTING, role=cdr.role, session_key=cdr.session_key, received_at=now, digest=digest, body=cdr.body
    )
    return InsertResult.CONFLICT


def _is_same_cdr(first: bytes, second: bytes) -> bool:
    try:
        return ChargeDetailRecord.from_json(first) == ChargeDetailRecord.from_json(second)
    except InvalidMessage:
        return False


def exists(tx: Transaction, role: str, session_key: str) -> bool:
    """Return whether the CDR of a session is stored."""
    return tx.one(_GET, role_=role, key_=session_key) is not None


def mark_forwarded(tx: Transaction, role: str, session_key: str, now: float) -> None:
    """Record that the next hop (peer or backend) has acknowledged the CDR."""
    tx.run(_MARK_FORWARDED, role_=role, key_=session_key, forwarded_at=now)


def mark_reconciled(tx: Transaction, peer: str, until: float) -> None:
    """Record that ``peer`` was asked for all its CDRs with a SessionEnd before ``until``."""
    tx.run(_MARK_RECONCILED, peer=peer, until=until)
