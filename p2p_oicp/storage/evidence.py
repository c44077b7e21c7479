"""Signed exchanges, kept whole: what proves who said what when."""

from __future__ import annotations

from sqlalchemy import bindparam, insert, select

from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.tables import evidence
from p2p_oicp.storage.writer import Transaction

OF_SESSION = compiled(
    select(evidence.c.exchange).where(evidence.c.session_key == bindparam("key_")).order_by(evidence.c.id)
)
_KEEP = compiled(insert(evidence).values({name: bindparam(name) for name in ("session_key", "at", "exchange")}))


def keep(tx: Transaction, session_key: str, now: float, exchange: bytes) -> None:
    """Keep one exchange of a session."""
    tx.run(_KEEP, session_key=session_key, at=now, exchange=exchange)
