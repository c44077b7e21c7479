"""Which peer said yes to a card (a UID) last time."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, insert, select

from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.tables import cards
from p2p_oicp.storage.writer import Transaction

_of_uid = cards.c.uid_key == bindparam("uid_")
_GET = compiled(select(cards.c.peer).where(_of_uid))
_SET = compiled(
    insert(cards).values({name: bindparam(name) for name in ("uid_key", "peer", "seen_at")}).prefix_with("OR REPLACE")
)
_FORGET = compiled(delete(cards).where(_of_uid))


def peer_of(tx: Transaction, uid_key: str) -> str | None:
    """Return the name of the peer that said yes last time, None for a card never seen."""
    row = tx.one(_GET, uid_=uid_key)
    return str(row["peer"]) if row else None


def remember(tx: Transaction, uid_key: str, peer: str, now: float) -> None:
    """Note who said yes."""
    tx.run(_SET, uid_key=uid_key, peer=peer, seen_at=now)


def forget(tx: Transaction, uid_key: str) -> None:
    """Nobody says yes to this card any more."""
    tx.run(_FORGET, uid_=uid_key)
