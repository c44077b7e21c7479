"""One peer.

What both configuration files hold: ids, URLs, keys and networks, checked as they are read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import PlainValidator

from p2p_oicp.oicp import OperatorID, ProviderID


class Profile(StrEnum):
    """What kind of system a peer is; small differences on the wire follow from it."""

    OICP = "oicp"
    WWCP = "wwcp"
    HUB = "hub"


class Source(StrEnum):
    """Where a peer is known from."""

    FILE = "file"
    PAIRED = "paired"
    DISCOVERED = "found"


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

    def handles_party(self, party: OperatorID | ProviderID) -> bool:
        """Say whether this peer speaks for ``party``; an OperatorID is never mistaken for a ProviderID."""
        keys = self._operator_keys if isinstance(party, OperatorID) else self._provider_keys
        return party.key in keys

    def serves(self, operation_name: str) -> bool:
        """Say whether this peer offers the operation."""
        return self.services is None or operation_name in self.services


IpNetwork = IPv4Network | IPv6Network
CredentialType = Literal["signature", "mtls"]

_MAX_NAME_LENGTH = 64
# Where letters to our own backend go, and state to each peer (`roles`). Letters to a peer go by its name alone, which a
# company chooses itself: it must not be able to choose one of these.
_RESERVED_NAMES = re.compile(
    r"backend (cpo|emp)|(evse data|evse status|pricing product|evse pricing|authentication) to .*", re.IGNORECASE
)
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")

_PartyID = TypeVar("_PartyID", OperatorID, ProviderID)


def _require_text(value: object, example: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f'expected text in quotes, such as "{example}"')  # noqa: TRY004  # pydantic reports ValueError only
    return value


def _require_valid(identifier: _PartyID, example: str) -> _PartyID:
    if not identifier.is_valid:
        raise ValueError(f'"{identifier.text}" is no {type(identifier).__name__}; expected one such as "{example}"')
    return identifier


def display_name(value: object) -> str:
    """Return a name of a node, of 1 to 64 characters; raise `ValueError` saying what is expected."""
    text = _require_text(value, "Greenfield Charging")
    if not 0 < len(text) <= _MAX_NAME_LENGTH or not text.isprintable() or text != text.strip():
        raise ValueError(f"expected a name of 1 to {_MAX_NAME_LENGTH} printable characters, no space at its ends")
    if _RESERVED_NAMES.fullmatch(text):
        raise ValueError(f'"{text}" is what a node calls something of its own; expected another name')
    return text


def operator_id(value: object) -> OperatorID:
    """Return a valid OperatorID; raise `ValueError` saying what is expected."""
    return _require_valid(OperatorID(_require_text(value, "DE*ABC")), "DE*ABC")


def provider_id(value: object) -> ProviderID:
    """Return a valid ProviderID; raise `ValueError` saying what is expected."""
    return _require_valid(ProviderID(_require_text(value, "DE-XYZ")), "DE-XYZ")


def base_url(value: object) -> str:
    """Return an http(s) base URL without a trailing slash; raise `ValueError` saying what is expected."""
    text = _require_text(value, "https://oicp.example.com")
    try:
        parts = urlsplit(text)
        is_complete = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a broken port or IPv6 address
        is_complete = False
    if "@" in text:
        raise ValueError('a URL with a password in it; expected one such as "https://oicp.example.com"')
    if not is_complete or not text.isprintable() or any(character in text for character in " ?#"):
        raise ValueError(f'"{text}" is no base URL; expected one such as "https://oicp.example.com"')
    return text.rstrip("/")


def public_key(value: object) -> str:
    """Return a public key: base64 of a SubjectPublicKeyInfo, Ed25519 or ECDSA P-256; raise `ValueError` otherwise."""
    # Imported here: most peers files of insecure test networks hold no key, and cryptography is slow to load.
    from p2p_oicp.crypto.keys import PublicKey  # noqa: PLC0415

    text = _require_text(value, "MCowBQYDK2VwAyEA…")
    try:
        return PublicKey.from_base64(text).der_base64
    except ValueError as exc:
        raise ValueError(
            "not a public key; expected the base64 line of a PUBLIC KEY file, Ed25519 or ECDSA P-256"
        ) from exc


def certificate(value: object) -> str:
    """Return a certificate: base64 of its DER, or its fingerprint ``SHA256:…``; raise `ValueError` otherwise."""
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


def fingerprint(value: object) -> str:
    """Return the fingerprint of a key; raise `ValueError` otherwise."""
    text = _require_text(value, "SHA256:…")
    if not _FINGERPRINT.fullmatch(text):
        raise ValueError(f'"{text}" is no fingerprint; expected SHA256: and 43 characters, as `keys show` prints it')
    return text


def network(value: object) -> IpNetwork:
    """Return an IP network; a single address is a network of one; raise `ValueError` saying what is expected."""
    text = _require_text(value, "203.0.113.0/24")
    try:
        return ip_network(text)
    except ValueError as exc:
        raise ValueError(f'"{text}" is no network; expected one such as "203.0.113.0/24" or "2001:db8::/32"') from exc


def pull_interval(value: object) -> float:
    """Return seconds, more than 0; raise `ValueError` saying what is expected."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise ValueError("expected seconds, such as 300")
    return float(value)


NameField = Annotated[str, PlainValidator(display_name)]
OperatorField = Annotated[OperatorID, PlainValidator(operator_id)]
ProviderField = Annotated[ProviderID, PlainValidator(provider_id)]
UrlField = Annotated[str, PlainValidator(base_url)]
PublicKeyField = Annotated[str, PlainValidator(public_key)]
CertificateField = Annotated[str, PlainValidator(certificate)]
FingerprintField = Annotated[str, PlainValidator(fingerprint)]
NetworkField = Annotated[IpNetwork, PlainValidator(network)]
PullIntervalField = Annotated[float, PlainValidator(pull_interval)]
