"""Waking the delivery workers: wake-up signals, a peer that is alive again, and the backoff between attempts.

**Wake-ups are hints.** The database is authoritative: a worker that is woken looks there for work, and a worker that
is never woken finds its work at the next start, or when its backoff ends. So a notification may be lost or come too
often, but each needless one costs look-ups in the event loop: `WakeupRegistry` wakes only the workers that may have
work (an outbox, the replicators of one dataset, or all workers of one peer).

**Liveness.** A verified request, a hello or an mDNS announcement proves that a peer is up: `PeerLiveness` then clears
the backoff of everything that waits for it.

**Backoff.** `ExponentialBackoff` is pure; the workers persist what it returns. `GroupBackoff` has one for each group
of a dataset that a target refuses.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

from p2p_oicp.clock import Clock, jitter
from p2p_oicp.concurrency import BackgroundTasks
from p2p_oicp.errors import PeerError, PeerRejected
from p2p_oicp.oicp.enums import StatusCodeValue
from p2p_oicp.storage import Store, Transaction, job_keys, outbox, peer_state
from p2p_oicp.storage.pauses import Pause
from p2p_oicp.storage.peer_state import Destination

# Lessons of federated chat servers: one failed request among hundreds must not silence a peer, so the circuit opens
# only after several failures in a row.
CIRCUIT_BREAKER_THRESHOLD = 3
_JITTER = 0.25
_STORE_ERROR_DELAY_SECONDS = 2.0
# Within it, the usual waits after failures are short again.
_MIN_MARK_INTERVAL_SECONDS = 10.0
#: An operation that the peer does not offer today will not be offered in a minute either.
NOT_OFFERED_CODES = frozenset({StatusCodeValue.NO_VALID_CONTRACT, StatusCodeValue.SERVICE_NOT_AVAILABLE})
NOT_OFFERED_DELAY_SECONDS = 3600.0
# A group that was refused and has changed since: perhaps it is accepted now.
_CHANGED_GROUP_DELAY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ExponentialBackoff:
    """Exponential backoff with jitter; pure.

    Args:
        initial_delay: seconds to wait after the first failure; each further failure in a row doubles it.
        max_delay: the longest wait in seconds, before jitter.
        jitter: returns a number in [0, 1): the share of the jitter that is subtracted.

    """

    initial_delay: float
    max_delay: float
    jitter: Callable[[], float] = jitter

    @property
    def store_error_delay(self) -> float:
        """Seconds until the database is tried again: a full disk or a lock may end at any moment."""
        return min(self.max_delay, _STORE_ERROR_DELAY_SECONDS)

    def delay(self, failures: int) -> float:
        """Return the seconds to wait after ``failures`` (≥ 1) failures in a row."""
        # 2.0 ** 1024 raises OverflowError, and failures are counted for months.
        exponent = min(max(failures, 1) - 1, 32)
        # Order: clamp, then jitter. The other way round, all waits at the limit would end at the same moment.
        clamped = min(self.max_delay, self.initial_delay * 2.0**exponent)
        return clamped * (1 - _JITTER * self.jitter())

    def open_circuit_delay(self, failures: int) -> float:
        """Return the seconds for which nothing is sent to the destination; 0 while the circuit is closed."""
        failures_over_threshold = failures - CIRCUIT_BREAKER_THRESHOLD
        return self.delay(failures_over_threshold + 1) if failures_over_threshold >= 0 else 0.0


@dataclass(slots=True)
class _GroupFailures:
    count: int = 0
    retry_at: float = 0.0
    retry_changed_at: float = 0.0
    change: int = 0


class GroupBackoff:
    """Backoff of the groups that a target refuses: each has its own, and delays no other group.

    A group that has changed since is tried sooner. In memory only: after a restart, each refused group is tried once
    more. What people see of it is stored (`peer_state.mark_group_refused`).
    """

    def __init__(self, backoff: ExponentialBackoff, clock: Clock) -> None:
        self._backoff = backoff
        self._clock = clock
        self._by_group: dict[str, _GroupFailures] = {}

    def record_refusal(self, group: str, change: int, error: PeerError) -> tuple[int, float]:
        """Suspend a group whose newest change was ``change``; return how often it was refused, and for how long."""
        failures = self._by_group.setdefault(group, _GroupFailures())
        failures.count += 1
        is_final = isinstance(error, PeerRejected) and error.code in NOT_OFFERED_CODES
        delay = NOT_OFFERED_DELAY_SECONDS if is_final else self._backoff.delay(failures.count)
        now = self._clock.monotonic()
        failures.retry_at, failures.change = now + delay, change
        failures.retry_changed_at = now + min(delay, _CHANGED_GROUP_DELAY_SECONDS)
        return failures.count, delay

    def resume_all(self) -> None:
        """Let all groups be tried again now."""
        for failures in self._by_group.values():
            failures.retry_at = failures.retry_changed_at = 0.0

    def reset(self, group: str) -> None:
        """Resume a group that was accepted."""
        self._by_group.pop(group, None)

    def is_suspended(self, group: str, change: int) -> bool:
        """Return whether the backoff of a group, whose newest change is ``change``, has not ended."""
        failures = self._by_group.get(group)
        if failures is None:
            return False
        retry_at = failures.retry_at if change == failures.change else failures.retry_changed_at
        return retry_at > self._clock.monotonic()

    @property
    def has_suspended(self) -> bool:
        """Whether the backoff of a group has not ended."""
        now = self._clock.monotonic()
        return any(failures.retry_at > now for failures in self._by_group.values())

    def next_retry_delay(self) -> float | None:
        """Return the seconds until the first suspended group may be tried again, None if there is none."""
        if not self._by_group:
            return None
        return max(0.01, min(failures.retry_at for failures in self._by_group.values()) - self._clock.monotonic())


class Wakeup:
    """Coalescing wake-up signal of one worker: an `asyncio.Event` that is cleared when it is consumed.

    Args:
        name: of the worker, for people.
        backing_off: those of several wake-ups whose workers wait with a timeout; this one is added and removed.
    """

    def __init__(self, name: str, backing_off: set[Wakeup] | None = None) -> None:
        self.name = name
        self._all_backing_off = set() if backing_off is None else backing_off
        self._event = asyncio.Event()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}{' set' * self.is_set}{' backing off' * self.backing_off}>"

    @property
    def backing_off(self) -> bool:
        """Whether the worker waits with a timeout, because of a failure."""
        return self in self._all_backing_off

    @property
    def is_set(self) -> bool:
        """Whether a notification was not consumed yet."""
        return self._event.is_set()

    def set(self) -> None:
        """Notify the worker that there may be work."""
        self._event.set()

    async def wait(self, timeout: float | None, *, idle: bool = False) -> bool:  # noqa: ASYNC109 - as `concurrency.WakeupSignal` has it
        """Wait for a notification and consume it, at most ``timeout`` seconds (None: without limit); return if it came.

        ``idle``: it does not wait because of a failure, so that a peer which is alive need not wake it.
        """
        if timeout is not None and not idle:
            self._all_backing_off.add(self)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._event.wait()
        self._all_backing_off.discard(self)
        is_notified = self._event.is_set()
        self._event.clear()
        return is_notified


class DestinationWakeup(Wakeup):
    """Wake-up of the worker that delivers to ``destination``, a peer or one of our own backends."""

    def __init__(
        self, destination: Destination, paused: Mapping[str, Pause], backing_off: set[Wakeup] | None = None
    ) -> None:
        super().__init__(" to ".join(filter(None, (destination.dataset, destination.peer))), backing_off)
        self.destination = destination
        self.is_backend = destination.peer.startswith(outbox.OWN_PREFIXES)
        self._paused = paused
        #: How often a person has had the worker try again.
        self.retries = 0

    @property
    def is_paused(self) -> bool:
        """Whether a person has paused deliveries to the peer: then the worker sends nothing, and waits to be woken."""
        return self.destination.peer in self._paused

    def retry(self) -> None:
        """Notify the worker, and let it try again what it has put off."""
        self.retries += 1
        self.set()


class WakeupRegistry:
    """The wake-ups of all workers, by the id of the peer (or the own backend) that they deliver to.

    Args:
        paused: the peers to which deliveries are paused, by their ids.
    """

    def __init__(self, paused: Mapping[str, Pause] | None = None) -> None:
        self._paused = dict(paused or {})
        self._by_peer: defaultdict[str, list[DestinationWakeup]] = defaultdict(list)
        # Kept beside the list, for each request of a peer asks whether there are any.
        self._backing_off: defaultdict[str, set[Wakeup]] = defaultdict(set)

    def __repr__(self) -> str:
        return f"<WakeupRegistry peers={len(self._by_peer)} workers={sum(map(len, self._by_peer.values()))}>"

    def register(self, destination: Destination) -> DestinationWakeup:
        """Return a new wake-up for the worker of a destination."""
        wakeup = DestinationWakeup(destination, self._paused, self._backing_off[destination.peer])
        self._by_peer[destination.peer].append(wakeup)
        return wakeup

    def unregister(self, peer: str) -> None:
        """Remove the wake-ups of a peer (by its id) whose workers were stopped."""
        self._by_peer.pop(peer, None)
        self._backing_off.pop(peer, None)

    def notify_outbox(self, peer: str) -> None:
        """Wake the outbox of a peer, or of the own backend: a message was enqueued or made due.

        Its replicators sleep on. Each of them would make three look-ups for nothing: 67 µs of the event loop for a
        CDR or a notification, nearly the price of a whole request.
        """
        for wakeup in self._by_peer.get(peer, ()):
            if not wakeup.destination.dataset:
                wakeup.set()

    def notify_dataset(self, dataset: str, *, is_ours: bool = True) -> None:
        """Wake the replicators of ``dataset``: records of it have changed.

        Args:
            dataset: its name.
            is_ours: whether the records are our own: then peers get them as well, otherwise only our backends.
        """
        for wakeups in self._by_peer.values():
            for wakeup in wakeups:
                if wakeup.destination.dataset == dataset and (is_ours or wakeup.is_backend):
                    wakeup.set()

    def notify_backends(self) -> None:
        """Wake all workers of our backends: other peers count than before."""
        for wakeups in self._by_peer.values():
            for wakeup in wakeups:
                if wakeup.is_backend:
                    wakeup.set()

    def notify_all(self, peer: str) -> None:
        """Wake all workers of a peer: it is alive again, or has another store."""
        for wakeup in self._by_peer.get(peer, ()):
            wakeup.set()

    def pause(self, peer: str, pause: Pause) -> None:
        """Let the workers of a peer send nothing from their next round on."""
        self._paused[peer] = pause

    def resume(self, peer: str) -> None:
        """Let them send again, now."""
        self._paused.pop(peer, None)
        self.notify_all(peer)

    def pause_of(self, peer: str) -> Pause | None:
        """Return the pause of a peer; None: there is none."""
        return self._paused.get(peer)

    def destinations(self, peer: str) -> list[Destination]:
        """Return the destinations of all workers of a peer."""
        return [wakeup.destination for wakeup in self._by_peer.get(peer, ())]

    def notify_workers(self, destinations: Collection[Destination]) -> None:
        """Wake the workers of these destinations; a group that was refused is tried again as well."""
        for wakeups in self._by_peer.values():
            for wakeup in wakeups:
                if wakeup.destination in destinations:
                    wakeup.retry()

    def has_backoff(self, peer: str) -> bool:
        """Return whether a worker of a peer waits before the next attempt."""
        return bool(self._backing_off.get(peer))

    def backing_off(self, peer: str) -> list[Destination]:
        """Return the destinations of a peer's workers that wait before the next attempt."""
        return [wakeup.destination for wakeup in self._by_peer.get(peer, ()) if wakeup.backing_off]


class PeerLiveness:
    """Clears the backoff of a peer (by its id), or a backend (by its destination), that has just proved to be up."""

    def __init__(self, wakeups: WakeupRegistry, store: Store, clock: Clock) -> None:
        self._wakeups = wakeups
        self._store = store
        self._clock = clock
        self._marked_at: dict[str, float] = {}

    def has_backoff(self, peer: str) -> bool:
        """Return whether a worker of the peer backs off; asked at each of the peer's requests, so without look-ups."""
        if not self._wakeups.has_backoff(peer):
            return False
        # A peer that calls us and cannot be called: each of its requests would cost a transaction, and a try in vain.
        marked_at = self._marked_at.get(peer)
        return marked_at is None or self._clock.monotonic() - marked_at >= _MIN_MARK_INTERVAL_SECONDS

    def mark_answered(self, background: BackgroundTasks, destination: str) -> None:
        """Have a backend marked as alive, in the background: it has answered a call."""
        if self.has_backoff(destination):
            background.start_logged(f"{destination} is up", partial(self.mark_alive, destination))

    async def mark_alive(self, peer: str) -> None:
        """Reset the circuits of a peer that back off, and make its waiting messages due now."""
        backing_off = self._wakeups.backing_off(peer)
        if not backing_off:
            return
        self._marked_at[peer] = self._clock.monotonic()

        def reset_backoff(tx: Transaction) -> None:
            for destination in backing_off:
                peer_state.reset_health(tx, destination)
            outbox.make_due(tx, peer, self._clock.time())

        await self._store.write(reset_backoff, about=(job_keys.destination(peer),))
        # Order: after the commit, or a worker could look before its circuit is closed, and sleep on.
        self._wakeups.notify_all(peer)

    async def retry(self, peer: str, channel: str | None = None) -> list[str]:
        """Let a peer's or backend's workers try again now, as a person wants it; return their channels.

        Args:
            peer: its id, or the destination of a backend.
            channel: only this one; None: all. One worker pulls all datasets.
        """
        if channel is not None and channel.startswith(peer_state.PULL_PREFIX):
            channel = peer_state.PULL_PREFIX.strip()
        destinations = [each for each in self._wakeups.destinations(peer) if channel in {None, each.dataset}]

        def reset_backoff(tx: Transaction) -> None:
            for destination in destinations:
                peer_state.reset_health(tx, destination)
            if any(not each.dataset for each in destinations):
                outbox.make_due(tx, peer, self._clock.time())

        await self._store.write(reset_backoff, about=(job_keys.destination(peer),))
        self._wakeups.notify_workers(destinations)
        return [each.dataset for each in destinations]
