"""Other spellings and shapes that the documents show: all are read, one is written (RULES E, CONFORMANCE section 3)."""

from __future__ import annotations

from typing import Any

import pytest

from p2p_oicp.oicp import OPERATION_BY_NAME, Message, decode, encode, response_model, validate
from tests.support.oicp_examples import (
    CDR,
    EVSE,
    PRODUCT,
    PULLED_EVSE,
    REQUESTS,
    RESPONSES,
    STATUSES,
    body,
    page,
    push_evse_data,
)

OPEN = {"IsOpen24Hours": False}
PERIOD = {"begin": "06:00", "end": "22:00"}
STATUS_PULL = {"OperatorID": "DE*ABC", "EVSEStatusRecord": [{"EvseID": "DE*ABC*E1", "EVSEStatus": "EVSENotFound"}]}
GET = REQUESTS["GetChargeDetailRecords"]
PROGRESS = REQUESTS["ChargingNotifications"]
ERROR = {"Type": "Error", "SessionID": CDR["SessionID"], "EvseID": "DE*ABC*E1"}


def product(**changes: object) -> dict[str, Any]:
    push = REQUESTS["PushPricingProductData"]
    return push | {
        "PricingProductData": push["PricingProductData"] | {"PricingProductDataRecords": [PRODUCT | changes]}
    }


def read(operation: str, value: object) -> Message:
    row = OPERATION_BY_NAME[operation]
    model = row.response if operation.startswith("Pull") else row.request
    return model.from_json(body(value))


@pytest.mark.parametrize(
    ("operation", "value", "written"),
    [
        pytest.param("ChargeDetailRecord", CDR | {"HubProviderId": "DE-DCB"}, b'"HubProviderID":"DE-DCB"', id="D01"),
        pytest.param(
            "PushEvseData", push_evse_data(EVSE | {"ChargingStationId": "x"}), b'"ChargingStationID":"x"', id="D02"
        ),
        pytest.param("GetChargeDetailRecords", GET | {"CDRForwarder": True}, b'"CDRForwarded":true', id="D03"),
        pytest.param(
            "AuthorizeRemoteReservationStop",
            REQUESTS["AuthorizeRemoteReservationStop"] | {"EMPPartnerSessionId": "x"},
            b'"EMPPartnerSessionID":"x"',
            id="D04",
        ),
        pytest.param(
            "ChargingNotifications",
            ERROR | {"ErrorClass": "Critical Error"},
            b'"ErrorType":"Critical Error"',
            id="D05 D06",
        ),
        pytest.param(
            "PushEvseData",
            push_evse_data(EVSE | OPEN | {"OpeningTimes": [{"On": "Monday", "Period": [PERIOD]}]}),
            b'"on":"Monday"',
            id="D07",
        ),
        pytest.param(
            "PushEvseData",
            push_evse_data(EVSE | OPEN | {"OpeningTimes": [{"on": "Monday", "Period": PERIOD}]}),
            b'"Period":[{',
            id="D08",
        ),
        pytest.param(
            "PushPricingProductData",
            product(IsValid24hours=False, ProductAvailabilityTimes=[{"on": "Monday", "Period": PERIOD}]),
            b'"Periods":[{',
            id="D09",
        ),
        pytest.param(
            "ChargeDetailRecord",
            CDR | {"MeterValueInBetween": [101, 102]},
            b'"MeterValueInBetween":{"meterValues":[101,102]}',
            id="D10",
        ),
        pytest.param(
            "PullEVSEPricing",
            {"OperatorEVSEPricing": RESPONSES["PullEVSEPricing"]["EVSEPricing"]},
            b'"OperatorEVSEPricing":[',
            id="D12",
        ),
        pytest.param(
            "PullPricingProductData",
            {"OperatorPricingProducts": RESPONSES["PullPricingProductData"]["PricingProductData"]},
            b'"OperatorPricingProducts":[',
            id="D13",
        ),
        pytest.param(
            "PushEVSEPricing",
            {
                "ActionType": "insert",
                "EVSEPricing": [
                    {"EvseID": "DE*ABC*E1", "ProviderID": "*", "EvseIDProductList": [{"ProductID": "AC1"}]}
                ],
            },
            b'"EvseIDProductList":["AC1"]',
            id="D14",
        ),
        pytest.param(
            "PullEvseStatus", {"EvseStatuses": [STATUSES]}, b'"EvseStatuses":{"OperatorEvseStatus":[{', id="D16"
        ),
        pytest.param(
            "PullEvseStatus",
            {"EVSEStatuses": {"OperatorEVSEStatus": [STATUS_PULL]}},
            b'"EvseStatusRecord":[{"EvseID":"DE*ABC*E1","EvseStatus":"EVSENotFound"}]',
            id="E10",
        ),
        pytest.param(
            "PullEvseData",
            page({"OperatorId" if name == "OperatorID" else name: value for name, value in PULLED_EVSE.items()}),
            b'"OperatorID":"DE*ABC"',
            id="D17",
        ),
        pytest.param("GetChargeDetailRecords", GET | {"OperatorID": "DE*ABC"}, b'"OperatorID":"DE*ABC"', id="D19 one"),
        pytest.param(
            "GetChargeDetailRecords",
            GET | {"OperatorID": ["DE*ABC", "DE*XYZ"]},
            b'"OperatorID":["DE*ABC","DE*XYZ"]',
            id="D19 several",
        ),
        pytest.param(
            "PushEvseData",
            push_evse_data(EVSE | {"AuthenticationModes": ["No Authentication Requires"]}),
            b'"No Authentication Requires"',
            id="D65",
        ),
    ],
)
def test_an_alias_is_read_without_a_finding_and_written_as_documented(operation, value, written):
    message = read(operation, value)
    assert validate(message) == []
    assert written in encode(message)
    assert message.to_json() == body(value)


def test_the_preferred_name_wins_over_an_alias_and_the_difference_is_reported():
    message = read("ChargeDetailRecord", CDR | {"HubProviderID": "DE-ABC", "HubProviderId": "DE-XYZ"})
    assert b'"HubProviderID":"DE-ABC"' in encode(message)
    assert [(found.pointer, found.code) for found in validate(message)] == [("/HubProviderId", "two-spellings")]


def test_a_finding_points_to_the_received_spelling():
    pull = REQUESTS["PullEvseData"]
    other = {"OperatorIDs" if name == "OperatorIds" else name: value for name, value in pull.items()}
    message = OPERATION_BY_NAME["PullEvseData"].request.from_json(body(other | {"LastCall": "2024-05-01T10:00:00Z"}))
    assert "/OperatorIDs" in [found.pointer for found in validate(message)]


def test_both_names_of_a_response_member_are_written_for_peers_that_read_one():
    value = RESPONSES["PullEVSEPricing"]
    written = decode(encode(response_model(OPERATION_BY_NAME["PullEVSEPricing"], body(value)).from_json(body(value))))
    assert written["EVSEPricing"] == written["OperatorEVSEPricing"]


def test_a_replaced_member_leaves_no_alias_behind():
    message = read("ChargeDetailRecord", CDR | {"HubProviderId": "DE-XYZ"}).replace(hub_provider_id="DE-ABC")
    assert decode(message.to_json())["HubProviderID"] == "DE-ABC"
    assert b"HubProviderId" not in message.to_json()
