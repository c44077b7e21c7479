"""L14 and L17: feeds of data and statuses that are nearly OICP, and records that we pull."""

from __future__ import annotations

import json
from typing import Any

import pytest

from p2p_oicp.cli.feed import FEED_KINDS, Feed, read_feed
from p2p_oicp.oicp import EvseDataRecord
from p2p_oicp.oicp.repair import FEED_REPAIRS, PULL_REPAIRS, RepairedRecord, repair_record
from p2p_oicp.oicp.validation import Verdict, judge
from tests.support.oicp_examples import EVSE, body
from tests.support.paths import SHARED

DATA, STATUSES = FEED_KINDS["push-evse-data"], FEED_KINDS["push-evse-status"]
CASES = SHARED / "cases"
needs_cases = pytest.mark.skipif(not CASES.exists(), reason="the cases are not beside the project")


def repaired(changes: dict[str, Any], allowed: frozenset[str] = FEED_REPAIRS) -> RepairedRecord:
    return repair_record(EvseDataRecord, body(EVSE | changes), allowed)


def feed_of(*groups: dict[str, Any]) -> Feed:
    return read_feed(STATUSES, body({"EVSEStatuses": groups}))


def group(operator: str, **statuses: str) -> dict[str, Any]:
    records = [{"EvseID": f"CH*REP*{name}", "EVSEStatus": status} for name, status in statuses.items()]
    return {"OperatorID": operator, "OperatorName": "Name", "EVSEStatusRecord": records}


ADDRESS = EVSE["Address"]


@pytest.mark.parametrize(
    ("changes", "becomes", "code"),
    [
        ({"ChargingFacilities": [{"power": 22.0, "powertype": "DC"}]},
         {"ChargingFacilities": [{"Power": 22.0, "PowerType": "DC"}]}, "renamed-member"),
        ({"ChargingStationNames": {"lang": "en", "value": "x"}},
         {"ChargingStationNames": [{"lang": "en", "value": "x"}]}, "single-for-list"),
        ({"Address": ADDRESS | {"PostalCode": 8001, "HouseNum": 5.0}},
         {"Address": ADDRESS | {"PostalCode": "8001", "HouseNum": "5"}}, "number-for-text"),
        ({"ChargingFacilities": [{"Power": "22.0", "PowerType": "DC"}]},
         {"ChargingFacilities": [{"Power": 22, "PowerType": "DC"}]}, "text-for-number"),
        ({"Plugs": ["CCS Combo 2 Plug (Cable Attached) "]}, {"Plugs": ["CCS Combo 2 Plug (Cable Attached)"]},
         "misspelt-value"),
        ({"PaymentOptions": ["contract"]}, {"PaymentOptions": ["Contract"]}, "misspelt-value"),
        ({"RenewableEnergy": "true"}, {"RenewableEnergy": True}, "text-for-boolean"),
        ({"DynamicInfoAvailable": True}, {"DynamicInfoAvailable": "true"}, "boolean-for-text"),
        ({"EvseID": "de*abc*e1*2"}, {"EvseID": "DE*ABC*E1*2"}, "lower-case-identifier"),
        ({"HotlinePhoneNumber": "0049 (431) 12-34 56"}, {"HotlinePhoneNumber": "+49431123456"}, "inexact-form"),
        ({"HotlinePhoneNumber": "+41 (0)44 765 43 21"}, {"HotlinePhoneNumber": "+41447654321"}, "inexact-form"),
        ({"GeoCoordinates": {"DecimalDegree": {"Latitude": " 47.3", "Longitude": "8.5 "}}},
         {"GeoCoordinates": {"DecimalDegree": {"Latitude": "47.3", "Longitude": "8.5"}}}, "inexact-form"),
        ({"OpeningTimes": [{"on": "Everyday", "Period": [{"begin": "6:00", "end": "22:30:00"}]}]},
         {"OpeningTimes": [{"on": "Everyday", "Period": [{"begin": "06:00", "end": "22:30"}]}]}, "inexact-form"),
        ({"Plugs": "CHAdeMO", "ValueAddedServices": "None"}, {"Plugs": ["CHAdeMO"], "ValueAddedServices": ["None"]},
         "single-for-list"),
        ({"GeoCoordinates": {"Google": {"Coordinates": "46.42424195876364 8.14262694173355"}}},
         {"GeoCoordinates": {"Google": {"Coordinates": "46.424242 8.142627"}}}, "too-many-decimals"),
    ],
)  # fmt: skip
def test_l14_a_feeds_record_gets_its_documented_form_and_the_change_is_reported(changes, becomes, code):
    result = repaired(changes)
    assert result.errors == ()
    assert json.loads(result.raw) == EVSE | becomes
    assert {repair.code for repair in result.repairs} == {code}
    assert all("is read as" in repair.message for repair in result.repairs)
    push = {"ActionType": "fullLoad", "OperatorEvseData": {"OperatorID": "DE*ABC", "OperatorName": "ABC"}}
    push["OperatorEvseData"]["EvseDataRecord"] = [json.loads(result.raw)]
    assert Verdict.from_findings(judge("PushEvseData", "request", body(push))) != "reject"


@pytest.mark.parametrize(
    ("changes", "becomes", "codes"),
    [
        ({"ChargingFacilities": {"power": "50", "powertype": "dc"}},
         {"ChargingFacilities": [{"Power": 50, "PowerType": "DC"}]},
         {"single-for-list", "renamed-member", "text-for-number", "misspelt-value"}),
        ({"ChargingStationNames": {"lang": "FR", "value": 12}},
         {"ChargingStationNames": [{"lang": "fr", "value": "12"}]},
         {"single-for-list", "inexact-form", "number-for-text"}),
        ({"AuthenticationModes": "remote"}, {"AuthenticationModes": ["REMOTE"]},
         {"single-for-list", "misspelt-value"}),
    ],
)  # fmt: skip
def test_l14_what_stands_in_the_place_of_a_list_is_repaired_as_its_element(changes, becomes, codes):
    result = repaired(changes)
    assert result.errors == ()
    assert json.loads(result.raw) == EVSE | becomes
    assert {repair.code for repair in result.repairs} == codes
    assert repaired(changes, PULL_REPAIRS).errors


@pytest.mark.parametrize("allowed", [FEED_REPAIRS, PULL_REPAIRS], ids=["feed", "pull"])
@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({"GeoChargingPointEntrance": {"Google": "None None"}}, {}),
        ({"MaxCapacity": 22.5}, {}),
        ({"Address": ADDRESS | {"TimeZone": "Europe/Zurich", "Floor": "ground floor"}}, {}),
        ({"AdditionalInfo": [{"lang": "en", "value": "x" * 151}]}, {"AdditionalInfo": []}),
        ({"OpeningTimes": [{"on": "Everyday", "Period": None}]}, {"OpeningTimes": []}),
        ({"Plugs": ["Type 2 Outlet", 7, "Unspecified"]}, {}),
        ({"ChargingFacilities": [*EVSE["ChargingFacilities"], {"Power": None}]}, {}),
        ({"ChargingPoolID": "nonsense", "EnergySource": "wind"}, {}),
    ],
    ids=lambda value: next(iter(value), "nothing"),
)
def test_l14_an_unusable_optional_part_costs_that_part_only(changes, left, allowed):
    result = repaired(changes, allowed)
    assert result.errors == ()
    assert json.loads(result.raw) == EVSE | left
    assert all(repair.code == "member-dropped" and "is left out" in repair.message for repair in result.repairs)


@pytest.mark.parametrize(
    ("changes", "pointer", "reason"),
    [
        ({"ChargingStationNames": None}, "/ChargingStationNames", "mandatory"),
        ({"GeoCoordinates": {"Google": "None None"}}, "/GeoCoordinates/Google", "'None None' cannot be read"),
        ({"ChargingFacilities": [{"Power": None}]}, "/ChargingFacilities/0/PowerType", "mandatory"),
        ({"EvseID": "DE*ABC*1"}, "/EvseID", "has no 'E' behind its operator, ABC"),
        ({"Plugs": []}, "/Plugs", "has 0 elements"),
        ({"Plugs": ["Unspecified"]}, "/Plugs/0", "'Unspecified' is none of"),
        ({"IsOpen24Hours": False}, "/OpeningTimes", "OpeningTimes is absent"),
        ({"PaymentOptions": ["No Payment", "Direct"]}, "/PaymentOptions", "cannot be combined"),
        ({"HotlinePhoneNumber": "none", "Floor": 1}, "/HotlinePhoneNumber", "'none' cannot be read"),
        # Not that 'power' is not 'Power': that was repaired.
        ({"ChargingFacilities": [{"power": "43 kW", "powertype": "DC"}]}, "/ChargingFacilities/0/Power", "'43 kW'"),
        ({"Plugs": "Type 2 Outlet, CHAdeMO"}, "/Plugs", "must be an array, not a string"),
        ({"IsOpen24Hours": False, "OpeningTimes": "8 to 5"}, "/OpeningTimes", "'8 to 5'"),
    ],
)
def test_l14_without_its_mandatory_content_a_record_is_refused_with_the_reason(changes, pointer, reason):
    (error,) = [error for error in repaired(changes).errors if error.pointer == pointer]
    assert reason in error.message


@pytest.mark.parametrize(
    "changes",
    [
        {"ChargingStationNames": {"lang": "en", "value": "x"}},
        {"ChargingFacilities": [{"power": 22, "powertype": "DC"}]},
        {"Address": ADDRESS | {"PostalCode": 8001}},
    ],
    ids=["single", "renamed", "number"],
)
def test_l14_what_is_no_repair_of_a_pull_sets_the_record_aside(changes):
    result = repaired(changes, PULL_REPAIRS)
    assert result.errors


def test_l14_a_part_that_is_left_out_is_reported_once_with_the_reason_of_what_was_received():
    (repair,) = repaired({"GeoChargingPointEntrance": {"Google": "None None"}}).repairs
    assert (repair.pointer, repair.code) == ("/GeoChargingPointEntrance", "member-dropped")
    assert repair.message.startswith("is left out: 'None None' cannot be read")


def test_l14_a_record_without_deviations_keeps_its_bytes():
    raw = b' {"EvseID" : "DE*ABC*E1", "EvseStatus":"Available", "x": 1.50 } '
    assert repair_record(STATUSES.model, raw, FEED_REPAIRS) == RepairedRecord(raw)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"null", b"7", b"[]", b'{"EvseID": {}}', b'"x"', b'{"EvseID":' + b"[" * 900 + b"]" * 900 + b"}"]
)
def test_l14_no_record_at_all_is_refused_too(raw):
    assert repair_record(EvseDataRecord, raw, FEED_REPAIRS).errors


def test_l14_very_many_faults_cost_no_repair_each():
    assert repaired({"Plugs": ["Type 2 Outlet", *range(50)]}).errors == ()
    assert len(repaired({"Plugs": ["Type 2 Outlet", *range(51)]}).errors) == 51


def test_l14_one_bad_status_costs_itself_alone_and_is_reported():
    (push,) = feed_of(group("CH*REP", E9="Blocked", E8="available", E7="Occupied")).pushes
    statuses = {
        record["EvseID"]: record["EvseStatus"]
        for record in json.loads(push.message())["OperatorEvseStatus"]["EvseStatusRecord"]
    }
    assert statuses == {"CH*REP*E8": "Available", "CH*REP*E7": "Occupied"}
    left_out, repair = push.remarks()
    assert left_out.startswith("CH*REP*E9: left out: /EvseStatus: 'Blocked' is none of")
    assert repair.startswith("CH*REP*E8: repaired: /EvseStatus: 'available' is read as 'Available'")


def test_l14_the_sums_count_kinds():
    feed = feed_of(group("CH*REP", E1="Blocked", E2="Broken", E3="available", E4="Available"))
    assert [*feed.sums()] == [
        "1 records repaired: 1 EvseStatus misspelt-value",
        "2 records left out: 2 EvseStatus unknown-value",
    ]


def test_l14_an_operator_without_a_usable_record_is_not_emptied():
    (push,) = feed_of(group("CH*REP", E1="Blocked")).pushes
    assert push.is_empty_by_mistake
    (push,) = feed_of(group("CH*REP")).pushes
    assert not push.is_empty_by_mistake


@pytest.mark.parametrize("operators", [("CH*REP", "CH*SWI"), ("CH*SWI", "CH*REP")])
def test_l17_an_evse_of_two_groups_stays_with_its_own_operator_and_the_conflict_is_reported(operators):
    groups = {"CH*REP": group("CH*REP", E2="Occupied"), "CH*SWI": group("CH*SWI", E2="Available", E3="Available")}
    feed = feed_of(*(groups[operator] for operator in operators))
    sent = {push.operator.text: [record.evse_id.text for record in push.records.values()] for push in feed.pushes}
    assert sent == {"CH*REP": ["CH*REP*E2"], "CH*SWI": ["CH*REP*E3"]}
    (conflict,) = [remark for push in feed.pushes for remark in push.remarks() if "conflict" in remark]
    assert conflict.startswith("CH*REP*E2: conflict: in the groups of ")
    assert conflict.endswith("only that of CH*REP is sent")


def test_l17_an_evse_of_neither_operator_stays_with_the_first():
    feed = feed_of(group("CH*SWI", E2="Available"), group("CH*ECU", E2="Occupied"))
    assert [len(push.records) for push in feed.pushes] == [1, 0]


@needs_cases
def test_l14_the_national_data_feed_of_the_cases():
    feed = read_feed(DATA, (CASES / "01-national-data-feed.json").read_bytes())
    (push,) = feed.pushes
    names = [record.evse_id.text.removeprefix("CH*SWI*E") for record in push.records.values()]
    assert names == ["900", "901", "903", "904", "907", "908"]
    assert [name.removeprefix("CH*SWI*E") for name, _ in push.left_out] == ["902", "905", "906"]
    assert judge("PushEvseData", "request", push.message()) == ()


@needs_cases
def test_l14_l17_the_status_feeds_of_the_cases():
    (push,) = read_feed(STATUSES, (CASES / "11-feed-one-bad-status.json").read_bytes()).pushes
    assert [record.evse_id.text for record in push.records.values()] == ["CH*SWI*E8", "CH*SWI*E7"]
    feed = read_feed(STATUSES, (CASES / "12-feed-same-evse-two-operators.json").read_bytes())
    assert [len(push.records) for push in feed.pushes] == [1, 0]


@pytest.mark.skipif(not (SHARED / "data").exists(), reason="the real data are not beside the project")
@pytest.mark.parametrize("name", ["swiss-2019-evse-data.json", "swiss-2019-evse-data-dirty.json"])
def test_l14_of_real_data_in_the_shape_of_a_feed_only_records_without_mandatory_content_are_left_out(name):
    messages = json.loads((SHARED / "data" / name).read_bytes())
    groups = [message["OperatorEvseData"] for message in messages]
    feed = read_feed(DATA, body({"EVSEData": groups}))
    records = sum(len(group["EvseDataRecord"]) for group in groups)
    left_out = len(feed.unassigned) + sum(len(push.left_out) + len(push.conflicts) for push in feed.pushes)
    assert sum(len(push.records) for push in feed.pushes) + left_out == records
    assert all(errors and all(error.message for error in errors) for push in feed.pushes for _, errors in push.left_out)
    for push in feed.pushes:
        assert Verdict.from_findings(judge("PushEvseData", "request", push.message())) != "reject"
