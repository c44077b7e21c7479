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
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.storage import Row, Store, outbox, peer_state

#: Called with an operation's name, what became of the request, and the seconds it took.
RequestObserver: TypeAlias = Callable[[str, str, float], None]

_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class _LatencyHistogram:
    """What some requests took: how many fell into each span of seconds, and the sum."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(_LATENCY_BUCKETS) + 1)
        self.seconds = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(_LATENCY_BUCKETS, seconds)] += 1
        self.seconds += seconds


_Histograms: TypeAlias = dict[tuple[str, str, str], _LatencyHistogram]


class Metrics:
    """The numbers of one node."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._registry = CollectorRegistry(auto_describe=False)
        #: By listener, operation and result.
        self._histograms: _Histograms = {}
        self._registry.register(StoreCollector(partial(_request_metrics, self._histograms)))
        self._rejected_requests = Counter(
            "p2p_oicp_turned_away",
            "Requests that were refused unread, because too many were being answered.",
            ["listener"],
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)

    def observe_request(self, listener: str) -> RequestObserver:
        """Return what counts the requests of one listener."""

        def observe(operation: str, result: str, seconds: float) -> None:
            histogram = self._histograms.get((listener, operation, result))
            if histogram is None:
                histogram = self._histograms[listener, operation, result] = _LatencyHistogram()
            histogram.observe(seconds)

        return observe

    def rejected_requests(self, listener: str) -> Callable[[], None]:
        """Return what counts the requests that a listener has no room for."""
        return self._rejected_requests.labels(listener).inc

    async def render(self) -> OperationResponse:
        """Return everything in Prometheus' text format."""
        depths = await self._store.query(outbox.DEPTHS)
        health_rows = await self._store.query(peer_state.ALL_DESTINATIONS)
        now = self._clock.time()
        store_registry = CollectorRegistry(auto_describe=False)
        store_registry.register(StoreCollector(partial(_store_metrics, depths, health_rows, now)))
        text = generate_latest(self._registry) + generate_latest(store_registry)
        return OperationResponse(text, content_type="text/plain; version=0.0.4")


class StoreCollector:
    """What Prometheus' library takes numbers from."""

    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Return the numbers."""
        return self._families()


def _request_metrics(histograms: Mapping[tuple[str, str, str], _LatencyHistogram]) -> Iterator[Metric]:
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
    for (listener, operation, result), tally in histograms.items():
        results.add_metric([listener, operation, result], sum(tally.counts))
    for listener, operation in dict.fromkeys(key[:2] for key in histograms):
        matching = [tally for key, tally in histograms.items() if key[:2] == (listener, operation)]
        counts = accumulate(map(sum, zip(*(tally.counts for tally in matching), strict=True)))
        buckets = list(zip([*map(str, _LATENCY_BUCKETS), "+Inf"], counts, strict=True))
        latencies.add_metric([listener, operation], buckets, sum(tally.seconds for tally in matching))
    yield from (results, latencies)


def _store_metrics(depths: Sequence[Row], health_rows: Sequence[Row], now: float) -> Iterator[Metric]:
    """Return one family a column."""
    outbox_labels = ["destination", "state"]
    yield _gauge_family(
        "outbox_messages",
        "Messages in the outbox: waiting, or dead (refused for good).",
        outbox_labels,
        depths,
        "messages",
    )
    age_rows = [{**dict(row), "age": max(0.0, now - row["oldest"])} for row in depths]
    yield _gauge_family("outbox_oldest_seconds", "Age of the oldest of them.", outbox_labels, age_rows, "age")
    yield _gauge_family("outbox_attempts", "Attempts that failed for them so far.", outbox_labels, depths, "attempts")
    destination_labels = ["destination"]
    destination_rows = [{**dict(row), "destination": row["name"]} for row in health_rows]
    yield _gauge_family("destination_failures", "Failures in a row.", destination_labels, destination_rows, "failures")
    wait_rows = _wait_rows(depths, health_rows, now)
    documentation = "Seconds until what waits for it is tried again; 0: at any time."
    yield _gauge_family("destination_next_try_seconds", documentation, destination_labels, wait_rows, "wait")
    failing_rows = [
        {**row, "kind": row["last_error_type"], "one": 1}
        for row in destination_rows
        if row["failures"] and row["last_error_type"]
    ]
    error_labels = ["destination", "kind"]
    yield _gauge_family(
        "destination_last_error", "The kind of the last failure, while it fails.", error_labels, failing_rows, "one"
    )


def _wait_rows(depths: Sequence[Row], health_rows: Sequence[Row], now: float) -> list[dict[str, object]]:
    # A letter waits by itself; after some failures in a row, all that goes to the destination waits.
    circuit_retry_times = {row["name"]: row["next_try_at"] for row in health_rows}
    next_attempts = {row["destination"]: row["next_try_at"] for row in depths if row["state"] == outbox.WAITING}
    return [
        {
            "destination": destination,
            "wait": max(0.0, next_try_at - now, circuit_retry_times.get(destination, 0.0) - now),
        }
        for destination, next_try_at in next_attempts.items()
    ]


def _gauge_family(
    name: str, documentation: str, labels: list[str], rows: Sequence[Row] | Sequence[dict[str, object]], column: str
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"p2p_oicp_{name}", documentation, labels=labels)
    for row in rows:
        family.add_metric([str(row[label]) for label in labels], float(row[column] or 0))  # type: ignore[arg-type]
    return family
