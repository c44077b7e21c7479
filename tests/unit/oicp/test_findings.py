from __future__ import annotations

import pytest

from p2p_oicp.oicp import field_reference


@pytest.mark.parametrize(
    ("pointer", "reference"),
    [
        ("", ""),
        ("/OperatorEvseData/EvseDataRecord/0/GeoCoordinates", "operatorEvseData.evseDataRecord[0].geoCoordinates"),
        ("/CPOPartnerSessionID", "cpoPartnerSessionID"),
        ("/EVSEStatus", "evseStatus"),
        ("/Identification/QRCodeIdentification/PIN", "identification.qrCodeIdentification.pin"),
        ("/content/12/deltaType", "content[12].deltaType"),
        ("/a~1b/~0", "a/b.~"),
    ],
)
def test_a_pointer_is_converted_to_the_notation_of_hubject(pointer, reference):
    assert field_reference(pointer) == reference
