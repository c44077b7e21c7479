"""Webhooks: events that are sent to a receiver as they happen, each at least once, in their order.

**Position.** A receiver's position in the event log is stored, and moves in the transaction that records that it has
taken a request. So an event is never copied, a receiver that is away delays nobody else, and after a crash what was
sent and not yet recorded is sent again, with the same ids.
**Failures.** As of an outbox: backoff, persisted, shown by ``status`` as that of the channel ``events``.
**Refusals for good** (HTTP 400, 413, 415, 422). A list is sent again in halves, until the event that is meant stands
alone: that one becomes a dead letter of the outbox, and the rest goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import structlog

from p2p_oicp.client.replies import raise_for_status
from p2p_oicp.client.transport import HttpTransport, OutboundRequest
from p2p_oicp.clock import Clock
from p2p_oicp.config.webhooks import WebhookSettings
from p2p_oicp.crypto.signers import MessageSigner
from p2p_oicp.delivery.channel_log import ChannelLog
from p2p_oicp.delivery.wakeup import DestinationWakeup, ExponentialBackoff, WakeupRegistry
from p2p_oicp.errors import FailureCause, PeerBusy, PeerError, PeerProtocolError, PeerRejected, StoreError
from p2p_oicp.events.cloud_events import BATCH_TYPE, SINGLE_TYPE, EncodedEvent, as_batch, encode_event, encode_missed
from p2p_oicp.events.feed import EventFeed, EventSubscription
from p2p_oicp.events.view import EventFilter
from p2p_oicp.storage import Store, Transaction, job_keys, peer_state, webhooks
from p2p_oicp.storage.cdrs import Verdict
from p2p_oicp.storage.outbox import OutboxMessage

log = structlog.get_logger(__name__)

# Refusals of what was sent; any other error status is that of a receiver that is not as it should be, and passes.
_REFUSALS = frozenset({400, 413, 415, 422})
# A position that moves over events of which none is selected is written so seldom.
_MAX_UNRECORDED_EVENTS = 1000
_IDLE_SECONDS = 60.0


def filter_of(settings: WebhookSettings) -> EventFilter:
    """Return which events a webhook selects. Raises ValueError."""
    return EventFilter.of(types=settings.types, peers=settings.peers, parties=settings.parties, evses=settings.evses)


class WebhookParts(NamedTuple):
    """What all webhooks of a node share.

    Attributes:
        feed: of the events.
        source: the attribute ``source`` of all CloudEvents.
        store: for positions, dead letters and health.
        transport: sends requests; it follows no redirects.
        signer: signs them with this node's present key; None: nothing is signed.
        wakeups: wake the workers.
        clock: the time.
        backoff: the waits after failures.
    """

    feed: EventFeed
    source: str
    store: Store
    transport: HttpTransport
    signer: MessageSigner | None
    wakeups: WakeupRegistry
    clock: Clock
    backoff: ExponentialBackoff


class WebhookTarget:
    """Sends CloudEvents to one receiver; what its outbox has, which are dead letters, it sends as well.

    Args:
        settings: of the receiver.
        parts: see there.
    """

    def __init__(self, settings: WebhookSettings, parts: WebhookParts) -> None:
        self.name = settings.destination
        self.settings = settings
        self._transport = parts.transport
        self._signer = parts.signer
        self._clock = parts.clock

    def __repr__(self) -> str:
        return f"<WebhookTarget {self.name!r}>"

    async def post(self, events: Sequence[bytes]) -> None:
        """Send events in one request; a webhook without lists gets one at a time.

        Raises:
            PeerRejected: it refuses them for good.
            PeerError: it has not taken them.
        """
        settings, is_batch = self.settings, self.settings.batch > 1
        body, content_type = (as_batch(events), BATCH_TYPE) if is_batch else (events[0], SINGLE_TYPE)
        headers: dict[str, str] = {}
        if settings.signature and self._signer is not None:
            sign = self._signer.sign_for_anyone
            headers |= sign(method="POST", url=settings.url, body=body, content_type=content_type)
        if settings.token is not None:
            headers["Authorization"] = f"Bearer {settings.token.get_secret_value()}"
        headers["Content-Type"] = content_type
        response = await self._transport.send(
            OutboundRequest("POST", settings.url, body, settings.timeout, self.name, headers)
        )
        try:
            raise_for_status(response, now=self._clock.time(), is_oicp=False)
        except PeerRejected as error:
            if error.http_status in _REFUSALS:
                raise
            raise PeerProtocolError(self.name, error.reason) from error

    async def send(self, message: OutboxMessage) -> Verdict | None:
        await self.post([message.body])
        return None

    def on_delivered(self, tx: Transaction, message: OutboxMessage, verdict: Verdict | None, now: float) -> None:
        """Do nothing more: the event has arrived."""

    def on_dead(self, tx: Transaction, message: OutboxMessage, error: PeerRejected, now: float) -> None:
        """Do nothing more: the event is a dead letter again."""

    def on_ended(self, message: OutboxMessage) -> None:
        """Do nothing: nobody waits for it."""


class WebhookSender:
    """Sends one receiver what happens; a background task for a `TaskSupervisor`.

    Args:
        target: the receiver.
        position: the number of the last event that it has.
        wakeup: has a person's wish to try again; its ``destination`` is that of the events.
        parts: see there.
    """

    def __init__(self, target: WebhookTarget, position: int, *, wakeup: DestinationWakeup, parts: WebhookParts) -> None:
        self._target = target
        self._wakeup = wakeup
        self._keys = (job_keys.destination(target.name),)
        self._feed = parts.feed
        self._source = parts.source
        self._store = parts.store
        self._clock = parts.clock
        self._backoff = parts.backoff
        self._filter = filter_of(target.settings)
        self._channel_log = ChannelLog(log.bind(destination=target.name), parts.clock)
        self._limit = target.settings.batch
        self._pending: list[EncodedEvent] = []
        self._subscription: EventSubscription | None = None
        #: The number of the last event that is recorded as sent.
        self.position = position
        #: Why the last request failed; None if it did not.
        self.last_error: PeerError | None = None

    def __repr__(self) -> str:
        return f"<WebhookSender to={self._target.name!r} position={self.position} pending={len(self._pending)}>"

    async def behind(self) -> int:
        """Return how many events its receiver has not got yet; those that are not read yet may be none for it."""
        read = self.position if self._subscription is None else self._subscription.position
        return max(0, await self._feed.last_number() - read) + len(self._pending)

    async def run(self) -> None:
        self._pending.clear()
        with self._feed.subscribe_after(self._filter, self.position) as subscription:
            self._subscription = subscription
            while not subscription.is_ended:
                try:
                    delay = await self._send_next(subscription)
                except StoreError as error:
                    log.warning("webhook.store_failed", destination=self._target.name, error=error)
                    delay = self._backoff.store_error_delay
                if delay:
                    await self._wakeup.wait(delay)

    async def _send_next(self, subscription: EventSubscription) -> float:
        """Send what is there next; return the seconds to wait before the next attempt."""
        if delay := await self._circuit_delay():
            return delay
        await self._collect(subscription)
        batch = self._pending[: self._limit]
        if not batch:
            # Or the events in between, once deleted, would count as missed.
            if subscription.position > self.position:
                await self._record(subscription.position)
            return 0.0
        try:
            await self._target.post([event.body for event in batch])
        except PeerRejected as error:
            return await self._divide(batch, error)
        except PeerError as error:
            return await self._postpone(error)
        await self._move_on(batch, subscription)
        return 0.0

    async def _circuit_delay(self) -> float:
        now = self._clock.time()
        next_try_at = (await peer_state.health_now(self._store, self._wakeup.destination)).next_try_at
        # A time further ahead than any backoff means that the clock was set back.
        return next_try_at - now if now < next_try_at <= now + self._backoff.max_delay else 0.0

    async def _collect(self, subscription: EventSubscription) -> None:
        """Wait for an event that is selected, and take what is there besides."""
        while len(self._pending) < self._limit:
            new = await subscription.read(0.0 if self._pending else _IDLE_SECONDS)
            if new is None:
                return
            if new.missed is not None:
                self._pending.append(encode_missed(new.missed, self._source, new.chunk.first - 1))
            selected = new.chunk.selected(subscription.filter, new.after)
            self._pending += (encode_event(event, self._source) for event in selected)
            if not selected and subscription.position - self.position >= _MAX_UNRECORDED_EVENTS:
                return

    async def _move_on(self, batch: Sequence[EncodedEvent], subscription: EventSubscription) -> None:
        del self._pending[: len(batch)]
        self.last_error = None
        # What follows the last one and is not selected need not be read again.
        await self._record(batch[-1].number if self._pending else subscription.position, is_success=True)
        self._channel_log.record_success()
        self._limit = min(self._target.settings.batch, 2 * self._limit)

    async def _record(self, position: int, *, is_success: bool = False) -> None:
        def job(tx: Transaction) -> None:
            webhooks.set_position(tx, self._target.settings.name, position)
            if is_success:
                peer_state.mark_success(tx, self._wakeup.destination, self._clock.time())

        await self._store.write(job, about=self._keys)
        self.position = position

    async def _divide(self, batch: Sequence[EncodedEvent], error: PeerRejected) -> float:
        """Have fewer events sent, or make the one that was refused a dead letter."""
        if len(batch) > 1:
            self._limit = len(batch) // 2
            return 0.0
        await self._store.write(partial(self._add_dead_letter, event=batch[0], error=error), about=self._keys)
        log.warning("webhook.dead_lettered", destination=self._target.name, event_id=batch[0].id, error=str(error))
        self.position, self.last_error = batch[0].number, None
        del self._pending[0]
        self._channel_log.record_success()
        return 0.0

    def _add_dead_letter(self, tx: Transaction, event: EncodedEvent, error: PeerRejected) -> None:
        now = self._clock.time()
        webhooks.add_dead_letter(
            tx,
            destination=self._target.name,
            event_id=event.id,
            body=event.body,
            error=error.reason,
            cause=FailureCause.MESSAGE_REFUSED,
            now=now,
        )
        webhooks.set_position(tx, self._target.settings.name, event.number)
        # A refusal is an answer: the receiver is up.
        peer_state.mark_success(tx, self._wakeup.destination, now)

    async def _postpone(self, error: PeerError) -> float:
        self.last_error = error
        delay = await self._store.write(partial(self._mark_failure, error=error), about=self._keys)
        self._channel_log.record_failure(error, next_try_in=delay)
        return delay

    def _mark_failure(self, tx: Transaction, error: PeerError) -> float:
        now, destination = self._clock.time(), self._wakeup.destination
        requested_delay = error.retry_after if isinstance(error, PeerBusy) else None
        failures = peer_state.health(tx, destination).failures + 1
        delay = max(self._backoff.delay(failures), min(requested_delay or 0.0, self._backoff.max_delay))
        peer_state.mark_failure(tx, destination, failures, now + delay, error, now=now)
        return delay
