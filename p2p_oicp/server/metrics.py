"""Metrics for Prometheus: ``GET /metrics`` on the backend listener.

Requests are counted while they are served. What waits for whom, and how each destination has been doing, is read from
the database when somebody asks: the rows that the workers go by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector
from prometheus_client.exposition import generate_latest

from p2p_oicp.client import HttpResponse
from p2p_oicp.clock import Clock
from p2p_oicp.delivery.health import REQUESTS, ChannelHealth, Trouble
from p2p_oicp.errors import PeerError, PeerRejected
from p2p_oicp.oicp.operations import OPERATION_BY_NAME, Retry
from p2p_oicp.peering.agreements import HeldParty
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.storage import Row, Store, cdrs, outbox, peer_state
from p2p_oicp.storage.datasets import queries
from p2p_oicp.storage.datasets.models import OWN

#: Called with an operation's name, what became of the request, and the seconds it took.
RequestObserver: TypeAlias = Callable[[str, str, float], None]

_REQUESTS_OF_DRIVERS = frozenset(
    name for name, operation in OPERATION_BY_NAME.items() if operation.retry is not Retry.SAFE
)
_CLOCK_CHECK_SECONDS = 10.0
_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
_PINS_DOCUMENTATION = "PINs that were wrong, or refused unseen after too many wrong ones; no peer: our own backend's."


class Metrics:
    """The metrics of one node.

    Args:
        store: read at each `render`.
        clock: what ages are counted by.
        held_parties: returns the parties that are held up at peers.
    """

    def __init__(
        self, store: Store, clock: Clock, held_parties: Callable[[], Sequence[HeldParty]] = lambda: ()
    ) -> None:
        self._store = store
        self._clock = clock
        self._held_parties = held_parties
        # A registry of its own: a program may run several nodes, and have metrics itself.
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "p2p_oicp_requests",
            "Requests by what became of them: ok, refused (by an OICP code), invalid, unavailable, problem.",
            ["listener", "operation", "result"],
            registry=self._registry,
        )
        self._durations = Histogram(
            "p2p_oicp_request_duration_seconds",
            "Seconds from a request's head to its response.",
            ["listener", "operation"],
            registry=self._registry,
            buckets=_LATENCY_BUCKETS,
        )
        self._rejected_requests = Counter(
            "p2p_oicp_requests_rejected",
            "Requests that were refused because too many were being served.",
            ["listener"],
            registry=self._registry,
        )
        self._call_observers: dict[tuple[str, str], Callable[[float], None]] = {}
        ProcessCollector(registry=self._registry)
        self._peer_registry = CollectorRegistry()  # what names peers is shown with the details only
        self._calls, self._failures = _call_metrics(self._peer_registry)
        self._pins = Counter("p2p_oicp_pins", _PINS_DOCUMENTATION, ["peer", "result"], registry=self._peer_registry)

    def observe_request(self, listener: str) -> RequestObserver:
        """Return what counts the requests of one listener."""
        # ``labels`` validates and locks: kept children cost a third of it on each request.
        counters: dict[tuple[str, str], Callable[[], None]] = {}
        histograms: dict[str, Callable[[float], None]] = {}

        def observe(operation: str, result: str, seconds: float) -> None:
            increment = counters.get((operation, result))
            if increment is None:
                increment = counters[operation, result] = self._requests.labels(listener, operation, result).inc
                histograms[operation] = self._durations.labels(listener, operation).observe
            increment()
            histograms[operation](seconds)

        return observe

    def rejected_requests(self, listener: str) -> Callable[[], None]:
        """Return what counts the requests that a listener has no room for."""
        return self._rejected_requests.labels(listener).inc

    def observe_call(self, peer: str, operation: str, seconds: float, cause: str | None) -> None:
        """Count a request to a peer, and its cause if it has failed."""
        key = (peer, operation)
        observe = self._call_observers.get(key)
        if observe is None:
            observe = self._call_observers[key] = self._calls.labels(peer, operation).observe
        observe(seconds)
        if cause is not None:
            self._failures.labels(peer, operation, cause).inc()

    def observe_pin(self, result: str, peer: str) -> None:
        """Count a PIN that was "wrong" or "refused"."""
        self._pins.labels(peer, result).inc()

    async def render(self, with_details: bool = True) -> OperationResponse:  # noqa: FBT001, FBT002 - a Callable[[bool], ...]
        """Return everything in Prometheus' text format; without details, nothing that names a peer."""
        text = generate_latest(_WithoutCreated(self._registry))
        if with_details:
            depths = await self._store.query(outbox.DEPTHS)
            health_rows = await self._store.query(peer_state.ALL_DESTINATIONS)
            text += generate_latest(_WithoutCreated(self._peer_registry))
            doubtful = await self._store.query(cdrs.DOUBTFUL)
            text += generate_latest(_store_metrics(depths, health_rows, doubtful, self._clock.time()))
            text += generate_latest(await self._held_metrics())
        return OperationResponse(text, content_type="text/plain; version=0.0.4")

    async def _held_metrics(self) -> CollectorRegistry:
        """Return how many records of which parties are held up, and where (RULES L18)."""
        registry = CollectorRegistry()
        documentation = "Records of a party of ours that a peer has not agreed to: none of them reaches it."
        held_records = Gauge("p2p_oicp_held_records", documentation, ["peer", "party"], registry=registry)
        for held in self._held_parties():
            if held.is_ours:
                rows = await self._store.query(queries.COUNT_OF_PARTY, source_=OWN, party_=held.key)
                held_records.labels(held.peer, held.party).set(rows[0]["records"])
        return registry


def _call_metrics(registry: CollectorRegistry) -> tuple[Histogram, Counter]:
    """Return what counts the requests to peers."""
    durations = Histogram(
        "p2p_oicp_peer_request_duration_seconds",
        "Seconds of a request to a peer, until its response.",
        ["peer", "operation"],
        registry=registry,
        buckets=_LATENCY_BUCKETS,
    )
    failures = Counter(
        "p2p_oicp_delivery_failures",
        "Requests to a peer that have failed, by the cause.",
        ["peer", "operation", "reason"],
        registry=registry,
    )
    return durations, failures


class CallRecorder:
    """What became of the last call of each peer and backend, where no row tells of it; counts all calls of peers.

    It is the `client.peer_client.CallObserver` of the node, and the `delivery.health.LiveCalls`.
    """

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock
        self._failing: dict[str, Trouble] = {}
        self._successes: dict[str, float] = {}
        self._skews: dict[str, tuple[float, float]] = {}

    def record(self, name: str, error: PeerError | None) -> None:
        """Record the outcome of a call; a refusal of its message is an answer, too."""
        now = self._clock.time()
        if error is None or isinstance(error, PeerRejected):
            self._failing.pop(name, None)
            self._successes[name] = now
            return
        before = self._failing.get(name)
        since, tries = (before.since, before.tries) if before else (now, 0)
        self._failing[name] = Trouble(cause=error.cause, since=since, error=str(error), tries=tries + 1)

    def record_backend(self, mark_answered: Callable[[str], None], name: str, error: PeerError | None) -> None:
        """Record the outcome of a call of a backend; one that answers is sent at once what waits for it."""
        self.record(name, error)
        if error is None:
            mark_answered(name)

    def response_received(self, peer_name: str, response: HttpResponse) -> None:
        """Compare the clock of a peer with ours, every few seconds."""
        now = self._clock.time()
        measured_at, _ = self._skews.get(peer_name, (0.0, 0.0))
        if abs(now - measured_at) >= _CLOCK_CHECK_SECONDS and (skew := response.clock_skew(now)) is not None:
            self._skews[peer_name] = (now, skew)

    def clock_skew(self, name: str) -> float | None:
        """Return by how many seconds a peer's clock was ahead of ours; None: it was not called yet."""
        return self._skews[name][1] if name in self._skews else None

    def channel(self, name: str) -> ChannelHealth | None:
        """Return how the last requests to a peer or backend went; None if there were none."""
        trouble, success = self._failing.get(name), self._successes.get(name)
        if trouble is None and success is None:
            return None
        return ChannelHealth(channel=REQUESTS, last_success_at=success, troubles=(trouble,) if trouble else ())

    def call_ended(self, peer: Peer, operation: str, seconds: float, error: PeerError | None) -> None:
        self._metrics.observe_call(peer.name, operation, seconds, error.cause if error is not None else None)
        # All else has a row of its own, which says more.
        if operation in _REQUESTS_OF_DRIVERS:
            self.record(peer.name, error)


class _WithoutCreated:
    """A registry without the ``_created`` series, which double what is scraped; the library's switch is global."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family


def _store_metrics(
    depths: Sequence[Row], health_rows: Sequence[Row], doubtful: Sequence[Row], now: float
) -> CollectorRegistry:
    """Return what the database says at ``now``; a destination that has gone has no series any more."""
    registry = CollectorRegistry()

    def gauge(name: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(f"p2p_oicp_{name}", documentation, labels, registry=registry)

    messages = gauge("outbox_messages", "Messages in the outbox: waiting, or dead.", "destination", "state")
    oldest = gauge("outbox_oldest_seconds", "Age of the oldest of them.", "destination", "state")
    attempts = gauge("outbox_attempts", "Attempts that failed for them so far.", "destination", "state")
    for row in depths:
        labels = (row["destination"], row["state"])
        messages.labels(*labels).set(row["messages"])
        oldest.labels(*labels).set(max(0.0, now - row["oldest"]))
        attempts.labels(*labels).set(row["attempts"] or 0)
    doubtful_records = gauge("doubtful_cdrs", "CDRs that something speaks against.", "role")
    for row in doubtful:
        doubtful_records.labels(row["role"]).set(row["records"])
    failures = gauge("destination_failures", "Failures in a row.", "destination")
    last_error = gauge("destination_last_error", "The type of the last failure, while it fails.", "destination", "type")
    for row in health_rows:
        failures.labels(row["name"]).set(row["failures"])
        if row["failures"] and row["last_error_type"]:
            last_error.labels(row["name"], row["last_error_type"]).set(1)
    next_try = gauge("destination_next_try_seconds", "Seconds until the next attempt; 0: at any time.", "destination")
    # A message waits by itself; after some failures in a row, the circuit is open for all of its destination.
    circuits = {row["name"]: row["next_try_at"] for row in health_rows}
    for row in depths:
        if row["state"] == outbox.WAITING:
            due_at = max(row["next_try_at"], circuits.get(row["destination"], 0.0))
            next_try.labels(row["destination"]).set(max(0.0, due_at - now))
    return registry
