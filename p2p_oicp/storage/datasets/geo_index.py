"""Where on earth: distances, and cells of a tenth of a degree that an index finds them by; pure."""

from __future__ import annotations

from math import asin, cos, degrees, floor, radians, sin, sqrt

#: The earth's mean radius (IUGG), in km.
EARTH_RADIUS_KM = 6371.0088
_LATITUDE_CELLS = 1800
_LONGITUDE_CELLS = 3600
_CELL_ROW_STRIDE = 10_000


def great_circle_km(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """Return the distance of two places on the surface of a sphere, in km (haversine formula)."""
    latitude_radians, other_latitude_radians = radians(latitude), radians(other_latitude)
    half_height = sin((other_latitude_radians - latitude_radians) / 2)
    half_width = sin(radians(other_longitude - longitude) / 2)
    haversine = half_height**2 + cos(latitude_radians) * cos(other_latitude_radians) * half_width**2
    return 2 * EARTH_RADIUS_KM * asin(min(1.0, sqrt(haversine)))


def cell_of(latitude: float, longitude: float) -> int:
    """Return the cell that a place lies in."""
    return _row(latitude) * _CELL_ROW_STRIDE + _column(longitude)


def cells_around(latitude: float, longitude: float, radius_km: float) -> list[tuple[int, int]]:
    """Return ranges of cells (first, last) that cover a circle, and little more."""
    angular_radius = radius_km / EARTH_RADIUS_KM
    south, north = latitude - degrees(angular_radius), latitude + degrees(angular_radius)
    rows = range(_row(max(south, -90.0)), _row(min(north, 90.0)) + 1)
    column_ranges = _columns_around(longitude, latitude, angular_radius, contains_pole=south <= -90 or north >= 90)  # noqa: PLR2004 - poles
    return [
        (row * _CELL_ROW_STRIDE + first, row * _CELL_ROW_STRIDE + last) for row in rows for first, last in column_ranges
    ]


def _columns_around(
    longitude: float, latitude: float, angular_radius: float, *, contains_pole: bool
) -> list[tuple[int, int]]:
    """Return the ranges of columns; two where the circle lies across the date line."""
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
