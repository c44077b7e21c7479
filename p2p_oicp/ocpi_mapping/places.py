"""Addresses, coordinates and time zones (GATEWAY 13.1).

OICP has street and house number apart, OCPI has one text. OICP has an offset, OCPI a zone: towards OICP the offset of
standard time counts, so that a record does not change twice a year.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from types import MappingProxyType
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from p2p_oicp.ocpi_mapping.losses import Losses
from p2p_oicp.ocpi_mapping.terms import Terms
from p2p_oicp.oicp.geo import from_dms, from_google

#: Written for what OICP demands and OCPI does not know; it is not passed on as a value.
PLACEHOLDER: Final = "-"

_MIN_STREET, _MAX_STREET, _MAX_HOUSE_NUM = 2, 100, 10
_MAX_REGION, _MAX_FLOOR = 50, 5
_MAX_POSTAL_CODE, _MAX_CITY = 10, 45
_MAX_ADDRESS, _MAX_STATE = 255, 45

_EN_DASH = "\u2013"
_HOUSE_NUM = rf"[0-9]+[a-zA-Z]?(?:\s*[-{_EN_DASH}/]\s*[0-9]+[a-zA-Z]?)?"
_TRAILING = re.compile(rf"(.*?\S)[\s,]+({_HOUSE_NUM})\s*", re.DOTALL)
_TRAILING_WITH_BLANK = re.compile(r"(.*\S)[\s,]+([0-9]+\s[a-zA-Z])\s*", re.DOTALL)
_LEADING = re.compile(rf"\s*({_HOUSE_NUM})[\s,]+(\S.*)", re.DOTALL)

_DEGREES = re.compile(r"-?[0-9]{1,3}(?:\.[0-9]+)?", re.ASCII)
_MAX_DECIMALS, _MIN_OCPI_DECIMALS = 6, 5
_POLE, _DATE_LINE = 90, 180

_OFFSET = re.compile(r"UTC([+-])([0-9]{2}):([0-9]{2})", re.ASCII)
_EAST, _WEST = 14, 12
#: The zone of each country that has one, or that all charging stations are in (GATEWAY 13.6).
_ZONES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "DEU": "Europe/Berlin",
        "AUT": "Europe/Vienna",
        "CHE": "Europe/Zurich",
        "FRA": "Europe/Paris",
        "NLD": "Europe/Amsterdam",
        "BEL": "Europe/Brussels",
        "DNK": "Europe/Copenhagen",
        "NOR": "Europe/Oslo",
        "SWE": "Europe/Stockholm",
        "FIN": "Europe/Helsinki",
        "POL": "Europe/Warsaw",
        "CZE": "Europe/Prague",
        "ITA": "Europe/Rome",
        "GBR": "Europe/London",
        "IRL": "Europe/Dublin",
        "LUX": "Europe/Luxembourg",
        "HUN": "Europe/Budapest",
        "SVN": "Europe/Ljubljana",
        "HRV": "Europe/Zagreb",
        "SVK": "Europe/Bratislava",
        "ROU": "Europe/Bucharest",
        "BGR": "Europe/Sofia",
        "GRC": "Europe/Athens",
    }
)


def split_address(address: str, city: str) -> tuple[str, str]:
    """Return street and house number of an address: a number at its end, else one at its beginning, else none."""
    # Bounded: the expressions below take quadratic time.
    address = " ".join(address[: 2 * _MAX_ADDRESS].split())
    street, house_num = address, PLACEHOLDER
    if match := _TRAILING.fullmatch(address) or _TRAILING_WITH_BLANK.fullmatch(address):
        street, house_num = match[1].rstrip(" ,"), match[2]
    elif match := _LEADING.fullmatch(address):
        street, house_num = match[2], match[1]
    if len(street) < _MIN_STREET:
        street = f"{address}, {city}"
    return street, re.sub(r"\s", "", house_num).replace(_EN_DASH, "-")


def to_address(location: dict[str, Any], floor: object, terms: Terms, losses: Losses) -> dict[str, Any]:
    """Return the Address of a location; ``floor`` is its EVSE's."""
    street, house_num = split_address(location["address"], location["city"])
    address = {
        "Country": location["country"].upper(),
        "City": location["city"],
        "Street": losses.cut(street, _MAX_STREET, "/address"),
        "PostalCode": losses.cut(location.get("postal_code") or PLACEHOLDER, _MAX_POSTAL_CODE, "/postal_code"),
        "HouseNum": losses.cut(house_num, _MAX_HOUSE_NUM, "/address"),
    }
    if location.get("state"):
        address["Region"] = losses.cut(location["state"], _MAX_REGION, "/state")
    if floor:
        address["Floor"] = str(floor)[:_MAX_FLOOR]
    if time_zone := standard_offset(location.get("time_zone"), terms.now, losses):
        address["TimeZone"] = time_zone
    return address


def from_address(address: dict[str, Any], pointer: str, terms: Terms, losses: Losses) -> dict[str, Any]:
    """Return the members of a location that an Address gives; the placeholder for what is unknown is left out."""
    parts = [address.get("Street"), address.get("HouseNum")]
    members = {
        "address": losses.cut(
            " ".join(part for part in parts if part and part != PLACEHOLDER), _MAX_ADDRESS, f"{pointer}/Street"
        ),
        "city": losses.cut(str(address.get("City", "")), _MAX_CITY, f"{pointer}/City"),
        "country": str(address.get("Country", "")).upper(),
        "time_zone": zone_of(address, terms, losses, pointer),
    }
    if (postal_code := address.get("PostalCode")) and postal_code != PLACEHOLDER:
        members["postal_code"] = losses.cut(postal_code, _MAX_POSTAL_CODE, f"{pointer}/PostalCode")
    if region := address.get("Region"):
        members["state"] = losses.cut(region, _MAX_STATE, f"{pointer}/Region")
    losses.add_members(address, pointer, ("ParkingSpot",))
    return members


def to_coordinates(position: object) -> dict[str, Any] | None:
    """Return a position of OCPI as OICP's decimal degrees, with at most 6 decimals; None: there is no such place."""
    if not isinstance(position, dict):
        return None
    latitude = _degrees(position.get("latitude"), _POLE)
    longitude = _degrees(position.get("longitude"), _DATE_LINE)
    if latitude is None or longitude is None:
        return None
    # OICP demands a decimal point.
    texts = (_with_decimals(angle, 1) for angle in (longitude, latitude))
    return {"DecimalDegree": dict(zip(("Longitude", "Latitude"), texts, strict=True))}


def from_coordinates(coordinates: object) -> dict[str, str] | None:
    """Return a position of OICP, in any of its notations, as OCPI's; 5 to 6 decimals; None: there is no such place."""
    if not isinstance(coordinates, dict):
        return None
    latitude, longitude = _read_coordinates(coordinates)
    if latitude is None or longitude is None or abs(latitude) > _POLE or abs(longitude) > _DATE_LINE:
        return None
    return {
        "latitude": _with_decimals(latitude, _MIN_OCPI_DECIMALS),
        "longitude": _with_decimals(longitude, _MIN_OCPI_DECIMALS),
    }


def _read_coordinates(coordinates: dict[str, Any]) -> tuple[Decimal | None, Decimal | None]:
    google = coordinates.get("Google")
    text = google.get("Coordinates") if isinstance(google, dict) else google
    if text:
        position = from_google(str(text))
        return (position.latitude, position.longitude) if position else (None, None)
    if degrees := coordinates.get("DecimalDegree"):
        return _degrees(degrees.get("Latitude"), _POLE), _degrees(degrees.get("Longitude"), _DATE_LINE)
    dms = coordinates.get("DegreeMinuteSeconds") or {}
    # The quotient of seconds has no end: it is written with as many decimals as there may be.
    angles = (from_dms(str(dms.get(name, ""))) for name in ("Latitude", "Longitude"))
    latitude, longitude = (None if angle is None else _six_decimals(angle) for angle in angles)
    return latitude, longitude


def _degrees(text: object, limit: int) -> Decimal | None:
    match = _DEGREES.fullmatch(str(text).strip())
    angle = Decimal(match[0]) if match else None
    return None if angle is None or abs(angle) > limit else angle


def _six_decimals(angle: Decimal) -> Decimal:
    return angle.quantize(Decimal(1).scaleb(-_MAX_DECIMALS), ROUND_HALF_EVEN)


def _with_decimals(angle: Decimal, minimum: int) -> str:
    """Return an angle with as many decimals as it was written with, from ``minimum`` to 6."""
    exponent = angle.as_tuple().exponent
    decimals = -exponent if isinstance(exponent, int) else 0
    if decimals > _MAX_DECIMALS:
        return f"{_six_decimals(angle):f}"
    return f"{angle:f}" if decimals >= minimum else f"{angle:.{minimum}f}"


def standard_offset(time_zone: object, now: datetime, losses: Losses) -> str | None:
    """Return the offset of a zone's standard time, like ``UTC+01:00``; None: there is no such zone."""
    try:
        zone = ZoneInfo(str(time_zone))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        losses.add_value("/time_zone", time_zone, "is no time zone that is known here")
        return None
    # In one of the two months it is winter, on either half of the earth.
    offsets = {datetime(now.year, month, 1, tzinfo=UTC).astimezone(zone).utcoffset() for month in (1, 7)}
    offset = min(offset for offset in offsets if offset is not None)
    if len(offsets) > 1:
        losses.add("/time_zone", "daylight-saving", f"{time_zone} has daylight saving time, OICP has one offset")
    minutes = offset // timedelta(minutes=1)
    return f"UTC{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def zone_of(address: dict[str, Any], terms: Terms, losses: Losses, pointer: str = "") -> str:
    """Return the zone of an address: configured, else the country's, else one of the same offset, else UTC."""
    country = str(address.get("Country", "")).upper()
    if zone := terms.time_zones.get(country) or _ZONES.get(country):
        return zone
    match = _OFFSET.fullmatch(str(address.get("TimeZone", "")))
    losses.add(f"{pointer}/TimeZone", "zone-by-offset", f"{country} has several zones or none that is known here")
    if match is None or match[3] != "00" or int(match[2]) == 0:
        return "Etc/UTC"
    # The names of these zones have the sign of POSIX, west of Greenwich is positive.
    sign, limit = ("-", _EAST) if match[1] == "+" else ("+", _WEST)
    return f"Etc/GMT{sign}{int(match[2])}" if int(match[2]) <= limit else "Etc/UTC"
