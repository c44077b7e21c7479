"""Keeps each peer's copy of our state up to date, by a cursor a group over the change sequence.

One round: (1) find a group whose cursor lags behind, (2) make the parcels that bring the peer's copy forward, (3) send
them one after the other, (4) move the cursor when the last one is acknowledged. Nothing is queued: what was superseded
before it was sent is never sent. A group without a cursor is loaded: a fullLoad, and inserts where it is large.
A change after a silence goes out at once; what changes right after it gathers for a moment, so that a storm of changes
costs each peer a few requests a second, and not one a change.

Which action is safe? A push is all or nothing, so after a lost answer the same parcel is sent again, byte for byte:
our own nodes know it by its bytes. Elsewhere an insert may then meet "exists already" (009): it is sent once more as an
update. An update that meets "does not exist" says that the peer has lost something, and only then a fullLoad of that
group restores it.
"""

from __future__ import annotations

import asyncio
from functools import partial

import structlog

from p2p_oicp.clock import Clock
from p2p_oicp.delivery.backoff import Backoff
from p2p_oicp.delivery.bells import Bell
from p2p_oicp.delivery.courier import Courier
from p2p_oicp.delivery.refusals import Refusals
from p2p_oicp.delivery.shipments import Loading, Packer, Parcel, Shipment, StateKind
from p2p_oicp.errors import PeerBusy, PeerError, PeerRejected, StoreError
from p2p_oicp.oicp import Acknowledgement
from p2p_oicp.peers import Peer
from p2p_oicp.storage import Store, Transaction, birth, cursors, destinations

log = structlog.get_logger(__name__)

_CONTRADICTION = "009"
_TOO_LARGE = 413
# At 500 changes a second, ten peers and a request a change, a node came no further than 230 (docs/performance.md).
_GATHERING_SECONDS = 0.2


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
        self._packer = Packer(peer, kind, store)
        self._shipment: Shipment | None = None
        self._loading: Loading | None = None
        self._refusals = Refusals(backoff, clock)
        self._peers_store: int | None = None
        self._sent_at = -_GATHERING_SECONDS
        self._log = log.bind(peer=peer.name, kind=kind.kind.name.lower())

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            if (rest := self._sent_at + _GATHERING_SECONDS - self._clock.monotonic()) > 0:
                await asyncio.sleep(rest)
            try:
                pause = await self._round()
            except StoreError as error:
                self._log.warning("replication.store_failed", error=str(error))
                pause = self._backoff.after_a_store_failure
            if pause is None or pause > 0:
                await self._bell.wait(pause)

    async def _round(self) -> float | None:
        """Send one shipment; return the seconds until there may be more to do, None if nothing is behind."""
        now = self._clock.time()
        health = destinations.health_now(self._store, self._destination)
        store = birth.store_now(self._store, self._peer.name)
        if store != self._peers_store:  # what was on its way was meant for a store that is gone
            self._shipment, self._loading, self._peers_store = None, None, store
        if now < health.next_try_at <= now + self._backoff.longest:
            return health.next_try_at - now
        if self._shipment is None:
            self._shipment = await self._next_shipment()
        shipment = self._shipment
        if shipment is None:
            return self._refusals.pause()
        try:
            await self._deliver(shipment)
        except PeerError as error:
            return await self._store.write(partial(self._failed, shipment=shipment, error=error))
        self._shipment = None
        await self._store.write(lambda tx: self._reached(tx, shipment))
        if shipment.is_delta:
            self._sent_at = self._clock.monotonic()
        return 0.0

    async def _next_shipment(self) -> Shipment | None:
        if self._loading is None:
            found = await self._packer.next(but_not=self._refusals.groups())
            if not isinstance(found, Loading):
                return found
            self._loading = found
        return await self._packer.slice(self._loading)

    async def _deliver(self, shipment: Shipment) -> None:
        """Send the parcels in their order; what is acknowledged is never sent again."""
        parcels = shipment.parcels
        while parcels:
            parcel = parcels[0]
            try:
                await self._send(parcel)
            except PeerRejected as error:
                remedy = parcel.after_contradiction() if error.code == _CONTRADICTION else None
                if remedy is None:
                    raise
                self._log.info("replication.known_already", action=parcel.action, group=parcel.party)
                parcels.popleft()
                parcels.extendleft(reversed(remedy))
                continue
            except PeerError as error:
                parcel.may_have_arrived |= error.may_have_arrived
                raise
            parcels.popleft()
            shipment.begun = True

    async def _send(self, parcel: Parcel) -> None:
        operation = self._kind.operation
        body = parcel.body()
        reply = await self._courier.call(self._peer, operation, parcel.party, body, deadline=operation.deadline)
        answer = reply.message
        if not isinstance(answer, Acknowledgement) or not answer.result:
            code = str(getattr(getattr(answer, "status_code", None), "code", "")) or None
            reason = f"refused {operation.name} with {code or 'no status code'}"
            raise PeerRejected(self._peer.name, reason, http_status=reply.http_status, code=code)

    def _reached(self, tx: Transaction, shipment: Shipment) -> None:
        if birth.store_of(tx, self._peer.name) != self._peers_store:
            return
        if self._loading is not None:
            self._loading.done += shipment.records
            if shipment.reached is not None:
                self._loading = None
        self._refusals.forget(shipment.group)
        if shipment.reached is not None:
            self._packer.arrived(shipment.group)
            cursors.move(tx, self._peer.name, self._kind.kind, shipment.group, shipment.reached)
        destinations.answered(tx, self._destination, self._clock.time())
        self._log.info("replication.sent", group=shipment.group, records=shipment.records, change=shipment.reached)

    def _failed(self, tx: Transaction, shipment: Shipment, error: PeerError) -> float:
        """Note the failure; return the pause. A contradiction costs no pause: the fullLoad goes out at once."""
        if isinstance(error, PeerRejected):
            if shipment.is_under_way:
                self._packer.doubt(shipment.group)
            self._shipment = None
            if error.http_status == _TOO_LARGE and self._packer.pack_less():
                return 0.0
            if error.code == _CONTRADICTION and shipment.is_delta:
                self._log.warning("replication.contradiction", group=shipment.group, error=str(error))
                self._packer.load_next(shipment.group)
                return 0.0
            self._loading = None
            self._refusals.note(shipment.group, error)
            self._log.warning("replication.refused", group=shipment.group, error=str(error), code=error.code)
            return 0.0  # what the peer refuses of one group costs the others nothing
        if not shipment.is_under_way:
            self._shipment = None  # nothing of it has arrived: what is newest then is sent instead
        return self._pause(tx, error)

    def _pause(self, tx: Transaction, error: PeerError) -> float:
        failures = destinations.health(tx, self._destination).failures + 1
        asked = error.retry_after if isinstance(error, PeerBusy) else None
        pause = max(self._backoff.wait(failures), min(asked or 0.0, self._backoff.longest))
        self._log.info("replication.postponed", error=str(error), pause=pause)
        destinations.failed(tx, self._destination, failures, self._clock.time() + pause, error)
        return pause
