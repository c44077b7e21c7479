"""Pausing deliveries to a peer, as a person wants it: at once, and until the person says otherwise.

The workers ask `WakeupRegistry.pause_of` before each round, so a pause costs them nothing. What is under way when it
begins is ended: a message that was sent is not sent again because of a pause.
"""

from __future__ import annotations

from functools import partial

import structlog

from p2p_oicp.clock import Clock
from p2p_oicp.delivery.wakeup import WakeupRegistry
from p2p_oicp.peers import Peer
from p2p_oicp.storage import Store, job_keys, pauses
from p2p_oicp.storage.pauses import Pause

log = structlog.get_logger(__name__)


class DeliveryPauses:
    """Pauses and resumes deliveries to peers.

    Args:
        wakeups: of the workers, which know who is paused.
        store: remembers it over restarts.
        clock: the time.
    """

    def __init__(self, wakeups: WakeupRegistry, store: Store, clock: Clock) -> None:
        self._wakeups = wakeups
        self._store = store
        self._clock = clock

    def __repr__(self) -> str:
        return f"<DeliveryPauses {self._wakeups!r}>"

    async def pause(self, peer: Peer, reason: str) -> Pause:
        """Let deliveries to a peer wait, from the next round of each worker on; return the pause.

        Raises:
            StoreError: it could not be stored, and deliveries go on.
        """
        job = partial(pauses.begin_pause, peer=peer.id, reason=reason, now=self._clock.time())
        pause = await self._store.write(job, about=(job_keys.destination(peer.id),))
        # Order: after the commit, so that no worker waits for a pause that is not stored.
        self._wakeups.pause(peer.id, pause)
        log.info("peer.paused", peer=peer.name, reason=reason)
        return pause

    async def resume(self, peer: Peer, reason: str) -> bool:
        """Have what waits sent; return False where nothing was paused.

        Raises:
            StoreError: it could not be stored, and deliveries stay paused.
        """
        job = partial(pauses.end_pause, peer=peer.id, reason=reason, now=self._clock.time())
        was_paused = await self._store.write(job, about=(job_keys.destination(peer.id),))
        self._wakeups.resume(peer.id)
        if was_paused:
            log.info("peer.resumed", peer=peer.name, reason=reason)
        return was_paused
