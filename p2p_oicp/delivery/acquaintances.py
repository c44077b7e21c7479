"""Knows a peer's store again: one that was replaced, or restored from a backup, gets our state anew."""

from __future__ import annotations

import structlog

from p2p_oicp.delivery.bells import Bells
from p2p_oicp.storage import Store, birth

log = structlog.get_logger(__name__)


class Acquaintances:
    """What our peers said of their stores; ``ours`` is what we say of our own."""

    def __init__(self, store: Store, bells: Bells, ours: birth.Birth) -> None:
        self.ours = ours
        self._store = store
        self._bells = bells

    async def met(self, peer: str, store_id: object) -> None:
        """Take what a peer's hello, or its answer to ours, says; a system that says nothing is left as it is."""
        if not isinstance(store_id, int) or not 0 <= store_id < 1 << 62:
            return
        if await self._store.write(lambda tx: birth.met(tx, peer, store_id)):
            log.warning("peer.has_another_store", peer=peer, meaning="it gets our whole state again")
            self._bells.ring(peer)
