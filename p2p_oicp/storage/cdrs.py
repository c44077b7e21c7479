"""Charge detail records: one per SessionID and role; a different second one is refused and kept as evidence."""

from __future__ import annotations

import hashlib
from enum import Enum, auto

from sqlalchemy import bindparam, insert, select, update

from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.tables import cdrs, refused_cdrs
from p2p_oicp.storage.writer import Transaction

_of_key = (cdrs.c.role == bindparam("role_"), cdrs.c.session_key == bindparam("key_"))
_INSERT = compiled(
    insert(cdrs)
    .values({name: bindparam(name) for name in ("role", "session_key", "peer", "received_at", "digest", "body")})
    .prefix_with("OR IGNORE")
)
_DIGEST = compiled(select(cdrs.c.digest).where(*_of_key))
_FORWARDED = compiled(update(cdrs).where(*_of_key).values(forwarded_at=bindparam("forwarded_at")))
_REFUSE = compiled(
    insert(refused_cdrs)
    .values({name: bindparam(name) for name in ("role", "session_key", "received_at", "digest", "body")})
    .prefix_with("OR IGNORE")
)


class Kept(Enum):
    """What became of a record handed to :func:`keep`."""

    NEW = auto()
    SAME_AGAIN = auto()
    DIFFERENT = auto()


def keep(tx: Transaction, *, role: str, session_key: str, peer: str, now: float, body: bytes) -> Kept:
    """Store a session's first record; tell a byte for byte repetition from a different one, which is only noted."""
    digest = hashlib.sha256(body).digest()
    values = {"role": role, "session_key": session_key, "received_at": now, "digest": digest, "body": body}
    if tx.run(_INSERT, peer=peer, **values):
        return Kept.NEW
    present = tx.one(_DIGEST, role_=role, key_=session_key)
    if present is not None and present["digest"] == digest:
        return Kept.SAME_AGAIN
    tx.run(_REFUSE, **values)
    return Kept.DIFFERENT


def mark_forwarded(tx: Transaction, role: str, session_key: str, now: float) -> None:
    """Note that the record has reached its next stop (peer or backend)."""
    tx.run(_FORWARDED, role_=role, key_=session_key, forwarded_at=now)
