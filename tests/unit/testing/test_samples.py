"""Every sample is a faultless message of OICP."""

from __future__ import annotations

import pytest

from p2p_oicp.oicp import OPERATION_BY_NAME, UID
from p2p_oicp.oicp.validation import judge
from p2p_oicp.testing import samples
from tests.support.oicp_examples import body

PUSHES = {"PushEvseData": "OperatorEvseData", "PushEvseStatus": "OperatorEvseStatus", "PushEVSEPricing": "EVSEPricing"}


def test_there_is_a_sample_of_every_operation():
    assert set(samples.OPERATIONS) == set(OPERATION_BY_NAME)


@pytest.mark.parametrize("operation", samples.OPERATIONS)
def test_requests_and_answers_are_read_without_a_finding(operation):
    assert list(judge(operation, "request", body(samples.request(operation)))) == []
    assert list(judge(operation, "response", body(samples.response(operation)))) == []


@pytest.mark.parametrize("kind", ["Start", "Progress", "End", "Error"])
def test_each_notification_is_read_without_a_finding(kind):
    message = samples.notification(kind, operator="FR*XYZ", session_id="b2688855-7f00-0002-6d8e-48d883f6abb6")
    assert list(judge("ChargingNotifications", "request", body(message))) == []
    assert (message["Type"], message["OperatorID"]) == (kind, "FR*XYZ")


@pytest.mark.parametrize("provider", ["DE-8EO", "DE8EO", "DE*8EO"])
def test_a_provider_has_one_card_in_all_spellings_of_its_id(provider):
    uid = samples.uid_of(provider)
    assert uid == samples.uid_of("DE-8EO") != samples.uid_of("DE-DCB")
    assert UID(uid).is_exact


def test_members_are_added_replaced_and_taken_away():
    message = samples.request("AuthorizeStart", uid="DEADBEEF", EvseID=None, SessionID="s", OperatorID="FR*XYZ")
    card = {"RFIDMifareFamilyIdentification": {"UID": "DEADBEEF"}}
    assert message == {"OperatorID": "FR*XYZ", "Identification": card, "SessionID": "s"}


def test_a_fleet_is_the_same_for_a_seed_and_has_as_many_evses_as_were_ordered():
    fleet = samples.fleet(2000, operator="DE*ABC", seed=1)
    assert fleet == samples.fleet(2000, operator="DE*ABC", seed=1) != samples.fleet(2000, operator="DE*ABC", seed=2)
    assert len(set(fleet.evse_ids)) == len(fleet.status_of) == 2000
    assert {facility["PowerType"] for each in fleet.records for facility in each["ChargingFacilities"]} == {
        "DC",
        "AC_3_PHASE",
    }
    for push in (fleet.push_evse_data(), fleet.push_evse_status(), fleet.push_evse_pricing()):
        operation = next(name for name in PUSHES if PUSHES[name] in push)
        assert list(judge(operation, "request", body(push))) == []


def test_the_messages_of_a_fleet_are_about_all_of_it_or_what_was_named():
    fleet = samples.fleet(7)
    first = fleet.evse_ids[0]
    changed = fleet.push_evse_status("update", **{first: "Reserved"})
    assert changed["OperatorEvseStatus"]["EvseStatusRecord"] == [{"EvseID": first, "EvseStatus": "Reserved"}]
    assert len(fleet.push_evse_data()["OperatorEvseData"]["EvseDataRecord"]) == 7
    assert len(fleet.push_evse_pricing()["EVSEPricing"]) == 7
    products = fleet.push_pricing_products()["PricingProductData"]["PricingProductDataRecords"]
    assert [product["ProductID"] for product in products] == ["AC1", "DC1"]
