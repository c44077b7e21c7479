"""Is all well? The node's own report: what is stuck, since when, why, and what to do (``GET /admin/v1/status``).

`NodeStatusReporter` puts the health of peers and backends (`delivery.health`) together with what belongs to the node
alone: disk, database, certificates. A *problem* is what a person has to do something about; a *notice* is what they
should know. Problems of one peer with the same cause are one, with all its channels.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from p2p_oicp.clock import Clock, format_timestamp
from p2p_oicp.concurrency import offload
from p2p_oicp.delivery.health import (
    INBOUND,
    NOTICES,
    ChannelHealth,
    HealthReader,
    PeerHealth,
    Trouble,
    troubles_of,
)
from p2p_oicp.delivery.health_texts import Condition, explain
from p2p_oicp.peers import Peer
from p2p_oicp.peers.registry import SecurityPolicy
from p2p_oicp.storage import Store
from p2p_oicp.storage.peers import OPEN_INVITATIONS
from p2p_oicp.version import VERSION

_DAY_SECONDS = 86_400.0
_CERTIFICATE_NOTICE_DAYS = 14
# Nearly full: less than a gigabyte, or, on small disks, less than a twentieth.
_LOW_DISK_BYTES = 1_000_000_000
_LOW_DISK_SHARE = 0.05
#: How the node itself is called among peers and backends.
NODE_NAME = "this node"

Json = dict[str, object]


class CredentialEndings(Protocol):
    """When what proves who we and the peers are comes to its end, in seconds since the epoch (`peering.Peering`)."""

    def certificate_endings(self) -> Mapping[str, float]:
        """Return the ends of the certificates of our listeners, by subject."""

    def key_endings(self) -> Mapping[str, float]:
        """Return the ends of the last signing keys of us and of the peers, by name."""


class NodeStatusReporter:
    """Reports how the node is.

    Args:
        name: the node's name.
        store: its database.
        file: the file of the database.
        clock: the time.
        health: of the peers and backends.
        without_backend: this node's entry, with the parties that no backend is configured for.
        policy: which peers are not authenticated.
        endings: when certificates and keys end.
    """

    def __init__(
        self,
        name: str,
        *,
        store: Store,
        file: Path,
        clock: Clock,
        health: HealthReader,
        without_backend: Sequence[Peer],
        policy: SecurityPolicy,
        endings: CredentialEndings,
    ) -> None:
        self._name = name
        self._store = store
        self._file = file
        self._clock = clock
        self._health = health
        self._without_backend = [each for own in without_backend for each in _parties_without_backend(own)]
        self._policy = policy
        self._endings = endings
        self._started_at = clock.time()

    async def report(self) -> Json:
        """Return everything, as JSON of ``GET /admin/v1/status``."""
        peers = await self._health.read()
        disk, database = await offload(self._read_disk)
        problems = [*await self._own_problems(disk), *peer_problems(peers)]
        invitations = await self._store.query(OPEN_INVITATIONS, now_=self._clock.time())
        problems.sort(key=lambda problem: (problem["severity"] != "error", str(problem["since"] or "~")))
        return {
            "ok": all(problem["severity"] != "error" for problem in problems),
            "node": self._name,
            "version": VERSION,
            "at": format_timestamp(self._clock.time()),
            "running_since": format_timestamp(self._started_at),
            "problems": problems,
            "peers": [peer_to_json(peer) for peer in peers if not peer.is_backend],
            "backends": [peer_to_json(peer) for peer in peers if peer.is_backend],
            "without_backend": self._without_backend,
            "invitations": [{"expires": format_timestamp(row["expires_at"])} for row in invitations],
            "disk": disk,
            "database": {"file": str(self._file), "bytes": database},
            "certificates": [
                {"subject": subject, "not_after": format_timestamp(at)}
                for subject, at in self._endings.certificate_endings().items()
            ],
        }

    async def own_problems(self) -> list[Json]:
        """Return what is wrong with the node itself: disk, database, certificates, security."""
        disk, _ = await offload(self._read_disk)
        return await self._own_problems(disk)

    async def peers(self) -> dict[str, Json]:
        """Return the health of peers and backends alone, by name."""
        return {peer.name: peer_to_json(peer) for peer in await self._health.read()}

    async def degraded(self) -> list[str]:
        """Return the sentence of each problem, without notices."""
        report = await self.report()
        problems = report["problems"]
        assert isinstance(problems, list)  # noqa: S101 - as `report` makes it
        return [str(problem["text"]) for problem in problems if problem["severity"] == "error"]

    def database_bytes(self) -> int:
        """Return the size of the database with its log."""
        return self._read_disk()[1]

    async def _own_problems(self, disk: Mapping[str, int]) -> list[Json]:
        now, found = self._clock.time(), []
        if (failure := await self._store.failure()) is not None:
            found.append(Trouble(cause=Condition.DATABASE_FAILED, error=failure))
        if disk and disk["free_bytes"] < min(_LOW_DISK_BYTES, _LOW_DISK_SHARE * disk["total_bytes"]):
            found.append(
                Trouble(cause=Condition.DISK_NEARLY_FULL, error=f"{disk['free_bytes'] // 1_000_000} MB are free")
            )
        problems = [_problem(NODE_NAME, ["database"], trouble) for trouble in found]
        for subject, ends_at in self._endings.certificate_endings().items():
            problems += _ending(NODE_NAME, "TLS", Condition.CERTIFICATE_ENDS, subject, ends_at - now, ends_at)
        for owner, ends_at in self._endings.key_endings().items():
            is_ours = owner == self._name
            name, cause = (NODE_NAME, Condition.KEY_ENDS) if is_ours else (owner, Condition.KEY_OF_PEER_ENDS)
            problems += _ending(name, "signatures", cause, owner, ends_at - now, ends_at)
        insecure = Trouble(cause=Condition.INSECURE)
        return problems + [_problem(name, ["security"], insecure) for name in self._policy.unauthenticated_peers()]

    def _read_disk(self) -> tuple[dict[str, int], int]:
        try:
            usage = shutil.disk_usage(self._file.parent)
            files = [each.stat().st_size for each in self._file.parent.glob(f"{self._file.name}*")]
        except OSError:
            return {}, 0  # the database's own failure says more
        return {"total_bytes": usage.total, "free_bytes": usage.free}, sum(files)


def _ending(name: str, channel: str, cause: Condition, subject: str, remaining: float, ends_at: float) -> list[Json]:
    """Return the notice that a certificate or key ends soon, or the problem that it has ended; nothing before."""
    if remaining >= _CERTIFICATE_NOTICE_DAYS * _DAY_SECONDS:
        return []
    trouble = Trouble(cause=cause, error=f"{subject}: {format_timestamp(ends_at)}")
    return [{**_problem(name, [channel], trouble), "severity": "error" if remaining <= 0 else "notice"}]


def peer_problems(peers: Iterable[PeerHealth]) -> list[Json]:
    """Return the problems of peers and backends; one for each peer and cause, with all channels that have it."""
    grouped: dict[tuple[str, bool, str], list[tuple[PeerHealth, ChannelHealth, Trouble]]] = {}
    for peer, channel, trouble in troubles_of(peers):
        grouped.setdefault((peer.name, channel.channel == INBOUND, trouble.cause), []).append((peer, channel, trouble))
    problems = []
    for (name, is_inbound, _), found in grouped.items():
        latest = max((trouble for _, _, trouble in found), key=lambda trouble: (trouble.tries, trouble.error))
        problem = _problem(
            name, [channel.channel for _, channel, _ in found], latest, is_backend=found[0][0].is_backend
        )
        problem["since"] = _first(trouble.since for _, _, trouble in found)
        problem["next_try"] = _first(trouble.next_try_at for _, _, trouble in found)
        problem["count"] = sum(trouble.count for _, _, trouble in found)
        if is_inbound and latest.cause != Condition.HELD:
            problem |= {"text": explain(Condition.REFUSED_HERE, name).text, "severity": "notice"}
        problems.append(problem)
    return problems


def peer_to_json(peer: PeerHealth) -> Json:
    """Return the health of a peer or backend as JSON."""
    return {
        "name": peer.name,
        "up": peer.is_up,
        "held": peer.held,
        "paused": {"since": _timestamp(peer.pause.since), "reason": peer.pause.reason} if peer.pause else None,
        "latency": peer.latency._asdict() if peer.latency else None,
        "last_seen": _timestamp(peer.last_seen_at),
        "clock_skew_seconds": peer.clock_skew,
        "channels": [_channel_to_json(peer, channel) for channel in peer.channels],
    }


def _channel_to_json(peer: PeerHealth, channel: ChannelHealth) -> Json:
    return {
        "channel": channel.channel,
        "state": channel.state.value,
        "behind": channel.behind,
        "total": channel.total,
        "behind_since": _timestamp(channel.behind_since),
        "last_success": _timestamp(channel.last_success_at),
        "troubles": [
            _problem(peer.name, [channel.channel], trouble, is_backend=peer.is_backend) for trouble in channel.troubles
        ],
    }


def _problem(name: str, channels: list[str], trouble: Trouble, *, is_backend: bool = False) -> Json:
    text, cure = explain(trouble.cause, name, is_backend=is_backend)
    return {
        "severity": "notice" if trouble.cause in NOTICES else "error",
        "name": name,
        "channels": channels,
        "cause": str(trouble.cause),
        "text": text,
        "cure": cure,
        "error": trouble.error,
        "since": _timestamp(trouble.since),
        "tries": trouble.tries,
        "next_try": _timestamp(trouble.next_try_at),
        "count": trouble.count,
    }


def _parties_without_backend(own: Peer) -> Iterator[Json]:
    for role, parties, meaning in (
        ("cpo", own.operators, "remote starts and stops are refused with 320; cpo_url or [[backends]] names one"),
        ("emp", own.providers, "the token list of this node answers; emp_url or [[backends]] names one"),
    ):
        if parties:
            names = [party.text for party in parties]
            text = f"No backend configured for {', '.join(names)}: {meaning}."
            yield {"role": role, "parties": names, "text": text}


def _first(times: Iterable[float | None]) -> str | None:
    return _timestamp(min(filter(None, times), default=None))


def _timestamp(at: float | None) -> str | None:
    return format_timestamp(at) if at else None
