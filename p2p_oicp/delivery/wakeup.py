"""How long to wait after a failure; pure.

Lessons of federated chat servers: one failed request among hundreds must not silence a peer, so the circuit opens only
after three failures in a row; the exponential is clamped first and jittered afterwards, or all would wake together.

One bell per worker: rung when there may be something to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from p2p_oicp.clock import Clock
from p2p_oicp.storage import Store, Transaction, outbox, peer_state

CIRCUIT_BREAKER_THRESHOLD = 3
_JITTER = 0.25
_STORE_ERROR_DELAY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ExponentialBackoff:
    """``first`` and ``longest`` wait in seconds; ``jitter`` returns a number in [0, 1)."""

    initial_delay: float
    max_delay: float
    jitter: Callable[[], float] = random.random

    @property
    def store_error_delay(self) -> float:
        """Seconds until the database is tried again: a full disk or a lock may end at any moment."""
        return min(self.max_delay, _STORE_ERROR_DELAY_SECONDS)

    def delay(self, failures: int) -> float:
        """Return the seconds to wait after ``failures`` (≥ 1) failures in a row."""
        exponent = min(max(failures, 1) - 1, 32)
        clamped = min(self.max_delay, self.initial_delay * 2.0**exponent)
        return clamped * (1 - _JITTER * self.jitter())

    def open_circuit_delay(self, failures: int) -> float:
        """Return the seconds nothing at all is sent; 0 while the circuit is closed."""
        failures_over_threshold = failures - CIRCUIT_BREAKER_THRESHOLD
        return self.delay(failures_over_threshold + 1) if failures_over_threshold >= 0 else 0.0


class Wakeup:
    """Wakes one worker, which works for ``destination``; ``paused`` while it waits for a time to come.

    ``brings`` is what the worker brings there: a kind of state, or empty.
    """

    def __init__(self, destination: str, dataset: str = "") -> None:
        self.destination = destination
        self.dataset = dataset
        self.backing_off = False
        self._event = asyncio.Event()

    @property
    def is_set(self) -> bool:
        """Whether it was rung and nobody has heard it yet."""
        return self._event.is_set()

    def set(self) -> None:
        """Say that there may be work."""
        self._event.set()

    async def wait(self, timeout_seconds: float | None) -> None:
        """Return when rung, or after ``seconds`` (None: only when rung)."""
        self.backing_off = timeout_seconds is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._event.wait()
        self.backing_off = False
        self._event.clear()


class WakeupRegistry:
    """The bells of all workers, by the name of the peer (or backend) that they serve."""

    def __init__(self) -> None:
        self._by_peer: defaultdict[str, list[Wakeup]] = defaultdict(list)

    def register(self, peer_name: str, destination: str, dataset: str = "") -> Wakeup:
        """Return a new bell for the worker of ``destination``, which belongs to the peer ``name``."""
        wakeup = Wakeup(destination, dataset)
        self._by_peer[peer_name].append(wakeup)
        return wakeup

    def unregister(self, peer_name: str) -> None:
        """Forget the bells of a peer that is gone."""
        self._by_peer.pop(peer_name, None)

    def notify_all(self, peer_name: str) -> None:
        """Wake the workers of ``name``."""
        for wakeup in self._by_peer.get(peer_name, ()):
            wakeup.set()

    def notify_dataset(self, dataset: str) -> None:
        """Wake the workers, for whomever, that bring one kind of state; the others have nothing new to look for."""
        for wakeups in self._by_peer.values():
            for wakeup in wakeups:
                if wakeup.dataset == dataset:
                    wakeup.set()

    def for_peer(self, peer_name: str) -> Sequence[Wakeup]:
        """Return the bells of the workers of ``name``."""
        return self._by_peer.get(peer_name, ())

    def backing_off(self, peer_name: str) -> list[str]:
        """Return the destinations of ``name`` that wait before they try again."""
        return [wakeup.destination for wakeup in self.for_peer(peer_name) if wakeup.backing_off]


class PeerLiveness:
    """A peer that is heard from is up: what waits for it is due now."""

    def __init__(self, wakeups: WakeupRegistry, store: Store, clock: Clock) -> None:
        self._wakeups = wakeups
        self._store = store
        self._clock = clock

    def has_backoff(self, peer_name: str) -> bool:
        """Say whether anything waits for a peer: asked at each of its requests."""
        return bool(self._wakeups.backing_off(peer_name))

    async def mark_alive(self, peer_name: str) -> None:
        """Clear the backoff of a peer's destinations, if there is any."""
        backing_off = self._wakeups.backing_off(peer_name)
        if not backing_off:
            return

        def reset_backoff(tx: Transaction) -> None:
            for destination in backing_off:
                peer_state.reset(tx, destination)
            outbox.make_due(tx, peer_name, self._clock.time())

        await self._store.write(reset_backoff)
        self._wakeups.notify_all(peer_name)
