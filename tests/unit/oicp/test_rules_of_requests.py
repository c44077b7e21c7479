"""Rules of requests: what is changed in a faultless one, and the finding it gives."""

from __future__ import annotations

import pytest

from tests.support.oicp_examples import APP, CDR, DRIVER, NOTIFICATION, REQUESTS
from tests.support.oicp_findings import CARD, CODE, HASH, E, W, codes


@pytest.mark.parametrize(
    ("operation", "change", "severity", "pointer", "code"),
    [
        pytest.param(
            "AuthorizeStart", {"Identification": {}}, E, "/Identification", "not-one-identification", id="T9 none"
        ),
        pytest.param(
            "AuthorizeStart",
            {"Identification": DRIVER | APP},
            E,
            "/Identification",
            "not-one-identification",
            id="T9 two",
        ),
        pytest.param(
            "AuthorizeStart",
            {"Identification": {"RFIDIdentification": CARD}},
            E,
            "/Identification/RFIDIdentification",
            "rfid-in-authorization",
            id="M1 RFIDIdentification at a station",
        ),
        pytest.param(
            "AuthorizeStop",
            {"Identification": APP},
            W,
            "/Identification/RemoteIdentification",
            "remote-in-authorization",
            id="M1 RemoteIdentification at a station",
        ),
        pytest.param(
            "AuthorizeRemoteStart",
            {"Identification": DRIVER},
            E,
            "/Identification/RFIDMifareFamilyIdentification",
            "not-remote",
            id="M1 a card for a remote start",
        ),
        pytest.param(
            "AuthorizeRemoteReservationStart",
            {"Identification": DRIVER},
            W,
            "/Identification/RFIDMifareFamilyIdentification",
            "not-remote",
            id="M1 a card for a reservation",
        ),
        pytest.param(
            "AuthorizeStart",
            {"Identification": {"QRCodeIdentification": CODE}},
            E,
            "/Identification/QRCodeIdentification/PIN",
            "pin-missing",
            id="M2 no PIN",
        ),
        pytest.param(
            "AuthorizeStart",
            {"Identification": {"QRCodeIdentification": CODE | {"PIN": "1", "HashedPIN": HASH}}},
            E,
            "/Identification/QRCodeIdentification/HashedPIN",
            "pin-hashed",
            id="M2 a hashed PIN",
        ),
        pytest.param(
            "AuthorizeRemoteReservationStart", {"Duration": 100}, E, "/Duration", "too-large", id="M6 100 minutes"
        ),
        pytest.param(
            "PullEvseData",
            {"LastCall": "2024-05-01T10:00:00Z", "SearchCenter": None},
            E,
            "/OperatorIds",
            "filter-beside-last-call",
            id="M9 LastCall and operators",
        ),
        pytest.param(
            "GetChargeDetailRecords", {"From": "2024-05-03T10:00:00Z"}, E, "", "reversed-span", id="M11 From after To"
        ),
        pytest.param(
            "PullEvseStatusByID", {"EvseID": ["DE*ABC*E1"] * 101}, E, "/EvseID", "too-many-elements", id="M10 101 ids"
        ),
        pytest.param("PullEvseStatusByID", {"EvseID": []}, W, "/EvseID", "empty-list", id="M10 no id"),
        pytest.param(
            "ChargeDetailRecord", {"ConsumedEnergy": 10.24}, W, "/ConsumedEnergy", "energy-mismatch", id="C1 energy"
        ),
        pytest.param(
            "ChargeDetailRecord",
            {"MeterValueInBetween": {"meterValues": [105, 104]}},
            W,
            "/MeterValueInBetween/meterValues/1",
            "meter-backwards",
            id="C2 falling value",
        ),
        pytest.param(
            "ChargeDetailRecord",
            {"MeterValueInBetween": [111]},
            W,
            "/MeterValueInBetween/0",
            "meter-backwards",
            id="C2 value above the end, as a bare list",
        ),
        pytest.param(
            "ChargeDetailRecord",
            {"ChargingEnd": "2024-05-01T11:06:00+02:00"},
            W,
            "/SessionEnd",
            "times-out-of-order",
            id="C3 charging beyond the session",
        ),
        pytest.param(
            "ChargeDetailRecord",
            {"SignedMeteringValues": [{"MeteringStatus": "End"}, {"MeteringStatus": "Start"}]},
            W,
            "/SignedMeteringValues/1/MeteringStatus",
            "signed-values-out-of-order",
            id="C5 order of signed values",
        ),
        pytest.param(
            "ChargingNotifications",
            {"ChargingDuration": None, "ConsumedEnergyProgress": None},
            E,
            "",
            "no-progress",
            id="M12 neither duration nor energy",
        ),
        pytest.param(
            "ChargingNotifications",
            {"ChargingDuration": 300},
            W,
            "/ChargingDuration",
            "duration-mismatch",
            id="M12 seconds for milliseconds",
        ),
        pytest.param(
            "ChargingNotifications",
            {"ChargingStart": "2024-05-01T10:06:00+02:00"},
            W,
            "/EventOccurred",
            "times-out-of-order",
            id="M12 progress before the start",
        ),
        pytest.param(
            "PullEvseStatus", {"EVSEStatus": "available"}, E, "/EVSEStatus", "misspelt-value", id="T5 an unknown status"
        ),
    ],
)
def test_a_request_that_breaks_a_rule(operation, change, severity, pointer, code):
    assert (severity, pointer, code) in codes(operation, REQUESTS[operation] | change)


def test_an_end_notification_is_checked_like_a_record():
    value = NOTIFICATION | {"Type": "End"} | {name: CDR[name] for name in ("ChargingStart", "ChargingEnd")}
    assert codes("ChargingNotifications", value) == []
    late = value | {"ChargingStart": "2024-05-01T12:00:00+02:00"}
    assert codes("ChargingNotifications", late) == [(W, "/ChargingEnd", "times-out-of-order")]
