"""What is counted for Prometheus while requests are served and peers are called.

What is read when somebody asks, and how all of it is written, stands in `metrics_page`.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

from p2p_oicp.client import HttpResponse
from p2p_oicp.clock import Clock
from p2p_oicp.delivery.health import OUTBOX, REQUESTS, ChannelHealth, Latency, Trouble
from p2p_oicp.errors import PeerError, PeerRejected, PeerVerificationError
from p2p_oicp.oicp.operations import OPERATION_BY_NAME, Retry
from p2p_oicp.peers import Peer
from p2p_oicp.roles.datasets.pull_specs import PULL_SPECS
from p2p_oicp.roles.datasets.types import DATASET_TYPES
from p2p_oicp.storage.event_log import Event, EventType
from p2p_oicp.storage.limited_events import LimitedEventLog
from p2p_oicp.storage.peer_state import PULL_PREFIX

#: Called with an operation's name, what became of the request, and the seconds it took.
RequestObserver: TypeAlias = Callable[[str, str, float], None]
#: Called with the HTTP status of a request that is refused before it is processed.
RejectionObserver: TypeAlias = Callable[[int], None]


class RequestObservers(NamedTuple):
    """What counts the requests of one listener, and those that it refuses before they are processed."""

    request: RequestObserver
    rejection: RejectionObserver


class RequestTotals(NamedTuple):
    """All requests since the start.

    Attributes:
        requests: how many, at all listeners.
        failures: those that were invalid, or could not be served.
        within: how many took at most so many seconds.
    """

    requests: int
    failures: int
    within: Mapping[float, float]


_FAILED_RESULTS = frozenset({"invalid", "unavailable", "problem"})
# Of each peer: enough for a 95 of 100 that means something.
_RECENT_CALLS = 200
_REQUESTS_OF_DRIVERS = frozenset(
    name for name, operation in OPERATION_BY_NAME.items() if operation.retry is not Retry.SAFE
)
_CLOCK_CHECK_SECONDS = 10.0
_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
_FAILURES = "Requests to a peer or to a backend of ours that have failed, by the reason."
_SIGNATURE_FAILURES = "Signatures of requests and responses that were not accepted; no peer: of nobody known."
_OCPI = "Requests of OCPI partners by OCPI's status code, or HTTP's where it is not 200; no partner: of others."
_PINS = "PINs that were wrong, or refused unseen after too many wrong ones; no peer: our own backend's."
_REASONS: Mapping[int, str] = MappingProxyType(
    {
        400: "invalid",
        401: "unauthorized",
        403: "forbidden",
        404: "not_found",
        405: "method_not_allowed",
        408: "timeout",
        413: "too_large",
        415: "unsupported_media_type",
        417: "expectation_failed",
        421: "misdirected",
        429: "too_many_requests",
        500: "internal_error",
        503: "unavailable",
    }
)


def label_of(text: str) -> str:
    """Return what is for people (a channel, a cause, a state) as the value of a label: ``evse_data``."""
    return text.lower().replace(" ", "_")


def _channels() -> dict[str, str]:
    """Return the channel of each operation, as `delivery.health` names them."""
    channels = dict.fromkeys(OPERATION_BY_NAME, REQUESTS)
    channels |= dict.fromkeys(("ChargeDetailRecord", "ChargingNotifications"), OUTBOX)
    for dataset, dataset_type in DATASET_TYPES.items():
        channels[dataset_type.operation.name] = label_of(dataset.label)
        channels[PULL_SPECS[dataset].operation.name] = label_of(PULL_PREFIX + dataset.label)
    return channels


CHANNEL_BY_OPERATION: Mapping[str, str] = MappingProxyType(_channels())


class Metrics:
    """What one node counts; ``peer_registry`` has what names peers, which is shown with the details only."""

    def __init__(self) -> None:
        # Registries of its own: a program may run several nodes, and have metrics itself.
        self.registry, self.peer_registry = CollectorRegistry(), CollectorRegistry()
        self._requests = Counter(
            "p2p_oicp_requests",
            "Requests by what became of them: ok, refused (by an OICP code), invalid, unavailable, problem.",
            ["listener", "operation", "result"],
            registry=self.registry,
        )
        self._durations = _latencies(
            "request_duration", "Seconds from a request's head to its response.", "listener", self.registry
        )
        self._rejected_requests = Counter(
            "p2p_oicp_requests_rejected",
            "Requests that were refused before they were processed, by the reason.",
            ["listener", "reason"],
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)
        self._recent_calls: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_RECENT_CALLS))
        self._call_observers: dict[tuple[str, str], Callable[[float], None]] = {}
        self._calls = _latencies(
            "peer_request_duration", "Seconds of a request to a peer, until its response.", "peer", self.peer_registry
        )
        counter = partial(Counter, registry=self.peer_registry)
        self._failures = counter("p2p_oicp_delivery_failures", _FAILURES, ["peer", "channel", "reason"])
        self._signature_failures = counter("p2p_oicp_signature_failures", _SIGNATURE_FAILURES, ["peer", "reason"])
        self._pins = counter("p2p_oicp_pins", _PINS, ["peer", "result"])
        self._ocpi = counter("p2p_oicp_ocpi_requests", _OCPI, ["partner", "module", "method", "status"])

    def observers(self, listener: str) -> RequestObservers:
        """Return what counts the requests of one listener, and those that it refuses."""
        return RequestObservers(self.observe_request(listener), self.observe_rejection(listener))

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

    def observe_rejection(self, listener: str) -> RejectionObserver:
        """Return what counts the requests that one listener refuses before they are processed, by HTTP status."""

        def observe(http_status: int) -> None:
            self._rejected_requests.labels(listener, _REASONS.get(http_status, "other")).inc()

        return observe

    def observe_call(self, peer: str, operation: str, seconds: float) -> None:
        """Count a request to a peer."""
        key = (peer, operation)
        observe = self._call_observers.get(key)
        if observe is None:
            observe = self._call_observers[key] = self._calls.labels(peer, operation).observe
        observe(seconds)
        self._recent_calls[peer].append(seconds)

    def latency(self, peer: str) -> Latency | None:
        """Return how long the last requests to a peer took; None: there were none."""
        if peer not in self._recent_calls:
            return None
        durations = sorted(self._recent_calls[peer])
        count = len(durations)
        return Latency(count, durations[(count - 1) // 2], durations[min(count - 1, count * 95 // 100)])

    def request_totals(self) -> RequestTotals:
        """Return all requests since the start, over all listeners and operations."""
        requests = failures = 0
        for sample in (each for family in self._requests.collect() for each in family.samples):
            if sample.name.endswith("_total"):
                requests += int(sample.value)
                failures += int(sample.value) if sample.labels["result"] in _FAILED_RESULTS else 0
        within: defaultdict[float, float] = defaultdict(float)
        for sample in (each for family in self._durations.collect() for each in family.samples):
            if sample.name.endswith("_bucket"):
                within[float(sample.labels["le"])] += sample.value
        return RequestTotals(requests, failures, within)

    def observe_failure(self, name: str, operation: str, error: PeerError) -> None:
        """Count a request to a peer or backend that has failed."""
        channel = CHANNEL_BY_OPERATION.get(operation, REQUESTS)
        self._failures.labels(name, channel, label_of(error.cause)).inc()
        if isinstance(error, PeerVerificationError):
            self.observe_signature_failure(name, error.cause)

    def observe_signature_failure(self, peer: str, cause: str) -> None:
        """Count a signature that was not accepted."""
        self._signature_failures.labels(peer, label_of(cause)).inc()

    def observe_ocpi(
        self, partner: str, module: str, method: str, http_status: int, status_code: int, _seconds: float
    ) -> None:
        """Count a request of an OCPI partner: by the HTTP status, or OCPI's status code where that is 200."""
        status = status_code if http_status == HTTPStatus.OK else http_status
        self._ocpi.labels(partner, module, method, str(status)).inc()

    def observe_pin(self, result: str, peer: str) -> None:
        """Count a PIN that was "wrong" or "refused"."""
        self._pins.labels(peer, result).inc()


def _latencies(name: str, documentation: str, label: str, registry: CollectorRegistry) -> Histogram:
    return Histogram(
        f"p2p_oicp_{name}_seconds", documentation, [label, "operation"], registry=registry, buckets=_LATENCY_BUCKETS
    )


class CallRecorder:
    """What became of the last call of each peer and backend, where no row tells of it; counts all calls of peers.

    It is the `client.peer_client.CallObserver` of the node, and the `delivery.health.LiveCalls`.
    """

    def __init__(self, metrics: Metrics, clock: Clock, events: LimitedEventLog) -> None:
        self._metrics = metrics
        self._clock = clock
        self._events = events
        self._failing: dict[str, Trouble] = {}
        self._successes: dict[str, float] = {}
        self._skews: dict[str, tuple[float, float]] = {}

    def record(self, name: str, error: PeerError | None, peer_id: str = "") -> None:
        """Record the outcome of a call; a refusal of its message is an answer, too.

        Args:
            name: of the peer or backend.
            error: None: it has answered.
            peer_id: empty for a backend.
        """
        now = self._clock.time()
        if error is None or isinstance(error, PeerRejected):
            if self._failing.pop(name, None) is not None:
                self._add_event("answering", name, peer_id, now)
            self._successes[name] = now
            return
        before = self._failing.get(name)
        if before is None:
            self._add_event("not_answering", name, peer_id, now, error.reason)
        since, tries = (before.since, before.tries) if before else (now, 0)
        trouble = Trouble(cause=error.cause, since=since, last_at=now, error=str(error), tries=tries + 1)
        self._failing[name] = trouble

    def _add_event(self, what: str, name: str, peer_id: str, now: float, text: str = "") -> None:
        event_type = EventType.PEER if peer_id else EventType.BACKEND
        subject = peer_id or name.removeprefix("backend:")
        self._events.add(Event(event_type, what, now, subject, peer=peer_id, text=text))

    def record_backend(
        self, mark_answered: Callable[[str], None], name: str, operation: str, error: PeerError | None
    ) -> None:
        """Record the outcome of a call of a backend; one that answers is sent at once what waits for it."""
        self.record(name, error)
        if error is None:
            mark_answered(name)
        else:
            self._metrics.observe_failure(name, operation, error)

    def response_received(self, peer_name: str, response: HttpResponse) -> None:
        """Compare the clock of a peer with ours, every few seconds."""
        now = self._clock.time()
        measured_at, _ = self._skews.get(peer_name, (0.0, 0.0))
        if abs(now - measured_at) >= _CLOCK_CHECK_SECONDS and (skew := response.clock_skew(now)) is not None:
            self._skews[peer_name] = (now, skew)

    def clock_skew(self, name: str) -> float | None:
        """Return by how many seconds a peer's clock was ahead of ours; None: it was not called yet."""
        return self._skews[name][1] if name in self._skews else None

    def latency(self, name: str) -> Latency | None:
        """Return how long the last requests to a peer took; None: there were none."""
        return self._metrics.latency(name)

    def channel(self, name: str) -> ChannelHealth | None:
        """Return how the last requests to a peer or backend went; None if there were none."""
        trouble, success = self._failing.get(name), self._successes.get(name)
        if trouble is None and success is None:
            return None
        return ChannelHealth(channel=REQUESTS, last_success_at=success, troubles=(trouble,) if trouble else ())

    def call_ended(self, peer: Peer, operation: str, seconds: float, error: PeerError | None) -> None:
        self._metrics.observe_call(peer.name, operation, seconds)
        if error is not None:
            self._metrics.observe_failure(peer.name, operation, error)
        # All else has a row of its own, which says more.
        if operation in _REQUESTS_OF_DRIVERS:
            self.record(peer.name, error, peer.id)
