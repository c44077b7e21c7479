"""Likenesses of records: what has one is faultless, and means the same."""

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
    "SomethingNew": {"is": "kept"},
}

_DMS = {"DegreeMinuteSeconds": {"Longitude": "9°21'39.32''", "Latitude": "-21°34'23.16''"}}
_FACILITY = {"PowerType": "DC", "Power": 22}

DOUBTFUL: dict[str, dict[str, Any]] = {
    "no EvseID": {"EvseID": None},
    "EvseID of another type": {"EvseID": 7},
    "EvseID in small letters": {"EvseID": "de*abc*e1"},
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
    "country in small letters": {"Address": EVSE["Address"] | {"Country": "deu"}},
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

FAULTLESS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "decimal degrees": {"GeoCoordinates": FULL["GeoChargingPointEntrance"]},
    "degrees, minutes and seconds": {"GeoCoordinates": _DMS},
    "no optional member": dict.fromkeys(("ChargingPoolID", "AdditionalInfo", "EnergySource", "EnvironmentalImpact")),
    "an operator of DIN": {"EvseID": "+49*810*000*438", "HubOperatorID": "+49*810"},
    "a misspelling of the documents": {"AuthenticationModes": ["No Authentication Requires"]},
}


def _reading(changes):
    return read_records(PushEvseData, body(push_evse_data(FULL | changes)))


@pytest.mark.parametrize("changes", [pytest.param(changes, id=name) for name, changes in DOUBTFUL.items()])
def test_what_is_doubtful_has_no_likeness(changes):
    reading = _reading(changes)
    assert reading.read_at(0).findings
    assert reading.fast_view(reading.raw_records[0]) is None


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"ChargingFacilities": [_FACILITY | {"Charging Modes": ["Mode_3"]}]}, id="another spelling"),
        pytest.param({"EnergySource": [{"Energy": "Solar", "Percentage": None}], "Plugs": ["CHAdeMO"]}, id="null"),
    ],
)
def test_what_is_faultless_in_a_rare_form_is_read_by_the_model(changes):
    reading = _reading(changes)
    assert (reading.fast_view(reading.raw_records[0]) or reading.read_at(0).record) is not None
    assert reading.read_at(0).findings == ()


@pytest.mark.parametrize("changes", [pytest.param(changes, id=name) for name, changes in FAULTLESS.items()])
def test_a_likeness_means_what_the_record_means(changes):
    reading = _reading(changes)
    likeness, (_, record, findings) = reading.fast_view(reading.raw_records[0]), reading.read_at(0)
    assert findings == ()
    assert likeness.evse_id == record.evse_id
    assert likeness.evse_id.operator == record.evse_id.operator
    for attribute in ("plugs", "accessibility", "renewable_energy", "authentication_modes", "max_capacity"):
        assert getattr(likeness, attribute) == getattr(record, attribute)
    assert likeness.address.country == record.address.country


def test_a_pushed_record_with_members_of_a_pulled_one_has_no_likeness():
    named = body(EVSE | {"OperatorID": "DE*ABC", "OperatorName": "ABC"})
    assert record_view_decoder(EvseDataRecord)(named) is None
    assert record_view_decoder(PullEvseDataRecord)(named).operator_id.key == "DEABC"


def test_a_time_that_does_not_exist_has_no_likeness():
    look = record_view_decoder(PullEvseDataRecord)
    pulled = EVSE | {"OperatorID": "DE*ABC", "OperatorName": "ABC"}
    assert look(body(pulled | {"lastUpdate": "2024-02-29T10:00:00.123Z"})) is not None
    assert look(body(pulled | {"lastUpdate": "2023-02-29T10:00:00.123Z"})) is None


def test_a_status_under_its_other_name_has_no_likeness():
    look = record_view_decoder(EvseStatusRecord)
    assert look(b'{"EvseID":"DE*ABC*E1","EvseStatus":"Available"}').evse_status == "Available"
    assert look(b'{"EvseID":"DE*ABC*E1","EVSEStatus":"Available"}') is None
    assert look(b'{"EvseID":"DE*ABC*E1","EvseStatus":"available"}') is None
