"""Record views: only valid records have one, and it has their values."""

from __future__ import annotations

from typing import Any

import pytest

from p2p_oicp.oicp import EvseDataRecord, EvseStatusRecord, PullEvseDataRecord, PushEvseData, read_records
from p2p_oicp.oicp.record_view import record_view_decoder
from tests.support.oicp_examples import EVSE, body, push_evse_data

FULL: dict[str, Any] = EVSE | {
    "ChargingPoolID": "DE*ABC*P1",
    "ChargingStationID": "1",
    "Address": EVSE["Address"] | {"TimeZone": "UTC+01:00", "ParkingFacility": True, "Floor": None},
    "DynamicPowerLevel": False,
    "ChargingFacilities": [{"PowerType": "DC", "Voltage": 400, "Amperage": 99, "Power": 150, "ChargingModes": None}],
    "EnergySource": [{"Energy": "Solar", "Percentage": 80}],
    "EnvironmentalImpact": {"CO2Emission": 30.3, "NuclearWaste": 0},
    "MaxCapacity": 50,
    "AccessibilityLocation": "ParkingLot",
    "AdditionalInfo": [{"lang": "de", "value": "Hafen"}],
    "GeoChargingPointEntrance": {"DecimalDegree": {"Longitude": "10.1", "Latitude": "54.3"}},
    "IsOpen24Hours": False,
    "OpeningTimes": [{"on": "Monday", "Period": [{"begin": "06:00", "end": "24:00"}]}],
    "HubOperatorID": "DE*ABC",
    "ClearinghouseID": None,
    "SomethingNew": {"is": "preserved"},
}

_DMS = {"DegreeMinuteSeconds": {"Longitude": "9°21'39.32''", "Latitude": "-21°34'23.16''"}}
_FACILITY = {"PowerType": "DC", "Power": 22}

WITH_FINDINGS: dict[str, dict[str, Any]] = {
    "no EvseID": {"EvseID": None},
    "EvseID of another type": {"EvseID": 7},
    "EvseID in lower case": {"EvseID": "de*abc*e1"},
    "EvseID with a line feed": {"EvseID": "DE*ABC*E1\n"},
    "pool with a line feed": {"ChargingPoolID": "DE*ABC*P1\n"},
    "hub that is none": {"HubOperatorID": "GEF"},
    "mandatory member is null": {"Plugs": None},
    "empty list": {"Plugs": []},
    "unknown plug": {"Plugs": ["Type 7"]},
    "null in a list": {"Plugs": [None]},
    "text for a list": {"Plugs": "Type 2 Outlet"},
    "unknown accessibility": {"Accessibility": "sometimes"},
    "text for a flag": {"RenewableEnergy": "true"},
    "number for a flag": {"RenewableEnergy": 1},
    "flag for a text": {"DynamicInfoAvailable": True},
    "long text": {"ChargingStationID": "ä" * 51},
    "country in lower case": {"Address": EVSE["Address"] | {"Country": "deu"}},
    "unknown country": {"Address": EVSE["Address"] | {"Country": "XYZ"}},
    "short street": {"Address": EVSE["Address"] | {"Street": "A"}},
    "time zone that is none": {"Address": EVSE["Address"] | {"TimeZone": "CET"}},
    "bare text for Google": {"GeoCoordinates": {"Google": "54.323293 10.122765"}},
    "Google without a blank": {"GeoCoordinates": {"Google": {"Coordinates": "54.32329310.122765"}}},
    "misprinted member": {"GeoCoordinates": {"Google": {"Coordinatea": "54.323293 10.122765"}}},
    "two notations": {"GeoCoordinates": EVSE["GeoCoordinates"] | _DMS},
    "no notation": {"GeoCoordinates": {}},
    "text for a power": {"ChargingFacilities": [_FACILITY | {"Power": "22"}]},
    "negative power": {"ChargingFacilities": [_FACILITY | {"Power": -1}]},
    "fraction of a power": {"ChargingFacilities": [_FACILITY | {"Power": 3.7}]},
    "large voltage": {"ChargingFacilities": [_FACILITY | {"Voltage": 1000}]},
    "too many per cent": {"EnergySource": [{"Energy": "Solar", "Percentage": 101}]},
    "text for an emission": {"EnvironmentalImpact": {"CO2Emission": "30.3"}},
    "no such language": {"AdditionalInfo": [{"lang": "German", "value": "Hafen"}]},
    "short phone number": {"HotlinePhoneNumber": "+49"},
    "no such hour": {"OpeningTimes": [{"on": "Monday", "Period": [{"begin": "25:00", "end": "24:00"}]}]},
    "closed and without times": {"OpeningTimes": None},
    "no payment, and payment": {"PaymentOptions": ["No Payment", "Contract"]},
    "other station id": {"ChargingStationId": "2"},
}

VALID: dict[str, dict[str, Any]] = {
    "as it is": {},
    "decimal degrees": {"GeoCoordinates": FULL["GeoChargingPointEntrance"]},
    "degrees, minutes and seconds": {"GeoCoordinates": _DMS},
    "no optional member": dict.fromkeys(("ChargingPoolID", "AdditionalInfo", "EnergySource", "EnvironmentalImpact")),
    "an operator of DIN": {"EvseID": "+49*810*000*438", "HubOperatorID": "+49*810"},
    "a misspelling of the documents": {"AuthenticationModes": ["No Authentication Requires"]},
}


def _stream(changes):
    return read_records(PushEvseData, body(push_evse_data(FULL | changes)))


@pytest.mark.parametrize("changes", [pytest.param(changes, id=name) for name, changes in WITH_FINDINGS.items()])
def test_a_record_with_findings_has_no_view(changes):
    stream = _stream(changes)
    assert stream.read_at(0).findings
    assert stream.fast_view(stream.raw_records[0]) is None


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"ChargingFacilities": [_FACILITY | {"Charging Modes": ["Mode_3"]}]}, id="another spelling"),
        pytest.param({"EnergySource": [{"Energy": "Solar", "Percentage": None}], "Plugs": ["CHAdeMO"]}, id="null"),
    ],
)
def test_a_valid_record_in_a_rare_form_is_parsed_by_the_model(changes):
    stream = _stream(changes)
    assert (stream.fast_view(stream.raw_records[0]) or stream.read_at(0).record) is not None
    assert stream.read_at(0).findings == ()


@pytest.mark.parametrize("changes", [pytest.param(changes, id=name) for name, changes in VALID.items()])
def test_a_view_has_the_values_of_the_record(changes):
    stream = _stream(changes)
    view, (_, record, findings) = stream.fast_view(stream.raw_records[0]), stream.read_at(0)
    assert findings == ()
    assert view.evse_id == record.evse_id
    assert view.evse_id.operator == record.evse_id.operator
    for attribute in ("plugs", "accessibility", "renewable_energy", "authentication_modes", "max_capacity"):
        assert getattr(view, attribute) == getattr(record, attribute)
    assert view.address.country == record.address.country


def test_a_pushed_record_with_members_of_a_pulled_one_has_no_view():
    named = body(EVSE | {"OperatorID": "DE*ABC", "OperatorName": "ABC"})
    assert record_view_decoder(EvseDataRecord)(named) is None
    assert record_view_decoder(PullEvseDataRecord)(named).operator_id.key == "DEABC"


def test_a_record_with_a_time_that_does_not_exist_has_no_view():
    decode = record_view_decoder(PullEvseDataRecord)
    pulled = EVSE | {"OperatorID": "DE*ABC", "OperatorName": "ABC"}
    assert decode(body(pulled | {"lastUpdate": "2024-02-29T10:00:00.123Z"})) is not None
    assert decode(body(pulled | {"lastUpdate": "2023-02-29T10:00:00.123Z"})) is None


def test_a_status_with_an_alias_has_no_view():
    decode = record_view_decoder(EvseStatusRecord)
    assert decode(b'{"EvseID":"DE*ABC*E1","EvseStatus":"Available"}').evse_status == "Available"
    assert decode(b'{"EvseID":"DE*ABC*E1","EVSEStatus":"Available"}') is None
    assert decode(b'{"EvseID":"DE*ABC*E1","EvseStatus":"available"}') is None
