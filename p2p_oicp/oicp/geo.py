"""Where an EVSE is and when it is open (OICP 2.3, 03 Data Types).

Coordinates (WGS84) come in one of three notations. The received notation is kept; it is converted only on request
(``GeoCoordinatesResponseFormat``), rounded to six decimal places (RULES T7). Google's has the latitude first.

For a search by radius, a position has a cell of a tenth of a degree that an index can find: the ranges of cells that
cover the circle come from the index, then distances are compared (``great_circle_km``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from math import asin, cos, degrees, floor, radians, sin, sqrt
from typing import Annotated, Self

from pydantic import Field
from typing_extensions import override

from p2p_oicp.oicp.common import Boolean
from p2p_oicp.oicp.enums import Day, GeoFormat
from p2p_oicp.oicp.field_specs import REQUIRED_OR_NONE, Aliases, ListLimits, OptionalWrapper
from p2p_oicp.oicp.field_types import (
    CodeListField,
    FindingCollector,
    OpenEnumField,
    PatternField,
    TextField,
    codes,
    format_value,
)
from p2p_oicp.oicp.message import Message
from p2p_oicp.oicp.numbers import DecimalField

_LATITUDE_PATTERN = r"-?(?:[0-8]?[0-9]\.[0-9]{1,6}|90\.0{1,6})"
_LONGITUDE_PATTERN = r"-?(?:(?:1[0-7][0-9]|[0-9]{1,2})\.[0-9]{1,6}|180\.0{1,6})"
_DMS_MINUTES_PATTERN = r"' ?[0-5]?[0-9]\.[0-9]+''"
_DMS_LATITUDE_PATTERN = rf"-?(?:[0-8]?[0-9]° ?[0-5]?[0-9]{_DMS_MINUTES_PATTERN}|90° ?0?0' ?0?0\.0+'')"
_DMS_LONGITUDE_PATTERN = (
    rf"-?(?:(?:1[0-7][0-9]|[0-9]{{1,2}})° ?[0-5]?[0-9]{_DMS_MINUTES_PATTERN}|180° ?0?0' ?0?0\.0+'')"
)
_WHITESPACE = r"[ \t\r\n\f\v]"

# The published expressions: they allow any range, and Google's makes the separator optional (CONFORMANCE D27). What
# they accept is still converted; whether it is valid is for the stricter expressions above.
_PUBLISHED_DEGREES = r"-?1?[0-9]{1,2}\.[0-9]{1,6}"
_PUBLISHED_GOOGLE = re.compile(rf"({_PUBLISHED_DEGREES}){_WHITESPACE}*,?{_WHITESPACE}*({_PUBLISHED_DEGREES})", re.ASCII)

_DMS = re.compile(r"(-?)([0-9]{1,3})° ?([0-9]{1,2})' ?([0-9]{1,2}\.[0-9]+)''", re.ASCII)
_MAX_DECIMALS = 6
_SIX_DECIMALS = Decimal("0.000001")

#: The earth's mean radius in km (IUGG).
EARTH_RADIUS_KM = 6371.0088
_LATITUDE_CELLS = 1800
_LONGITUDE_CELLS = 3600
# More than the cells of a row, so that the number of a cell can be read: 1401_00123 is row 1401, column 123.
_CELL_ROW_STRIDE = 10_000


@dataclass(frozen=True)
class Position:
    """A position on earth, in degrees."""

    latitude: Decimal
    longitude: Decimal


def _degrees_problem(text: str) -> str | None:
    """Return what is wrong with the decimals of an angle; None: they are right, or it is no number."""
    match = re.fullmatch(r"-?[0-9]+(?:\.([0-9]*))?", text, re.ASCII)
    if match is None:
        return None
    count = len(match[1] or "")
    if not count:
        return f"{text} has no decimals, 1 to {_MAX_DECIMALS} are needed"
    return f"{text} has {count} decimals, at most {_MAX_DECIMALS} are allowed" if count > _MAX_DECIMALS else None


@dataclass(frozen=True)
class DegreesField(PatternField):
    """An angle in decimal degrees, as a text."""

    @override
    def explain(self, value: str) -> str:
        problem = _degrees_problem(value)
        return f"cannot be read: {problem}" if problem else super().explain(value)


@dataclass(frozen=True)
class GoogleCoordinatesField(PatternField):
    """``latitude longitude`` in one text, separated by a blank or a comma."""

    pattern: str = rf"{_LATITUDE_PATTERN}(?:{_WHITESPACE}+|{_WHITESPACE}*,{_WHITESPACE}*){_LONGITUDE_PATTERN}"
    format_hint: str = "Google coordinates are latitude and longitude like '47.662249 9.360922'"

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        if not isinstance(value, str) or not (match := _PUBLISHED_GOOGLE.fullmatch(value)):
            return super().read(value, pointer, collector)
        latitude, longitude = Decimal(match[1]), Decimal(match[2])
        if abs(latitude) > 90 or abs(longitude) > 180:  # noqa: PLR2004  # the poles and the date line
            collector.error(
                pointer, "not-on-earth", f"{format_value(value)} has a latitude beyond 90 or a longitude beyond 180"
            )
            return value
        return super().read(value, pointer, collector)

    @override
    def explain(self, value: str) -> str:
        # Order: "47.6622499.360922" is two numbers without a separator, and one with too many points.
        if _PUBLISHED_GOOGLE.fullmatch(value):
            return "cannot be read: there is no separator, a blank or a comma, between latitude and longitude"
        angles = re.split(rf"{_WHITESPACE}*,{_WHITESPACE}*|{_WHITESPACE}+", value)
        problems = [problem for angle in angles if (problem := _degrees_problem(angle))]
        if len(angles) == 2 and problems:  # noqa: PLR2004  # latitude and longitude
            return f"cannot be read: {', and '.join(problems)}"
        return super().explain(value)


LATITUDE = DegreesField(_LATITUDE_PATTERN, "a latitude is written like '-21.568201', at most 90")
LONGITUDE = DegreesField(_LONGITUDE_PATTERN, "a longitude is written like '9.360922', at most 180")
DMS_LATITUDE = PatternField(_DMS_LATITUDE_PATTERN, "a latitude is written like '-21°34'23.16''', at most 90°")
DMS_LONGITUDE = PatternField(_DMS_LONGITUDE_PATTERN, "a longitude is written like '9°21'39.32''', at most 180°")


def from_google(text: str) -> Position | None:
    """Parse Google's notation; None if malformed."""
    match = _PUBLISHED_GOOGLE.fullmatch(text)
    return Position(Decimal(match[1]), Decimal(match[2])) if match else None


def to_google(position: Position) -> str:
    """Return a position in Google's notation."""
    return f"{to_degrees(position.latitude)} {to_degrees(position.longitude)}"


def to_degrees(angle: Decimal) -> str:
    """Return an angle in decimal degrees, with six decimal places."""
    return f"{angle.quantize(_SIX_DECIMALS, ROUND_HALF_EVEN):f}"


def from_degrees(text: str) -> Decimal | None:
    """Parse decimal degrees; None if malformed."""
    return Decimal(text) if re.fullmatch(_PUBLISHED_DEGREES, text, re.ASCII) else None


def from_dms(text: str) -> Decimal | None:
    """Parse degrees, minutes and seconds; None if malformed."""
    match = _DMS.fullmatch(text)
    if not match:
        return None
    angle = Decimal(match[2]) + Decimal(match[3]) / 60 + Decimal(match[4]) / 3600
    return -angle if match[1] else angle


def to_dms(angle: Decimal) -> str:
    """Return an angle in degrees, minutes and seconds, with four decimal places."""
    # Six decimal places of a degree are 0.0036 seconds, so four decimal places of a second lose nothing.
    seconds = (abs(angle).quantize(_SIX_DECIMALS, ROUND_HALF_EVEN) * 3600).quantize(Decimal("0.0001"))
    minutes, remaining_seconds = divmod(seconds, 60)
    degrees, minutes = divmod(minutes, 60)
    return f"{'-' if angle < 0 else ''}{degrees:f}°{minutes:f}'{remaining_seconds:f}''"


_COUNTRIES = codes(
    """
    ABW AFG AGO AIA ALA ALB AND ARE ARG ARM ASM ATA ATF ATG AUS AUT AZE BDI BEL BEN BES BFA BGD BGR BHR BHS BIH
    BLM BLR BLZ BMU BOL BRA BRB BRN BTN BVT BWA CAF CAN CCK CHE CHL CHN CIV CMR COD COG COK COL COM CPV CRI CUB
    CUW CXR CYM CYP CZE DEU DJI DMA DNK DOM DZA ECU EGY ERI ESH ESP EST ETH FIN FJI FLK FRA FRO FSM GAB GBR GEO
    GGY GHA GIB GIN GLP GMB GNB GNQ GRC GRD GRL GTM GUF GUM GUY HKG HMD HND HRV HTI HUN IDN IMN IND IOT IRL IRN
    IRQ ISL ISR ITA JAM JEY JOR JPN KAZ KEN KGZ KHM KIR KNA KOR KWT LAO LBN LBR LBY LCA LIE LKA LSO LTU LUX LVA
    MAC MAF MAR MCO MDA MDG MDV MEX MHL MKD MLI MLT MMR MNE MNG MNP MOZ MRT MSR MTQ MUS MWI MYS MYT NAM NCL NER
    NFK NGA NIC NIU NLD NOR NPL NRU NZL OMN PAK PAN PCN PER PHL PLW PNG POL PRI PRK PRT PRY PSE PYF QAT REU ROU
    RUS RWA SAU SDN SEN SGP SGS SHN SJM SLB SLE SLV SMR SOM SPM SRB SSD STP SUR SVK SVN SWE SWZ SXM SYC SYR TCA
    TCD TGO THA TJK TKL TKM TLS TON TTO TUN TUR TUV TWN TZA UGA UKR UMI URY USA UZB VAT VCT VEN VGB VIR VNM VUT
    WLF WSM YEM ZAF ZMB ZWE
    """
)
#: Kosovo's customary code, and codes that were withdrawn since charging stations exist.
_NONSTANDARD_COUNTRIES = frozenset({"XKX", "ANT", "SCG", "YUG", "ROM", "ZAR", "TMP"})

CountryCode = Annotated[
    str, CodeListField("ISO 3166-1 alpha-3", _COUNTRIES, _NONSTANDARD_COUNTRIES, accept_lower_case=True)
]
LanguageCode = Annotated[
    str,
    PatternField(
        r"[a-z]{2,3}(?:-[A-Z]{2,3}(?:-[a-zA-Z]{4})?)?(?:-x-[a-zA-Z0-9]{1,8})?",
        "a language is written like 'de', 'deu' or 'de-CH'",
    ),
]
DayText = Annotated[str, OpenEnumField(Day)]
TimeOfDay = Annotated[
    str,
    PatternField(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00", "a time of day is written like '09:00', at most '24:00'"),
]


class Address(Message):
    """A postal address (AddressIso19773Type)."""

    country: CountryCode = Field(alias="Country")
    city: Annotated[str, TextField(50, minimum=1)] = Field(alias="City")
    street: Annotated[str, TextField(100, minimum=2)] = Field(alias="Street")
    postal_code: Annotated[Annotated[str, TextField(10)] | None, REQUIRED_OR_NONE] = Field(alias="PostalCode")
    house_num: Annotated[Annotated[str, TextField(10)] | None, REQUIRED_OR_NONE] = Field(alias="HouseNum")
    floor: Annotated[str, TextField(5)] | None = Field(None, alias="Floor")
    region: Annotated[str, TextField(50)] | None = Field(None, alias="Region")
    parking_facility: Boolean | None = Field(None, alias="ParkingFacility")
    parking_spot: Annotated[str, TextField(5)] | None = Field(None, alias="ParkingSpot")
    time_zone: (
        Annotated[
            str,
            PatternField(
                r"UTC[+-](?:0[0-9]|1[0-4]):[0-5][0-9]", "a time zone is written like 'UTC+01:00', at most 14 hours"
            ),
        ]
        | None
    ) = Field(None, alias="TimeZone")


class GoogleCoordinates(Message):
    """Latitude and longitude in one text (GeoCoordinatesGoogleType)."""

    coordinates: Annotated[str, GoogleCoordinatesField(), Aliases(misspellings=("Coordinatea",))] = Field(
        alias="Coordinates"
    )


class DecimalDegreeCoordinates(Message):
    """Two decimal degrees (GeoCoordinatesDecimalDegreeType)."""

    longitude: Annotated[str, LONGITUDE] = Field(alias="Longitude")
    latitude: Annotated[str, LATITUDE] = Field(alias="Latitude")


class DegreeMinuteSecondsCoordinates(Message):
    """Degrees, minutes and seconds (GeoCoordinatesDegreeMinuteSecondsType)."""

    longitude: Annotated[str, DMS_LONGITUDE] = Field(alias="Longitude")
    latitude: Annotated[str, DMS_LATITUDE] = Field(alias="Latitude")


class GeoCoordinates(Message):
    """A position in exactly one of three notations (GeoCoordinatesType)."""

    # The Swiss national feed writes the bare text.
    google: Annotated[GoogleCoordinates | None, OptionalWrapper("Coordinates", str)] = Field(None, alias="Google")
    decimal_degree: DecimalDegreeCoordinates | None = Field(None, alias="DecimalDegree")
    degree_minute_seconds: DegreeMinuteSecondsCoordinates | None = Field(None, alias="DegreeMinuteSeconds")

    @property
    def position(self) -> Position | None:
        """The position; None if the notation is malformed."""
        return parse_position(self)

    def to_format(self, geo_format: GeoFormat) -> Self:
        """Return the position in another notation, rounded to six decimal places; itself if malformed."""
        position = self.position
        if position is None:
            return self
        if geo_format is GeoFormat.GOOGLE:
            return type(self)(google=GoogleCoordinates(coordinates=to_google(position)))
        latitude, longitude = position.latitude, position.longitude
        if geo_format is GeoFormat.DECIMAL_DEGREE:
            return type(self)(
                decimal_degree=DecimalDegreeCoordinates(longitude=to_degrees(longitude), latitude=to_degrees(latitude))
            )
        return type(self)(
            degree_minute_seconds=DegreeMinuteSecondsCoordinates(longitude=to_dms(longitude), latitude=to_dms(latitude))
        )


def parse_position(geo_coordinates: GeoCoordinates) -> Position | None:
    """Return the position of coordinates, or of a record view of them; None if malformed."""
    if geo_coordinates.google:
        return from_google(geo_coordinates.google.coordinates)
    latitude = longitude = None
    if degrees := geo_coordinates.decimal_degree:
        latitude, longitude = map(from_degrees, (degrees.latitude, degrees.longitude))
    elif dms := geo_coordinates.degree_minute_seconds:
        latitude, longitude = map(from_dms, (dms.latitude, dms.longitude))
    return None if latitude is None or longitude is None else Position(latitude, longitude)


class SearchCenter(Message):
    """A circular search area (SearchCenterType); radius in km."""

    geo_coordinates: GeoCoordinates = Field(alias="GeoCoordinates")
    radius: Annotated[Decimal, DecimalField(decimals=1, minimum=0, documented_maximum=Decimal("999.9"))] = Field(
        alias="Radius"
    )


class Period(Message):
    """A period of a day (PeriodType)."""

    begin: TimeOfDay = Field(alias="begin")
    end: TimeOfDay = Field(alias="end")


#: The tables of the documents show a single period, their examples a list (CONFORMANCE D08, D09).
Periods = Annotated[tuple[Period, ...], ListLimits(allow_single=True)]


class OpeningTime(Message):
    """Opening times of an EVSE (OpeningTimesType)."""

    period: Periods = Field(alias="Period")
    on: Annotated[DayText, Aliases("On")] = Field(alias="on")


def great_circle_km(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """Return the distance of two points in km, on a sphere, by the haversine formula; arguments are in degrees."""
    latitude_radians, other_latitude_radians = radians(latitude), radians(other_latitude)
    half_height = sin((other_latitude_radians - latitude_radians) / 2)
    half_width = sin(radians(other_longitude - longitude) / 2)
    haversine = half_height**2 + cos(latitude_radians) * cos(other_latitude_radians) * half_width**2
    # Rounding may lift the haversine of antipodes above 1, where the arcsine is not defined.
    return 2 * EARTH_RADIUS_KM * asin(min(1.0, sqrt(haversine)))


def cell_of(latitude: float, longitude: float) -> int:
    """Return the cell of a point; arguments are in degrees."""
    return _row(latitude) * _CELL_ROW_STRIDE + _column(longitude)


def cells_around(latitude: float, longitude: float, radius_km: float) -> list[tuple[int, int]]:
    """Return ranges of cells (first, last) that cover a circle, one or two ranges for each row of cells."""
    angular_radius = radius_km / EARTH_RADIUS_KM
    south, north = latitude - degrees(angular_radius), latitude + degrees(angular_radius)
    rows = range(_row(max(south, -90.0)), _row(min(north, 90.0)) + 1)
    column_ranges = _columns_around(longitude, latitude, angular_radius, contains_pole=south <= -90 or north >= 90)  # noqa: PLR2004 - poles
    return [
        (row * _CELL_ROW_STRIDE + first, row * _CELL_ROW_STRIDE + last) for row in rows for first, last in column_ranges
    ]


def cells_in_box(west: float, south: float, east: float, north: float) -> list[tuple[int, int]]:
    """Return ranges of cells (first, last) that cover a box in degrees; where ``west > east``, over the date line."""
    first_row, last_row = _row(max(south, -90.0)), _row(min(north, 90.0))
    if west <= -180 and east >= 180:  # noqa: PLR2004 - all around
        return [(first_row * _CELL_ROW_STRIDE, last_row * _CELL_ROW_STRIDE + _LONGITUDE_CELLS - 1)]
    columns = [(_column(west), _column(east))]
    if west > east:
        columns = [(0, _column(east)), (_column(west), _LONGITUDE_CELLS - 1)]
    return [
        (row * _CELL_ROW_STRIDE + first, row * _CELL_ROW_STRIDE + last)
        for row in range(first_row, last_row + 1)
        for first, last in columns
    ]


def _columns_around(
    longitude: float, latitude: float, angular_radius: float, *, contains_pole: bool
) -> list[tuple[int, int]]:
    """Return the ranges of columns that a circle covers; two if it crosses the date line."""
    # The meridians that touch the circle: sin(Δlongitude) = sin(radius) / cos(latitude). Near a pole there are none.
    sine = sin(min(angular_radius, radians(90))) / max(cos(radians(latitude)), 1e-9)
    if contains_pole or sine >= 1:
        return [(0, _LONGITUDE_CELLS - 1)]
    half_width = degrees(asin(sine))
    west, east = longitude - half_width, longitude + half_width
    if west < -180:  # noqa: PLR2004 - the date line
        return [(0, _column(east)), (_column(west + 360), _LONGITUDE_CELLS - 1)]
    if east > 180:  # noqa: PLR2004 - the date line
        return [(0, _column(east - 360)), (_column(west), _LONGITUDE_CELLS - 1)]
    return [(_column(west), _column(east))]


def _row(latitude: float) -> int:
    return min(_LATITUDE_CELLS - 1, max(0, floor((latitude + 90) * 10)))


def _column(longitude: float) -> int:
    return min(_LONGITUDE_CELLS - 1, max(0, floor((longitude + 180) * 10)))
