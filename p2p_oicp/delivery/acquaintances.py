"""Knows a peer's store again: one that was replaced, or restored from a backup, gets our state anew.

Both nodes say which store they have and which one they remember of the other. So each learns when the other's was
replaced, and when its own was: then it asks for what it has lost, and believes in sessions that it does not know.
"""

from __future__ import annotations

import asyncio

import structlog

from p2p_oicp.delivery.bells import Bells
from p2p_oicp.storage import Store, birth

log = structlog.get_logger(__name__)


class Acquaintances:
    """What we and our peers say of our stores; ``replaced`` is set when a peer remembers an earlier one of ours."""

    def __init__(self, store: Store, bells: Bells, ours: birth.Birth, replaced: asyncio.Event | None) -> None:
        self._replaced = replaced
        self._ours = ours
        self._store = store
        self._bells = bells

    async def words_for(self, peer: str) -> dict[str, int | None]:
        """Return what we tell a peer: our store, and the one we remember of it."""
        remembered = await self._store.write(lambda tx: birth.store_of(tx, peer))
        return {"store": self._ours.store_id, "remembers": remembered}

    async def met(self, peer: str, words: dict[str, object]) -> None:
        """Take what a peer says; a system that says nothing is left as it is."""
        theirs, remembers = words.get("store"), words.get("remembers")
        if _is_store(remembers) and remembers != self._ours.store_id:
            await self._remembered_as_another(peer)
        if isinstance(theirs, int) and _is_store(theirs):
            await self._has(peer, theirs)

    async def _has(self, peer: str, store_id: int) -> None:
        if await self._store.write(lambda tx: birth.met(tx, peer, store_id)):
            log.warning("peer.has_another_store", peer=peer, meaning="it gets our whole state again")
            self._bells.ring(peer)

    async def _remembered_as_another(self, peer: str) -> None:
        if await self._store.write(lambda tx: birth.remembers_another(tx, peer)):
            meaning = "our database was replaced or restored: the peer's records are asked for again"
            log.warning("peer.remembers_another_store_of_ours", peer=peer, meaning=meaning)
            if self._replaced is not None:
                self._replaced.set()


def _is_store(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62
