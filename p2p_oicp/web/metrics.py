"""Numbers for Prometheus: ``GET /metrics`` on the backend listener.

Counted while requests are served: results and latency of each operation, in tallies of our own (the library's counters,
with their locks, took 1.3 µs of each request). Read from the database when somebody asks: what waits for whom, and how
each destination has been doing, the rows the workers go by.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import TypeAlias

from prometheus_client import CollectorRegistry, Counter, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest

from p2p_oicp.clock import Clock
from p2p_oicp.roles.context import Answer
from p2p_oicp.storage import Row, Store, destinations, outbox

#: Called with an operation's name, what became of the request, and the seconds it took.
Meter: TypeAlias = Callable[[str, str, float], None]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class _Tally:
    """What some requests took: how many fell into each span of seconds, and the sum."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(_SECONDS) + 1)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(_SECONDS, seconds)] += 1
        self.seconds += seconds


_Tallies: TypeAlias = dict[tuple[str, str, str], _Tally]


class Metrics:
    """The numbers of one node."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._registry = CollectorRegistry(auto_describe=False)
        #: By listener, operation and result.
        self._tallies: _Tallies = {}
        self._registry.register(_Collected(partial(_served, self._tallies)))
        self._turned_away = Counter(
            "p2p_oicp_turned_away",
            "Requests that were refused unread, because too many were being answered.",
            ["listener"],
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)

    def meter(self, listener: str) -> Meter:
        """Return what counts the requests of one listener."""

        def measure(operation: str, result: str, seconds: float) -> None:
            tally = self._tallies.get((listener, operation, result))
            if tally is None:
                tally = self._tallies[listener, operation, result] = _Tally()
            tally.add(seconds)

        return measure

    def turned_away(self, listener: str) -> Callable[[], None]:
        """Return what counts the requests that a listener has no room for."""
        return self._turned_away.labels(listener).inc

    async def show(self) -> Answer:
        """Return everything in Prometheus' text format."""
        depths = await self._store.read(outbox.DEPTHS)
        healths = await self._store.read(destinations.ALL)
        now = self._clock.time()
        asked = CollectorRegistry(auto_describe=False)
        asked.register(_Collected(partial(_rows, depths, healths, now)))
        text = generate_latest(self._registry) + generate_latest(asked)
        return Answer(text, content_type="text/plain; version=0.0.4")


class _Collected:
    """What Prometheus' library takes numbers from."""

    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Return the numbers."""
        return self._families()


def _served(tallies: Mapping[tuple[str, str, str], _Tally]) -> Iterator[Metric]:
    """Return how many requests had which result, and how long they took."""
    results = CounterMetricFamily(
        "p2p_oicp_requests",
        "Requests by what became of them: ok, refused (by an OICP code), invalid, unavailable, problem.",
        labels=["listener", "operation", "result"],
    )
    latencies = HistogramMetricFamily(
        "p2p_oicp_request_seconds",
        "Seconds from the whole request to its answer.",
        labels=["listener", "operation"],
    )
    for (listener, operation, result), tally in tallies.items():
        results.add_metric([listener, operation, result], sum(tally.counts))
    for listener, operation in dict.fromkeys(key[:2] for key in tallies):
        same = [tally for key, tally in tallies.items() if key[:2] == (listener, operation)]
        counts = accumulate(map(sum, zip(*(tally.counts for tally in same), strict=True)))
        spans = list(zip([*map(str, _SECONDS), "+Inf"], counts, strict=True))
        latencies.add_metric([listener, operation], spans, sum(tally.seconds for tally in same))
    yield from (results, latencies)


def _rows(depths: Sequence[Row], healths: Sequence[Row], now: float) -> Iterator[Metric]:
    """Return one family a column."""
    waiting = ["destination", "state"]
    yield _family("outbox_letters", "Messages owed: waiting, or dead (refused for good).", waiting, depths, "letters")
    ages = [{**dict(row), "age": max(0.0, now - row["oldest"])} for row in depths]
    yield _family("outbox_oldest_seconds", "Age of the oldest of them.", waiting, ages, "age")
    yield _family("outbox_attempts", "Attempts that failed for them so far.", waiting, depths, "attempts")
    of = ["destination"]
    named = [{**dict(row), "destination": row["name"]} for row in healths]
    yield _family("destination_failures", "Failures in a row.", of, named, "failures")
    # A letter waits by itself; after some failures in a row, all that goes to the destination waits.
    pauses = {row["name"]: row["next_try_at"] for row in healths}
    due = {row["destination"]: row["next_try_at"] for row in depths if row["state"] == outbox.WAITING}
    waits = [{"destination": to, "wait": max(0.0, at - now, pauses.get(to, 0.0) - now)} for to, at in due.items()]
    meaning = "Seconds until what waits for it is tried again; 0: at any time."
    yield _family("destination_next_try_seconds", meaning, of, waits, "wait")
    failed = [{**row, "kind": row["last_kind"], "one": 1} for row in named if row["failures"] and row["last_kind"]]
    kinds = ["destination", "kind"]
    yield _family("destination_last_error", "The kind of the last failure, while it fails.", kinds, failed, "one")


def _family(
    name: str, meaning: str, labels: list[str], rows: Sequence[Row] | Sequence[dict[str, object]], column: str
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"p2p_oicp_{name}", meaning, labels=labels)
    for row in rows:
        family.add_metric([str(row[label]) for label in labels], float(row[column] or 0))  # type: ignore[arg-type]
    return family
