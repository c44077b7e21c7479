"""Which requests a rule of the script is about."""

import json

import pytest

from p2p_oicp.config.hub import ScriptRule
from p2p_oicp.hub.script import fits
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.server.interception import InterceptedRequest
from tests.support.messages import authorize_start, notification, push_status, remote_start

START = InterceptedRequest(
    OPERATION_BY_NAME["AuthorizeStart"], "DE*GEF", json.dumps(authorize_start("04E8960A")).encode()
)


def rule(**members) -> ScriptRule:
    return ScriptRule.model_validate({**members, "hang": True})


def request(operation: str, party: str | None, body: dict) -> InterceptedRequest:
    return InterceptedRequest(OPERATION_BY_NAME[operation], party, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("members", "is_fitting"),
    [
        ({}, True),
        ({"operation": "AuthorizeStart"}, True),
        ({"operation": "AuthorizeStop"}, False),
        ({"uid": "04e8960a"}, True),
        ({"uid": "FFFFFFFF"}, False),
        ({"party": "degef"}, True),
        ({"party": "DE*QQQ"}, False),
        ({"uid": "04E8960A", "party": "DE*QQQ"}, False),
        ({"session_id": "f98efba4-02d8-4fa0-b810-9a9d50d2c527"}, False),
    ],
)
def test_a_rule_fits_if_all_of_its_ids_are_those_of_the_request_in_any_spelling(members, is_fitting):
    assert fits(rule(**members), START) is is_fitting


def test_a_contract_and_an_evse_are_compared_by_their_keys():
    body = remote_start("DE*GEF*E1", Identification={"RemoteIdentification": {"EvcoID": "DE-GDF-C12345678-X"}})
    start = request("AuthorizeRemoteStart", "DE-GDF", body)
    assert fits(rule(evco_id="degdfc12345678x", evse_id="DEGEFE1", party="DE*GDF"), start)


def test_the_sender_of_a_notification_is_in_its_body():
    assert fits(rule(party="DE*GEF"), request("ChargingNotifications", None, notification("Start", "x")))


def test_a_push_is_known_by_its_path():
    assert fits(rule(party="DE*GEF"), request("PushEvseStatus", "DE*GEF", push_status()))


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"Identification": [], "EvseID": 7, "SessionID": null}'])
def test_a_body_may_be_anything(body):
    assert not fits(rule(evse_id="DE*GEF*E1"), START._replace(body=body))
