"""The peer, and the validated fields of both configuration files: names, ids, URLs, keys and networks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from types import MappingProxyType
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import PlainValidator

from p2p_oicp.oicp import OperatorID, ProviderID
from p2p_oicp.oicp.operations import BASE_PATH, OPERATION_BY_NAME
from p2p_oicp.peers.publishing import PublishFilter


class Profile(StrEnum):
    """The kind of system that a peer is; small differences on the wire follow from it (WIRE.md)."""

    OICP = "oicp"
    """A node, or another system that follows the documents."""
    WWCP = "wwcp"
    """The C# implementation: it answers every problem with HTTP 200."""
    HUB = "hub"
    """A clearing house: the same as `Peer.is_hub`, for one that is not the default route."""


@dataclass(frozen=True, slots=True)
class ProfileTraits:
    """What differs towards the systems of one profile (WIRE.md).

    Attributes:
        is_node: It may be another node: it is called below ``/p2p/v1``.
        answers_200: A message that cannot be read is refused with HTTP 200 and 022, not with HTTP 400.
        names_operators: Each EVSE record that it gets carries OperatorID and OperatorName, and statuses OperatorName.
        paths: Paths that are not those of the documents, by the name of the operation.
    """

    is_node: bool = False
    answers_200: bool = False
    names_operators: bool = False
    paths: Mapping[str, str] = field(default_factory=dict)


#: The operations that WWCP serves at their other paths only (RULES L21).
_WWCP_ALIASES = ("AuthorizeRemoteReservationStart", "AuthorizeRemoteReservationStop")
_TRAITS: Mapping[Profile, ProfileTraits] = MappingProxyType(
    {
        Profile.OICP: ProfileTraits(is_node=True),
        Profile.WWCP: ProfileTraits(
            answers_200=True,
            names_operators=True,
            paths=MappingProxyType({name: OPERATION_BY_NAME[name].aliases[0] for name in _WWCP_ALIASES}),
        ),
        Profile.HUB: ProfileTraits(),
    }
)


class Source(StrEnum):
    """How a peer was added."""

    FILE = "file"
    """By a person, in the peers file."""
    PAIRED = "paired"
    """By an invitation."""
    DISCOVERED = "discovered"
    """By mDNS, with ``[discovery] auto_accept``."""


#: The id of this node's own entry.
OWN_PEER_ID = "self"


@dataclass(frozen=True, slots=True)
class PullSettings:
    """How one dataset of a peer is pulled.

    Attributes:
        interval: Seconds between two pulls, 0 for never; None: as the peer's ``pull_interval`` says.
        countries: Only EVSEs in these countries; empty: all.
        operators: Only those of these operators; empty: all.
    """

    interval: float | None = None
    countries: tuple[str, ...] = ()
    operators: tuple[OperatorID, ...] = ()

    @property
    def is_filtered(self) -> bool:
        """Whether only a part is pulled."""
        return bool(self.countries or self.operators)


_PULLED_AS_EVER = PullSettings()


@dataclass(frozen=True, slots=True)
class Peer:
    """Another company's node, or any other OICP system known by its base URL.

    Attributes:
        name: Its unique name in logs and on the command line.
        id: What rows refer to it by, stable when it is renamed (`storage.peers`); the name until it is assigned.
        url: The base URL of its peer API.
        operators: The OperatorIDs that it is responsible for, the main one first.
        providers: The ProviderIDs that it is responsible for, the main one first.
        path: What stands between ``url`` and the paths of OICP.
        services: The names of the operations that it serves; None: all.
        may_call: The names of the operations that it may ask of us; None: all of its role.
        profile: The kind of system that it is.
        security: The credentials that its requests must have; None: what this node requires of all peers.
        public_keys: The keys that are trusted from the start; later ones must be endorsed by a trusted one.
        certificates: The pinned certificates, or their fingerprints.
        networks: The networks that its requests may come from; empty: any.
        default_route: Whether it is also responsible for all parties without a peer, as a clearing house is.
        publish: What of our own datasets it may see; None: everything.
        pull_interval: Seconds between two pulls of its datasets, for a peer that does not push; None: it pushes.
        pull: How single datasets are pulled, by their names.
        requests_per_second: Its rate limit; None: that of the peer API.
        concurrent: How many of its requests are processed at the same time; None: no limit of its own.
        max_body: The size limit of its request bodies, in bytes; None: that of the peer API.
        source: How it was added.
        is_self: Whether it is this node.
    """

    name: str
    url: str
    operators: tuple[OperatorID, ...] = ()
    providers: tuple[ProviderID, ...] = ()
    path: str = BASE_PATH
    services: frozenset[str] | None = None
    may_call: frozenset[str] | None = None
    profile: Profile = Profile.OICP
    security: tuple[str, ...] | None = None
    public_keys: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    networks: tuple[IpNetwork, ...] = ()
    default_route: bool = False
    publish: PublishFilter | None = None
    pull_interval: float | None = None
    pull: tuple[tuple[str, PullSettings], ...] = ()
    requests_per_second: float | None = None
    concurrent: int | None = None
    max_body: int | None = None
    source: Source = Source.FILE
    is_self: bool = False
    id: str = ""
    _operator_keys: frozenset[str] = field(init=False, repr=False, compare=False)
    _provider_keys: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", OWN_PEER_ID if self.is_self else self.name)
        # Computed once: handles_party runs for each authenticated request, and a hub operator has many sub-operators.
        object.__setattr__(self, "_operator_keys", frozenset(party.key for party in self.operators))
        object.__setattr__(self, "_provider_keys", frozenset(party.key for party in self.providers))

    def handles_party(self, party: OperatorID | ProviderID) -> bool:
        """Return whether the peer is responsible for a party; an OperatorID never equals a ProviderID."""
        keys = self._operator_keys if isinstance(party, OperatorID) else self._provider_keys
        return party.key in keys

    @property
    def parties(self) -> tuple[PartyID, ...]:
        """All its parties."""
        return (*self.operators, *self.providers)

    @property
    def party_keys(self) -> frozenset[str]:
        """The keys of all its parties, which identify its company across databases."""
        return self._operator_keys | self._provider_keys

    def with_settings_of(self, other: Peer) -> Peer:
        """Return this entry with what a person has set for another: what it may see, and how it is pulled."""
        return replace(self, publish=other.publish, pull=other.pull, pull_interval=other.pull_interval)

    @property
    def is_pulled(self) -> bool:
        """Whether its datasets are pulled: it is a hub, or its entry says so."""
        return not self.is_self and (self.is_hub or self.pull_interval is not None or bool(self.pull))

    def pull_settings(self, dataset_name: str) -> PullSettings:
        """Return how a dataset (``EvseData``) is pulled."""
        return dict(self.pull).get(dataset_name, _PULLED_AS_EVER)

    def serves(self, operation_name: str) -> bool:
        """Return whether the peer serves an operation."""
        return self.services is None or operation_name in self.services

    def may_request(self, operation_name: str) -> bool:
        """Return whether the peer may ask an operation of us."""
        return self.may_call is None or operation_name in self.may_call

    @property
    def traits(self) -> ProfileTraits:
        """What differs towards systems of its profile."""
        return _TRAITS[self.profile]

    @property
    def is_hub(self) -> bool:
        """Whether it is a clearing house: the other side of many sessions, and the one that gives them their ids."""
        return self.default_route or self.profile is Profile.HUB

    @property
    def is_node(self) -> bool:
        """Whether it may be another node, which is called below ``/p2p/v1``; a clearing house is not (RULES L20)."""
        return self.traits.is_node and not self.is_hub and not self.is_self


@dataclass(frozen=True, slots=True)
class PeersChanged:
    """How the peers have changed, by their ids; a peer whose entry, or name, is another is ``changed``."""

    added: tuple[Peer, ...] = ()
    removed: tuple[Peer, ...] = ()
    changed: tuple[Peer, ...] = ()

    def names(self) -> dict[str, list[str]]:
        """Return the names of those that were added, removed and changed, where there are any."""
        groups = {"added": self.added, "removed": self.removed, "changed": self.changed}
        return {name: [peer.name for peer in peers] for name, peers in groups.items() if peers}


#: What this node offers to other nodes beside OICP, as its descriptor and its hello name it (DESIGN section 4).
VERDICTS_EXTENSION, EXPORT_EXTENSION, PROBE_EXTENSION = "cdr-verdicts", "session-export", "probe"
EXTENSIONS = (VERDICTS_EXTENSION, EXPORT_EXTENSION, PROBE_EXTENSION)

PartyID = OperatorID | ProviderID
IpNetwork = IPv4Network | IPv6Network
CredentialType = Literal["signature", "mtls"]

_MAX_NAME_LENGTH = 64
# What people see as the destinations of our own backend and of the replicators (outbox, metrics). A peer's outbox has
# the peer's name, which the other company chooses: it must not look like one of these.
_RESERVED_NAMES = re.compile(
    r"backend (cpo|emp)|backend:.*|(evse data|evse status|pricing product|evse pricing|authentication) to .*",
    re.IGNORECASE,
)
_SLASHES = re.compile("//+")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")

_PartyID = TypeVar("_PartyID", OperatorID, ProviderID)


def _require_text(value: object, example: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f'expected text in quotes, such as "{example}"')  # noqa: TRY004 - pydantic reports ValueError only
    return value


def _require_valid(identifier: _PartyID, example: str) -> _PartyID:
    if not identifier.is_valid:
        raise ValueError(f'"{identifier.text}" is no {type(identifier).__name__}; expected one such as "{example}"')
    return identifier


def parse_name(value: object) -> str:
    """Validate the name of a node: 1 to 64 printable characters; raises ValueError with the expected form."""
    text = _require_text(value, "Greenfield Charging")
    # Printable: the other company chooses the name, and terminals and log files show it.
    if not 0 < len(text) <= _MAX_NAME_LENGTH or not text.isprintable() or text != text.strip():
        raise ValueError(f"expected a name of 1 to {_MAX_NAME_LENGTH} printable characters, no space at its ends")
    if _RESERVED_NAMES.fullmatch(text):
        raise ValueError(f'"{text}" is a name that nodes use internally; expected another name')
    return text


def parse_operator_id(value: object) -> OperatorID:
    """Validate an OperatorID; raises ValueError with the expected form."""
    return _require_valid(OperatorID(_require_text(value, "DE*ABC")), "DE*ABC")


def parse_provider_id(value: object) -> ProviderID:
    """Validate a ProviderID; raises ValueError with the expected form."""
    return _require_valid(ProviderID(_require_text(value, "DE-XYZ")), "DE-XYZ")


def parse_base_url(value: object) -> str:
    """Validate an http(s) base URL and remove trailing slashes; raises ValueError with the expected form."""
    text = _require_text(value, "https://oicp.example.com")
    try:
        parts = urlsplit(text)
        is_complete = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a malformed port or IPv6 address
        is_complete = False
    # Order: before the message that quotes the text, which may contain a password.
    if "@" in text:
        raise ValueError('a URL with a password in it; expected one such as "https://oicp.example.com"')
    if not is_complete or not text.isprintable() or any(character in text for character in " ?#"):
        raise ValueError(f'"{text}" is no base URL; expected one such as "https://oicp.example.com"')
    scheme, _, rest = text.partition("://")
    return f"{scheme}://{_SLASHES.sub('/', rest)}".rstrip("/")


def parse_path(value: object) -> str:
    """Validate the path that stands in the place of /api/oicp; raises ValueError with the expected form."""
    text = _require_text(value, "/oicp/v2.3")
    is_path = text.isascii() and text.isprintable() and not any(character in text for character in ' ?#"')
    if text and not (is_path and text.startswith("/")):
        raise ValueError(f'"{text}" is no path; expected one such as "/api/oicp", or "" for none')
    return _SLASHES.sub("/", text).rstrip("/")


def parse_public_key(value: object) -> str:
    """Validate a public key (base64 of its SubjectPublicKeyInfo, Ed25519 or ECDSA P-256); raises ValueError."""
    # Imported here: cryptography is slow to load, and no command that reads a configuration without keys needs it.
    from p2p_oicp.crypto.keys import PublicKey  # noqa: PLC0415

    text = _require_text(value, "MCowBQYDK2VwAyEA…")
    try:
        return PublicKey.from_base64(text).der_base64
    except ValueError as exc:
        raise ValueError(
            "not a public key; expected the base64 line of a PUBLIC KEY file, Ed25519 or ECDSA P-256"
        ) from exc


def parse_certificate(value: object) -> str:
    """Validate a certificate (base64 of its DER, or its fingerprint ``SHA256:…``); raises ValueError."""
    from p2p_oicp.crypto.tls import Certificate  # noqa: PLC0415 - as above

    text = _require_text(value, "MIIB…")
    if _FINGERPRINT.fullmatch(text):
        return text
    try:
        return Certificate.from_base64(text).der_base64
    except ValueError as exc:
        raise ValueError(
            "not a certificate; expected the base64 lines of a CERTIFICATE file in one, or its fingerprint SHA256:…"
        ) from exc


def parse_fingerprint(value: object) -> str:
    """Validate the fingerprint of a key; raises ValueError with the expected form."""
    text = _require_text(value, "SHA256:…")
    if not _FINGERPRINT.fullmatch(text):
        raise ValueError(f'"{text}" is no fingerprint; expected SHA256: and 43 characters, as `keys show` prints it')
    return text


def parse_network(value: object) -> IpNetwork:
    """Parse an IP network or a single address; raises ValueError with the expected form."""
    text = _require_text(value, "203.0.113.0/24")
    try:
        return ip_network(text)
    except ValueError as exc:
        raise ValueError(f'"{text}" is no network; expected one such as "203.0.113.0/24" or "2001:db8::/32"') from exc


def parse_pull_interval(value: object) -> float:
    """Validate a number of seconds above 0; raises ValueError with the expected form."""
    # A Python bool is an int; TOML has infinity as a float.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise ValueError("expected seconds, such as 300")
    return float(value)


NameField = Annotated[str, PlainValidator(parse_name)]
OperatorField = Annotated[OperatorID, PlainValidator(parse_operator_id)]
ProviderField = Annotated[ProviderID, PlainValidator(parse_provider_id)]
UrlField = Annotated[str, PlainValidator(parse_base_url)]
PathField = Annotated[str, PlainValidator(parse_path)]
PublicKeyField = Annotated[str, PlainValidator(parse_public_key)]
CertificateField = Annotated[str, PlainValidator(parse_certificate)]
FingerprintField = Annotated[str, PlainValidator(parse_fingerprint)]
NetworkField = Annotated[IpNetwork, PlainValidator(parse_network)]
PullIntervalField = Annotated[float, PlainValidator(parse_pull_interval)]
