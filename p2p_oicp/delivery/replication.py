"""Replication of datasets to one target, by a cursor per group over the node's change sequence.

**One round.** (1) Find a group whose cursor lags behind, (2) plan the pushes that bring the copy up to date
(`change_batches`), (3) send them one after the other, (4) move the cursor when the last one is acknowledged. Nothing is
queued: what is superseded before it was sent is never sent. A group without a cursor gets a snapshot: a fullLoad, and
inserts where it is large.

**Coalescing.** A change after a silence goes out at once; further changes are collected for a moment, so that a burst
costs each peer a few requests a second, not one per change.

**Which action is safe?** A push is all or nothing, so after a lost response the same push is sent again, byte for byte:
our own nodes recognize it by its bytes. Elsewhere an insert may then fail with "exists already" (009): it is sent once
more as an update. An update that fails with "does not exist" means that the peer has lost something: the group gets a
snapshot.

**Failures.** A refusal suspends only the refused group (`wakeup.GroupBackoff`); any other error delays all groups of
the dataset by the target's persisted backoff.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

import structlog

from p2p_oicp.backends import DatasetReceiver
from p2p_oicp.client import PeerClient, raise_for_refused_push
from p2p_oicp.clock import Clock
from p2p_oicp.delivery.change_batches import (
    MAX_PUSH_BYTES,
    BatchPlanner,
    ChangeBatch,
    DatasetCodec,
    PushRequest,
    SnapshotTransfer,
)
from p2p_oicp.delivery.channel_log import ChannelLog
from p2p_oicp.delivery.wakeup import DestinationWakeup, ExponentialBackoff, GroupBackoff
from p2p_oicp.errors import FailureCause, PeerBusy, PeerError, PeerRejected, StoreError
from p2p_oicp.oicp.enums import StatusCodeValue
from p2p_oicp.oicp.operations import Operation
from p2p_oicp.peering.agreements import PartyAgreements
from p2p_oicp.peers import Peer
from p2p_oicp.storage import Store, Transaction, job_keys, peer_state
from p2p_oicp.storage.datasets.change_feed import ReplicaScope
from p2p_oicp.storage.datasets.models import DatasetKind

log = structlog.get_logger(__name__)

# The sender in the path is nobody whom the peer knows, or none of ours that it has agreed to (RULES L18).
_NOT_AGREED_CODES = frozenset({StatusCodeValue.UNAUTHORIZED_ACCESS, StatusCodeValue.PARTNER_NOT_FOUND})
# At 500 changes a second, ten peers and a request a change, a node came no further than 230 (docs/performance.md).
_COALESCE_SECONDS = 0.2


class DatasetTarget(Protocol):
    """Whom a dataset is replicated to.

    Attributes:
        name: its name for people.
        max_push_bytes: how large a push to it may be, at first.
    """

    name: str
    max_push_bytes: int

    async def push(self, operation: Operation, request: PushRequest) -> None:
        """Send one push; raises PeerError, and PeerRejected where it is refused."""

    def accepts_more(self) -> bool:
        """Return whether it may accept by now what it has refused before; once for each such change."""


class PeerDatasetTarget:
    """A peer, reached by its peer API.

    Args:
        peer: the peer.
        client: sends the pushes.
        agreements: is told of parties that the peer takes nothing of.
    """

    def __init__(self, peer: Peer, client: PeerClient, agreements: PartyAgreements) -> None:
        self.name = peer.name
        self.max_push_bytes = MAX_PUSH_BYTES
        self._peer = peer
        self._client = client
        self._agreements = agreements
        self._version = agreements.versions.get(peer.id)

    def accepts_more(self) -> bool:
        previous, self._version = self._version, self._agreements.versions.get(self._peer.id)
        return self._version != previous

    async def push(self, operation: Operation, request: PushRequest) -> None:
        try:
            await self._push(operation, request)
        except PeerRejected as error:
            if error.code in _NOT_AGREED_CODES:
                self._agreements.record_refusal(self._peer, request.party, error.reason)
            raise
        if self._agreements.unagreed.get(self._peer.id):
            self._agreements.record_accepted(self._peer, request.party)

    async def _push(self, operation: Operation, request: PushRequest) -> None:
        reply = await self._client.call(
            self._peer, operation, request.party, request.body(), deadline=operation.deadline
        )
        raise_for_refused_push(self._peer.name, operation, reply)


class BackendDatasetTarget:
    """One of our own backends."""

    def __init__(self, name: str, receiver: DatasetReceiver) -> None:
        self.name = name
        self.max_push_bytes = MAX_PUSH_BYTES
        self._receiver = receiver

    def accepts_more(self) -> bool:
        return False

    async def push(self, operation: Operation, request: PushRequest) -> None:
        await self._receiver.push(operation, request.party, request.body())


class DatasetReplicator:
    """Replicates one dataset to one target, one request at a time; a background task for a `TaskSupervisor`.

    Args:
        scope: whose copy it is, and what it has.
        codec: the wire format of the dataset.
        store: has the records and the cursors.
        target: how the peer is reached.
        wakeup: is notified when records change; its ``destination`` is the key of the persisted health.
        clock: for due times and the backoff.
        backoff: the waits after failures.
        sleep: waits while changes are collected; a test replaces it.
    """

    def __init__(
        self,
        scope: ReplicaScope,
        codec: DatasetCodec,
        *,
        store: Store,
        target: DatasetTarget,
        wakeup: DestinationWakeup,
        clock: Clock,
        backoff: ExponentialBackoff,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._scope = scope
        self._codec = codec
        self._store = store
        self._target = target
        self._wakeup = wakeup
        self._clock = clock
        self._backoff = backoff
        self._destination = wakeup.destination
        self._keys = (job_keys.destination(self._destination.peer),)
        self._planner = BatchPlanner(scope, codec, store, target.max_push_bytes)
        self._batch: ChangeBatch | None = None
        self._snapshot: SnapshotTransfer | None = None
        self._group_backoff = GroupBackoff(backoff, clock)
        self._retries = wakeup.retries
        self._peer_epoch: int | None = None
        self._sleep, self._next_delta_at = sleep, 0.0
        self._has_moved_view = self._view_is_recorded = False
        self._log = log.bind(peer=target.name, dataset=codec.dataset.name.lower())
        self._channel_log = ChannelLog(self._log, clock)

    def __repr__(self) -> str:
        pending = f" pending={len(self._batch.requests)}" if self._batch else ""
        return f"<DatasetReplicator {self._codec.dataset.name} to={self._target.name!r}{pending} {self._wakeup!r}>"

    async def run(self) -> None:
        while True:
            if (remaining := self._next_delta_at - self._clock.monotonic()) > 0:
                await self._sleep(remaining)
            try:
                delay = None if self._wakeup.is_paused else await self._replicate_once()
            except StoreError as error:
                self._log.warning("replication.store_failed", error=error)
                delay = self._backoff.store_error_delay
            if delay is None or delay > 0:
                await self._wakeup.wait(delay)

    async def _replicate_once(self) -> float | None:
        """Send one batch; return the seconds until there may be more to do, None if nothing lags behind."""
        now = self._clock.time()
        health = await peer_state.health_now(self._store, self._destination)
        peer_epoch = await peer_state.peer_epoch_now(self._store, self._scope.peer)
        # The peer has another database than the batch was planned for; `record_peer_epochs` has reset its cursors.
        if peer_epoch != self._peer_epoch:
            self._batch, self._snapshot, self._peer_epoch = None, None, peer_epoch
        self._resume_if_requested()
        # A time further ahead than any backoff means that the clock was set back, and does not count.
        if now < health.next_try_at <= now + self._backoff.max_delay:
            return health.next_try_at - now
        if self._batch is None:
            self._batch = await self._next_batch()
        batch = self._batch
        if batch is None:
            await self._record_view()
            return self._group_backoff.next_retry_delay()
        try:
            await self._send_batch(batch)
        except PeerError as error:
            return await self._handle_failure(batch, error)
        # Order: forgotten before the cursor is stored, so that after a store error the batch is planned anew.
        self._batch = None
        if await self._store.write(partial(self._store_progress, batch=batch), about=self._keys):
            self._advance(batch)
        self._channel_log.record_success()
        self._notify_moved_view()
        if batch.is_delta:
            self._next_delta_at = self._clock.monotonic() + _COALESCE_SECONDS
        return 0.0

    def _notify_moved_view(self) -> None:
        # Order: after the commit, or the others would look before their cursors are stale, and sleep on.
        if self._has_moved_view and self._scope.view is not None:
            self._has_moved_view = False
            self._scope.view.on_moved()

    def _resume_if_requested(self) -> None:
        """Let refused groups be tried again, if a person has said so since the last round."""
        if self._wakeup.retries != self._retries:
            self._retries = self._wakeup.retries
            self._group_backoff.resume_all()

    async def _record_view(self) -> None:
        """Store by which view the copy is made, once all of it is."""
        view = self._scope.view
        if self._view_is_recorded or view is None or self._group_backoff.has_suspended:
            return
        job = partial(peer_state.set_published_filter, destination=self._destination, text=view.text)
        await self._store.write(job, about=self._keys)
        self._view_is_recorded = True

    async def _next_batch(self) -> ChangeBatch | None:
        if self._target.accepts_more():
            self._group_backoff.resume_all()
        if self._snapshot is None:
            planned = await self._planner.next_batch(self._group_backoff.is_suspended)
            if not isinstance(planned, SnapshotTransfer):
                return planned
            self._snapshot = planned
        return await self._planner.next_snapshot_chunk(self._snapshot)

    async def _send_batch(self, batch: ChangeBatch) -> None:
        """Send the pushes in their order; an acknowledged push is never sent again."""
        requests = batch.requests
        while requests:
            request = requests[0]
            try:
                await self._target.push(self._codec.operation, request)
            except PeerRejected as error:
                is_conflict = error.code == StatusCodeValue.DATA_TRANSACTION_ERROR
                fallback = request.fallback_after_conflict() if is_conflict else None
                if fallback is None:
                    raise
                self._log.info("replication.conflict_fallback", action=request.action, group=request.party)
                requests.popleft()
                requests.extendleft(reversed(fallback))
                continue
            except PeerError as error:
                request.record_failure(error)
                raise
            batch.acknowledge_first()

    def _store_progress(self, tx: Transaction, batch: ChangeBatch) -> bool:
        """Move the cursor; return False where the peer has lost its database while the batch was on its way."""
        # Invariant: no cursor is set for a database that is lost.
        if peer_state.peer_epoch(tx, self._scope.peer) != self._peer_epoch:
            return False
        now = self._clock.time()
        peer_state.mark_group_accepted(tx, self._destination, batch.cursor_key, now)
        if batch.is_withdrawal:
            peer_state.delete_group_cursors(tx, self._scope.peer, self._codec.dataset, batch.group)
        elif batch.cursor_after is not None:
            peer_state.set_cursor(tx, self._scope.peer, self._codec.dataset, batch.cursor_key, batch.cursor_after)
        if self._moves_view_of_others(batch):
            for dataset in (DatasetKind.EVSE_STATUS, DatasetKind.EVSE_PRICING):
                peer_state.mark_stale(tx, self._scope.peer, dataset)
        peer_state.mark_success(tx, self._destination, now)
        return True

    def _moves_view_of_others(self, batch: ChangeBatch) -> bool:
        return batch.moves_view and self._scope.view is not None and self._scope.view.follows_evse_data

    def _advance(self, batch: ChangeBatch) -> None:
        """Go on behind a batch whose progress is stored."""
        if self._snapshot is not None:
            self._snapshot.count_sent(batch.record_count)
            if batch.cursor_after is not None:
                self._snapshot = None
        self._group_backoff.reset(batch.cursor_key)
        if not batch.is_withdrawal and batch.cursor_after is not None:
            (self._planner.mark_in_sync if batch.is_complete else self._planner.mark_uncertain)(batch.cursor_key)
        self._has_moved_view |= self._moves_view_of_others(batch)
        self._log.info("replication.sent", group=batch.group, records=batch.record_count, change=batch.cursor_after)

    async def _handle_failure(self, batch: ChangeBatch, error: PeerError) -> float:
        """Record a failure; return the seconds to wait, 0 where other pushes can be sent at once."""
        if isinstance(error, PeerRejected) or error.cause is FailureCause.BODY_TOO_LARGE:
            if batch.may_be_partially_applied:
                self._planner.mark_uncertain(batch.cursor_key)
            self._batch = None
            # A proxy in front of the peer, which knows no codes, may refuse as well.
            if error.cause is FailureCause.BODY_TOO_LARGE and self._planner.halve_batch_size():
                return 0.0
            code = error.code if isinstance(error, PeerRejected) else None
            if code == StatusCodeValue.DATA_TRANSACTION_ERROR and batch.is_delta:
                self._log.warning("replication.conflict", group=batch.group, error=str(error))
                self._planner.request_snapshot(batch.cursor_key)
                return 0.0
            self._snapshot = None
            await self._suspend_group(batch, error)
            return 0.0  # a refusal of one group does not delay the others
        if not batch.may_be_partially_applied:
            self._batch = None  # nothing of it arrived: the newest state by then is sent instead
        delay = await self._store.write(partial(self._record_failure, error=error), about=self._keys)
        self._channel_log.record_failure(error, next_try_in=delay)
        return delay

    async def _suspend_group(self, batch: ChangeBatch, error: PeerError) -> None:
        failures, delay = self._group_backoff.record_refusal(batch.cursor_key, batch.group_change, error)
        now = self._clock.time()
        job = partial(
            peer_state.mark_group_refused,
            destination=self._destination,
            group=batch.cursor_key,
            error=error,
            failures=failures,
            next_try_at=now + delay,
            now=now,
        )
        await self._store.write(job, about=self._keys)
        if failures == 1:
            self._log.warning("replication.refused", group=batch.group, error=str(error), cause=error.cause)

    def _record_failure(self, tx: Transaction, error: PeerError) -> float:
        failures = peer_state.health(tx, self._destination).failures + 1
        requested_delay = error.retry_after if isinstance(error, PeerBusy) else None
        delay = max(self._backoff.delay(failures), min(requested_delay or 0.0, self._backoff.max_delay))
        now = self._clock.time()
        peer_state.mark_failure(tx, self._destination, failures, now + delay, error, now=now)
        return delay
