"""Where a charging spot is and when it is open (OICP 2.3, 03 Data Types)."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Self

from pydantic import Field

from p2p_oicp.oicp import coordinates
from p2p_oicp.oicp.base import Message
from p2p_oicp.oicp.common import Boolean
from p2p_oicp.oicp.coordinates import DMS_LATITUDE, DMS_LONGITUDE, LATITUDE, LONGITUDE, GoogleText, Position
from p2p_oicp.oicp.enumerations import Day, GeoFormat
from p2p_oicp.oicp.iso import COUNTRY
from p2p_oicp.oicp.kinds import Matching, OneOf, Text
from p2p_oicp.oicp.members import OWED, AlsoRead, Several, Wrapped
from p2p_oicp.oicp.quantities import Number

CountryCode = Annotated[str, COUNTRY]
LanguageCode = Annotated[
    str,
    Matching(
        r"[a-z]{2,3}(?:-[A-Z]{2,3}(?:-[a-zA-Z]{4})?)?(?:-x-[a-zA-Z0-9]{1,8})?",
        "a language is written like 'de', 'deu' or 'de-CH'",
    ),
]
DayText = Annotated[str, OneOf(Day)]
TimeOfDay = Annotated[
    str, Matching(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00", "a time of day is written like '09:00', at most '24:00'")
]


class Address(Message):
    """A postal address (AddressIso19773Type)."""

    country: CountryCode = Field(alias="Country")
    city: Annotated[str, Text(50, minimum=1)] = Field(alias="City")
    street: Annotated[str, Text(100, minimum=2)] = Field(alias="Street")
    postal_code: Annotated[Annotated[str, Text(10)] | None, OWED] = Field(alias="PostalCode")
    house_num: Annotated[Annotated[str, Text(10)] | None, OWED] = Field(alias="HouseNum")
    floor: Annotated[str, Text(5)] | None = Field(None, alias="Floor")
    region: Annotated[str, Text(50)] | None = Field(None, alias="Region")
    parking_facility: Boolean | None = Field(None, alias="ParkingFacility")
    parking_spot: Annotated[str, Text(5)] | None = Field(None, alias="ParkingSpot")
    time_zone: (
        Annotated[
            str,
            Matching(
                r"UTC[+-](?:0[0-9]|1[0-4]):[0-5][0-9]", "a time zone is written like 'UTC+01:00', at most 14 hours"
            ),
        ]
        | None
    ) = Field(None, alias="TimeZone")


class GoogleCoordinates(Message):
    """Latitude and longitude in one text (GeoCoordinatesGoogleType)."""

    coordinates: Annotated[str, GoogleText(), AlsoRead(inexact=("Coordinatea",))] = Field(alias="Coordinates")


class DecimalDegreeCoordinates(Message):
    """Two decimal degrees (GeoCoordinatesDecimalDegreeType)."""

    longitude: Annotated[str, LONGITUDE] = Field(alias="Longitude")
    latitude: Annotated[str, LATITUDE] = Field(alias="Latitude")


class DegreeMinuteSecondsCoordinates(Message):
    """Degrees, minutes and seconds (GeoCoordinatesDegreeMinuteSecondsType)."""

    longitude: Annotated[str, DMS_LONGITUDE] = Field(alias="Longitude")
    latitude: Annotated[str, DMS_LATITUDE] = Field(alias="Latitude")


class GeoCoordinates(Message):
    """A place in exactly one of three notations (GeoCoordinatesType)."""

    # The Swiss national feed writes the bare text.
    google: Annotated[GoogleCoordinates | None, Wrapped("Coordinates", str)] = Field(None, alias="Google")
    decimal_degree: DecimalDegreeCoordinates | None = Field(None, alias="DecimalDegree")
    degree_minute_seconds: DegreeMinuteSecondsCoordinates | None = Field(None, alias="DegreeMinuteSeconds")

    @property
    def position(self) -> Position | None:
        """The place that is meant; None if it cannot be read."""
        return position_of(self)

    def written_as(self, notation: GeoFormat) -> Self:
        """Return the same place in another notation, rounded to six decimals; itself if it cannot be read."""
        position = self.position
        if position is None:
            return self
        if notation is GeoFormat.GOOGLE:
            return type(self)(google=GoogleCoordinates(coordinates=coordinates.to_google(position)))
        latitude, longitude = position.latitude, position.longitude
        if notation is GeoFormat.DECIMAL_DEGREE:
            return type(self)(
                decimal_degree=DecimalDegreeCoordinates(
                    longitude=coordinates.to_degrees(longitude), latitude=coordinates.to_degrees(latitude)
                )
            )
        return type(self)(
            degree_minute_seconds=DegreeMinuteSecondsCoordinates(
                longitude=coordinates.to_dms(longitude), latitude=coordinates.to_dms(latitude)
            )
        )


def position_of(place: GeoCoordinates) -> Position | None:
    """Return the place that is meant; None if it cannot be read. A likeness of it will do."""
    if place.google:
        return coordinates.from_google(place.google.coordinates)
    latitude = longitude = None
    if degrees := place.decimal_degree:
        latitude, longitude = map(coordinates.from_degrees, (degrees.latitude, degrees.longitude))
    elif dms := place.degree_minute_seconds:
        latitude, longitude = map(coordinates.from_dms, (dms.latitude, dms.longitude))
    return None if latitude is None or longitude is None else Position(latitude, longitude)


class SearchCenter(Message):
    """A circle to search in (SearchCenterType); the radius in km."""

    geo_coordinates: GeoCoordinates = Field(alias="GeoCoordinates")
    radius: Annotated[Decimal, Number(decimals=1, minimum=0, usual=Decimal("999.9"))] = Field(alias="Radius")


class Period(Message):
    """From one time of the day to another (PeriodType)."""

    begin: TimeOfDay = Field(alias="begin")
    end: TimeOfDay = Field(alias="end")


#: The documents' tables show a single period, their examples a list.
Periods = Annotated[tuple[Period, ...], Several(alone=True)]


class OpeningTime(Message):
    """When a charging spot is open (OpeningTimesType)."""

    period: Periods = Field(alias="Period")
    on: Annotated[DayText, AlsoRead("On")] = Field(alias="on")
