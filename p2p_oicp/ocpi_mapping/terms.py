"""What the mapping depends on beside the object itself: who is who, and what one protocol demands and the other lacks.

``Terms`` are frozen, and their clock is a value: the same object under the same terms always gives the same result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, Literal

from pydantic import TypeAdapter, ValidationError

from p2p_oicp.errors import ConfigurationError

#: Partners that deviate from the standard, each in its own way.
Profile = Literal["standard", "citrineos", "extrawest"]
CITRINEOS: Final = "citrineos"
EXTRAWEST: Final = "extrawest"

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_BOTH_NFC_AND_REMOTE = ("NFC RFID Classic", "NFC RFID DESFire", "REMOTE")


@dataclass(frozen=True)
class Terms:
    """The terms of one OCPI partner.

    Attributes:
        operator_id, operator_name: The operator that a CPO below is in OICP.
        provider_id: The provider that an eMSP below is in OICP; of several, the first.
        sub_operators: Operators whose EVSEs the partner may have beside its own.
        hotline: HotlinePhoneNumber of its EVSEs; empty: the member is left out, and reported.
        language: Of texts that OCPI has no language for, and the one that is preferred.
        calibration_law, accessibility, authentication, renewable: OICP's values where OCPI has none.
        reservations: Whether reservable EVSEs are offered as such.
        export_unpublished: Export locations that are not published, as Restricted access.
        currency: Of sessions and CDRs without a product.
        whitelist: WhitelistType of tokens that are pushed to a CPO.
        progress_seconds: Least time between two Progress notifications.
        match_seconds: How far the start of a session may be from its authorization.
        reservation_minutes: Duration of a reservation that names none.
        tariff_types: Types of tariffs that are exported; None: all.
        aliases: OCPI party (``DE*810``) of operators that have none by themselves (``+49*810``).
        time_zones: Time zone of a country (ISO 3166-1 alpha-3) that has several.
        mifare: RFID kind of cards.
        providers: Names of providers by ProviderID, for the issuer of tokens.
        profile: Known deviations of the partner.
        country_code, party_id: The partner's party, or ours towards an eMSP: the CPO.
        emsp_country_code, emsp_party_id: The party on the eMSP's side.
        now: The time of mapping.
    """

    operator_id: str = ""
    operator_name: str = ""
    provider_id: str = ""
    sub_operators: tuple[str, ...] = ()
    hotline: str = ""
    language: str = "en"
    calibration_law: str = "Not Available"
    accessibility: str = "Free publicly accessible"
    authentication: tuple[str, ...] = _BOTH_NFC_AND_REMOTE
    renewable: bool = False
    reservations: bool = True
    export_unpublished: bool = False
    currency: str = "EUR"
    whitelist: str = "ALLOWED"
    progress_seconds: int = 300
    match_seconds: int = 120
    reservation_minutes: int = 15
    tariff_types: tuple[str, ...] | None = None
    aliases: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    time_zones: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    mifare: str = "mifareFamily"
    providers: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    profile: Profile = "standard"
    country_code: str = ""
    party_id: str = ""
    emsp_country_code: str = ""
    emsp_party_id: str = ""
    now: datetime = datetime(1970, 1, 1, tzinfo=UTC)


_VALUES = TypeAdapter(Terms)


def read_terms(values: Mapping[str, Any]) -> Terms:
    """Return terms from their names and values; raise `ConfigurationError` that names the first mistake."""
    names = [own.name for own in fields(Terms)]
    if unknown := next((name for name in values if name not in names), None):
        raise ConfigurationError(f"{unknown} is no term; there are {', '.join(names)}")
    try:
        return _VALUES.validate_python(dict(values))
    except ValidationError as exc:
        mistake = exc.errors()[0]
        raise ConfigurationError(f"{mistake['loc'][0]}: {mistake['msg'][0].lower()}{mistake['msg'][1:]}") from None
