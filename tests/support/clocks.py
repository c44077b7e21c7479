"""Clocks for tests."""

from dataclasses import dataclass


@dataclass
class ManualClock:
    """A clock that tests move by hand."""

    now: float = 1_800_000_000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now
