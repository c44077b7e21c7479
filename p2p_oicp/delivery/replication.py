"""Groups that a peer refuses: each is tried again after a pause of its own, and holds up no other group.

Keeps each peer's copy of our state up to date, by a cursor a group over the change sequence.

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
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import structlog

from p2p_oicp.client.peer_client import PeerClient
from p2p_oicp.clock import Clock
from p2p_oicp.delivery.change_batches import BatchPlanner, ChangeBatch, DatasetCodec, PushRequest, SnapshotTransfer
from p2p_oicp.delivery.wakeup import ExponentialBackoff, Wakeup
from p2p_oicp.errors import PeerBusy, PeerError, PeerRejected, StoreError
from p2p_oicp.oicp import Acknowledgement
from p2p_oicp.peers import Peer
from p2p_oicp.storage import Store, Transaction, peer_state

# What the peer does not offer today, it will not offer in a minute either.
_NOT_OFFERED_CODES = frozenset({"210", "320"})
_NOT_OFFERED_DELAY_SECONDS = 3600.0


@dataclass(slots=True)
class _GroupFailures:
    count: int = 0
    retry_at: float = 0.0


class GroupBackoff:
    """What one peer refuses of one kind of state."""

    def __init__(self, backoff: ExponentialBackoff, clock: Clock) -> None:
        self._backoff = backoff
        self._clock = clock
        self._by_group: dict[str, _GroupFailures] = {}

    def record_refusal(self, group: str, error: PeerRejected) -> None:
        """Take note of a refusal."""
        failures = self._by_group.setdefault(group, _GroupFailures())
        failures.count += 1
        is_final = error.code in _NOT_OFFERED_CODES
        delay = _NOT_OFFERED_DELAY_SECONDS if is_final else self._backoff.delay(failures.count)
        failures.retry_at = self._clock.monotonic() + delay

    def reset(self, group: str) -> None:
        """Take note that a group is accepted."""
        self._by_group.pop(group, None)

    def suspended(self) -> set[str]:
        """Return the groups that are not to be tried yet."""
        now = self._clock.monotonic()
        return {group for group, failures in self._by_group.items() if failures.retry_at > now}

    def next_retry_delay(self) -> float | None:
        """Return the seconds until a group may be tried again, None if none was refused."""
        if not self._by_group:
            return None
        return max(0.01, min(failures.retry_at for failures in self._by_group.values()) - self._clock.monotonic())


log = structlog.get_logger(__name__)

_DATA_TRANSACTION_ERROR = "009"
_CONTENT_TOO_LARGE = 413
# At 500 changes a second, ten peers and a request a change, a node came no further than 230 (docs/performance.md).
_COALESCE_SECONDS = 0.2


class DatasetReplicator:
    """Replicates one kind of state to one peer; at most one request is in flight."""

    def __init__(
        self,
        peer: Peer,
        codec: DatasetCodec,
        *,
        store: Store,
        client: PeerClient,
        wakeup: Wakeup,
        clock: Clock,
        backoff: ExponentialBackoff,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._peer = peer
        self._codec = codec
        self._store = store
        self._client = client
        self._wakeup = wakeup
        self._clock = clock
        self._backoff = backoff
        self._destination = wakeup.destination
        self._planner = BatchPlanner(peer, codec, store)
        self._batch: ChangeBatch | None = None
        self._snapshot: SnapshotTransfer | None = None
        self._group_backoff = GroupBackoff(backoff, clock)
        self._peer_epoch: int | None = None
        self._sleep = sleep
        self._next_delta_at = 0.0
        self._log = log.bind(peer=peer.name, dataset=codec.dataset.name.lower())

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            if (remaining := self._next_delta_at - self._clock.monotonic()) > 0:
                await self._sleep(remaining)
            try:
                delay = await self._replicate_once()
            except StoreError as error:
                self._log.warning("replication.store_failed", error=str(error))
                delay = self._backoff.store_error_delay
            if delay is None or delay > 0:
                await self._wakeup.wait(delay)

    async def _replicate_once(self) -> float | None:
        """Send one shipment; return the seconds until there may be more to do, None if nothing is behind."""
        now = self._clock.time()
        health = peer_state.health_now(self._store, self._destination)
        peer_epoch = peer_state.peer_epoch_now(self._store, self._peer.name)
        if peer_epoch != self._peer_epoch:  # what was on its way was meant for a store that is gone
            self._batch, self._snapshot, self._peer_epoch = None, None, peer_epoch
        if now < health.next_try_at <= now + self._backoff.max_delay:
            return health.next_try_at - now
        if self._batch is None:
            self._batch = await self._next_batch()
        batch = self._batch
        if batch is None:
            return self._group_backoff.next_retry_delay()
        try:
            await self._send_batch(batch)
        except PeerError as error:
            return await self._store.write(partial(self._handle_failure, batch=batch, error=error))
        self._batch = None
        await self._store.write(lambda tx: self._advance_cursor(tx, batch))
        if batch.is_delta:
            self._next_delta_at = self._clock.monotonic() + _COALESCE_SECONDS
        return 0.0

    async def _next_batch(self) -> ChangeBatch | None:
        if self._snapshot is None:
            planned = await self._planner.next_batch(excluded_groups=self._group_backoff.suspended())
            if not isinstance(planned, SnapshotTransfer):
                return planned
            self._snapshot = planned
        return await self._planner.next_snapshot_chunk(self._snapshot)

    async def _send_batch(self, batch: ChangeBatch) -> None:
        """Send the parcels in their order; what is acknowledged is never sent again."""
        requests = batch.requests
        while requests:
            request = requests[0]
            try:
                await self._send_request(request)
            except PeerRejected as error:
                fallback = request.fallback_after_conflict() if error.code == _DATA_TRANSACTION_ERROR else None
                if fallback is None:
                    raise
                self._log.info("replication.conflict_fallback", action=request.action, group=request.party)
                requests.popleft()
                requests.extendleft(reversed(fallback))
                continue
            except PeerError as error:
                request.may_have_arrived |= error.may_have_arrived
                raise
            requests.popleft()
            batch.partially_sent = True

    async def _send_request(self, request: PushRequest) -> None:
        operation = self._codec.operation
        body = request.body()
        reply = await self._client.call(self._peer, operation, request.party, body, deadline=operation.deadline)
        acknowledgement = reply.message
        if not isinstance(acknowledgement, Acknowledgement) or not acknowledgement.result:
            code = str(getattr(getattr(acknowledgement, "status_code", None), "code", "")) or None
            reason = f"refused {operation.name} with {code or 'no status code'}"
            raise PeerRejected(self._peer.name, reason, http_status=reply.http_status, code=code)

    def _advance_cursor(self, tx: Transaction, batch: ChangeBatch) -> None:
        if peer_state.peer_epoch(tx, self._peer.name) != self._peer_epoch:
            return
        if self._snapshot is not None:
            self._snapshot.sent_count += batch.record_count
            if batch.cursor_after is not None:
                self._snapshot = None
        self._group_backoff.reset(batch.group)
        if batch.cursor_after is not None:
            self._planner.mark_in_sync(batch.group)
            peer_state.set_cursor(tx, self._peer.name, self._codec.dataset, batch.group, batch.cursor_after)
        peer_state.mark_success(tx, self._destination, self._clock.time())
        self._log.info("replication.sent", group=batch.group, records=batch.record_count, change=batch.cursor_after)

    def _handle_failure(self, tx: Transaction, batch: ChangeBatch, error: PeerError) -> float:
        """Note the failure; return the pause. A contradiction costs no pause: the fullLoad goes out at once."""
        if isinstance(error, PeerRejected):
            if batch.may_be_partially_applied:
                self._planner.mark_uncertain(batch.group)
            self._batch = None
            if error.http_status == _CONTENT_TOO_LARGE and self._planner.halve_batch_size():
                return 0.0
            if error.code == _DATA_TRANSACTION_ERROR and batch.is_delta:
                self._log.warning("replication.conflict", group=batch.group, error=str(error))
                self._planner.request_snapshot(batch.group)
                return 0.0
            self._snapshot = None
            self._group_backoff.record_refusal(batch.group, error)
            self._log.warning("replication.refused", group=batch.group, error=str(error), code=error.code)
            return 0.0  # what the peer refuses of one group costs the others nothing
        if not batch.may_be_partially_applied:
            self._batch = None  # nothing of it has arrived: what is newest then is sent instead
        return self._record_failure(tx, error)

    def _record_failure(self, tx: Transaction, error: PeerError) -> float:
        failures = peer_state.health(tx, self._destination).failures + 1
        requested_delay = error.retry_after if isinstance(error, PeerBusy) else None
        delay = max(self._backoff.delay(failures), min(requested_delay or 0.0, self._backoff.max_delay))
        self._log.info("delivery.retry_scheduled", error=str(error), pause=delay)
        peer_state.mark_failure(tx, self._destination, failures, self._clock.time() + delay, error)
        return delay
