"""Rules of answers, and the finding each gives."""

from __future__ import annotations

import pytest

from p2p_oicp.oicp import Acknowledgement, validate
from tests.support.oicp_examples import PULLED_EVSE, RESPONSES, body, page
from tests.support.oicp_findings import CARD, W, codes


@pytest.mark.parametrize(
    ("operation", "value", "pointer", "code"),
    [
        pytest.param(
            "PushEvseData",
            {"Result": True, "StatusCode": {"Code": "310"}},
            "/StatusCode/Code",
            "contradictory-code",
            id="M3 true and a refusal",
        ),
        pytest.param(
            "PushEvseData",
            {"Result": False, "StatusCode": {"Code": "000"}},
            "/StatusCode/Code",
            "contradictory-code",
            id="M3 false and 000",
        ),
        pytest.param(
            "PushEvseData", {"StatusCode": {"Code": "017"}}, "/Result", "result-left-out", id="H3 Result left out"
        ),
        pytest.param(
            "PushEvseData",
            {"Result": False, "StatusCode": {"Code": "999"}},
            "/StatusCode/Code",
            "unknown-status-code",
            id="H1 unknown code",
        ),
        pytest.param(
            "AuthorizeStart",
            RESPONSES["AuthorizeStart"] | {"SessionID": None},
            "/SessionID",
            "authorized-without-session",
            id="M3 no session",
        ),
        pytest.param(
            "AuthorizeStart",
            RESPONSES["AuthorizeStart"] | {"ProviderID": None},
            "/ProviderID",
            "authorized-without-provider",
            id="D47 no provider",
        ),
        pytest.param(
            "AuthorizeStart",
            RESPONSES["AuthorizeStart"] | {"StatusCode": {"Code": "102"}},
            "/StatusCode/Code",
            "contradictory-code",
            id="M3 authorized and refused",
        ),
        pytest.param(
            "AuthorizeStart",
            RESPONSES["AuthorizeStart"] | {"AuthorizationStopIdentifications": [{"RFIDIdentification": CARD}]},
            "/AuthorizationStopIdentifications/0/RFIDIdentification",
            "rfid-in-authorization",
            id="D41 who may stop",
        ),
        pytest.param(
            "PullEvseData",
            page(PULLED_EVSE) | {"numberOfElements": 2},
            "/numberOfElements",
            "contradictory-page",
            id="P2 count",
        ),
        pytest.param(
            "PullEvseData", page(PULLED_EVSE) | {"first": False}, "/first", "contradictory-page", id="P2 first"
        ),
        pytest.param("PullEvseData", page(PULLED_EVSE) | {"last": False}, "/last", "contradictory-page", id="P2 last"),
        pytest.param(
            "PullEvseData",
            page(PULLED_EVSE | {"RenewableEnergy": None}),
            "/content/0/RenewableEnergy",
            "null-in-pulled-data",
            id="D38 older data",
        ),
        pytest.param(
            "PullEvseData",
            page(PULLED_EVSE | {"Plugs": [None]}),
            "/content/0/Plugs/0",
            "null-element",
            id="D38 an unspecified plug",
        ),
        pytest.param(
            "PullEvseData",
            page(PULLED_EVSE | {"IsOpen24Hours": False}),
            "/content/0/OpeningTimes",
            "opening-times-missing",
            id="D44 older data",
        ),
    ],
)
def test_an_inconsistent_response_is_read_with_a_warning(operation, value, pointer, code):
    assert codes(operation, value, answer=True) == [(W, pointer, code)]


def test_a_refusal_without_a_result_is_a_refusal():
    assert Acknowledgement.from_json(body({"StatusCode": {"Code": "017"}})).result is False


def test_a_status_code_as_a_number_is_read_and_reported():
    answer = Acknowledgement.from_json(body({"Result": True, "StatusCode": {"Code": 0}}))
    assert answer.status_code.code == "000"
    assert [found.code for found in validate(answer)] == ["number-for-text"]
