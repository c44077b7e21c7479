"""Parties and identifiers of both protocols.

OICP writes EvseID, UID and EvcoID in upper case; OCPI's ids are compared without letter case. An id that is too long
for the other side becomes a SHA-256 hash, which is always the same.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, NamedTuple

from p2p_oicp.ocpi_mapping.terms import Terms
from p2p_oicp.oicp.identifiers import UID, EvcoID, EvseID, OperatorID, ProviderID

_MAX_ID = 36
_POOL_SUFFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9*]{0,29}", re.ASCII)
_POOL_HASH_LENGTH = 30
_GROUP_HASH_LENGTH = 34
_COUNTRY_LENGTH, _PARTY_LENGTH = 2, 5
_SEPARATORS = re.compile(r"[\s:.\-_]")


class Party(NamedTuple):
    """A party in OCPI's form."""

    country_code: str
    party_id: str

    @property
    def path(self) -> str:
        """The beginning of the path of its objects."""
        return f"/{self.country_code}/{self.party_id}"

    @property
    def members(self) -> dict[str, Any]:
        """The members with which an object names its owner."""
        return {"country_code": self.country_code, "party_id": self.party_id}


def party_of(text: str) -> Party | None:
    """Return the party of an OperatorID or a ProviderID (``DE*GEF``, ``DE-DCB``, ``DEDCB``); None: it has none."""
    key = OperatorID(text).key
    is_iso = len(key) == _PARTY_LENGTH and key[:_COUNTRY_LENGTH].isalpha()
    return Party(key[:_COUNTRY_LENGTH], key[_COUNTRY_LENGTH:]) if is_iso else None


def party_of_operator(operator_id: str, terms: Terms) -> Party | None:
    """Return the party of an operator; a DIN operator has one only as a configured alias."""
    key = OperatorID(operator_id).key
    alias = next((alias for text, alias in terms.aliases.items() if OperatorID(text).key == key), operator_id)
    return party_of(alias)


def operator_of(record: dict[str, Any]) -> str:
    """Return the OperatorID of an OICP record or message; of one without, that of its EVSE; empty: none is known."""
    operator = record.get("OperatorID") or EvseID(str(record.get("EvseID", ""))).operator
    return str(operator or "")


def own_party(terms: Terms) -> Party:
    """Return the party on the eMSP's side, for whatever names no provider."""
    return Party(terms.emsp_country_code, terms.emsp_party_id)


def provider_party(provider_id: str | None, terms: Terms) -> Party:
    """Return the party of a provider, else the one on the eMSP's side."""
    return (party_of(provider_id) if provider_id else None) or own_party(terms)


def to_evse_id(text: object) -> str | None:
    """Return an ``evse_id`` in OICP's form: no blanks, upper case, ``*`` for ``-``; None: it is no EvseID."""
    evse_id = EvseID(re.sub(r"\s", "", str(text or "")).upper().replace("-", "*"))
    return evse_id.text if evse_id.is_exact else None


def is_operated_by(evse_id: str, terms: Terms) -> bool:
    """Whether an EVSE is of the partner's operator, or of one of its sub-operators."""
    operators = {OperatorID(text).key for text in (terms.operator_id, *terms.sub_operators)}
    operator = EvseID(evse_id).operator
    return operator is not None and operator.key in operators


def evse_uid(evse_id: str) -> str:
    """Return the uid under which an EVSE of OICP is served."""
    return short_id(evse_id.replace("*", "").replace("+", "").upper())


def short_id(text: str) -> str:
    """Return an id with at most 36 characters: a longer one becomes a hash."""
    return text if len(text) <= _MAX_ID else _sha256(text)[:_MAX_ID]


def to_pool_id(location_id: str, party: Party, operator_id: str) -> str | None:
    """Return the ChargingPoolID of a location; None for a DIN operator, whose pools have no form in OICP."""
    if party_of(operator_id) is None:
        return None
    fits = _POOL_SUFFIX.fullmatch(location_id)
    suffix = location_id if fits else _sha256(location_id)[:_POOL_HASH_LENGTH].upper()
    return f"{party.country_code.upper()}*{party.party_id.upper()}*P{suffix}"


def pool_location_id(pool_id: str) -> str:
    """Return the id of the location that a charging pool is."""
    return short_id(pool_id.replace("*", ""))


def group_location_id(*parts: str) -> str:
    """Return the id of the location that EVSEs without a pool share: one of their address and place."""
    return f"g-{_sha256('|'.join(parts).upper())[:_GROUP_HASH_LENGTH]}"


def to_uid(text: object) -> str | None:
    """Return the number of a card in OICP's form: 8, 14 or 20 hexadecimal digits; None: OICP cannot carry it."""
    uid = UID(_SEPARATORS.sub("", str(text or "")).upper())
    return uid.text if uid.is_exact else None


def to_evco_id(text: object) -> str | None:
    """Return a contract id in OICP's form; None: it is no EvcoID."""
    evco_id = EvcoID(str(text or "").strip().upper())
    return evco_id.text if evco_id.is_exact else None


def made_contract_id(party: Party, uid: str) -> str:
    """Return a contract id for a card whose contract is unknown, which OCPI demands: ``CC-PPP-UID``."""
    return f"{party.country_code}-{party.party_id}-{to_uid(uid) or uid.upper()}"[:_MAX_ID]


def provider_of(evco_id: str | None) -> str | None:
    """Return the ProviderID of a contract."""
    provider = EvcoID(evco_id).provider if evco_id else None
    return provider.text if provider else None


def same_provider(one: str, other: str) -> bool:
    """Whether two texts are the same ProviderID."""
    return ProviderID(one).key == ProviderID(other).key


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
