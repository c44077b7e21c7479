"""Up to which time, of the other side's clock, a peer that is pulled has been pulled."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, insert, select

from p2p_oicp.storage.state.model import Kind
from p2p_oicp.storage.state.tables import watermarks
from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.store import Store

_w = watermarks.c
_of_peer = (_w.peer == bindparam("peer_"), _w.kind == bindparam("kind_"))
_GET = compiled(select(_w.at).where(*_of_peer))
_SET = compiled(
    insert(watermarks).values({name: bindparam(name) for name in ("peer", "kind", "at")}).prefix_with("OR REPLACE")
)
_FORGET = compiled(delete(watermarks).where(*_of_peer))


async def get(store: Store, peer: str, kind: Kind) -> float | None:
    """Return the time in seconds since the epoch, None where everything must be pulled."""
    rows = await store.read(_GET, peer_=peer, kind_=kind)
    return float(rows[0]["at"]) if rows else None


async def commit(store: Store, peer: str, kind: Kind, at: float) -> None:
    """Note that everything up to ``at`` is here."""
    await store.write(lambda tx: tx.run(_SET, peer=peer, kind=kind, at=at))


async def forget(store: Store, peer: str, kind: Kind) -> None:
    """Pull everything the next time."""
    await store.write(lambda tx: tx.run(_FORGET, peer_=peer, kind_=kind))
