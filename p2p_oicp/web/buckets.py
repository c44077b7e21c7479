"""Limits per caller, by token buckets: how often."""

from __future__ import annotations

import math

from p2p_oicp.clock import Clock
from p2p_oicp.web.problems import HttpProblem

_SYSTEM_ERROR = "021"
_MOST_BUCKETS = 10_000


class Buckets:
    """One token bucket a caller: ``at_once`` tokens, refilled by ``per_second``."""

    def __init__(self, clock: Clock, *, per_second: float, at_once: float) -> None:
        self._clock = clock
        self._per_second = per_second
        self._at_once = at_once
        self._levels: dict[str, tuple[float, float]] = {}

    def take(self, caller: str, what: str = "requests", per_second: float | None = None) -> None:
        """Take a token of ``caller``, who may have a rate of its own; raise HttpProblem 429 where there is none."""
        now = self._clock.monotonic()
        rate = self._per_second if per_second is None else per_second
        most = max(1.0, self._at_once if per_second is None else self._at_once * rate / self._per_second)
        level, since = self._levels.get(caller, (most, now))
        level = min(most, level + (now - since) * rate)
        if level < 1.0:
            wait = math.ceil((1.0 - level) / rate)
            self._levels[caller] = (level, now)
            raise HttpProblem(429, _SYSTEM_ERROR, f"too many {what}; try again in {wait} s", {"Retry-After": str(wait)})
        if len(self._levels) >= _MOST_BUCKETS:
            self._levels = {who: kept for who, kept in self._levels.items() if kept[0] + (now - kept[1]) * rate < most}
        self._levels[caller] = (level - 1.0, now)
