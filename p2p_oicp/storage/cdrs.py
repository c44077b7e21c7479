"""Charge detail records: one per SessionID and role; a different second one is refused and kept as evidence."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import Enum, auto

from sqlalchemy import bindparam, func, insert, or_, select, update

from p2p_oicp.oicp import ChargeDetailRecord, InvalidMessage
from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.tables import cdrs, reconciled, refused_cdrs
from p2p_oicp.storage.writer import Transaction

_NEW = ("role", "session_key", "peer", "operator_key", "provider_key", "session_end", "received_at", "digest", "body")
_of_key = (cdrs.c.role == bindparam("role_"), cdrs.c.session_key == bindparam("key_"))
_INSERT = compiled(insert(cdrs).values({name: bindparam(name) for name in _NEW}).prefix_with("OR IGNORE"))
_PRESENT = compiled(select(cdrs.c.digest, cdrs.c.body).where(*_of_key))
_FORWARDED = compiled(update(cdrs).where(*_of_key).values(forwarded_at=bindparam("forwarded_at")))
_REFUSE = compiled(
    insert(refused_cdrs)
    .values({name: bindparam(name) for name in ("role", "session_key", "received_at", "digest", "body")})
    .prefix_with("OR IGNORE")
)

# One element or more of a JSON list, or an empty text for no filter.
_wanted_sessions = select(func.json_each(bindparam("sessions_")).table_valued("value").c.value)
_wanted_operators = select(func.json_each(bindparam("operators_")).table_valued("value").c.value)
_wanted = (
    cdrs.c.role == bindparam("role_"),
    or_(cdrs.c.provider_key == bindparam("provider_"), cdrs.c.provider_key == ""),
    or_(bindparam("peer_") == "", cdrs.c.peer == bindparam("peer_")),
    cdrs.c.session_end >= bindparam("from_"),
    cdrs.c.session_end <= bindparam("to_"),
    or_(bindparam("sessions_") == "[]", cdrs.c.session_key.in_(_wanted_sessions)),
    or_(bindparam("operators_") == "[]", cdrs.c.operator_key.in_(_wanted_operators)),
    or_(bindparam("forwarded_").is_(None), cdrs.c.forwarded_at.is_not(None) == bindparam("forwarded_")),
)
#: The bodies of one page, in the order of arrival, so that earlier pages stay as they are while records come in.
PAGE = compiled(
    select(cdrs.c.body).where(*_wanted).order_by(cdrs.c.id).limit(bindparam("size_")).offset(bindparam("offset_"))
)
COUNT = compiled(select(func.count().label("records")).select_from(cdrs).where(*_wanted))
SINCE = compiled(
    select(cdrs.c.role, cdrs.c.peer, cdrs.c.session_key, cdrs.c.received_at, cdrs.c.forwarded_at, cdrs.c.body)
    .where(cdrs.c.received_at >= bindparam("since_"), cdrs.c.received_at < bindparam("until_"))
    .order_by(cdrs.c.id)
)
RECONCILED = compiled(select(reconciled.c.until).where(reconciled.c.peer == bindparam("peer_")))
_RECONCILED = compiled(
    insert(reconciled).values(peer=bindparam("peer"), until=bindparam("until")).prefix_with("OR REPLACE")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record to keep; keys are canonical ids, ``session_end`` is in seconds since the epoch, ``body`` as it came."""

    role: str
    session_key: str
    peer: str
    operator_key: str
    provider_key: str
    session_end: float
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which records: of whose drivers, of which time (seconds since the epoch, of SessionEnd), and the filters."""

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
            "sessions_": json.dumps(self.session_keys),
            "operators_": json.dumps(self.operator_keys),
            "forwarded_": self.forwarded,
        }


class Kept(Enum):
    """What became of a record handed to :func:`keep`."""

    NEW = auto()
    SAME_AGAIN = auto()
    DIFFERENT = auto()


def keep(tx: Transaction, record: Record, now: float) -> Kept:
    """Store a session's first record; tell a repetition from a different record, which is only noted.

    The same members in another spelling (of ids, of numbers, of JSON) are the same record.
    """
    digest = hashlib.sha256(record.body).digest()
    if tx.run(_INSERT, **asdict(record), received_at=now, digest=digest):
        return Kept.NEW
    present = tx.one(_PRESENT, role_=record.role, key_=record.session_key)
    if present is not None and (present["digest"] == digest or _says_the_same(present["body"], record.body)):
        return Kept.SAME_AGAIN
    tx.run(_REFUSE, role=record.role, session_key=record.session_key, received_at=now, digest=digest, body=record.body)
    return Kept.DIFFERENT


def _says_the_same(one: bytes, other: bytes) -> bool:
    try:
        return ChargeDetailRecord.from_json(one) == ChargeDetailRecord.from_json(other)
    except InvalidMessage:
        return False


def exists(tx: Transaction, role: str, session_key: str) -> bool:
    """Say whether a session has its record."""
    return tx.one(_PRESENT, role_=role, key_=session_key) is not None


def mark_forwarded(tx: Transaction, role: str, session_key: str, now: float) -> None:
    """Note that the record has reached its next stop (peer or backend)."""
    tx.run(_FORWARDED, role_=role, key_=session_key, forwarded_at=now)


def mark_reconciled(tx: Transaction, peer: str, until: float) -> None:
    """Note that ``peer`` has told all its records with a SessionEnd before ``until``."""
    tx.run(_RECONCILED, peer=peer, until=until)
