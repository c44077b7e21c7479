"""Search by radius: great-circle distances, and grid cells of a tenth of a degree that an index can find.

A search takes the ranges of cells that cover its circle from the index, then compares distances. Pure functions.
"""

from __future__ import annotations

from math import asin, cos, degrees, floor, radians, sin, sqrt

#: The earth's mean radius in km (IUGG).
EARTH_RADIUS_KM = 6371.0088
_LATITUDE_CELLS = 1800
_LONGITUDE_CELLS = 3600
# More than the cells of a row, so that the number of a cell can be read: 1401_00123 is row 1401, column 123.
_CELL_ROW_STRIDE = 10_000


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
