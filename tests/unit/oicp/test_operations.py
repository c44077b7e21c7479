from __future__ import annotations

import pytest

from p2p_oicp.oicp import (
    OPERATION_BY_COMMAND,
    OPERATION_BY_NAME,
    OPERATIONS,
    Acknowledgement,
    AuthorizationStart,
    OperatorID,
    find,
    response_model,
    sender_party,
)
from tests.support.oicp_examples import AUTHORIZE_START, CDR, body


def test_every_operation_is_found_by_each_of_its_paths():
    for operation in OPERATIONS:
        for path in (operation.path, *operation.aliases):
            route = find(path.replace("{operatorID}", "DE*ABC").replace("{providerID}", "DE-DCB"))
            assert operation in route.candidates
            assert route.party in {"DE*ABC", "DE-DCB", None}


@pytest.mark.parametrize(
    ("path", "party"),
    [
        ("charging/v21/operators/DE%2AABC/authorize/start", "DE*ABC"),
        ("charging/v21/operators/+49*536/authorize/start", "+49*536"),
        ("charging/v21/operators/%2B49%2A536/authorize/start", "+49*536"),
    ],
)
def test_the_party_of_a_path_is_decoded_and_a_plus_stays(path, party):
    assert find(path).party == party


@pytest.mark.parametrize(
    "path", ["", "charging/v21/operators/DE*ABC/authorize", "charging/v22/operators/X/authorize/start"]
)
def test_an_unknown_path_is_not_found(path):
    assert find(path) is None


@pytest.mark.parametrize(
    ("members", "name"),
    [
        ({"ProviderID": "DE-DCB"}, "PullEvseStatus"),
        ({"ProviderID": "DE-DCB", "EvseID": ["DE*ABC*E1"]}, "PullEvseStatusByID"),
        ({"ProviderID": "DE-DCB", "OperatorID": ["DE*ABC"]}, "PullEvseStatusByOperatorID"),
        ({"ProviderID": "DE-DCB", "OperatorID": None}, "PullEvseStatus"),
        ([], "PullEvseStatus"),
    ],
)
def test_the_status_pulls_are_distinguished_by_their_bodies(members, name):
    assert find("evsepull/v21/providers/DE-DCB/status-records").choose(body(members)).name == name


@pytest.mark.parametrize(
    "base", ["https://x.example", "https://x.example/", "https://x.example/api/oicp", "https://x.example/api/oicp/"]
)
def test_a_url_is_the_same_with_and_without_the_base_path(base):
    url = OPERATION_BY_NAME["AuthorizeStart"].url(base, "+49*536")
    assert url == "https://x.example/api/oicp/charging/v21/operators/%2B49*536/authorize/start"


def test_a_path_with_a_party_needs_one():
    with pytest.raises(ValueError, match="PullEvseData"):
        OPERATION_BY_NAME["PullEvseData"].url("https://x.example", None)


def test_the_sender_is_found_in_the_message():
    start, record = OPERATION_BY_NAME["AuthorizeStart"], OPERATION_BY_NAME["ChargeDetailRecord"]
    assert sender_party(start, start.request.from_json(body(AUTHORIZE_START))) == OperatorID("DE*ABC")
    assert sender_party(record, record.request.from_json(body(CDR))) == OperatorID("DE*ABC")


def test_any_response_may_be_an_acknowledgement():
    operation = OPERATION_BY_NAME["AuthorizeStart"]
    refusal = {"Result": False, "StatusCode": {"Code": "300"}, "SessionID": None}
    assert response_model(operation, body(refusal)) is Acknowledgement
    assert (
        response_model(operation, body({"AuthorizationStatus": "NotAuthorized", "Result": False})) is AuthorizationStart
    )


def test_commands_methods_and_names_are_unique():
    assert len(OPERATION_BY_COMMAND) == len(OPERATIONS) == len({row.method for row in OPERATIONS}) == 21
