"""How much was to do in each minute of the last day: requests, failures, and how long 95 of 100 took at most.

Read once a minute from what `metrics` counts anyway, so a request costs nothing more. In memory only: after a restart
it begins anew, and says since when it counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import orjson
from aiohttp import web

from p2p_oicp.clock import Clock, format_timestamp
from p2p_oicp.concurrency import periodic
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.metrics import Metrics, RequestTotals
from p2p_oicp.server.openapi import status_endpoints
from p2p_oicp.server.pipeline import RequestContext, RequestPipeline

_INTERVAL_SECONDS = 60.0
_MINUTES_OF_A_DAY = 1440
_SHARE = 0.95


class Figure(NamedTuple):
    """One minute.

    Attributes:
        at: when it ended, in seconds since the epoch.
        seconds: how long it really was.
        requests: that came in, at all listeners.
        failures: of these, that were invalid or could not be served; a refusal in OICP is none.
        p95: within so many seconds 95 of 100 were answered; None: there were none.
    """

    at: float
    seconds: float
    requests: int
    failures: int
    p95: float | None


class MinuteFigures:
    """Remembers the minutes of a day; a worker.

    Args:
        metrics: counts.
        clock: the time.
    """

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock
        self._since = clock.time()
        self._measured_at = clock.monotonic()
        self._before = metrics.request_totals()
        self._figures: deque[Figure] = deque(maxlen=_MINUTES_OF_A_DAY)

    async def run(self) -> None:
        await periodic("figures", _INTERVAL_SECONDS, self.measure)

    async def measure(self) -> None:
        """End a minute."""
        now, totals, before = self._clock.monotonic(), self._metrics.request_totals(), self._before
        requests, failures = totals.requests - before.requests, totals.failures - before.failures
        seconds = now - self._measured_at
        figure = Figure(self._clock.time(), seconds, requests, failures, _p95(before, totals))
        # A worker measures when it begins, too: nothing has passed then.
        if figure.seconds > _INTERVAL_SECONDS / 2:
            self._figures.append(figure)
            self._measured_at, self._before = now, totals

    def routes(self, pipeline: RequestPipeline) -> Sequence[web.RouteDef]:
        return [status_endpoints.FIGURES.route(pipeline, self._show)]

    async def _show(self, _context: RequestContext) -> OperationResponse:
        minutes = [{**each._asdict(), "at": format_timestamp(each.at)} for each in self._figures]
        return OperationResponse(orjson.dumps({"since": format_timestamp(self._since), "minutes": minutes}))


def _p95(before: RequestTotals, after: RequestTotals) -> float | None:
    """Return the upper bound of the durations of 95 of 100 requests, by the buckets of the histogram."""
    counts = [(bound, count - before.within.get(bound, 0.0)) for bound, count in sorted(after.within.items())]
    total = counts[-1][1] if counts else 0.0
    if total <= 0:
        return None
    # Beyond the last bound nobody has measured; that bound stands for it.
    finite = [bound for bound, _ in counts if bound != float("inf")]
    found = next(bound for bound, count in counts if count >= _SHARE * total)
    return min(found, finite[-1])
