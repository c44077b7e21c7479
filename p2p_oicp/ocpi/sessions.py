"""Sessions and CDRs (OCPI 2.2.1, mod_sessions, mod_cdrs). With its errata: signed and plain data 5000 characters."""

from __future__ import annotations

from typing import Annotated

from p2p_oicp.ocpi.base import (
    ANY_NUMBER,
    AT_LEAST_ONE,
    Boolean,
    Ci2,
    Ci3,
    Ci32,
    Ci36,
    Ci39,
    Ci48,
    Integer,
    Number,
    OcpiObject,
    Text3,
    Text10,
    Text20,
    Text45,
    Text255,
    Text512,
    Text5000,
    Timestamp,
    WordField,
)
from p2p_oicp.ocpi.enumerations import AuthMethod, CdrDimensionType, ProfileType, SessionStatus
from p2p_oicp.ocpi.locations import ConnectorFormatWord, ConnectorTypeWord, GeoLocation, PowerTypeWord
from p2p_oicp.ocpi.tariffs import Price, Tariff
from p2p_oicp.ocpi.tokens import CdrToken

AuthMethodWord = Annotated[str, WordField(AuthMethod)]


class CdrDimension(OcpiObject):
    """How much of something a period has (CdrDimension): kWh, hours, ampere or kW."""

    type: Annotated[str, WordField(CdrDimensionType)]
    volume: Number


class ChargingPeriod(OcpiObject):
    """A part of a session, until the next one begins (ChargingPeriod)."""

    start_date_time: Timestamp
    dimensions: Annotated[tuple[CdrDimension, ...], AT_LEAST_ONE]
    tariff_id: Ci36 | None = None


class Session(OcpiObject):
    """A charging session (Session)."""

    country_code: Ci2
    party_id: Ci3
    id: Ci36
    start_date_time: Timestamp
    end_date_time: Timestamp | None = None
    kwh: Number
    cdr_token: CdrToken
    auth_method: AuthMethodWord
    authorization_reference: Ci36 | None = None
    location_id: Ci36
    evse_uid: Ci36
    connector_id: Ci36
    meter_id: Text255 | None = None
    currency: Text3
    charging_periods: Annotated[tuple[ChargingPeriod, ...], ANY_NUMBER] = ()
    total_cost: Price | None = None
    status: Annotated[str, WordField(SessionStatus)]
    last_updated: Timestamp


class ChargingPreferences(OcpiObject):
    """What a driver prefers (ChargingPreferences)."""

    profile_type: Annotated[str, WordField(ProfileType)]
    departure_time: Timestamp | None = None
    energy_need: Number | None = None
    discharge_allowed: Boolean | None = None


class SignedValue(OcpiObject):
    """A signed meter value (SignedValue)."""

    nature: Ci32
    plain_data: Text5000
    signed_data: Text5000


class SignedData(OcpiObject):
    """The signed meter values of a CDR, and how they are encoded (SignedData)."""

    encoding_method: Ci36
    encoding_method_version: Integer | None = None
    public_key: Text512 | None = None
    signed_values: Annotated[tuple[SignedValue, ...], AT_LEAST_ONE]
    url: Text512 | None = None


class CdrLocation(OcpiObject):
    """Where a session was (CdrLocation); its address has 45 characters."""

    id: Ci36
    name: Text255 | None = None
    address: Text45
    city: Text45
    postal_code: Text10 | None = None
    state: Text20 | None = None
    country: Text3
    coordinates: GeoLocation
    evse_uid: Ci36
    evse_id: Ci48
    connector_id: Ci36
    connector_standard: ConnectorTypeWord
    connector_format: ConnectorFormatWord
    connector_power_type: PowerTypeWord


class Cdr(OcpiObject):
    """A charge detail record (CDR); energy in kWh, times in hours."""

    country_code: Ci2
    party_id: Ci3
    id: Ci39
    start_date_time: Timestamp
    end_date_time: Timestamp
    session_id: Ci36 | None = None
    cdr_token: CdrToken
    auth_method: AuthMethodWord
    authorization_reference: Ci36 | None = None
    cdr_location: CdrLocation
    meter_id: Text255 | None = None
    currency: Text3
    tariffs: Annotated[tuple[Tariff, ...], ANY_NUMBER] = ()
    charging_periods: Annotated[tuple[ChargingPeriod, ...], AT_LEAST_ONE]
    signed_data: SignedData | None = None
    total_cost: Price
    total_fixed_cost: Price | None = None
    total_energy: Number
    total_energy_cost: Price | None = None
    total_time: Number
    total_time_cost: Price | None = None
    total_parking_time: Number | None = None
    total_parking_cost: Price | None = None
    total_reservation_cost: Price | None = None
    remark: Text255 | None = None
    invoice_reference_id: Ci39 | None = None
    credit: Boolean | None = None
    credit_reference_id: Ci39 | None = None
    home_charging_compensation: Boolean | None = None
    last_updated: Timestamp
