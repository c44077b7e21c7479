"""Locations, EVSEs and connectors (OCPI 2.2.1, mod_locations). With its errata: address 255, state 45 characters."""

from __future__ import annotations

from typing import Annotated

from p2p_oicp.ocpi.base import (
    ANY_NUMBER,
    AT_LEAST_ONE,
    Boolean,
    Ci2,
    Ci3,
    Ci4,
    Ci36,
    Ci48,
    Integer,
    Latitude,
    Longitude,
    Number,
    OcpiObject,
    Text2,
    Text3,
    Text4,
    Text5,
    Text10,
    Text16,
    Text45,
    Text64,
    Text100,
    Text255,
    Text512,
    Timestamp,
    Url,
    WordField,
)
from p2p_oicp.ocpi.enumerations import (
    Capability,
    ConnectorFormat,
    ConnectorType,
    EnergySourceCategory,
    EnvironmentalImpactCategory,
    Facility,
    ImageCategory,
    ParkingRestriction,
    ParkingType,
    PowerType,
    Status,
    TokenType,
)

ConnectorTypeWord = Annotated[str, WordField(ConnectorType)]
ConnectorFormatWord = Annotated[str, WordField(ConnectorFormat)]
PowerTypeWord = Annotated[str, WordField(PowerType)]
StatusWord = Annotated[str, WordField(Status)]
TokenTypeWord = Annotated[str, WordField(TokenType)]


class DisplayText(OcpiObject):
    """A text in one language (types, DisplayText)."""

    language: Text2
    text: Text512


DisplayTexts = Annotated[tuple[DisplayText, ...], ANY_NUMBER]


class GeoLocation(OcpiObject):
    """A position (GeoLocation)."""

    latitude: Latitude
    longitude: Longitude


class AdditionalGeoLocation(GeoLocation):
    """A position with a name (AdditionalGeoLocation)."""

    name: DisplayText | None = None


class Image(OcpiObject):
    """A link to an image (Image)."""

    url: Url
    thumbnail: Url | None = None
    category: Annotated[str, WordField(ImageCategory)]
    type: Ci4
    width: Integer | None = None
    height: Integer | None = None


Images = Annotated[tuple[Image, ...], ANY_NUMBER]


class BusinessDetails(OcpiObject):
    """A company (BusinessDetails)."""

    name: Text100
    website: Url | None = None
    logo: Image | None = None


class EnergySource(OcpiObject):
    """A source of energy and its share in percent (EnergySource)."""

    source: Annotated[str, WordField(EnergySourceCategory)]
    percentage: Number


class EnvironmentalImpact(OcpiObject):
    """What a kWh leaves behind, in grams (EnvironmentalImpact)."""

    category: Annotated[str, WordField(EnvironmentalImpactCategory)]
    amount: Number


class EnergyMix(OcpiObject):
    """The energy of a location or of a tariff (EnergyMix)."""

    is_green_energy: Boolean
    energy_sources: Annotated[tuple[EnergySource, ...], ANY_NUMBER] = ()
    environ_impact: Annotated[tuple[EnvironmentalImpact, ...], ANY_NUMBER] = ()
    supplier_name: Text64 | None = None
    energy_product_name: Text64 | None = None


class RegularHours(OcpiObject):
    """Hours of a day of the week, 1 is Monday (RegularHours)."""

    weekday: Integer
    period_begin: Text5
    period_end: Text5


class ExceptionalPeriod(OcpiObject):
    """A period that deviates from the regular hours (ExceptionalPeriod)."""

    period_begin: Timestamp
    period_end: Timestamp


class Hours(OcpiObject):
    """When a location is open (Hours)."""

    twentyfourseven: Boolean
    regular_hours: Annotated[tuple[RegularHours, ...], ANY_NUMBER] = ()
    exceptional_openings: Annotated[tuple[ExceptionalPeriod, ...], ANY_NUMBER] = ()
    exceptional_closings: Annotated[tuple[ExceptionalPeriod, ...], ANY_NUMBER] = ()


class PublishTokenType(OcpiObject):
    """Tokens whose owners are shown a location that is not published (PublishTokenType)."""

    uid: Ci36 | None = None
    type: TokenTypeWord | None = None
    visual_number: Text64 | None = None
    issuer: Text64 | None = None
    group_id: Ci36 | None = None


class StatusSchedule(OcpiObject):
    """A planned status (StatusSchedule)."""

    period_begin: Timestamp
    period_end: Timestamp | None = None
    status: StatusWord


class Connector(OcpiObject):
    """A socket or a cable of an EVSE (Connector); volt to neutral, ampere, watt."""

    id: Ci36
    standard: ConnectorTypeWord
    format: ConnectorFormatWord
    power_type: PowerTypeWord
    max_voltage: Integer
    max_amperage: Integer
    max_electric_power: Integer | None = None
    tariff_ids: Annotated[tuple[Ci36, ...], ANY_NUMBER] = ()
    terms_and_conditions: Url | None = None
    last_updated: Timestamp


class Evse(OcpiObject):
    """An EVSE (EVSE): ``uid`` is the platform's own, ``evse_id`` the one that drivers see."""

    uid: Ci36
    evse_id: Ci48 | None = None
    status: StatusWord
    status_schedule: Annotated[tuple[StatusSchedule, ...], ANY_NUMBER] = ()
    capabilities: Annotated[tuple[Annotated[str, WordField(Capability)], ...], ANY_NUMBER] = ()
    connectors: Annotated[tuple[Connector, ...], AT_LEAST_ONE]
    floor_level: Text4 | None = None
    coordinates: GeoLocation | None = None
    physical_reference: Text16 | None = None
    directions: DisplayTexts = ()
    parking_restrictions: Annotated[tuple[Annotated[str, WordField(ParkingRestriction)], ...], ANY_NUMBER] = ()
    images: Images = ()
    last_updated: Timestamp


class Location(OcpiObject):
    """A group of EVSEs in one place (Location)."""

    country_code: Ci2
    party_id: Ci3
    id: Ci36
    publish: Boolean
    publish_allowed_to: Annotated[tuple[PublishTokenType, ...], ANY_NUMBER] = ()
    name: Text255 | None = None
    address: Text255
    city: Text45
    postal_code: Text10 | None = None
    state: Text45 | None = None
    country: Text3
    coordinates: GeoLocation
    related_locations: Annotated[tuple[AdditionalGeoLocation, ...], ANY_NUMBER] = ()
    parking_type: Annotated[str, WordField(ParkingType)] | None = None
    evses: Annotated[tuple[Evse, ...], ANY_NUMBER] = ()
    directions: DisplayTexts = ()
    operator: BusinessDetails | None = None
    suboperator: BusinessDetails | None = None
    owner: BusinessDetails | None = None
    facilities: Annotated[tuple[Annotated[str, WordField(Facility)], ...], ANY_NUMBER] = ()
    time_zone: Text255
    opening_times: Hours | None = None
    charging_when_closed: Boolean | None = None
    images: Images = ()
    energy_mix: EnergyMix | None = None
    last_updated: Timestamp
