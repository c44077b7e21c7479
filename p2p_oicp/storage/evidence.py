"""Signed exchanges, kept whole: what proves who said what when; and the keys that they are signed with."""

from __future__ import annotations

from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects.sqlite import insert

from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.tables import evidence, evidence_keys
from p2p_oicp.storage.writer import Transaction

#: So much older than the last exchange may ``used_at`` of its keys be: not every exchange writes it.
KEYS_LAG_SECONDS = 86_400.0

OF_SESSION = compiled(
    select(evidence.c.exchange).where(evidence.c.session_key == bindparam("key_")).order_by(evidence.c.id)
)
KEYS = compiled(
    select(evidence_keys.c.key_id, evidence_keys.c.public_key, evidence_keys.c.holder, evidence_keys.c.descriptor)
)
_KEEP = compiled(insert(evidence).values({name: bindparam(name) for name in ("session_key", "at", "exchange")}))
_note_key = insert(evidence_keys).values(
    {name: bindparam(name) for name in ("key_id", "public_key", "holder", "descriptor", "used_at")}
)
_NOTE_KEY = compiled(
    _note_key.on_conflict_do_update(
        index_elements=[evidence_keys.c.key_id],
        set_={
            "holder": _note_key.excluded.holder,
            "descriptor": func.coalesce(_note_key.excluded.descriptor, evidence_keys.c.descriptor),
            "used_at": _note_key.excluded.used_at,
        },
        where=evidence_keys.c.used_at < _note_key.excluded.used_at - bindparam("lag", KEYS_LAG_SECONDS / 2),
    )
)


def keep(tx: Transaction, session_key: str, now: float, exchange: bytes) -> None:
    """Keep one exchange of a session."""
    tx.run(_KEEP, session_key=session_key, at=now, exchange=exchange)


def note_key(
    tx: Transaction, *, key_id: str, public_key: str, holder: str, descriptor: bytes | None, now: float
) -> bool:
    """Keep a key that an exchange is signed with, or that it is still used; say whether that was news."""
    changed = tx.run(_NOTE_KEY, key_id=key_id, public_key=public_key, holder=holder, descriptor=descriptor, used_at=now)
    return changed > 0
