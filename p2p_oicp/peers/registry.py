"""The peers that this node knows, and which party each one answers for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from p2p_oicp.errors import ConfigurationError
from p2p_oicp.oicp import OperatorID, ProviderID
from p2p_oicp.peers.models import Peer


class PeerRegistry:
    """Every party's one peer; lookups take the id in any spelling and cost one dictionary access."""

    def __init__(self, peers: Iterable[Peer]) -> None:
        """Raise `ConfigurationError` if two peers have one name or claim one party."""
        self.replace(peers)

    def replace(self, peers: Iterable[Peer]) -> None:
        """Know ``peers`` from now on; raise `ConfigurationError`, with nothing changed, as above."""
        new_peers = tuple(peers)
        for conflict in conflicts(new_peers):
            raise ConfigurationError(f'peer "{conflict.peer.name}": {conflict.message}')
        self._peers = new_peers
        self._by_name = {peer.name: peer for peer in self._peers}
        self._by_operator = {party.key: peer for peer in self._peers for party in peer.operators}
        self._by_provider = {party.key: peer for peer in self._peers for party in peer.providers}
        self.default_route = next((peer for peer in self._peers if peer.default_route), None)

    def by_operator(self, operator: OperatorID | None) -> Peer | None:
        """Return the peer that answers for an operator, None if nobody does."""
        return None if operator is None else self._by_operator.get(operator.key)

    def by_provider(self, provider: ProviderID | None) -> Peer | None:
        """Return the peer that answers for a provider, None if nobody does."""
        return None if provider is None else self._by_provider.get(provider.key)

    def resolve_party(self, party: OperatorID | ProviderID | None) -> Peer | None:
        """Return the peer to ask for a party: its own, else the default route, None if there is neither."""
        peer = self.by_operator(party) if isinstance(party, OperatorID) else self.by_provider(party)
        return peer or (self.default_route if party is not None else None)

    def by_name(self, name: str) -> Peer | None:
        """Return the peer of that name."""
        return self._by_name.get(name)

    def cpo_peers(self) -> list[Peer]:
        """Return all others that are a CPO's, in the order of the file."""
        return [peer for peer in self._peers if peer.operators and not peer.is_self]

    def emp_peers(self) -> list[Peer]:
        """Return all others that are an EMP's, in the order of the file."""
        return [peer for peer in self._peers if peer.providers and not peer.is_self]

    def all(self) -> tuple[Peer, ...]:
        """Return every peer, this node's own entry included."""
        return self._peers


@dataclass(frozen=True, slots=True)
class PeerConflict:
    """A peer that takes what another one has already: its place in the list, the key and what to say."""

    index: int
    peer: Peer
    key: str
    message: str


def conflicts(peers: Sequence[Peer]) -> Iterator[PeerConflict]:
    """Find names used twice and parties claimed twice."""
    owners: dict[tuple[str, str], Peer] = {}
    for index, peer in enumerate(peers):
        for key, value, text in _unique_values(peer):
            owner = owners.setdefault((key, value), peer)
            if owner is not peer:
                yield PeerConflict(index, peer, key, _conflict_message(key, text, owner))
        if duplicate := _find_duplicate(peer):
            key, text = duplicate
            yield PeerConflict(index, peer, key, f'"{text}" stands here twice; name it once')


def _unique_values(peer: Peer) -> Iterator[tuple[str, str, str]]:
    yield "name", peer.name, peer.name
    for operator in peer.operators:
        yield "operators", operator.key, operator.text
    for provider in peer.providers:
        yield "providers", provider.key, provider.text
    for public_key in peer.public_keys:
        yield "public_keys", public_key, public_key
    if peer.default_route:
        yield "default_route", "", ""


def _conflict_message(key: str, text: str, owner: Peer) -> str:
    if key == "name":
        return f'"{text}" is the name of another peer already; expected a name of its own'
    if key == "default_route":
        return f'peer "{owner.name}" is the default route already; expected one at most'
    claimant = "this node itself" if owner.is_self else f'peer "{owner.name}"'
    rule = "every peer has its own keys" if key == "public_keys" else "one party has one peer"
    return f'"{text}" is claimed by {claimant} already; {rule}'


def _find_duplicate(peer: Peer) -> tuple[str, str] | None:
    seen: set[tuple[str, str]] = set()
    for key, value, text in _unique_values(peer):
        if (key, value) in seen:
            return key, text
        seen.add((key, value))
    return None
