"""Coordinates in the notation that a pull asks for (GeoCoordinatesResponseFormat, box T7); all else byte for byte."""

from __future__ import annotations

import msgspec

from p2p_oicp.oicp import GeoCoordinates, GeoFormat, InvalidMessage
from p2p_oicp.oicp.base import top_level

_PLACES = ("GeoCoordinates", "GeoChargingPointEntrance")
_MEMBER = {
    GeoFormat.GOOGLE: b'"Google"',
    GeoFormat.DECIMAL_DEGREE: b'"DecimalDegree"',
    GeoFormat.DEGREE_MINUTE_SECONDS: b'"DegreeMinuteSeconds"',
}


def in_notation(raw: bytes, notation: GeoFormat) -> bytes:
    """Return a record with its places in a notation; the bytes as they are where they are in it already."""
    if all(member not in raw for wanted, member in _MEMBER.items() if wanted is not notation):
        return raw
    members = top_level(raw)
    for name in _PLACES:
        if name in members and _MEMBER[notation] not in bytes(members[name]):
            members[name] = msgspec.Raw(_converted(bytes(members[name]), notation))
    return msgspec.json.encode(members)


def _converted(place: bytes, notation: GeoFormat) -> bytes:
    try:
        return GeoCoordinates.from_json(place).written_as(notation).to_json()
    except InvalidMessage:
        return place
