"""What this node knows of every peer, for the administrator: entry, trust, credentials, keys, waiting messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from p2p_oicp.clock import Clock
from p2p_oicp.concurrency import periodic
from p2p_oicp.config.peers_file import peer_to_entry
from p2p_oicp.crypto import KeyRing
from p2p_oicp.peering.agreements import HeldParty, PartyAgreements
from p2p_oicp.peering.directory import PeerDirectory
from p2p_oicp.peering.discovery import MdnsDiscovery
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.peers.descriptor import SignedDescriptor
from p2p_oicp.peers.registry import SecurityPolicy
from p2p_oicp.storage import Store, Transaction, job_keys, outbox, outbox_lists
from p2p_oicp.storage.datasets import queries
from p2p_oicp.storage.datasets.models import OWN
from p2p_oicp.storage.event_log import Event, EventType, emit

_HELD_INTERVAL_SECONDS = 1.0
_DESCRIPTOR = "its descriptor"


class PeerReport(NamedTuple):
    """The peers, and the nodes that were found and not accepted, as JSON objects."""

    peers: list[dict[str, object]]
    candidates: list[dict[str, object]]


class PeerStatusReporter:
    """Collects what this node knows of its peers; how they are doing, `delivery.health` says.

    Args:
        registry: the peers.
        keyring: their keys.
        store: what waits in the outbox.
        policy: which credentials each peer needs.
        discovery: has the nodes that were discovered and not accepted; None if it is turned off.
        directory: what of their descriptors does not count.
        agreements: the parties that are held up.
    """

    def __init__(
        self,
        registry: PeerRegistry,
        keyring: KeyRing,
        store: Store,
        policy: SecurityPolicy,
        discovery: MdnsDiscovery | None,
        directory: PeerDirectory,
        agreements: PartyAgreements,
    ) -> None:
        self._registry = registry
        self._keyring = keyring
        self._store = store
        self._policy = policy
        self._discovery = discovery
        self._directory = directory
        self._agreements = agreements

    async def report(self) -> PeerReport:
        """Return all peers and candidates, for ``GET /admin/v1/peers``."""
        waiting_messages = {
            r["destination"]: r["messages"]
            for r in await self._store.query(outbox_lists.DEPTHS)
            if r["state"] == outbox.WAITING
        }
        peers = [peer for peer in self._registry.all() if not peer.is_self]
        candidates = self._discovery.candidates if self._discovery is not None else {}
        return PeerReport(
            [await self._peer_status(peer, waiting_messages) for peer in peers],
            [_candidate_status(name, signed) for name, signed in candidates.items()],
        )

    def held_parties(self) -> list[HeldParty]:
        """Return the parties that are held up at all peers, and of them (RULES L18)."""
        peers = [peer for peer in self._registry.all() if not peer.is_self]
        return [held for peer in peers for held in self._held_at(peer)]

    def _held_at(self, peer: Peer) -> list[HeldParty]:
        signed = self._directory.descriptor_of(peer.name)
        published = (*signed.descriptor.operators, *signed.descriptor.providers) if signed is not None else ()
        return self._agreements.held(peer, published)

    def held_texts(self) -> dict[str, dict[str, str]]:
        """Return of each peer, by its id, what is held up, in words, by the key of the party; empty: its descriptor."""
        texts: dict[str, dict[str, str]] = {}
        for peer in self._registry.all():
            if not peer.is_self:
                reason = self._directory.held_reason(peer)
                texts[peer.id] = {"": reason} if reason else {}
                texts[peer.id] |= {held.key: held.text for held in self._held_at(peer)}
        return texts

    async def _held_text(self, peer: Peer) -> str | None:
        texts = [self._directory.held_reason(peer)]
        for held in self._held_at(peer):
            count = 0
            if held.is_ours:
                rows = await self._store.query(queries.COUNT_OF_PARTY, source_=OWN, party_=held.key)
                count = rows[0]["records"]
            texts.append(f"{held.text} ({count:,} records wait)" if count else held.text)
        return "; ".join(filter(None, texts)) or None

    async def _peer_status(self, peer: Peer, waiting_messages: dict[str, int]) -> dict[str, object]:
        required = self._policy.required_credentials(peer)
        return {
            **peer_to_entry(peer),
            "source": peer.source.value,
            "security": list(required),
            "trust": _trust_summary(peer, required, bool(self._keyring.keys_of(peer.name))),
            "keys": [known.key.key_id for known in self._keyring.keys_of(peer.name)],
            "held": await self._held_text(peer),
            "held_parties": [held.party for held in self._held_at(peer)],
            "waiting": waiting_messages.get(peer.name, 0),
        }


def _candidate_status(name: str, signed: SignedDescriptor) -> dict[str, object]:
    descriptor = signed.descriptor
    return {
        "name": name,
        "url": descriptor.url,
        "operators": [party.text for party in descriptor.operators],
        "providers": [party.text for party in descriptor.providers],
        "fingerprint": signed.key.key_id,
        "trust": "candidate: found, not accepted",
    }


def _trust_summary(peer: Peer, required: tuple[str, ...], has_keys: bool) -> str:  # noqa: FBT001 - one of three facts
    if not required:
        return "INSECURE: not authenticated"
    if "signature" in required and not has_keys:
        return "no key: cannot authenticate"
    return f"authenticated by {' and '.join(required)} ({peer.source.value})"


class HeldPeersJob:
    """Adds an event for each party that is held up at a peer, or of a peer, and for each that is so no more.

    What is held up is in memory (`agreements`): after a start it is found again, and is an event again.
    """

    def __init__(self, reporter: PeerStatusReporter, store: Store, clock: Clock) -> None:
        self._reporter = reporter
        self._store = store
        self._clock = clock
        self._held: dict[str, dict[str, str]] = {}

    async def run(self) -> None:
        await periodic("held peers", _HELD_INTERVAL_SECONDS, self.run_once)

    async def run_once(self) -> None:
        """Compare what is held up with what was before. Raises StoreError."""
        held, now = self._reporter.held_texts(), self._clock.time()
        changes = [(peer, *change) for peer, texts in held.items() for change in _changes(self._held.get(peer), texts)]
        if changes:

            def job(tx: Transaction) -> None:
                for peer, what, text in changes:
                    emit(tx, Event(EventType.PEER, what, now, peer, peer=peer, text=text))

            await self._store.write(job, about=job_keys.ANY_ORDER)
        self._held = held


def _changes(before: Mapping[str, str] | None, after: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Return what has become of the parties of a peer, and the text of it."""
    before = before or {}
    yield from (("held", text) for key, text in after.items() if key not in before)
    yield from (("agreed", key or _DESCRIPTOR) for key in before if key not in after)
