"""``GET /metrics`` on the backend listener, in Prometheus' text format.

Requests and calls are counted as they end (`metrics`). All else is read when somebody asks: from the rows that the
workers go by (`delivery.health`), and by a few statements that an index answers. What names a peer is shown with the
token only, where there is one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Gauge, Metric
from prometheus_client.exposition import generate_latest

from p2p_oicp.clock import Clock
from p2p_oicp.concurrency import periodic
from p2p_oicp.crypto import KnownKey
from p2p_oicp.delivery.health import EVENTS, OUTBOX, ChannelHealth, ChannelState, HealthReader, PeerHealth
from p2p_oicp.delivery.health_texts import Condition
from p2p_oicp.peering.agreements import HeldParty
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.metrics import Metrics, label_of
from p2p_oicp.storage import Row, Store, cdrs, outbox, sessions
from p2p_oicp.storage.datasets import queries
from p2p_oicp.storage.datasets.models import OWN, DatasetKind
from p2p_oicp.storage.ocpi import objects
from p2p_oicp.version import VERSION

_LAG_INTERVAL_SECONDS = 0.5
# The longest lag of the last minute is shown: scrapes are up to a minute apart.
_LAG_MEASUREMENTS = 120
_PAUSE_AFTER_COUNTING = 100
_DATASET_CHANNELS = frozenset(dataset.label for dataset in DatasetKind)


class EventLoopLag:
    """Measures how late the event loop is: a worker, which sleeps for half a second again and again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due_at = math.inf
        self._lags: deque[float] = deque([0.0], maxlen=_LAG_MEASUREMENTS)

    async def run(self) -> None:
        await periodic("event loop lag", _LAG_INTERVAL_SECONDS, self._measure)

    async def _measure(self) -> None:
        now = self._clock.monotonic()
        self._lags.append(max(0.0, now - self._due_at))
        self._due_at = now + _LAG_INTERVAL_SECONDS

    def longest(self) -> float:
        """Return the longest lag of the last minute, in seconds."""
        return max(self._lags)


class _StateCounts:
    """How many sessions and CDRs are in each state.

    An index alone is read, from end to end, in a thread. Of some million rows that takes a second: so they are counted
    again only when a hundred times as long has passed, and counting never takes more than a hundredth of the time.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._counts: Mapping[str, Sequence[Row]] = {}
        self._due_at = -math.inf

    async def read(self) -> Mapping[str, Sequence[Row]]:
        """Return the rows by the name of their metric."""
        started = self._clock.monotonic()
        if started >= self._due_at:
            self._counts = {
                "sessions": await self._store.query_bulk(sessions.COUNT_BY_STATE),
                "cdrs": await self._store.query_bulk(cdrs.COUNT_BY_STATE),
            }
            now = self._clock.monotonic()
            self._due_at = now + _PAUSE_AFTER_COUNTING * (now - started)
        return self._counts


class NodeFacts(NamedTuple):
    """What belongs to the node alone; each is read at each scrape.

    Attributes:
        database_bytes: the size of the database.
        certificate_endings: of our certificate, its chain and the CAs: their ends by subject.
        signing_keys: our signing keys and those of the peers, with their owners.
        held_parties: the parties that are held up at peers.
        event_clients: how many clients listen to events.
    """

    database_bytes: Callable[[], int]
    certificate_endings: Callable[[], Mapping[str, float]]
    signing_keys: Callable[[], Iterable[KnownKey]]
    held_parties: Callable[[], Sequence[HeldParty]]
    event_clients: Callable[[], int]


class MetricsPage:
    """Everything that Prometheus is shown of one node.

    Args:
        metrics: what is counted.
        store: read at each `render`.
        health: of the peers and backends.
        facts: what belongs to the node alone.
        lag: of the event loop.
        clock: what ages are counted by.
    """

    def __init__(
        self, metrics: Metrics, *, store: Store, health: HealthReader, facts: NodeFacts, lag: EventLoopLag, clock: Clock
    ) -> None:
        self._metrics = metrics
        self._store = store
        self._health = health
        self._facts = facts
        self._lag = lag
        self._clock = clock
        self._counts = _StateCounts(store, clock)

    async def render(self, with_details: bool = True) -> OperationResponse:  # noqa: FBT001, FBT002 - a Callable[[bool], ...]
        """Return everything in Prometheus' text format; without details, nothing that names a peer."""
        gauges = _Gauges()
        self._add_node(gauges)
        registries = [self._metrics.registry, gauges.registry]
        if with_details:
            registries.append(self._metrics.peer_registry)
            for peer in await self._health.read():
                _add_peer(gauges, peer, self._clock.time())
            for known in self._facts.signing_keys():
                ends_at = math.inf if known.valid_until is None else known.valid_until
                gauges.set("key_valid_until_seconds", ends_at, peer=known.owner, key=known.key.key_id)
            await self._add_counts(gauges)
            await self._add_held(gauges)
        text = b"".join(generate_latest(_WithoutCreated(registry)) for registry in registries)
        return OperationResponse(text, content_type="text/plain; version=0.0.4")

    def _add_node(self, gauges: _Gauges) -> None:
        gauges.set("build_info", 1, version=VERSION)
        gauges.set("event_loop_lag_seconds", self._lag.longest())
        gauges.set("database_bytes", self._facts.database_bytes())
        gauges.set("event_clients", self._facts.event_clients())
        for subject, ends_at in self._facts.certificate_endings().items():
            gauges.set("certificate_not_after_seconds", ends_at, subject=subject)

    async def _add_counts(self, gauges: _Gauges) -> None:
        for name, rows in (await self._counts.read()).items():
            for row in rows:
                gauges.set(name, row["records"], role=row["role"], state=row["state"])
        for row in await self._store.query(cdrs.DOUBTFUL):
            gauges.set("doubtful_cdrs", row["records"], role=row["role"])
        for held in await objects.held_cdrs(self._store):
            gauges.set("ocpi_held_cdrs", held.count, partner=held.partner)

    async def _add_held(self, gauges: _Gauges) -> None:
        """Add how many records of which parties are held up, and where (RULES L18)."""
        for held in self._facts.held_parties():
            if held.is_ours:
                rows = await self._store.query(queries.COUNT_OF_PARTY, source_=OWN, party_=held.key)
                gauges.set("held_records", rows[0]["records"], peer=held.peer, party=held.party)


def _add_peer(gauges: _Gauges, peer: PeerHealth, now: float) -> None:
    if peer.clock_skew is not None:
        gauges.set("clock_skew_seconds", peer.clock_skew, peer=peer.name)
    if not peer.is_backend:
        gauges.set("peer_paused", peer.pause is not None, peer=peer.name)
    for channel in peer.channels:
        labels = {"peer": peer.name, "channel": label_of(channel.channel)}
        gauges.set("peer_up", channel.state not in {ChannelState.FAILING, ChannelState.HELD}, **labels)
        age = max(0.0, now - channel.behind_since) if channel.behind_since is not None else 0.0
        if channel.channel in _DATASET_CHANNELS:
            gauges.set("replication_lag_changes", channel.behind, **labels)
            gauges.set("replication_lag_seconds", age, **labels)
        elif channel.channel == EVENTS:
            gauges.set("webhook_lag_events", channel.behind, peer=peer.name)
        elif channel.channel == OUTBOX:
            _add_outbox(gauges, peer.name, channel, age)


def _add_outbox(gauges: _Gauges, name: str, channel: ChannelHealth, age: float) -> None:
    counts = {trouble.cause: trouble.count for trouble in channel.troubles}
    held = counts.get(Condition.MESSAGES_HELD, 0)
    waiting, dead = channel.behind - held, counts.get(Condition.DEAD_LETTERS, 0)
    for state, messages in ((outbox.WAITING, waiting), (outbox.DEAD, dead), (outbox.HELD, held)):
        gauges.set("outbox_messages", messages, peer=name, state=state)
    gauges.set("outbox_oldest_seconds", age, peer=name)


#: What is read at each scrape, without ``p2p_oicp_``: what it is, and its labels.
_GAUGES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "build_info": ("1, with the version of the node.", "version"),
        "event_loop_lag_seconds": ("The longest time of the last minute by which the event loop was late.",),
        "database_bytes": ("Size of the database with its log.",),
        "certificate_not_after_seconds": (
            "When our certificate, its chain or a CA ends (seconds since the epoch).",
            "subject",
        ),
        "sessions": ("Sessions by their state.", "role", "state"),
        "cdrs": ("Charge detail records by what became of them.", "role", "state"),
        "doubtful_cdrs": ("CDRs that something speaks against.", "role"),
        "ocpi_held_cdrs": ("CDRs of an OCPI partner that wait for a person.", "partner"),
        "peer_up": (
            "1 where nothing that was tried last has failed in a channel of a peer or backend, else 0.",
            "peer",
            "channel",
        ),
        "peer_paused": ("1 where a person has paused deliveries to a peer, else 0.", "peer"),
        "replication_lag_changes": (
            "Changes of a dataset that a peer or backend has not got yet.",
            "peer",
            "channel",
        ),
        "replication_lag_seconds": ("Age of the oldest of them.", "peer", "channel"),
        "outbox_messages": (
            "Messages in the outbox: waiting, dead (refused for good), held (their backend is gone).",
            "peer",
            "state",
        ),
        "webhook_lag_events": ("Events that a webhook has not got yet.", "peer"),
        "event_clients": ("Clients that listen to GET /events.",),
        "outbox_oldest_seconds": ("Age of the oldest message that waits.", "peer"),
        "clock_skew_seconds": ("By how much the clock of a peer is ahead of ours.", "peer"),
        "key_valid_until_seconds": (
            "Until when a signing key is valid (seconds since the epoch); +Inf: until a rotation.",
            "peer",
            "key",
        ),
        "held_records": (
            "Records of a party of ours that a peer has not agreed to: none of them reaches it.",
            "peer",
            "party",
        ),
    }
)


class _Gauges:
    """Gauges that are made for one scrape: what has gone has no series any more."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._gauges = {
            name: Gauge(f"p2p_oicp_{name}", documentation, labels, registry=self.registry)
            for name, (documentation, *labels) in _GAUGES.items()
        }

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set ``p2p_oicp_<name>``."""
        gauge = self._gauges[name]
        (gauge.labels(**labels) if labels else gauge).set(value)


class _WithoutCreated:
    """A registry without the ``_created`` series, which double what is scraped; the library's switch is global."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family
