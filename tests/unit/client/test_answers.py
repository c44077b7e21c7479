"""What an answer means that is incomplete or contradicts itself: the table of RULES L1, one row each."""

import json

import pytest
import structlog

from p2p_oicp.client import read_reply
from p2p_oicp.client.replies import HttpResponse
from p2p_oicp.errors import PeerProtocolError
from p2p_oicp.oicp.answers import is_indeterminate
from p2p_oicp.oicp.operations import OPERATION_BY_NAME


def read(operation: str, body: dict):
    response = HttpResponse("csms", 200, {}, json.dumps(body).encode())
    return read_reply(response, OPERATION_BY_NAME[operation], now=0.0).message


def answer(result: object = None, code: object = None, **status) -> dict:
    members = {} if result is None else {"Result": result}
    return members | ({"StatusCode": {**status, "Code": code}} if code is not None else {})


ACKNOWLEDGEMENTS = {
    "true 000": (answer(result=True, code="000"), (True, "000", False)),
    "true in a text": (answer("true", "000"), (True, "000", False)),
    "True in a text": (answer("True", "000"), (True, "000", False)),
    "true 0": (answer(result=True, code=0), (True, "000", False)),
    "true '0'": (answer(result=True, code="0"), (True, "000", False)),
    "true without a code": (answer(result=True), (True, "000", False)),
    "true with a status code of nothing": ({"Result": True, "StatusCode": None}, (True, "000", False)),
    "000 alone": (answer(None, "000"), (True, "000", True)),
    "0 alone": (answer(None, 0), (True, "000", True)),
    "a bare 000": ({"StatusCode": "000"}, (True, "000", True)),
    "false 000": (answer(result=False, code="000"), (False, "310", True)),
    "false alone": (answer(result=False), (False, "310", True)),
    "false in a text, alone": (answer("false"), (False, "310", True)),
    **{
        f"false {code}": (answer(result=False, code=code), (False, code, True)) for code in ("001", "002", "021", "310")
    },
    "021 alone": (answer(None, "021"), (False, "021", True)),
    "false 601": (answer(result=False, code="601"), (False, "601", False)),
    "601 as a number, alone": (answer(None, 601), (False, "601", False)),
    "false with a code of no document": (answer(result=False, code="999"), (False, "999", False)),
    "true 601": (answer(result=True, code="601", Description="EVSE already reserved"), (False, "310", True)),
    "true 021": (answer(result=True, code=21), (False, "310", True)),
    "a result that is no boolean": (answer(1, "000"), (True, "000", True)),
}


@pytest.mark.parametrize(("body", "expected"), ACKNOWLEDGEMENTS.values(), ids=ACKNOWLEDGEMENTS)
def test_l1_an_acknowledgement_goes_out_whole(body, expected):
    message = read("AuthorizeRemoteStart", {**body, "SessionID": "f98efba4-02d8-4fa0-b810-9a9d50d2c527", "Own": [1]})
    assert (message.result, str(message.status_code.code), is_indeterminate(message)) == expected
    out = json.loads(message.to_json())
    assert (out["Result"], out["StatusCode"]["Code"]) == expected[:2]
    assert (out["SessionID"], out["Own"]) == ("f98efba4-02d8-4fa0-b810-9a9d50d2c527", [1])


def test_l1_a_contradiction_is_named_in_words_and_without_the_description_of_the_other_code():
    status = read("AuthorizeRemoteStart", ACKNOWLEDGEMENTS["true 601"][0]).status_code
    assert (status.additional_info, status.description) == ("contradictory answer: true with 601", None)


@pytest.mark.parametrize("name", ["true 000", "false 601", "false 021", "false with a code of no document"])
def test_l1_an_answer_as_documented_is_handed_on_and_not_reported(name):
    with structlog.testing.capture_logs() as logs:
        read("AuthorizeRemoteStart", ACKNOWLEDGEMENTS[name][0])
    assert logs == []


@pytest.mark.parametrize("name", [name for name, (body, out) in ACKNOWLEDGEMENTS.items() if body != answer(*out[:2])])
def test_l1_every_deviation_is_reported(name):
    with structlog.testing.capture_logs() as logs:
        read("AuthorizeRemoteStart", ACKNOWLEDGEMENTS[name][0])
    assert [line["event"] for line in logs] == ["oicp.answer_deviates"]


NOTHING = [{}, {"StatusCode": {}}, {"StatusCode": None}, {"Result": None}, {"Result": 7}, {"status": "ok"}]


@pytest.mark.parametrize("operation", ["AuthorizeRemoteStart", "AuthorizeStart", "ChargeDetailRecord"])
@pytest.mark.parametrize("body", NOTHING, ids=map(str, NOTHING))
def test_l1_neither_a_result_nor_a_code_is_no_answer(operation, body):
    with pytest.raises(PeerProtocolError):
        read(operation, body)


AUTHORIZATIONS = {
    "yes": ("Authorized", "000", "000"),
    "yes without a code": ("Authorized", None, "000"),
    "yes with a number": ("Authorized", 0, "000"),
    "no": ("NotAuthorized", "102", "102"),
    "no with a number": ("NotAuthorized", 102, "102"),
    "no with 000": ("NotAuthorized", "000", "106"),
    "no without a code": ("NotAuthorized", None, "106"),
    "no with 021": ("NotAuthorized", "021", "021"),
}


@pytest.mark.parametrize("operation", ["AuthorizeStart", "AuthorizeStop"])
@pytest.mark.parametrize(("status", "code", "expected"), AUTHORIZATIONS.values(), ids=AUTHORIZATIONS)
def test_l1_an_authorization_is_a_yes_or_a_no(operation, status, code, expected):
    message = read(operation, {"AuthorizationStatus": status, "ProviderID": "DE-GDF", **answer(None, code)})
    assert (message.authorization_status, message.status_code.code) == (status, expected)


@pytest.mark.parametrize("code", ["102", "021", 310])
def test_l1_an_authorization_with_a_refusals_code_is_no_answer(code):
    with pytest.raises(PeerProtocolError, match="contradictory answer: Authorized with"):
        read("AuthorizeStart", {"AuthorizationStatus": "Authorized", **answer(None, code)})
