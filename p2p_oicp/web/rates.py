"""Limits per caller: how often (token buckets), how much at the same time, and how large."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from p2p_oicp.clock import Clock
from p2p_oicp.peers import Peer
from p2p_oicp.web.limits import busy
from p2p_oicp.web.problems import DATA_ERROR, HttpProblem

_SYSTEM_ERROR = "021"
_MOST_BUCKETS = 10_000
_MOST_OF_ONE_PEER = 200
# A peer with a rate of its own may send so many seconds' worth of it at once.
_BURST_SECONDS = 10.0


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


class Places:
    """How many requests of one caller are served at the same time."""

    def __init__(self, at_once: int = _MOST_OF_ONE_PEER) -> None:
        self._at_once = at_once
        self._taken: dict[str, int] = {}

    @contextmanager
    def place(self, caller: str, at_once: int | None = None) -> Iterator[None]:
        """Hold a place of ``caller``; raise HttpProblem 429 where all are taken."""
        most = self._at_once if at_once is None else at_once
        taken = self._taken.get(caller, 0)
        if taken >= most:
            raise busy(f"{most} requests of {caller} are being answered", http_status=429)
        self._taken[caller] = taken + 1
        try:
            yield
        finally:
            if self._taken[caller] == 1:
                del self._taken[caller]
            else:
                self._taken[caller] -= 1


class PeerLimits:
    """Holds peers to the limits of their entries, where those say any."""

    def __init__(self, clock: Clock) -> None:
        self._rates = Buckets(clock, per_second=1.0, at_once=_BURST_SECONDS)
        self._places = Places()

    def check(self, peer: Peer, size: int) -> None:
        """Raise HttpProblem 429 for a request too many, 413 for one of more bytes (``size``) than the peer may send."""
        if peer.requests_per_second is not None:
            self._rates.take(peer.name, f"requests of {peer.name}", peer.requests_per_second)
        if peer.max_body is not None and size > peer.max_body:
            info = f"the body has {size} bytes; at most {peer.max_body} of {peer.name} are read"
            raise HttpProblem(413, DATA_ERROR, info)

    def place(self, peer: Peer | None) -> AbstractContextManager[None]:
        """Hold a place of a peer; entering raises HttpProblem 429 where all are taken."""
        return self._places.place(peer.name if peer else "unknown senders", peer.concurrent if peer else None)
