"""What each answer means: a table of statuses, headers and bodies."""

from __future__ import annotations

import json

import pytest

from p2p_oicp.client.replies import HttpResponse, read_reply
from p2p_oicp.errors import PeerBusy, PeerProtocolError, PeerRejected, PeerUnauthorized, PeerUnreachable
from p2p_oicp.oicp import Acknowledgement
from p2p_oicp.oicp.operations import OPERATION_BY_NAME

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT

AUTHORIZED = {"AuthorizationStatus": "Authorized", "SessionID": "b2688855-7f00-0002-6d8e-48d883f6abb6",
              "ProviderID": "DE-GDF", "StatusCode": {"Code": "000"}}  # fmt: skip
ACKNOWLEDGED = {"Result": True, "StatusCode": {"Code": "000", "Description": "Success"}}
PARTNER_NOT_FOUND = {"StatusCode": {"Code": "300", "Description": "Partner not found", "AdditionalInfo": None}}
HUBJECT_400 = {
    "extendedInfo": None,
    "message": "Error parsing/validating JSON.",
    "validationErrors": [{"fieldReference": "evseID", "errorMessage": "may not be null"}, "odd"],
}


def read(status=200, body: object = ACKNOWLEDGED, operation="ChargeDetailRecord", **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_reply(HttpResponse("peer B", status, named, content), OPERATION_BY_NAME[operation], now=NOW)


def code(reply):
    return reply.message.status_code.code


REPLIES = {
    "positive acknowledgement": ("ChargeDetailRecord", ACKNOWLEDGED, "000"),
    "negative acknowledgement": ("ChargeDetailRecord", {"Result": False, "StatusCode": {"Code": "400"}}, "400"),
    "authorized": ("AuthorizeStart", AUTHORIZED, "000"),
    "acknowledgement in place of an authorization": (
        "AuthorizeStart",
        {"Result": False, "StatusCode": {"Code": "017"}},
        "017",
    ),
    "a refusal's code alone in place of an authorization": ("AuthorizeStart", {"StatusCode": {"Code": "017"}}, "017"),
    "acknowledgement in place of a page": ("PullEvseData", {"Result": False, "StatusCode": {"Code": "300"}}, "300"),
    "acknowledgement in place of statuses": ("PullEvseStatus", {"Result": False, "StatusCode": {"Code": "210"}}, "210"),
}


@pytest.mark.parametrize(("operation", "body", "expected"), REPLIES.values(), ids=REPLIES)
def test_every_oicp_answer_is_a_reply(operation, body, expected):
    reply = read(body=body, operation=operation)
    assert code(reply) == expected
    assert json.loads(reply.body) == body
    if "Result" in body:
        assert isinstance(reply.message, Acknowledgement)


def test_a_reply_carries_the_process_id_and_the_body_as_utf8():
    body = {**ACKNOWLEDGED, "StatusCode": {"Code": "000", "Description": "für dich"}}
    content = json.dumps(body, ensure_ascii=False)
    reply = read(body=content.encode("latin-1"), Content_Type="application/json; charset=ISO-8859-1", Process_ID="p-1")
    assert (reply.process_id, reply.body, reply.http_status) == ("p-1", content.encode(), 200)
    assert read().process_id is None


NOT_OICP = {
    "empty": b"",
    "blank": b" \r\n",
    "html": b"<html>It works!</html>",
    "an array": b"[]",
    "null": b"null",
    "some other object": b'{"status":"ok"}',
    "the answer to another question": b'{"EvseStatuses":{"OperatorEvseStatus":[]},"StatusCode":{"Code":"000"}}',
    "cut off": b'{"Result": true, "Stat',
    "not text": b"\xff\xfe\xfd",
}


@pytest.mark.parametrize("body", NOT_OICP.values(), ids=NOT_OICP)
@pytest.mark.parametrize("operation", ["AuthorizeStart", "PullEvseStatusByID"])
def test_a_200_that_is_not_oicp_is_broken(operation, body):
    with pytest.raises(PeerProtocolError, match=r"^peer B: "):
        read(body=body, operation=operation)


def test_an_unknown_charset_is_broken():
    with pytest.raises(PeerProtocolError, match="klingon"):
        read(Content_Type="application/json; charset=klingon")


REJECTED = {
    "Hubject's 400": (400, HUBJECT_400, None, "Error parsing/validating JSON.; evseID may not be null"),
    "400 with 022": (400, {"StatusCode": {"Code": "022"}}, "022", "022"),
    "404 partner not found": (404, PARTNER_NOT_FOUND, "300", "300 Partner not found"),
    "404 session closed": (
        404,
        {"StatusCode": {"Code": "400", "Description": "Session is invalid", "AdditionalInfo": "not CLOSED!"}},
        "400",
        "400 Session is invalid not CLOSED!",
    ),
    "404 from WWCP": (404, {"request": "/x", "description": "Unknown path!"}, None, "Unknown path!"),
    "405": (405, {"description": "GET is not allowed"}, None, "GET is not allowed"),
    "415": (415, {"StatusCode": {"Code": 22}}, "022", "022"),
    "a code of the wrong type": (400, {"StatusCode": {"Code": [1], "Description": "bad"}}, None, "bad"),
    "a status code of the wrong type": (400, {"StatusCode": 22, "message": "bad"}, None, "bad"),
    "errors of the wrong type": (400, {"message": "bad", "validationErrors": 7}, None, "bad"),
}


@pytest.mark.parametrize(("status", "body", "expected", "words"), REJECTED.values(), ids=REJECTED)
def test_4xx_is_a_rejection_with_code_and_words(status, body, expected, words):
    with pytest.raises(PeerRejected) as caught:
        read(status, body)
    assert (caught.value.code, caught.value.http_status) == (expected, status)
    assert words in caught.value.reason


def test_the_words_of_a_refusal_are_bounded():
    with pytest.raises(PeerRejected) as caught:
        read(400, {"message": "x" * 10_000})
    assert len(caught.value.reason) < 400


OTHERS = {
    "404 of a web server": (404, b"<html>not here</html>", PeerProtocolError),
    "413 of a web server": (413, b"", PeerProtocolError),
    "422 with an array": (422, [1], PeerProtocolError),
    "421": (421, {"StatusCode": {"Code": "300"}}, PeerUnreachable),
    "401 with 017": (401, {"StatusCode": {"Code": "017", "Description": "Unauthorized Access"}}, PeerUnauthorized),
    "401 empty": (401, b"", PeerUnauthorized),
    "403 html": (403, b"<html>", PeerUnauthorized),
    "500 with 001": (500, {"StatusCode": {"Code": "001"}}, PeerProtocolError),
    "502": (502, b"", PeerProtocolError),
    "504": (504, b"", PeerProtocolError),
    "304": (304, b"", PeerProtocolError),
    "408": (408, b"", PeerBusy),
}


@pytest.mark.parametrize(("status", "body", "error"), OTHERS.values(), ids=OTHERS)
def test_other_statuses_have_their_error(status, body, error):
    with pytest.raises(error, match=f"HTTP {status}"):
        read(status, body)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_broken_and_names_the_place(status):
    with pytest.raises(PeerProtocolError, match=r"redirect to https://elsewhere\.example/x"):
        read(status, b"", Location="https://elsewhere.example/x")


RETRY_AFTER = {
    "absent": ({}, None),
    "seconds": ({"Retry_After": "120"}, 120.0),
    "zero": ({"Retry_After": "0"}, 0.0),
    "negative": ({"Retry_After": "-5"}, None),
    "nonsense": ({"Retry_After": "soon"}, None),
    "digits of another script": ({"Retry_After": "\u0661\u0662"}, None),
    "a date, by our clock": ({"Retry_After": "Tue, 14 Nov 2023 22:14:20 GMT"}, 60.0),
    "a date, by the answer's clock": (
        {"Retry_After": "Tue, 14 Nov 2023 20:00:30 GMT", "Date": "Tue, 14 Nov 2023 20:00:00 GMT"},
        30.0,
    ),
    "a date in the past": ({"Retry_After": "Tue, 14 Nov 2023 22:00:00 GMT"}, 0.0),
}


@pytest.mark.parametrize(("headers", "expected"), RETRY_AFTER.values(), ids=RETRY_AFTER)
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_peer_says_when_to_come_back(status, headers, expected):
    with pytest.raises(PeerBusy) as caught:
        read(status, b"", **headers)
    assert caught.value.retry_after == expected
