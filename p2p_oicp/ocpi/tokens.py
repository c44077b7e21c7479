"""Tokens, what they are authorized for, and the token of a session (OCPI 2.2.1, mod_tokens; mod_cdrs, CdrToken)."""

from __future__ import annotations

import re
from typing import Annotated, Final

from p2p_oicp.ocpi.base import (
    ANY_NUMBER,
    Boolean,
    Ci2,
    Ci3,
    Ci36,
    OcpiObject,
    Text2,
    Text64,
    Timestamp,
    WordField,
)
from p2p_oicp.ocpi.enumerations import AllowedType, ProfileType, WhitelistType
from p2p_oicp.ocpi.locations import DisplayText, TokenTypeWord

_BEHIND_TOKENS: Final = re.compile(r"(/tokens)/[^\s?]+")


class EnergyContract(OcpiObject):
    """A driver's contract of energy (EnergyContract)."""

    supplier_name: Text64
    contract_id: Text64 | None = None


class Token(OcpiObject):
    """A card, an app's user or a vehicle's contract (Token)."""

    country_code: Ci2
    party_id: Ci3
    uid: Ci36
    type: TokenTypeWord
    contract_id: Ci36
    visual_number: Text64 | None = None
    issuer: Text64
    group_id: Ci36 | None = None
    valid: Boolean
    whitelist: Annotated[str, WordField(WhitelistType)]
    language: Text2 | None = None
    default_profile_type: Annotated[str, WordField(ProfileType)] | None = None
    energy_contract: EnergyContract | None = None
    last_updated: Timestamp


class CdrToken(OcpiObject):
    """The token of a session or of a CDR (CdrToken)."""

    country_code: Ci2
    party_id: Ci3
    uid: Ci36
    type: TokenTypeWord
    contract_id: Ci36


class LocationReferences(OcpiObject):
    """A location, and EVSEs of it (LocationReferences)."""

    location_id: Ci36
    evse_uids: Annotated[tuple[Ci36, ...], ANY_NUMBER] = ()


class AuthorizationInfo(OcpiObject):
    """The answer to a real-time authorization (AuthorizationInfo)."""

    allowed: Annotated[str, WordField(AllowedType)]
    token: Token
    location: LocationReferences | None = None
    authorization_reference: Ci36 | None = None
    info: DisplayText | None = None


def masked_path(path: str) -> str:
    """Return a path or URL for a log: behind ``tokens`` stands a uid, which is as good as the card."""
    return _BEHIND_TOKENS.sub(r"\1/…", path)
