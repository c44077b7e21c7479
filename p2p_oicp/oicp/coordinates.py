"""The three notations of coordinates (WGS84), their exact forms and conversions between them.

Google writes latitude first. A notation is kept as it came; it is converted only on request
(``GeoCoordinatesResponseFormat``), rounded to six decimals.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from typing_extensions import override

from p2p_oicp.oicp.kinds import Matching, Notes, shown

_LATITUDE = r"-?(?:[0-8]?[0-9]\.[0-9]{1,6}|90\.0{1,6})"
_LONGITUDE = r"-?(?:(?:1[0-7][0-9]|[0-9]{1,2})\.[0-9]{1,6}|180\.0{1,6})"
_MINUTES = r"' ?[0-5]?[0-9]\.[0-9]+''"
_DMS_LATITUDE = rf"-?(?:[0-8]?[0-9]° ?[0-5]?[0-9]{_MINUTES}|90° ?0?0' ?0?0\.0+'')"
_DMS_LONGITUDE = rf"-?(?:(?:1[0-7][0-9]|[0-9]{{1,2}})° ?[0-5]?[0-9]{_MINUTES}|180° ?0?0' ?0?0\.0+'')"
_BLANKS = r"[ \t\r\n\f\v]"

# The published expressions; they know no range, and Google's makes the separator optional (CONFORMANCE D27).
_PUBLISHED = r"-?1?[0-9]{1,2}\.[0-9]{1,6}"
_PUBLISHED_GOOGLE = re.compile(rf"({_PUBLISHED}){_BLANKS}*,?{_BLANKS}*({_PUBLISHED})", re.ASCII)

_DMS = re.compile(r"(-?)([0-9]{1,3})° ?([0-9]{1,2})' ?([0-9]{1,2}\.[0-9]+)''", re.ASCII)
_SIX_PLACES = Decimal("0.000001")


@dataclass(frozen=True)
class Position:
    """A place on earth, in degrees."""

    latitude: Decimal
    longitude: Decimal


@dataclass(frozen=True)
class GoogleText(Matching):
    """``latitude longitude`` in one text; what lacks the blank between them is read with a warning."""

    pattern: str = rf"{_LATITUDE}(?:{_BLANKS}+|{_BLANKS}*,{_BLANKS}*){_LONGITUDE}"
    why: str = "Google coordinates are latitude and longitude like '47.662249 9.360922'"
    tolerated: str | None = rf"{_LATITUDE}{_LONGITUDE}"

    @override
    def read(self, value: object, at: str, notes: Notes) -> object:
        if not isinstance(value, str) or not (found := _PUBLISHED_GOOGLE.fullmatch(value)):
            return super().read(value, at, notes)
        latitude, longitude = Decimal(found[1]), Decimal(found[2])
        if abs(latitude) > 90 or abs(longitude) > 180:  # noqa: PLR2004  # the poles and the date line
            notes.error(at, "not-on-earth", f"{shown(value)} has a latitude beyond 90 or a longitude beyond 180")
            return value
        return super().read(value, at, notes)


LATITUDE = Matching(_LATITUDE, "a latitude is written like '-21.568201', at most 90")
LONGITUDE = Matching(_LONGITUDE, "a longitude is written like '9.360922', at most 180")
DMS_LATITUDE = Matching(_DMS_LATITUDE, "a latitude is written like '-21°34'23.16''', at most 90°")
DMS_LONGITUDE = Matching(_DMS_LONGITUDE, "a longitude is written like '9°21'39.32''', at most 180°")


def from_google(text: str) -> Position | None:
    """Return the place that a Google text means; None if it cannot be read."""
    found = _PUBLISHED_GOOGLE.fullmatch(text)
    return Position(Decimal(found[1]), Decimal(found[2])) if found else None


def to_google(position: Position) -> str:
    """Return a place in Google's notation."""
    return f"{to_degrees(position.latitude)} {to_degrees(position.longitude)}"


def to_degrees(angle: Decimal) -> str:
    """Return an angle as a decimal degree."""
    return f"{angle.quantize(_SIX_PLACES, ROUND_HALF_EVEN):f}"


def from_degrees(text: str) -> Decimal | None:
    """Return the angle of a decimal degree; None if it cannot be read."""
    return Decimal(text) if re.fullmatch(_PUBLISHED, text, re.ASCII) else None


def from_dms(text: str) -> Decimal | None:
    """Return the angle of degrees, minutes and seconds; None if it cannot be read."""
    found = _DMS.fullmatch(text)
    if not found:
        return None
    angle = Decimal(found[2]) + Decimal(found[3]) / 60 + Decimal(found[4]) / 3600
    return -angle if found[1] else angle


def to_dms(angle: Decimal) -> str:
    """Return an angle as degrees, minutes and seconds."""
    # A hundredth of a millionth of a second is less than the six decimals of a degree can tell.
    seconds = (abs(angle).quantize(_SIX_PLACES, ROUND_HALF_EVEN) * 3600).quantize(Decimal("0.0001"))
    minutes, rest = divmod(seconds, 60)
    degrees, minutes = divmod(minutes, 60)
    return f"{'-' if angle < 0 else ''}{degrees:f}°{minutes:f}'{rest:f}''"
