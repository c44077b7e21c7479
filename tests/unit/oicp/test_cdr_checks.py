"""The CDR before it is sent: the C boxes of RULES."""

from __future__ import annotations

import pytest

from p2p_oicp.oicp import ChargeDetailRecord, EvseDataRecord
from p2p_oicp.oicp.validation import preflight
from tests.support.oicp_examples import CDR, EVSE, body

SPOT = EvseDataRecord.from_json(body(EVSE))
CALIBRATED = EvseDataRecord.from_json(body(EVSE | {"CalibrationLawDataAvailability": "External"}))
OTHER = EvseDataRecord.from_json(body(EVSE | {"EvseID": "DE*ABC*E9"}))
SIGNED = [
    {"SignedMeteringValue": "a", "MeteringStatus": "Start"},
    {"SignedMeteringValue": "b", "MeteringStatus": "End"},
]
MUCH = {"MeterValueEnd": 127.5, "ConsumedEnergy": 27}


@pytest.mark.parametrize(
    ("change", "spot", "products", "expected"),
    [
        pytest.param({}, SPOT, ["AC1"], [], id="faultless"),
        pytest.param({"ConsumedEnergy": 10}, None, None, [("error", "energy-mismatch")], id="C1"),
        pytest.param(
            {"ConsumedEnergy": -10.25}, None, None, [("error", "too-small"), ("error", "energy-mismatch")], id="C2"
        ),
        pytest.param(
            {"SessionEnd": "2024-05-01T11:00:00+02:00"}, None, None, [("error", "times-out-of-order")], id="C3"
        ),
        pytest.param({}, CALIBRATED, None, [("error", "unsigned-values")], id="C4 unsigned"),
        pytest.param({"SignedMeteringValues": SIGNED}, CALIBRATED, None, [], id="C4 signed"),
        pytest.param(
            {"SignedMeteringValues": SIGNED[::-1]}, None, None, [("error", "signed-values-out-of-order")], id="C5"
        ),
        pytest.param(MUCH, SPOT, None, [("error", "implausible-energy")], id="C6"),
        pytest.param({"PartnerProductID": "AC9"}, None, ["AC1", "DC"], [("error", "unknown-product")], id="C7"),
        pytest.param({}, OTHER, None, [("error", "other-evse")], id="C8"),
        pytest.param(
            MUCH | {"PartnerProductID": "AC9", "ConsumedEnergy": 28},
            SPOT,
            [],
            [("error", "energy-mismatch"), ("error", "implausible-energy"), ("error", "unknown-product")],
            id="all at once",
        ),
    ],
)
def test_findings_on_a_cdr_to_be_sent(change, spot, products, expected):
    record = ChargeDetailRecord.from_json(body(CDR | change))
    assert [(found.severity, found.code) for found in preflight(record, spot, products)] == expected
