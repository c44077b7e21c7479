"""Charge detail records: one per SessionID and role; a different second one is refused and kept as evidence."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from enum import Enum, auto

from sqlalchemy import bindparam, insert, select, update

from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.tables import cdrs, refused_cdrs
from p2p_oicp.storage.writer import Transaction

_NEW = ("role", "session_key", "peer", "operator_key", "provider_key", "session_end", "received_at", "digest", "body")
_of_key = (cdrs.c.role == bindparam("role_"), cdrs.c.session_key == bindparam("key_"))
_INSERT = compiled(insert(cdrs).values({name: bindparam(name) for name in _NEW}).prefix_with("OR IGNORE"))
_DIGEST = compiled(select(cdrs.c.digest).where(*_of_key))
_FORWARDED = compiled(update(cdrs).where(*_of_key).values(forwarded_at=bindparam("forwarded_at")))
_REFUSE = compiled(
    insert(refused_cdrs)
    .values({name: bindparam(name) for name in ("role", "session_key", "received_at", "digest", "body")})
    .prefix_with("OR IGNORE")
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


class Kept(Enum):
    """What became of a record handed to :func:`keep`."""

    NEW = auto()
    SAME_AGAIN = auto()
    DIFFERENT = auto()


def keep(tx: Transaction, record: Record, now: float) -> Kept:
    """Store a session's first record; tell a byte for byte repetition from a different one, which is only noted."""
    digest = hashlib.sha256(record.body).digest()
    if tx.run(_INSERT, **asdict(record), received_at=now, digest=digest):
        return Kept.NEW
    present = tx.one(_DIGEST, role_=record.role, key_=record.session_key)
    if present is not None and present["digest"] == digest:
        return Kept.SAME_AGAIN
    tx.run(_REFUSE, role=record.role, session_key=record.session_key, received_at=now, digest=digest, body=record.body)
    return Kept.DIFFERENT


def exists(tx: Transaction, role: str, session_key: str) -> bool:
    """Say whether a session has its record."""
    return tx.one(_DIGEST, role_=role, key_=session_key) is not None


def mark_forwarded(tx: Transaction, role: str, session_key: str, now: float) -> None:
    """Note that the record has reached its next stop (peer or backend)."""
    tx.run(_FORWARDED, role_=role, key_=session_key, forwarded_at=now)
