"""The registry of peers: from a party to the one peer that is responsible for it, and what each peer must prove."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from p2p_oicp.errors import ConfigurationError, FailureCause
from p2p_oicp.oicp import OperatorID, ProviderID
from p2p_oicp.peers.models import Peer

_REFUSAL_SECONDS = 3600.0
_PARTY_REFUSAL_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class InboundRefusals:
    """Requests in the name of a peer that this node has refused for one cause, an `errors.FailureCause`."""

    cause: str
    reason: str
    since: float
    last_at: float
    count: int

    @property
    def is_of_a_party(self) -> bool:
        """Whether the sender was proved, and only the party was not its own."""
        return self.cause == FailureCause.PARTY_REFUSED


class PeerRegistry:
    """Looks up peers by party, in any spelling of its id, by name, and by their own ids.

    Args:
        peers: All peers, this node included.

    Raises:
        ConfigurationError: Two peers have the same name, or claim the same party, key or certificate.
    """

    def __init__(self, peers: Iterable[Peer]) -> None:
        self._last_seen_at: dict[str, float] = {}
        self._refusals: dict[str, dict[str, InboundRefusals]] = {}
        self.replace(peers)

    def __repr__(self) -> str:
        return f"<PeerRegistry peers={len(self._peers)} parties={len(self._by_operator) + len(self._by_provider)}>"

    def replace(self, peers: Iterable[Peer]) -> None:
        """Replace all peers; raises ConfigurationError as the constructor does, and then changes nothing."""
        new_peers = tuple(peers)
        # Order: all checks before the first assignment, so that a failed replacement changes nothing.
        for conflict in conflicts(new_peers):
            raise ConfigurationError(f'peer "{conflict.peer.name}": {conflict.message}')
        self._peers = new_peers
        self._own = next((peer for peer in new_peers if peer.is_self), None)
        self._by_id = {peer.id: peer for peer in self._peers}
        self._by_name = {peer.name: peer for peer in self._peers}
        self._by_operator = {party.key: peer for peer in self._peers for party in peer.operators}
        self._by_provider = {party.key: peer for peer in self._peers for party in peer.providers}
        self.default_route = next((peer for peer in self._peers if peer.default_route), None)

    @property
    def own(self) -> Peer:
        """The entry of this node: the parties that it answers for. Those of a hub become more as it runs."""
        if self._own is None:
            raise RuntimeError("the registry of a node has its own entry")
        return self._own

    def replace_own(self, own: Peer) -> None:
        """Replace this node's own entry; raises ConfigurationError as `replace` does."""
        self.replace((own, *(peer for peer in self._peers if not peer.is_self)))

    def by_operator(self, operator: OperatorID | None) -> Peer | None:
        """Return the peer that is responsible for an operator, without the default route; None if there is none."""
        return None if operator is None else self._by_operator.get(operator.key)

    def by_provider(self, provider: ProviderID | None) -> Peer | None:
        """Return the peer that is responsible for a provider, without the default route; None if there is none."""
        return None if provider is None else self._by_provider.get(provider.key)

    def resolve_party(self, party: OperatorID | ProviderID | None) -> Peer | None:
        """Return the peer that requests for a party go to: its own, else the default route; None without both."""
        peer = self.by_operator(party) if isinstance(party, OperatorID) else self.by_provider(party)
        return peer or (self.default_route if party is not None else None)

    def by_source(self, source: str) -> Peer | None:
        """Return the peer whose records have a source; of our own records, which have none, this node's own entry."""
        return self._by_id.get(source) if source else self._own

    def by_id(self, peer_id: str) -> Peer | None:
        """Return a peer by its stable id; None if it is a peer no more."""
        return self._by_id.get(peer_id)

    def by_name(self, name: str) -> Peer | None:
        """Return a peer by its name; None if there is none."""
        return self._by_name.get(name)

    def cpo_peers(self) -> list[Peer]:
        """Return all peers that are CPOs, without this node, in the order of the file."""
        return [peer for peer in self._peers if peer.operators and not peer.is_self]

    def emp_peers(self) -> list[Peer]:
        """Return all peers that are EMPs, without this node, in the order of the file."""
        return [peer for peer in self._peers if peer.providers and not peer.is_self]

    def all(self) -> tuple[Peer, ...]:
        """Return all peers, this node included."""
        return self._peers

    def record_seen(self, peer: Peer, at: float) -> None:
        """Record that an accepted request of a peer came at ``at``, in seconds since the epoch."""
        self._last_seen_at[peer.id] = at

    def last_seen_at(self, peer: Peer) -> float | None:
        """Return when the last accepted request of a peer came; None if there was none since the start."""
        return self._last_seen_at.get(peer.id)

    def record_refused(self, peer: Peer, cause: str, reason: str, at: float) -> None:
        """Record that a request in the name of a peer was refused: it may be the peer's, or not."""
        by_cause = self._refusals.setdefault(peer.id, {})
        before = by_cause.get(cause)
        since, count = (before.since, before.count) if before else (at, 0)
        by_cause[cause] = InboundRefusals(cause, reason, since, at, count + 1)

    def refusals_of(self, peer: Peer, now: float) -> list[InboundRefusals]:
        """Return the refused requests in the name of a peer after which no accepted one has come, of the last hour.

        Those of a party alone are of the last ten minutes: requests of other parties of the peer may be accepted.
        """
        seen_at = self._last_seen_at.get(peer.id, 0.0)
        return [
            each
            for each in self._refusals.get(peer.id, {}).values()
            if now - each.last_at < (_PARTY_REFUSAL_SECONDS if each.is_of_a_party else _REFUSAL_SECONDS)
            and (each.is_of_a_party or each.last_at >= seen_at)
        ]


class SecurityPolicy:
    """Which credentials the requests of each peer must carry.

    Args:
        require: those of every peer whose entry has no ``security`` of its own: ``signature``, ``mtls``, both or none.
        registry: the peers.
        signs_for_backends: whether requests to a backend of ours are signed.
    """

    def __init__(self, require: tuple[str, ...], registry: PeerRegistry, *, signs_for_backends: bool = False) -> None:
        self.require = require
        self._registry = registry
        self._signs_for_backends = signs_for_backends

    def required_credentials(self, peer: Peer | None) -> tuple[str, ...]:
        """Return what a peer's requests must carry; None: those of a sender that is no peer."""
        return self.require if peer is None or peer.security is None else peer.security

    def needs_signature(self, name: str) -> bool:
        """Whether messages from and to the peer ``name`` are signed; asked for every message."""
        peer = self._registry.by_name(name)
        return peer is not None and not peer.is_self and "signature" in self.required_credentials(peer)

    def unauthenticated_peers(self) -> list[str]:
        """Return the names of the peers that need no credentials."""
        return [peer.name for peer in self._registry.all() if not peer.is_self and not self.required_credentials(peer)]

    def needs_own_keys(self) -> bool:
        """Whether this node has to sign, so that it cannot start without keys."""
        if "signature" in self.require or self._signs_for_backends:
            return True
        return any(self.needs_signature(peer.name) for peer in self._registry.all())


@dataclass(frozen=True, slots=True)
class PeerConflict:
    """A peer that claims what another one has: its position, the key of the peers file, and a text for people."""

    index: int
    peer: Peer
    key: str
    message: str


def conflicts(peers: Sequence[Peer]) -> Iterator[PeerConflict]:
    """Find names, parties, public keys and certificates that several peers claim, and a second default route."""
    owners: dict[tuple[str, str], Peer] = {}
    for index, peer in enumerate(peers):
        for key, value, text in _unique_values(peer):
            owner = owners.setdefault((key, value), peer)
            if owner is not peer:
                yield PeerConflict(index, peer, key, _conflict_message(key, text, owner))
        if duplicate := _find_duplicate(peer):
            key, text = duplicate
            yield PeerConflict(index, peer, key, f'"{text}" is listed twice; list it once')


def _unique_values(peer: Peer) -> Iterator[tuple[str, str, str]]:
    yield "name", peer.name, peer.name
    for operator in peer.operators:
        yield "operators", operator.key, operator.text
    for provider in peer.providers:
        yield "providers", provider.key, provider.text
    # Two peers with one key could each sign for the other.
    for public_key in peer.public_keys:
        yield "public_keys", public_key, public_key
    if peer.certificates:
        # Imported here: cryptography is slow to load (`models.parse_certificate`).
        from p2p_oicp.crypto.tls import pin_fingerprint  # noqa: PLC0415

        for fingerprint in map(pin_fingerprint, peer.certificates):
            yield "certificates", fingerprint, fingerprint
    if peer.default_route:
        yield "default_route", "", ""


def _conflict_message(key: str, text: str, owner: Peer) -> str:
    if key == "name":
        return f'"{text}" is the name of another peer already; expected a unique name'
    if key == "default_route":
        return f'peer "{owner.name}" is the default route already; expected one at most'
    claimant = "this node itself" if owner.is_self else f'peer "{owner.name}"'
    is_credential = key in {"public_keys", "certificates"}
    rule = "every peer has its own keys and certificates" if is_credential else "one party has one peer"
    return f'"{text}" is claimed by {claimant} already; {rule}'


def _find_duplicate(peer: Peer) -> tuple[str, str] | None:
    seen: set[tuple[str, str]] = set()
    for key, value, text in _unique_values(peer):
        if (key, value) in seen:
            return key, text
        seen.add((key, value))
    return None
