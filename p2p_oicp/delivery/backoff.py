"""How long to wait after a failure; pure.

Lessons of federated chat servers: one failed request among hundreds must not silence a peer, so the circuit opens only
after three failures in a row; the exponential is clamped first and jittered afterwards, or all would wake together.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

FAILURES_THAT_OPEN_THE_CIRCUIT = 3
_JITTER = 0.25
_STORE_PAUSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """``first`` and ``longest`` wait in seconds; ``jitter`` returns a number in [0, 1)."""

    first: float
    longest: float
    jitter: Callable[[], float] = random.random

    @property
    def after_a_store_failure(self) -> float:
        """Seconds until the database is tried again: a full disk or a lock may end at any moment."""
        return min(self.longest, _STORE_PAUSE_SECONDS)

    def wait(self, failures: int) -> float:
        """Return the seconds to wait after ``failures`` (≥ 1) failures in a row."""
        doublings = min(max(failures, 1) - 1, 32)
        clamped = min(self.longest, self.first * 2.0**doublings)
        return clamped * (1 - _JITTER * self.jitter())

    def circuit_pause(self, failures: int) -> float:
        """Return the seconds nothing at all is sent; 0 while the circuit is closed."""
        opened = failures - FAILURES_THAT_OPEN_THE_CIRCUIT
        return self.wait(opened + 1) if opened >= 0 else 0.0
