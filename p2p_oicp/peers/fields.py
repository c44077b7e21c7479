"""What both configuration files hold: ids, URLs, keys and networks, checked as they are read."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import PlainValidator

from p2p_oicp.oicp import OperatorID, ProviderID

IpNetwork = IPv4Network | IPv6Network
Proof = Literal["signature", "mtls"]

_LONGEST_NAME = 64
# Where letters to our own backend go, and state to each peer (`roles`). Letters to a peer go by its name alone, which a
# company chooses itself: it must not be able to choose one of these.
_DESTINATIONS = re.compile(
    r"backend (cpo|emp)|(evse data|evse status|pricing product|evse pricing|authentication) to .*", re.IGNORECASE
)
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")

_Id = TypeVar("_Id", OperatorID, ProviderID)


def _text(value: object, example: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f'expected text in quotes, such as "{example}"')  # noqa: TRY004  # pydantic reports ValueError only
    return value


def _valid(identifier: _Id, example: str) -> _Id:
    if not identifier.is_valid:
        raise ValueError(f'"{identifier.text}" is no {type(identifier).__name__}; expected one such as "{example}"')
    return identifier


def display_name(value: object) -> str:
    """Return a name of a node, of 1 to 64 characters; raise `ValueError` saying what is expected."""
    text = _text(value, "Greenfield Charging")
    if not 0 < len(text) <= _LONGEST_NAME or not text.isprintable() or text != text.strip():
        raise ValueError(f"expected a name of 1 to {_LONGEST_NAME} printable characters, no space at its ends")
    if _DESTINATIONS.fullmatch(text):
        raise ValueError(f'"{text}" is what a node calls something of its own; expected another name')
    return text


def operator_id(value: object) -> OperatorID:
    """Return a valid OperatorID; raise `ValueError` saying what is expected."""
    return _valid(OperatorID(_text(value, "DE*ABC")), "DE*ABC")


def provider_id(value: object) -> ProviderID:
    """Return a valid ProviderID; raise `ValueError` saying what is expected."""
    return _valid(ProviderID(_text(value, "DE-XYZ")), "DE-XYZ")


def base_url(value: object) -> str:
    """Return an http(s) base URL without a trailing slash; raise `ValueError` saying what is expected."""
    text = _text(value, "https://oicp.example.com")
    try:
        parts = urlsplit(text)
        complete = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a broken port or IPv6 address
        complete = False
    if "@" in text:
        raise ValueError('a URL with a password in it; expected one such as "https://oicp.example.com"')
    if not complete or not text.isprintable() or any(mark in text for mark in " ?#"):
        raise ValueError(f'"{text}" is no base URL; expected one such as "https://oicp.example.com"')
    return text.rstrip("/")


def public_key(value: object) -> str:
    """Return a public key: base64 of a SubjectPublicKeyInfo, Ed25519 or ECDSA P-256; raise `ValueError` otherwise."""
    # Imported here: most peers files of insecure test networks hold no key, and cryptography is slow to load.
    from p2p_oicp.identity.keys import PublicKey  # noqa: PLC0415

    text = _text(value, "MCowBQYDK2VwAyEA…")
    try:
        return PublicKey.from_line(text).line
    except ValueError as exc:
        raise ValueError(
            "not a public key; expected the base64 line of a PUBLIC KEY file, Ed25519 or ECDSA P-256"
        ) from exc


def certificate(value: object) -> str:
    """Return a certificate: base64 of its DER, or its fingerprint ``SHA256:…``; raise `ValueError` otherwise."""
    from p2p_oicp.identity.certificates import Certificate  # noqa: PLC0415 - as above

    text = _text(value, "MIIB…")
    if _FINGERPRINT.fullmatch(text):
        return text
    try:
        return Certificate.from_line(text).line
    except ValueError as exc:
        raise ValueError(
            "not a certificate; expected the base64 lines of a CERTIFICATE file in one, or its fingerprint SHA256:…"
        ) from exc


def fingerprint(value: object) -> str:
    """Return the fingerprint of a key; raise `ValueError` otherwise."""
    text = _text(value, "SHA256:…")
    if not _FINGERPRINT.fullmatch(text):
        raise ValueError(f'"{text}" is no fingerprint; expected SHA256: and 43 characters, as `keys show` prints it')
    return text


def network(value: object) -> IpNetwork:
    """Return an IP network; a single address is a network of one; raise `ValueError` saying what is expected."""
    text = _text(value, "203.0.113.0/24")
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
