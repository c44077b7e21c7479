"""How every peer is doing: trust, security, keys, last seen, failures, what waits for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from p2p_oicp.clock import Clock, wire_time
from p2p_oicp.identity import KeyRing
from p2p_oicp.peers import Peer, PeerRegistry, entry_of
from p2p_oicp.peers.descriptor import SignedDescriptor
from p2p_oicp.storage import Store, destinations, outbox


class PeerStates:
    """Reports on the peers; ``needed`` returns what requests of a peer must carry."""

    def __init__(
        self,
        *,
        registry: PeerRegistry,
        ring: KeyRing,
        store: Store,
        clock: Clock,
        needed: Callable[[Peer], tuple[str, ...]],
    ) -> None:
        self._registry = registry
        self._ring = ring
        self._store = store
        self._clock = clock
        self._needed = needed
        self._heard: dict[str, float] = {}
        self.candidates: Mapping[str, SignedDescriptor] = {}

    def heard_from(self, name: str) -> None:
        """Note that a peer has called."""
        self._heard[name] = self._clock.time()

    async def report(self) -> dict[str, object]:
        """Return all peers with their states."""
        health = {row["name"]: dict(row) for row in await self._store.read(destinations.ALL)}
        waiting = {
            r["destination"]: r["letters"]
            for r in await self._store.read(outbox.DEPTHS)
            if r["state"] == outbox.WAITING
        }
        peers = [peer for peer in self._registry.all() if not peer.is_self]
        return {
            "peers": [self._state(peer, health, waiting) for peer in peers],
            "candidates": [_candidate(name, signed) for name, signed in self.candidates.items()],
        }

    def _state(self, peer: Peer, health: dict[str, dict[str, object]], waiting: dict[str, int]) -> dict[str, object]:
        row = health.get(peer.name, {})
        seen = [at for at in (self._heard.get(peer.name), row.get("last_success_at")) if isinstance(at, float)]
        needed = self._needed(peer)
        return {
            **entry_of(peer),
            "source": peer.source.value,
            "security": list(needed),
            "trust": _trust(peer, needed, bool(self._ring.of(peer.name))),
            "keys": [known.key.key_id for known in self._ring.of(peer.name)],
            "last_seen": wire_time(max(seen)) if seen else None,
            "failures": row.get("failures", 0),
            "last_error": row.get("last_error") if row.get("failures") else None,
            "waiting": waiting.get(peer.name, 0),
        }


def _candidate(name: str, signed: SignedDescriptor) -> dict[str, object]:
    said = signed.descriptor
    return {
        "name": name,
        "url": said.url,
        "operators": [party.text for party in said.operators],
        "providers": [party.text for party in said.providers],
        "fingerprint": signed.key.key_id,
        "trust": "candidate: found, not accepted",
    }


def _trust(peer: Peer, needed: tuple[str, ...], has_keys: bool) -> str:  # noqa: FBT001 - one of three facts
    if not needed:
        return "INSECURE: believed without proof"
    if "signature" in needed and not has_keys:
        return "no key: cannot prove itself"
    return f"proved by {' and '.join(needed)} ({peer.source.value})"
