"""How far each peer's copy of each of our groups has come along our change sequence."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, insert

from p2p_oicp.storage.state.model import Kind
from p2p_oicp.storage.state.tables import cursors
from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.writer import Transaction

_COLUMNS = ("peer", "kind", "group_key", "change")
_SET = compiled(insert(cursors).values({name: bindparam(name) for name in _COLUMNS}).prefix_with("OR REPLACE"))
_FORGET_EVERYBODY = compiled(delete(cursors))
_FORGET_PEER = compiled(delete(cursors).where(cursors.c.peer == bindparam("peer_")))


def move(tx: Transaction, peer: str, kind: Kind, group: str, change: int) -> None:
    """Note that the peer has everything of a group up to ``change``."""
    tx.run(_SET, peer=peer, kind=kind, group_key=group, change=change)


def forget(tx: Transaction, peer: str) -> None:
    """Start anew with fullLoads: the peer's copy is not what we thought."""
    tx.run(_FORGET_PEER, peer_=peer)


def forget_everybody(tx: Transaction) -> None:
    """Start anew with fullLoads to all: what they have is not known."""
    tx.run(_FORGET_EVERYBODY)
