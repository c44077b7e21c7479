"""Tokens of OCPI and identifications of OICP, in pushes and in sessions (GATEWAY 13.2, 13.6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from p2p_oicp.ocpi.base import format_time
from p2p_oicp.ocpi.enumerations import TokenType, WhitelistType
from p2p_oicp.ocpi_mapping.amounts import time_of
from p2p_oicp.ocpi_mapping.ids import Party, made_contract_id, provider_of, provider_party, to_evco_id, to_uid
from p2p_oicp.ocpi_mapping.losses import Loss, Losses
from p2p_oicp.ocpi_mapping.terms import CITRINEOS, Terms
from p2p_oicp.oicp.enums import ActionType

_MAX_PRINTED, _MAX_VISUAL_NUMBER, _MAX_ISSUER = 150, 64, 64
_LOST_OF_TOKEN = ("issuer", "group_id", "language", "default_profile_type", "energy_contract")
#: The members of an Identification, each with the type of its token.
_RFID, _MIFARE, _REMOTE = "RFIDIdentification", "RFIDMifareFamilyIdentification", "RemoteIdentification"
_PNC, _QR = "PlugAndChargeIdentification", "QRCodeIdentification"


@dataclass(frozen=True)
class AuthenticationRecord:
    """What a token is in OICP.

    Attributes:
        action: ``upsert``, ``delete`` or ``none``.
        record: The record of a PushAuthenticationData; None: nothing is pushed.
        reason: Why nothing is pushed.
        losses: What could not be carried.
    """

    action: str
    record: dict[str, Any] | None = None
    reason: str | None = None
    losses: tuple[Loss, ...] = ()


@dataclass(frozen=True)
class TokenRequest:
    """A request to the tokens receiver of a partner; ``method`` is ``none`` where nothing is sent, for a reason."""

    method: str
    path: str | None = None
    query: Mapping[str, str] | None = None
    body: dict[str, Any] | None = None
    reason: str | None = None
    losses: tuple[Loss, ...] = ()


@dataclass(frozen=True)
class TokenIdentity:
    """What a token is by: uid, type, and its contract, empty where it is unknown."""

    uid: str
    type: str
    contract_id: str


def to_authentication(token: dict[str, Any], terms: Terms) -> AuthenticationRecord:
    """Return what a token leads to: it is pushed, withdrawn, or left to online authorization."""
    losses = Losses()
    token_type = token["type"].upper()
    if token_type == TokenType.AD_HOC_USER:
        return AuthenticationRecord("none", reason="ad_hoc")
    identification, reason = _pushed_identification(token, token_type, terms, losses)
    if identification is None:
        return AuthenticationRecord("none", reason=reason)
    losses.add_members(token, "", _LOST_OF_TOKEN)
    record = {"Identification": identification}
    if not token["valid"]:
        return AuthenticationRecord("delete", record, losses=losses.all)
    if token["whitelist"].upper() == WhitelistType.NEVER:
        return AuthenticationRecord("none", reason="online_only")
    if token["whitelist"].upper() != WhitelistType.ALLOWED:
        losses.add_value("/whitelist", token["whitelist"], "has no counterpart: OICP's offline tokens are all alike")
    return AuthenticationRecord("upsert", record, losses=losses.all)


def _pushed_identification(
    token: dict[str, Any], token_type: str, terms: Terms, losses: Losses
) -> tuple[dict[str, Any] | None, str]:
    evco_id = to_evco_id(token["contract_id"])
    if token_type in {TokenType.APP_USER, TokenType.OTHER}:
        kind = _REMOTE if token_type == TokenType.APP_USER else _PNC
        return ({kind: {"EvcoID": evco_id}} if evco_id else None), "contract_id_no_evco_id"
    if token_type != TokenType.RFID:
        return None, "type_unknown"
    uid = to_uid(token["uid"])
    if uid is None:
        return None, "uid_unusable"
    members = {"UID": uid, "RFID": terms.mifare}
    if evco_id:
        members["EvcoID"] = evco_id
    else:
        losses.add_value("/contract_id", token["contract_id"], "is no EvcoID, and is left out")
    if printed := token.get("visual_number"):
        members["PrintedNumber"] = printed[:_MAX_PRINTED]
    return {_RFID: members}, ""


def from_authentication(action: str, provider_id: str, record: dict[str, Any], terms: Terms) -> TokenRequest:
    """Return the request that tells a CPO of a record of authentication data; deleted ones become invalid."""
    losses = Losses()
    identification = record.get("Identification") or {}
    identity = identity_of(identification)
    if identity is None:
        return TokenRequest("none", reason="qr_code" if _QR in identification else "identification")
    if identity.type == TokenType.OTHER and terms.profile == CITRINEOS:
        return TokenRequest("none", reason="profile_cannot_take_OTHER")
    party = provider_party(provider_id, terms)
    path = f"{party.path}/{path_segment(identity.uid)}"
    query = {"type": str(identity.type)}
    now = format_time(terms.now)
    if action == ActionType.DELETE:
        return TokenRequest("PATCH", path, query, {"valid": False, "last_updated": now})
    card = identification.get(_RFID) or {}
    losses.add_members(card, f"/Identification/{_RFID}", ("RFID", "ExpiryDate"))
    expiry = card.get("ExpiryDate")
    body = {
        **token_members(identity, party, provider_id, terms),
        "valid": expiry is None or time_of(expiry) > terms.now,
        "whitelist": terms.whitelist,
        "last_updated": now,
    }
    visual_number = card.get("PrintedNumber") or (body["contract_id"] if terms.profile == CITRINEOS else None)
    if visual_number:
        body["visual_number"] = losses.cut(visual_number, _MAX_VISUAL_NUMBER, f"/Identification/{_RFID}/PrintedNumber")
    return TokenRequest("PUT", path, query, body, losses=losses.all)


def token_members(identity: TokenIdentity, party: Party, provider_id: str | None, terms: Terms) -> dict[str, Any]:
    """Return the members of a token that identify it, its contract and its issuer."""
    issuer = terms.providers.get(provider_id or "") or provider_id or f"{party.country_code}-{party.party_id}"
    return {
        **party.members,
        "uid": identity.uid,
        "type": str(identity.type),
        "contract_id": identity.contract_id or made_contract_id(party, identity.uid),
        "issuer": issuer[:_MAX_ISSUER],
    }


def synthetic_token(identity: TokenIdentity, provider_id: str | None, terms: Terms, *, valid: bool) -> dict[str, Any]:
    """Return a token that is known from OICP only: it may never be used without asking."""
    return {
        **token_members(identity, provider_party(provider_id, terms), provider_id, terms),
        "valid": valid,
        "whitelist": str(WhitelistType.NEVER),
        "last_updated": format_time(terms.now),
    }


def identity_of(identification: dict[str, Any]) -> TokenIdentity | None:
    """Return the token of an Identification; None without one, or for a QR code, whose PIN OCPI has no place for."""
    card = identification.get(_RFID) or identification.get(_MIFARE)
    if card:
        return TokenIdentity(card["UID"].upper(), TokenType.RFID, card.get("EvcoID") or "")
    for name, token_type in ((_REMOTE, TokenType.APP_USER), (_PNC, TokenType.OTHER)):
        if contract := identification.get(name):
            return TokenIdentity(contract["EvcoID"], token_type, contract["EvcoID"])
    return None


def evco_id_of(identification: dict[str, Any]) -> str | None:
    """Return the EvcoID of an Identification of any kind."""
    contracts = (identification.get(name) or {} for name in (_REMOTE, _PNC, _QR, _RFID))
    return next((contract["EvcoID"] for contract in contracts if contract.get("EvcoID")), None)


def to_identification(uid: str, token_type: str, contract_id: str = "") -> dict[str, Any] | None:
    """Return the Identification of a token in a session: by its card, else by its contract; None: by neither."""
    if token_type.upper() == TokenType.RFID and (card := to_uid(uid)):
        return {_MIFARE: {"UID": card}}
    if evco_id := to_evco_id(contract_id):
        return {(_PNC if token_type.upper() == TokenType.OTHER else _REMOTE): {"EvcoID": evco_id}}
    return None


def from_identification(
    identification: dict[str, Any] | None, contract_id: str | None, terms: Terms
) -> dict[str, Any] | None:
    """Return the CdrToken of an Identification; None: OCPI cannot have it.

    Args:
        identification: That of a notification or a CDR.
        contract_id: The contract of a card, as known from tokens.
        terms: Those of the eMSP, whose party owns a card of unknown contract.
    """
    identity = identity_of(identification or {})
    if identity is None:
        return None
    contract = identity.contract_id or contract_id or ""
    party = provider_party(provider_of(to_evco_id(contract)), terms)
    return {
        **party.members,
        "uid": identity.uid,
        "type": str(identity.type),
        "contract_id": contract or made_contract_id(party, identity.uid),
    }


def path_segment(text: str) -> str:
    """Return a text as a segment of a path (RFC 3986): what a segment may hold stays as it is."""
    return quote(text, safe=":@!$&'()*+,;=")
