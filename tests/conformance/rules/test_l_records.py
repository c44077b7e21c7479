"""L6 to L8: what the clock, sense and its session say against a charge detail record or a notification."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from p2p_oicp.oicp import ChargeDetailRecord, ChargingNotification, EvseDataRecord
from p2p_oicp.oicp.cdr_checks import check_identification, check_times
from p2p_oicp.oicp.validation import Verdict, judge, preflight
from tests.support.oicp_examples import CDR, EVSE, REQUESTS, body

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def times(start: str, charging_start: str, charging_end: str, end: str) -> dict[str, str]:
    return {"SessionStart": start, "ChargingStart": charging_start, "ChargingEnd": charging_end, "SessionEnd": end}


def record(**changes: Any) -> dict[str, Any]:
    day = "2026-11-01T10:00:00Z"
    plain = {name: member for name, member in CDR.items() if not name.startswith("MeterValue")}
    return plain | times(day, day, "2026-11-01T10:20:00Z", "2026-11-01T10:20:00Z") | {"ConsumedEnergy": 7} | changes


def codes(value: dict[str, Any]) -> list[tuple[str, str]]:
    return [(found.pointer, found.code) for found in judge("ChargeDetailRecord", "request", body(value), now=NOW)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, [], id="faultless"),
        pytest.param(
            {"SessionEnd": "2026-11-01T12:04:59Z", "ChargingEnd": "2026-11-01T12:04:59Z"}, [], id="5 minutes ahead"
        ),
        pytest.param(
            {"SessionEnd": "2026-11-01T12:05:01Z"}, [("/SessionEnd", "time-in-the-future")], id="more than 5 minutes"
        ),
        pytest.param(
            times(*["2036-01-01T10:00:00Z"] * 2, *["2036-01-01T10:20:00Z"] * 2),
            [("/SessionEnd", "time-in-the-future")],
            id="ten years ahead",
        ),
        pytest.param(
            times(*["1970-01-01T00:00:05Z"] * 2, *["2026-11-01T10:20:00Z"] * 2),
            [("/SessionStart", "implausible-time"), ("/SessionEnd", "implausible-time")],
            id="since 1970",
        ),
        pytest.param(times(*["2010-01-01T00:00:00Z"] * 2, *["2010-01-01T01:00:00Z"] * 2), [], id="2010"),
        pytest.param(
            {"SessionStart": "2026-10-30T09:59:59Z"}, [("/ChargingStart", "implausible-time")], id="a late start"
        ),
        pytest.param(
            times(*["2026-10-28T10:00:00Z"] * 2, "2026-10-29T10:00:00Z", "2026-10-31T10:00:01Z"),
            [("/SessionEnd", "implausible-time")],
            id="an early end",
        ),
        pytest.param(
            times(*["2026-10-24T10:00:00Z"] * 2, *["2026-10-31T10:00:01Z"] * 2),
            [("/SessionEnd", "implausible-time")],
            id="more than 7 days",
        ),
        pytest.param({"ConsumedEnergy": 1000}, [], id="1000 kWh"),
        pytest.param({"ConsumedEnergy": 7000}, [("/ConsumedEnergy", "implausible-energy")], id="Wh for kWh"),
        pytest.param(
            {"ConsumedEnergy": 100.001, "ChargingEnd": "2026-11-01T10:04:59Z"},
            [("/ConsumedEnergy", "implausible-energy")],
            id="100 kWh in less than 5 minutes",
        ),
        pytest.param({"ConsumedEnergy": 100.001, "ChargingEnd": "2026-11-01T10:05:00Z"}, [], id="in 5 minutes"),
        pytest.param({"MeterValueStart": 100, "MeterValueEnd": 107.002}, [], id="C1 within the tolerance"),
        pytest.param(
            {"MeterValueStart": 100, "MeterValueEnd": 106.997}, [("/ConsumedEnergy", "energy-mismatch")], id="C1 beyond"
        ),
    ],
)
def test_l6_l7_what_speaks_against_a_record(changes, expected):
    assert codes(record(**changes)) == expected
    assert Verdict.from_findings(judge("ChargeDetailRecord", "request", body(record(**changes)), now=NOW)) != "reject"
    found = preflight(ChargeDetailRecord.from_json(body(record(**changes))), now=NOW)
    assert sorted((finding.pointer, finding.code) for finding in found) == sorted(expected)
    assert all(finding.severity == "error" for finding in found)


def test_l7_validate_and_cdr_say_the_same():
    value = body(record(ConsumedEnergy=7000))
    (warning,), (error,) = (
        judge("ChargeDetailRecord", "request", value),
        preflight(ChargeDetailRecord.from_json(value)),
    )
    assert warning.message == error.message
    assert "7000 kWh" in warning.message


def test_l7_with_evse_data_its_power_decides():
    cdr = ChargeDetailRecord.from_json(body(record(ConsumedEnergy=1500, ChargingEnd="2026-11-03T10:20:00Z")))
    spot = EVSE | {"ChargingFacilities": [{"PowerType": "DC", "Power": 400}]}
    found = preflight(cdr, EvseDataRecord.from_json(body(spot)))
    assert "implausible-energy" not in {finding.code for finding in found}


@pytest.mark.parametrize(
    ("kind", "changes", "expected"),
    [
        ("Start", {"ChargingStart": "2026-11-01T11:00:00Z"}, []),
        ("Start", {"ChargingStart": "2026-11-01T12:06:00Z"}, [("/ChargingStart", "time-in-the-future")]),
        ("Progress", {"EventOccurred": "2026-11-02T12:06:00Z"}, [("/EventOccurred", "time-in-the-future")]),
        ("Progress", {"ChargingStart": "2009-11-01T12:06:00Z"}, [("/ChargingStart", "implausible-time")]),
        ("End", {"ChargingEnd": "2026-12-01T12:06:00Z"}, [("/ChargingEnd", "time-in-the-future")]),
    ],
)
def test_l6_the_same_for_notifications(kind, changes, expected):
    value = REQUESTS["ChargingNotifications"] | {"Type": kind, "ChargingEnd": "2024-05-01T11:00:00Z"} | changes
    found = check_times(ChargingNotification.from_json(body(value)), NOW)
    assert {*expected} <= {(finding.pointer, finding.code) for finding in found}
    assert bool(expected) == bool(found)


def test_l6_charging_does_not_begin_ten_minutes_before_the_authorization():
    cdr = ChargeDetailRecord.from_json(body(record()))
    allowed = cdr.charging_start + timedelta(minutes=10)
    assert check_times(cdr, NOW, allowed) == []
    (found,) = check_times(cdr, NOW, allowed + timedelta(seconds=1))
    assert (found.pointer, found.code) == ("/ChargingStart", "implausible-time")


@pytest.mark.parametrize(
    ("identification", "known", "expected"),
    [
        ({"RFIDMifareFamilyIdentification": {"UID": "CAFEBABE"}}, ["rfid:CAFEBABE"], []),
        ({"RFIDMifareFamilyIdentification": {"UID": "cafebabe"}}, ["remote:X", "rfid:CAFEBABE"], []),
        ({"RFIDMifareFamilyIdentification": {"UID": "CAFEBABE"}}, ["rfid:00000000"], ["other-identification"]),
        ({"QRCodeIdentification": {"EvcoID": "DE-DCB-C12345678-X"}}, ["remote:DEDCBC12345678X"], []),
        (
            {"RFIDIdentification": {"UID": "CAFEBABE", "RFID": "nfc", "EvcoID": "DE-DCB-C12345678-X"}},
            ["remote:DEDCBC12345678X"],
            [],
        ),
        ({"RemoteIdentification": {"EvcoID": "DE-DCB-C00000000-X"}}, ["rfid:CAFEBABE"], ["other-identification"]),
        ({"RemoteIdentification": {"EvcoID": "DE-DCB-C00000000-X"}}, [], []),
    ],
)
def test_l8_another_identification_than_the_sessions_is_a_finding(identification, known, expected):
    cdr = ChargeDetailRecord.from_json(body(record(Identification=identification)))
    assert [finding.code for finding in check_identification(cdr, known)] == expected
