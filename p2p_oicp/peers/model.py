"""One peer."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from p2p_oicp.oicp import OperatorID, ProviderID
from p2p_oicp.peers.fields import IpNetwork


class Profile(StrEnum):
    """What kind of system a peer is; small differences on the wire follow from it."""

    OICP = "oicp"
    WWCP = "wwcp"
    HUB = "hub"


class Source(StrEnum):
    """Where a peer is known from."""

    FILE = "file"
    PAIRED = "paired"
    FOUND = "found"


@dataclass(frozen=True, slots=True)
class Peer:
    """Another company's node, or any other OICP system known by its base URL.

    ``services`` are the operation names that it serves, None = all. ``security`` is what its requests must carry,
    None = what this node requires of everyone. ``default_route``: it also answers for parties that nobody else answers
    for, as a clearing house does. ``public_keys`` and ``certificates`` are what its identity is first known by.
    ``networks`` are the addresses it may call from, empty = any. ``requests_per_second``, ``concurrent`` and
    ``max_body`` (bytes) limit it, None = what this node allows everyone.
    ``pull_interval``: every so many seconds its state is pulled, for it does not push; None = it pushes.
    """

    name: str
    url: str
    operators: tuple[OperatorID, ...] = ()
    providers: tuple[ProviderID, ...] = ()
    services: frozenset[str] | None = None
    profile: Profile = Profile.OICP
    security: tuple[str, ...] | None = None
    public_keys: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    networks: tuple[IpNetwork, ...] = ()
    default_route: bool = False
    pull_interval: float | None = None
    requests_per_second: float | None = None
    concurrent: int | None = None
    max_body: int | None = None
    source: Source = Source.FILE
    is_self: bool = False
    _operator_keys: frozenset[str] = field(init=False, repr=False, compare=False)
    _provider_keys: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_operator_keys", frozenset(party.key for party in self.operators))
        object.__setattr__(self, "_provider_keys", frozenset(party.key for party in self.providers))

    def answers_for(self, party: OperatorID | ProviderID) -> bool:
        """Say whether this peer speaks for ``party``; an OperatorID is never mistaken for a ProviderID."""
        keys = self._operator_keys if isinstance(party, OperatorID) else self._provider_keys
        return party.key in keys

    def serves(self, operation_name: str) -> bool:
        """Say whether this peer offers the operation."""
        return self.services is None or operation_name in self.services
