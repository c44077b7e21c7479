"""Where on earth: distances, and cells of a tenth of a degree that an index finds them by; pure."""

from __future__ import annotations

from math import asin, cos, degrees, floor, radians, sin, sqrt

#: The earth's mean radius (IUGG), in km.
EARTH_RADIUS_KM = 6371.0088
_ROWS = 1800
_COLUMNS = 3600
_ROW_STEP = 10_000


def great_circle_km(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """Return the distance of two places on the surface of a sphere, in km (haversine formula)."""
    north, other_north = radians(latitude), radians(other_latitude)
    half_height = sin((other_north - north) / 2)
    half_width = sin(radians(other_longitude - longitude) / 2)
    haversine = half_height**2 + cos(north) * cos(other_north) * half_width**2
    return 2 * EARTH_RADIUS_KM * asin(min(1.0, sqrt(haversine)))


def cell_of(latitude: float, longitude: float) -> int:
    """Return the cell that a place lies in."""
    return _row(latitude) * _ROW_STEP + _column(longitude)


def cells_around(latitude: float, longitude: float, radius_km: float) -> list[tuple[int, int]]:
    """Return ranges of cells (first, last) that cover a circle, and little more."""
    reach = radius_km / EARTH_RADIUS_KM
    south, north = latitude - degrees(reach), latitude + degrees(reach)
    rows = range(_row(max(south, -90.0)), _row(min(north, 90.0)) + 1)
    spans = _columns_around(longitude, latitude, reach, beyond_a_pole=south <= -90 or north >= 90)  # noqa: PLR2004 - poles
    return [(row * _ROW_STEP + first, row * _ROW_STEP + last) for row in rows for first, last in spans]


def _columns_around(longitude: float, latitude: float, reach: float, *, beyond_a_pole: bool) -> list[tuple[int, int]]:
    """Return the ranges of columns; two where the circle lies across the date line."""
    sine = sin(min(reach, radians(90))) / max(cos(radians(latitude)), 1e-9)
    if beyond_a_pole or sine >= 1:
        return [(0, _COLUMNS - 1)]
    width = degrees(asin(sine))
    west, east = longitude - width, longitude + width
    if west < -180:  # noqa: PLR2004 - the date line
        return [(0, _column(east)), (_column(west + 360), _COLUMNS - 1)]
    if east > 180:  # noqa: PLR2004 - the date line
        return [(0, _column(east - 360)), (_column(west), _COLUMNS - 1)]
    return [(_column(west), _column(east))]


def _row(latitude: float) -> int:
    return min(_ROWS - 1, max(0, floor((latitude + 90) * 10)))


def _column(longitude: float) -> int:
    return min(_COLUMNS - 1, max(0, floor((longitude + 180) * 10)))
