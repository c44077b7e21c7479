"""Delivery of the outbox: one dispatcher per destination, and how it reaches a peer or the own backend.

**Order.** The messages of one session are sent one after the other; different sessions side by side.
**Failures.** `PeerRejected` turns the message into a dead letter, and the next one of the session follows. An answer
that contradicts itself (`PeerContradiction`) reschedules the message alone. Any other `PeerError` reschedules it with
backoff; three in a row open the destination's circuit, which is then probed with one message at a time. Both are
persisted in the transaction that records the attempt.
**Crashes.** A crash between sending and deleting sends the message again; receivers are idempotent (RULES H4).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Protocol

import structlog

from p2p_oicp.clock import Clock
from p2p_oicp.delivery.channel_log import ChannelLog
from p2p_oicp.delivery.wakeup import CIRCUIT_BREAKER_THRESHOLD, DestinationWakeup, ExponentialBackoff
from p2p_oicp.errors import (
    FailureCause,
    PeerBusy,
    PeerContradiction,
    PeerError,
    PeerProtocolError,
    PeerRejected,
    StoreError,
)
from p2p_oicp.storage import Store, Transaction, job_keys, outbox, peer_state
from p2p_oicp.storage.cdrs import Verdict
from p2p_oicp.storage.job_keys import JobKeys
from p2p_oicp.storage.outbox import OutboxMessage

log = structlog.get_logger(__name__)

_MAX_IN_FLIGHT = 8
# Without an OICP code these come from a web server in front of the peer: it is being changed, or its URL is wrong.
_MISSING_ENDPOINT_STATUSES = frozenset({404, 405})


class DeliveryTarget(Protocol):
    """How one destination (a peer, the own backend) is delivered to."""

    @property
    def name(self) -> str:
        """Return the name of the destination, for logs and errors."""

    async def send(self, message: OutboxMessage) -> Verdict | None:
        """Transmit a message; return what was said of a CDR, None of other messages.

        Raises PeerError, and PeerRejected where the message is refused for good.
        """

    def on_delivered(self, tx: Transaction, message: OutboxMessage, verdict: Verdict | None, now: float) -> None:
        """Apply the effect of an acknowledgement, in the transaction that deletes the message."""

    def on_dead(self, tx: Transaction, message: OutboxMessage, error: PeerRejected, now: float) -> None:
        """Apply the effect of a refusal for good, in the transaction that makes the message a dead letter."""

    def on_ended(self, message: OutboxMessage) -> None:
        """Learn that such a transaction is committed, or has failed."""


class OutboxDispatcher:
    """Delivers the outbox of one destination; a background task for a `TaskSupervisor`.

    Args:
        target: how the destination is reached.
        store: the authoritative list of messages; nothing is cached.
        wakeup: wakes the dispatcher; its ``destination`` is the one that is served.
        clock: for due times.
        backoff: the waits after failures.

    """

    def __init__(
        self,
        target: DeliveryTarget,
        *,
        store: Store,
        wakeup: DestinationWakeup,
        clock: Clock,
        backoff: ExponentialBackoff,
    ) -> None:
        self._destination = wakeup.destination
        self._log = log.bind(destination=target.name)
        self._channel_log = ChannelLog(self._log, clock)
        self._target = target
        self._store = store
        self._wakeup = wakeup
        self._clock = clock
        self._backoff = backoff

    def __repr__(self) -> str:
        return f"<OutboxDispatcher to={self._target.name!r} {self._wakeup!r}>"

    async def run(self) -> None:
        while True:
            try:
                delay = None if self._wakeup.is_paused else await self._dispatch_due()
            except StoreError as error:
                self._log.warning("outbox.store_failed", error=error)
                delay = self._backoff.store_error_delay
            if delay is None or delay > 0:
                await self._wakeup.wait(delay)

    async def _dispatch_due(self) -> float | None:
        """Send what is due; return the seconds until something may be due, None if nothing waits."""
        now = self._clock.time()
        # A time further ahead than any backoff means that the clock was set back: the circuit is taken as closed.
        health = await peer_state.health_now(self._store, self._destination)
        if now < health.next_try_at <= now + self._backoff.max_delay:
            return health.next_try_at - now
        # An open circuit is probed with one message.
        limit = 1 if health.failures >= CIRCUIT_BREAKER_THRESHOLD else _MAX_IN_FLIGHT
        messages = await self._select_due(now, limit)
        if not messages:
            return await self._seconds_until_next(now)
        results = await asyncio.gather(*(self._deliver(message) for message in messages), return_exceptions=True)
        # Order: raised only after all have ended, so that no message is still being sent when the next round begins.
        for failure in filter(None, results):
            raise failure
        return 0.0

    async def _select_due(self, now: float, limit: int) -> list[OutboxMessage]:
        horizon = now + self._backoff.max_delay
        rows = await self._store.query_inline(
            outbox.DUE, destination_=self._destination.peer, now_=now, too_far_=horizon, limit=limit
        )
        return outbox.from_rows(rows)

    async def _seconds_until_next(self, now: float) -> float | None:
        due_at = (await self._store.query_inline(outbox.NEXT_DUE, destination_=self._destination.peer))[0]["at"]
        return None if due_at is None else max(0.01, due_at - now)

    async def _deliver(self, message: OutboxMessage) -> None:
        bound_log = self._log.bind(operation=message.operation, session_id=message.session_key)
        try:
            verdict = await self._target.send(message)
        except PeerError as error:
            if isinstance(error, PeerRejected) and not _is_missing_endpoint(error):
                bound_log.warning("outbox.dead_lettered", error=str(error), code=error.code)
                await self._end(message, partial(self._mark_dead, message=message, error=error))
                return
            await self._postpone(message, error)
        except StoreError:
            raise  # the own node's database, through the in-process client: not the message's fault
        except Exception as error:  # noqa: BLE001 - a message that meets a bug must not stop the others
            bound_log.exception("outbox.internal_error", attempts=message.attempts + 1)
            failure = PeerProtocolError(self._target.name, f"a bug of this node: {type(error).__name__}: {error}")
            failure.because_of(FailureCause.INTERNAL_ERROR)
            await self._postpone(message, failure)
        else:
            bound_log.info("outbox.delivered", attempts=message.attempts + 1)
            await self._end(message, lambda tx: self._mark_delivered(tx, message, verdict))

    async def _end(self, message: OutboxMessage, job: Callable[[Transaction], None]) -> None:
        try:
            await self._store.write(job, about=self._keys_of(message))
        finally:
            self._target.on_ended(message)
        self._channel_log.record_success()

    async def _postpone(self, message: OutboxMessage, error: PeerError) -> None:
        job = partial(self._reschedule, message=message, error=error)
        delay = await self._store.write(job, about=self._keys_of(message))
        if isinstance(error, PeerContradiction):
            self._log.info("outbox.answer_contradicts_itself", session_id=message.session_key, error=str(error))
            self._channel_log.record_success()
        else:
            self._channel_log.record_failure(error, next_try_in=delay)

    def _keys_of(self, message: OutboxMessage) -> JobKeys:
        return (
            job_keys.destination(message.destination),
            job_keys.session_of(message.role, message.session_key),
        )

    def _mark_delivered(self, tx: Transaction, message: OutboxMessage, verdict: Verdict | None) -> None:
        now = self._clock.time()
        outbox.delete(tx, message.id)
        self._target.on_delivered(tx, message, verdict, now)
        peer_state.mark_success(tx, self._destination, now)

    def _mark_dead(self, tx: Transaction, message: OutboxMessage, error: PeerRejected) -> None:
        now = self._clock.time()
        outbox.mark_dead(tx, message.id, now, str(error), error.cause)
        self._target.on_dead(tx, message, error, now)
        # A refusal is an answer: the destination is up.
        peer_state.mark_success(tx, self._destination, now)

    def _reschedule(self, tx: Transaction, message: OutboxMessage, error: PeerError) -> float:
        """Put a message off; return in how many seconds it is tried again."""
        now = self._clock.time()
        requested_delay = error.retry_after if isinstance(error, PeerBusy) else None
        delay = max(self._backoff.delay(message.attempts + 1), min(requested_delay or 0.0, self._backoff.max_delay))
        outbox.reschedule(tx, message.id, now + delay, str(error), error.cause)
        if isinstance(error, PeerContradiction):  # an answer, whatever it means: the destination is up
            peer_state.mark_success(tx, self._destination, now)
            return delay
        failures = peer_state.health(tx, self._destination).failures + 1
        circuit_delay = max(
            self._backoff.open_circuit_delay(failures), min(requested_delay or 0.0, self._backoff.max_delay)
        )
        peer_state.mark_failure(tx, self._destination, failures, now + circuit_delay, error, now=now)
        return max(delay, circuit_delay)


def _is_missing_endpoint(error: PeerRejected) -> bool:
    return error.code is None and error.http_status in _MISSING_ENDPOINT_STATUSES
