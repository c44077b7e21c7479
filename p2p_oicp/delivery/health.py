"""How each peer and each backend of ours is doing, per channel: read from the rows that the workers use.

**Channels.** ``outbox``, the name of each dataset that is replicated, ``pull`` of each dataset that is fetched,
``hello``, ``events`` of a webhook, ``cdrs`` of an OCPI partner that are held; and two without rows, which `LiveCalls`
remembers: ``requests`` (what a driver waits for) and ``inbound`` (what comes from the other side and is refused here).

**Truth.** A channel fails from its first failure to its next success, whatever wakes its worker meanwhile. So a fault
is visible after one try, and gone after one try. `health_texts` has the words, `HealthReader` the rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple, Protocol

from p2p_oicp.clock import Clock
from p2p_oicp.config.ocpi import ocpi_destination
from p2p_oicp.delivery.health_texts import Condition
from p2p_oicp.errors import FailureCause
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.storage import Row, Store, outbox, outbox_lists, peer_state
from p2p_oicp.storage.datasets.change_feed import ReplicaScope
from p2p_oicp.storage.datasets.replica_lag import read_lag
from p2p_oicp.storage.ocpi import objects
from p2p_oicp.storage.ocpi.objects import HeldCount
from p2p_oicp.storage.pauses import Pause

OUTBOX = "outbox"
EVENTS = "events"
CDRS = "cdrs"
REQUESTS = "requests"
INBOUND = "inbound"
# A queue that is older without a failure is not sent as fast as it grows; a busy node needs some seconds.
_SLOW_AFTER_SECONDS = 300.0
_NOTABLE_CLOCK_SKEW_SECONDS = 60.0
#: Notices are no failures: nothing is stuck because of them.
NOTICES = frozenset(
    {
        Condition.RESTORED,
        Condition.CLOCK_APART,
        Condition.PAUSED,
        Condition.INSECURE,
        Condition.CERTIFICATE_ENDS,
        Condition.KEY_ENDS,
        Condition.KEY_OF_PEER_ENDS,
        Condition.NOT_REGISTERED,
    }
)
_NOT_FAILING = (Condition.DEAD_LETTERS, Condition.CDRS_HELD, Condition.QUEUE_GROWING)
# The other side has read what it was sent, and does not take it: it is there.
_ANSWERED = NOTICES | {FailureCause.MESSAGE_REFUSED, *_NOT_FAILING}


class ChannelState(StrEnum):
    """How a channel is doing."""

    IN_SYNC = "in sync"
    BEHIND = "behind"
    FAILING = "failing"
    HELD = "held"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What is wrong in a channel.

    Attributes:
        cause: an `errors.FailureCause` or a `Condition`.
        since: seconds since the epoch.
        last_at: when it was so last, where only the last request tells of it.
        error: the last error, in the words of whoever gave it.
        tries: failures in a row.
        next_try_at: 0 or in the past: at any moment; None: nothing is tried by itself.
        count: of messages or groups.
    """

    cause: str
    since: float | None = None
    last_at: float | None = None
    error: str = ""
    tries: int = 0
    next_try_at: float | None = None
    count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelHealth:
    """One channel; ``behind`` counts messages, or changes, since ``behind_since``; ``total``: of so many records."""

    channel: str
    behind: int = 0
    total: int | None = None
    behind_since: float | None = None
    last_success_at: float | None = None
    troubles: tuple[Trouble, ...] = ()

    @property
    def state(self) -> ChannelState:
        causes = {trouble.cause for trouble in self.troubles}
        if Condition.HELD in causes:
            return ChannelState.HELD
        if Condition.PAUSED in causes:
            return ChannelState.PAUSED
        if causes - NOTICES - {*_NOT_FAILING}:
            return ChannelState.FAILING
        return ChannelState.BEHIND if self.behind or Condition.QUEUE_GROWING in causes else ChannelState.IN_SYNC

    @property
    def is_down(self) -> bool:
        """Whether what it is for does not get through at all."""
        if self.state is ChannelState.FAILING:
            is_refused = all(trouble.cause in _ANSWERED for trouble in self.troubles)
            return self.channel != INBOUND and not is_refused
        return self.state is ChannelState.HELD


class Latency(NamedTuple):
    """How long the last requests to a peer took: half of them, and 95 of 100, at most so many seconds."""

    requests: int
    p50: float
    p95: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerHealth:
    """A peer, or one of our own backends, with all its channels."""

    name: str
    is_backend: bool = False
    held: str | None = None
    last_seen_at: float | None = None
    clock_skew: float | None = None
    pause: Pause | None = None
    latency: Latency | None = None
    channels: tuple[ChannelHealth, ...] = ()

    @property
    def is_up(self) -> bool:
        """Whether nothing that was tried last has failed, but for what the other side has read and refused.

        A peer that answers is up: that it refuses one record, or that this node refuses a request in its name (which
        anybody may have sent), is a trouble of that channel, and stands among the problems.
        """
        return not any(each.is_down for each in self.channels)

    @property
    def needs_attention(self) -> bool:
        """Whether something waits in a channel, or is wrong with it."""
        return any(each.behind or each.troubles for each in self.channels)


class LiveCalls(Protocol):
    """What became of the last calls that no row tells of, by the name of the peer or backend."""

    def clock_skew(self, name: str) -> float | None:
        """Return by how many seconds a peer's clock was ahead of ours; None: it was not called yet."""

    def latency(self, name: str) -> Latency | None:
        """Return how long the last requests to a peer took; None: there were none."""

    def channel(self, name: str) -> ChannelHealth | None:
        """Return how the last requests to a peer or backend went; None if there were none."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows that the workers use, by peer (or backend) and channel."""

    destinations: Mapping[tuple[str, str], Row]
    refused_groups: Mapping[tuple[str, str], Sequence[Row]]
    depths: Mapping[tuple[str, str], Row]
    troubled: Mapping[tuple[str, str], Row]
    held_cdrs: Mapping[str, HeldCount]


class HealthReader:
    """Reads the health of all peers and backends.

    Args:
        store: the rows of the workers.
        registry: the peers.
        clock: the time.
        live: what no row tells.
        backends: the destinations of our backends.
        webhooks: returns by the destination of each webhook how many events it has not got yet.
        built_in: those of them that nobody has configured, which are shown while something waits for them.
        replicas: returns the datasets that are replicated to a peer or backend (by its id or destination), by name.
        held_reason: says why what a peer says of itself does not count.
        pause_of: returns the pause of deliveries to a peer, by its id.
    """

    def __init__(  # noqa: PLR0913 - one argument a source
        self,
        *,
        store: Store,
        registry: PeerRegistry,
        clock: Clock,
        live: LiveCalls,
        backends: Sequence[str],
        webhooks: Callable[[], Awaitable[Mapping[str, int]]] | None = None,
        built_in: Collection[str] = (),
        replicas: Callable[[str], Mapping[str, ReplicaScope]],
        held_reason: Callable[[Peer], str | None],
        pause_of: Callable[[str], Pause | None],
    ) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._live = live
        self._backends = backends
        self._webhooks = webhooks
        self._built_in = frozenset(built_in)
        self._replicas = replicas
        self._held_reason = held_reason
        self._pause_of = pause_of

    async def read(self) -> list[PeerHealth]:
        """Return all peers, then all backends, then those that messages wait for and that are no more."""
        rows = await self._read_rows()
        peers = [await self._of_peer(peer, rows) for peer in self._registry.all() if not peer.is_self]
        backends = [await self._of_backend(name, rows) for name in self._backends]
        shown = [each for each in backends if each.name not in self._built_in or each.needs_attention]
        known = {*self._backends, *(peer.id for peer in self._registry.all())}
        gone = [
            _of_unknown(destination, row)
            for (destination, state), row in rows.depths.items()
            if destination not in known and state == outbox.WAITING and destination.startswith(outbox.OWN_PREFIXES)
        ]
        behind = await self._webhooks() if self._webhooks is not None else {}
        webhooks = [self._of_webhook(name, count, rows) for name, count in behind.items()]
        return [*peers, *shown, *webhooks, *gone]

    async def _read_rows(self) -> _Rows:
        query = self._store.query
        groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for row in await query(peer_state.REFUSED_GROUPS):
            groups[row["peer"], row["dataset"]].append(row)
        return _Rows(
            destinations={(row["peer"], row["dataset"]): row for row in await query(peer_state.ALL_DESTINATIONS)},
            refused_groups=groups,
            depths={(row["peer"], row["state"]): row for row in await query(outbox_lists.DEPTHS)},
            troubled={(row["peer"], row["state"]): row for row in await query(outbox_lists.TROUBLED)},
            held_cdrs={ocpi_destination(each.partner): each for each in await objects.held_cdrs(self._store)},
        )

    async def _of_peer(self, peer: Peer, rows: _Rows) -> PeerHealth:
        held, skew = self._held_reason(peer), self._live.clock_skew(peer.name)
        channels, pause = [self._outbox(peer.id, rows), *await self._datasets(peer.id, rows)], self._pause_of(peer.id)
        if pause is not None:
            channels = [_paused(each, pause) for each in channels]
        for (owner, channel), row in rows.destinations.items():
            is_pull = channel.startswith(peer_state.PULL_PREFIX) and peer.is_pulled
            is_hello = channel == peer_state.HELLO and peer.is_node
            if owner == peer.id and (is_pull or is_hello):
                channels.append(_channel(channel, row))
        channels += filter(None, [self._live.channel(peer.name), self._inbound(peer, held)])
        if skew is not None and abs(skew) > _NOTABLE_CLOCK_SKEW_SECONDS:
            seconds = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} ours"
            channels.append(_notice("clock", Trouble(cause=Condition.CLOCK_APART, error=seconds)))
        seen = [each.last_success_at for each in channels if each.channel != REQUESTS]
        last_seen = max(filter(None, [*seen, self._registry.last_seen_at(peer)]), default=None)
        return PeerHealth(
            name=peer.name,
            held=held,
            last_seen_at=last_seen,
            clock_skew=skew,
            pause=pause,
            latency=self._live.latency(peer.name),
            channels=tuple(channels),
        )

    async def _of_backend(self, destination: str, rows: _Rows) -> PeerHealth:
        channels = [*await self._datasets(destination, rows), *filter(None, [self._live.channel(destination)])]
        if (destination, "") in rows.destinations or (destination, outbox.WAITING) in rows.depths:
            channels.insert(0, self._outbox(destination, rows))
        if (cdrs := rows.held_cdrs.get(destination)) is not None:
            channels.append(_notice(CDRS, Trouble(cause=Condition.CDRS_HELD, since=cdrs.since, count=cdrs.count)))
        seen = max(filter(None, (each.last_success_at for each in channels)), default=None)
        return PeerHealth(name=destination, is_backend=True, last_seen_at=seen, channels=tuple(channels))

    def _of_webhook(self, destination: str, behind: int, rows: _Rows) -> PeerHealth:
        """Return how a receiver of events is doing: those that it has not got yet, and its dead letters."""
        channel = replace(_channel(EVENTS, rows.destinations.get((destination, EVENTS))), behind=behind)
        channels = [channel]
        if (destination, outbox.WAITING) in rows.depths or (destination, outbox.DEAD) in rows.troubled:
            channels.append(self._outbox(destination, rows))
        seen = max(filter(None, (each.last_success_at for each in channels)), default=None)
        return PeerHealth(name=destination, is_backend=True, last_seen_at=seen, channels=tuple(channels))

    def _outbox(self, owner: str, rows: _Rows) -> ChannelHealth:
        channel = _channel(OUTBOX, rows.destinations.get((owner, "")))
        waiting, troubled = rows.depths.get((owner, outbox.WAITING)), rows.troubled.get((owner, outbox.WAITING))
        troubles = list(channel.troubles)
        # One message that fails while others are accepted leaves no failure in the row of the destination.
        if troubled and not troubles:
            troubles.append(_of_message(troubled, troubled["last_cause"] or "other", troubled["next_try_at"]))
        if waiting and not troubles and self._clock.time() - waiting["oldest"] > _SLOW_AFTER_SECONDS:
            troubles.append(Trouble(cause=Condition.QUEUE_GROWING, since=waiting["oldest"], count=waiting["messages"]))
        if dead := rows.troubled.get((owner, outbox.DEAD)):
            troubles.append(_of_message(dead, Condition.DEAD_LETTERS, None))
        behind, since = (waiting["messages"], waiting["oldest"]) if waiting else (0, None)
        return replace(channel, behind=behind, behind_since=since, troubles=tuple(troubles))

    async def _datasets(self, owner: str, rows: _Rows) -> list[ChannelHealth]:
        return [
            await self._dataset(
                name, scope, rows.destinations.get((owner, name)), rows.refused_groups.get((owner, name), ())
            )
            for name, scope in self._replicas(owner).items()
        ]

    async def _dataset(self, name: str, scope: ReplicaScope, row: Row | None, refused: Sequence[Row]) -> ChannelHealth:
        channel, lag = _channel(name, row), await read_lag(self._store, scope)
        troubles = [*channel.troubles, *(_of_group(each) for each in refused)]
        if not troubles and lag.since is not None and lag.is_without_copy and channel.last_success_at is not None:
            troubles.append(Trouble(cause=Condition.RESTORED, since=lag.since, count=lag.changes))
        elif not troubles and lag.since is not None and self._clock.time() - lag.since > _SLOW_AFTER_SECONDS:
            troubles.append(Trouble(cause=Condition.QUEUE_GROWING, since=lag.since, count=lag.changes))
        return replace(channel, behind=lag.changes, total=lag.total, behind_since=lag.since, troubles=tuple(troubles))

    def _inbound(self, peer: Peer, held: str | None) -> ChannelHealth | None:
        troubles = [
            Trouble(cause=each.cause, since=each.since, error=each.reason, tries=each.count)
            for each in self._registry.refusals_of(peer, self._clock.time())
        ]
        if held is not None:
            troubles.append(Trouble(cause=Condition.HELD, error=held))
        last_seen = self._registry.last_seen_at(peer)
        if not troubles and last_seen is None:
            return None
        return ChannelHealth(channel=INBOUND, last_success_at=last_seen, troubles=tuple(troubles))


def _channel(name: str, row: Row | None) -> ChannelHealth:
    if row is None:
        return ChannelHealth(channel=name)
    troubles: tuple[Trouble, ...] = ()
    if row["failing_since"] is not None:
        troubles = (
            Trouble(
                cause=row["last_cause"] or "other",
                since=row["failing_since"],
                error=row["last_error"] or "",
                tries=max(1, row["failures"]),
                next_try_at=row["next_try_at"],
            ),
        )
    return ChannelHealth(channel=name, last_success_at=row["last_success_at"], troubles=troubles)


def _paused(channel: ChannelHealth, pause: Pause) -> ChannelHealth:
    """Return a channel to which nothing is delivered, because a person wants it so."""
    others = [each for each in channel.troubles if each.cause != Condition.QUEUE_GROWING]
    trouble = Trouble(cause=Condition.PAUSED, since=pause.since, error=pause.reason, count=channel.behind)
    return replace(channel, troubles=(trouble, *others))


def _of_message(row: Row, cause: str, next_try_at: float | None) -> Trouble:
    return Trouble(
        cause=cause,
        since=row["oldest"],
        error=f"{row['operation']}: {row['last_error'] or ''}",
        tries=row["attempts"],
        next_try_at=next_try_at,
        count=row["messages"],
    )


def _of_group(row: Row) -> Trouble:
    return Trouble(
        cause=row["last_cause"],
        since=row["refused_since"],
        error=f"{row['group_key']}: {row['last_error']}",
        tries=row["failures"],
        next_try_at=row["next_try_at"],
        count=1,
    )


def _of_unknown(destination: str, row: Row) -> PeerHealth:
    held = Trouble(cause=Condition.MESSAGES_HELD, since=row["oldest"], count=row["messages"])
    channel = ChannelHealth(channel=OUTBOX, behind=row["messages"], behind_since=row["oldest"], troubles=(held,))
    return PeerHealth(name=destination, is_backend=True, channels=(channel,))


def _notice(channel: str, trouble: Trouble) -> ChannelHealth:
    return ChannelHealth(channel=channel, troubles=(trouble,))


def troubles_of(peers: Iterable[PeerHealth]) -> list[tuple[PeerHealth, ChannelHealth, Trouble]]:
    """Return all troubles, with whose they are."""
    return [(peer, channel, trouble) for peer in peers for channel in peer.channels for trouble in channel.troubles]
