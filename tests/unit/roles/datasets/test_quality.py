"""How good the data of an EVSE is for a driver: each deduction with what it is for."""

import pytest

from p2p_oicp.roles.datasets.quality import EvseFacts, deductions_of, score_of
from tests.support.dataset_messages import evse

NOW = 1_800_000_000.0
DAY = 86_400.0


def facts(status="Available", days=1.0, place=(50.93011, 11.58642), sources=1, without=(), **members) -> EvseFacts:
    record = {name: value for name, value in {**evse("1"), **members}.items() if name not in without}
    return EvseFacts(record, status, NOW - days * DAY, *place, sources)


def codes(given: EvseFacts) -> list[str]:
    return [each.code for each in deductions_of(given, NOW)]


def test_a_whole_record_with_a_fresh_status_loses_nothing():
    assert deductions_of(facts(), NOW) == []
    assert score_of([]) == 100


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (facts(place=(None, None)), "no-coordinates"),
        (facts(place=(0.0, 0.0)), "null-island"),
        (facts(place=(11.58642, 50.93011)), "other-country"),
        (facts(place=(50.9, 11.6)), "coarse-coordinates"),
        (facts(status=""), "no-status"),
        (facts(status="", DynamicInfoAvailable="false"), "no-status-offered"),
        (facts(status="Unknown"), "unknown-status"),
        (facts(status="OutOfService", days=40), "long-out-of-service"),
        (facts(status="Occupied", days=10), "stale-status"),
        (facts(status="Available", days=400), "old-status"),
        (facts(sources=2), "duplicate"),
        (facts(without=["Plugs"]), "no-Plugs"),
        (facts(without=["ChargingFacilities"]), "no-ChargingFacilities"),
        (facts(ChargingFacilities=[{"PowerType": "AC_3_PHASE"}]), "no-Power"),
        (facts(without=["HotlinePhoneNumber"]), "no-HotlinePhoneNumber"),
        (facts(Address={"Country": "DEU", "City": "Jena", "PostalCode": "07743"}), "no-Street"),
        (facts(IsOpen24Hours=False), "no-OpeningTimes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_record_loses_points_for_what_a_driver_misses(given, code):
    (deduction,) = deductions_of(given, NOW)
    assert deduction.code == code
    assert deduction.points > 0
    assert deduction.text.endswith((".", "?"))


@pytest.mark.parametrize("given", [facts(status="Occupied", days=1), facts(status="OutOfService", days=3)])
def test_what_may_well_be_so_costs_nothing(given):
    assert codes(given) == []


@pytest.mark.parametrize("country", ["ZZZ", None, 7])
def test_coordinates_are_not_compared_with_a_country_that_is_not_known(country):
    address = {"Country": country, "City": "x", "Street": "x", "PostalCode": "1"}
    assert codes(facts(place=(-50.12345, 11.12345), Address=address)) == []


def test_a_record_of_nothing_has_no_points_below_zero_and_says_all_that_is_missing():
    found = deductions_of(EvseFacts({}, "", None, None, None), NOW)
    assert score_of(found) == 0
    assert [each.points for each in found] == sorted((each.points for each in found), reverse=True)


@pytest.mark.parametrize("value", [None, [], "text", 5, {"Address": []}])
def test_members_of_other_types_are_as_good_as_none(value):
    record = dict.fromkeys(("Plugs", "ChargingFacilities", "Address", "ChargingStationNames"), value)
    assert score_of(deductions_of(EvseFacts(record, "Available", NOW, 50.12345, 11.12345), NOW)) < 100
