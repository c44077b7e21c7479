"""Keeps each peer's copy of our state up to date, by a cursor over the change sequence.

One round: (1) read how far the peer is, (2) make the next parcels that lie behind, (3) send them one after the other,
(4) move the cursor when the last one is acknowledged. A peer without a cursor, and one that contradicts us (009), gets
fullLoads. Nothing is queued: what was superseded before it was sent is never sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog

from p2p_oicp.clock import Clock
from p2p_oicp.delivery.backoff import Backoff
from p2p_oicp.delivery.bells import Bell
from p2p_oicp.delivery.courier import Courier
from p2p_oicp.errors import PeerBusy, PeerError, PeerRejected, StoreError
from p2p_oicp.oicp import Acknowledgement
from p2p_oicp.oicp.operation import Operation
from p2p_oicp.peers import Peer
from p2p_oicp.storage import Store, Transaction, cursors, destinations

log = structlog.get_logger(__name__)

_CONTRADICTION = "009"


@dataclass(frozen=True, slots=True)
class Parcel:
    """One push to send: the sender's id for the path, and the body."""

    party: str
    body: bytes


class StateKind(Protocol):
    """One kind of replicated state (statuses, EVSE data, ...)."""

    name: str
    operation: Operation

    async def behind(self, store: Store, cursor: int | None) -> tuple[Sequence[Parcel], int | None]:
        """Return what brings a copy at ``cursor`` forward, and where it then stands.

        A ``cursor`` of None is a peer without a copy; a new place of None says that nothing is behind.
        """


class Replicator:
    """Replicates one kind of state to one peer; at most one request is in flight."""

    def __init__(
        self, peer: Peer, kind: StateKind, *, store: Store, courier: Courier, bell: Bell, clock: Clock, backoff: Backoff
    ) -> None:
        self._peer = peer
        self._kind = kind
        self._store = store
        self._courier = courier
        self._bell = bell
        self._clock = clock
        self._backoff = backoff
        self._destination = bell.destination

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                pause = await self._round()
            except StoreError as error:
                log.warning("replication.store_failed", peer=self._peer.name, error=str(error))
                pause = self._backoff.after_a_store_failure
            if pause is None or pause > 0:
                await self._bell.wait(pause)

    async def _round(self) -> float | None:
        now = self._clock.time()
        health = await self._store.write(lambda tx: destinations.health(tx, self._destination))
        if now < health.next_try_at <= now + self._backoff.longest:
            return health.next_try_at - now
        rows = await self._store.read(cursors.GET, peer_=self._peer.name, kind_=self._kind.name)
        cursor = rows[0]["change"] if rows else None
        parcels, reached = await self._kind.behind(self._store, cursor)
        if reached is None:
            return None
        try:
            await self._send_all(parcels)
        except PeerError as error:
            return await self._store.write(partial(self._failed, error=error, had_copy=cursor is not None))
        await self._store.write(lambda tx: self._reached(tx, reached))
        log.info("replication.sent", peer=self._peer.name, kind=self._kind.name, parcels=len(parcels), change=reached)
        return 0.0

    async def _send_all(self, parcels: Sequence[Parcel]) -> None:
        """Send them in order; what the peer refuses of one operator costs the others nothing, and is tried again."""
        refused: PeerRejected | None = None
        for parcel in parcels:
            try:
                await self._send(parcel)
            except PeerRejected as error:
                if error.code == _CONTRADICTION:
                    raise
                log.warning("replication.refused", peer=self._peer.name, party=parcel.party, error=str(error))
                refused = refused or error
        if refused is not None:
            raise refused

    async def _send(self, parcel: Parcel) -> None:
        operation = self._kind.operation
        reply = await self._courier.call(self._peer, operation, parcel.party, parcel.body, deadline=operation.deadline)
        answer = reply.message
        if not isinstance(answer, Acknowledgement) or not answer.result:
            code = str(getattr(getattr(answer, "status_code", None), "code", "")) or None
            reason = f"refused {operation.name} with {code or 'no status code'}"
            raise PeerRejected(self._peer.name, reason, http_status=reply.http_status, code=code)

    def _reached(self, tx: Transaction, change: int) -> None:
        cursors.move(tx, self._peer.name, self._kind.name, change)
        destinations.answered(tx, self._destination, self._clock.time())

    def _failed(self, tx: Transaction, error: PeerError, *, had_copy: bool) -> float:
        """Note the failure; return the pause. A contradiction costs no pause: the fullLoad goes out at once."""
        if isinstance(error, PeerRejected) and error.code == _CONTRADICTION and had_copy:
            log.warning("replication.contradiction", peer=self._peer.name, kind=self._kind.name, error=str(error))
            cursors.forget(tx, self._peer.name, self._kind.name)
            return 0.0
        failures = destinations.health(tx, self._destination).failures + 1
        asked = error.retry_after if isinstance(error, PeerBusy) else None
        pause = max(self._backoff.wait(failures), min(asked or 0.0, self._backoff.longest))
        log.info("replication.postponed", peer=self._peer.name, kind=self._kind.name, error=str(error), pause=pause)
        destinations.failed(tx, self._destination, failures, self._clock.time() + pause, str(error))
        return pause
