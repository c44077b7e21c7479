"""How far each peer's copy of our state has come along our change sequence."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, insert, select

from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.tables import cursors
from p2p_oicp.storage.writer import Transaction

_of_peer = (cursors.c.peer == bindparam("peer_"), cursors.c.kind == bindparam("kind_"))
GET = compiled(select(cursors.c.change).where(*_of_peer))
_SET = compiled(
    insert(cursors).values({name: bindparam(name) for name in ("peer", "kind", "change")}).prefix_with("OR REPLACE")
)
_FORGET_ALL = compiled(delete(cursors).where(cursors.c.peer == bindparam("peer_")))
_FORGET_EVERYBODY = compiled(delete(cursors))
_FORGET = compiled(delete(cursors).where(*_of_peer))


def move(tx: Transaction, peer: str, kind: str, change: int) -> None:
    """Note that the peer has acknowledged everything up to ``change``."""
    tx.run(_SET, peer=peer, kind=kind, change=change)


def forget(tx: Transaction, peer: str, kind: str) -> None:
    """Start anew with a fullLoad: the peer's copy is not what we thought."""
    tx.run(_FORGET, peer_=peer, kind_=kind)


def forget_all(tx: Transaction, peer: str) -> None:
    """Start anew with fullLoads of every kind: the peer has nothing of ours."""
    tx.run(_FORGET_ALL, peer_=peer)


def forget_everybody(tx: Transaction) -> None:
    """Start anew with fullLoads to all: what they have is not known."""
    tx.run(_FORGET_EVERYBODY)
