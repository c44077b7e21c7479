from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_oicp.oicp import GeoCoordinates, GeoFormat, GoogleCoordinates, Position, validate
from tests.support.oicp_examples import body

latitudes = st.decimals(-90, 90, places=6)
longitudes = st.decimals(-180, 180, places=6)


@given(latitudes, longitudes)
def test_a_position_is_the_same_in_every_notation(latitude, longitude):
    place = GeoCoordinates(google=GoogleCoordinates(coordinates=f"{latitude:f} {longitude:f}"))
    for notation in GeoFormat:
        converted = place.to_format(notation)
        assert validate(converted) == []
        back = converted.to_format(GeoFormat.GOOGLE).position
        assert abs(back.latitude - latitude) <= Decimal("0.000001")
        assert abs(back.longitude - longitude) <= Decimal("0.000001")


@pytest.mark.parametrize(
    ("value", "position"),
    [
        pytest.param({"Google": {"Coordinates": "47.662249 9.360922"}}, ("47.662249", "9.360922"), id="Google"),
        pytest.param(
            {"DecimalDegree": {"Longitude": "9.360922", "Latitude": "-21.568201"}},
            ("-21.568201", "9.360922"),
            id="degrees",
        ),
        pytest.param(
            {"DegreeMinuteSeconds": {"Longitude": "9°30'0.00''", "Latitude": "-21°15' 36.00''"}},
            ("-21.26", "9.5"),
            id="degrees, minutes, seconds",
        ),
    ],
)
def test_latitude_and_longitude_are_separated(value, position):
    assert GeoCoordinates.from_json(body(value)).position == Position(*map(Decimal, position))


@pytest.mark.parametrize("text", ["nowhere", "47.6", ""])
def test_malformed_coordinates_are_not_converted(text):
    place = GeoCoordinates.from_json(body({"Google": {"Coordinates": text}}))
    assert place.position is None
    assert place.to_format(GeoFormat.DECIMAL_DEGREE) is place
