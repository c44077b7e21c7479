"""Registration: versions, endpoints, credentials, and the Authorization header (OCPI 2.2.1).

credentials.asciidoc, version_information_endpoint.asciidoc; the header: transport_and_format, Authorization header.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from p2p_oicp.ocpi.base import AT_LEAST_ONE, Ci2, Ci3, OcpiObject, Secret64, Url, WordField
from p2p_oicp.ocpi.enumerations import InterfaceRole, ModuleID, Role, VersionNumber
from p2p_oicp.ocpi.locations import BusinessDetails

_SCHEME = "token"


class Version(OcpiObject):
    """A version that a partner offers (Version)."""

    version: Annotated[str, WordField(VersionNumber)]
    url: Url


class Endpoint(OcpiObject):
    """Where an interface of a module is (Endpoint)."""

    identifier: Annotated[str, WordField(ModuleID)]
    role: Annotated[str, WordField(InterfaceRole)]
    url: Url


class VersionDetails(OcpiObject):
    """The endpoints of a version."""

    version: Annotated[str, WordField(VersionNumber)]
    endpoints: Annotated[tuple[Endpoint, ...], AT_LEAST_ONE]


class CredentialsRole(OcpiObject):
    """A party of a partner (CredentialsRole)."""

    role: Annotated[str, WordField(Role)]
    business_details: BusinessDetails
    party_id: Ci3
    country_code: Ci2


class Credentials(OcpiObject):
    """What two partners exchange: the token for calling back, where, and who one is (Credentials)."""

    token: Secret64
    url: Url
    roles: Annotated[tuple[CredentialsRole, ...], AT_LEAST_ONE]


def authorization_header(token: str) -> str:
    """Return the Authorization header with a token, which travels in base64."""
    return f"Token {base64.b64encode(token.encode()).decode()}"


def token_candidates(header: str | None, *, accept_plain: bool = False) -> list[str]:
    """Return the tokens that a header may mean, most likely first; empty: it has none.

    Args:
        header: The Authorization header; None: there is none.
        accept_plain: Whether the text counts as it stands as well, for partners that do not encode it.
    """
    scheme, _, text = (header or "").strip().partition(" ")
    text = text.strip()
    if scheme.lower() != _SCHEME or not text:
        return []
    decoded = _decode(text)
    return list(dict.fromkeys([*([decoded] if decoded else []), *([text] if accept_plain else [])]))


def _decode(text: str) -> str:
    """Return the token of strict base64; empty: it is none."""
    try:
        # The example of the standard ends in a line break, which was encoded with it.
        return base64.b64decode(text, validate=True).decode().strip()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""
