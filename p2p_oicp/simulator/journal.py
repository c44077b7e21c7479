"""Who said what to whom: every OICP exchange that a simulated backend takes part in, in the order of the answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from p2p_oicp.clock import Clock


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer. ``at`` and ``took`` are in seconds, ``at`` of a clock that never jumps."""

    at: float
    took: float
    sender: str
    receiver: str
    operation: str
    session_id: str | None
    result: str
    good: bool


@dataclass
class Journal:
    """Collects exchanges and tells each one to the listeners at once."""

    clock: Clock
    exchanges: list[Exchange] = field(default_factory=list)
    listeners: list[Callable[[Exchange], None]] = field(default_factory=list)

    def add(self, exchange: Exchange) -> None:
        """Keep one exchange."""
        self.exchanges.append(exchange)
        for listener in self.listeners:
            listener(exchange)
