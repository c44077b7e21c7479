"""A fake backend answers by its script and records what it was sent."""

from __future__ import annotations

import json

import aiohttp
import pytest

from p2p_oicp.oicp import OPERATION_BY_NAME
from p2p_oicp.testing import FakeCsms, samples


async def post(fake, operation, **members):
    """Send a request to a fake backend as a node does; return HTTP status and JSON."""
    url = OPERATION_BY_NAME[operation].url(fake.url, "DE-DCB")
    message = samples.request(operation) | members
    async with aiohttp.ClientSession() as session, session.post(url, json=message) as reply:
        return reply.status, await reply.json()


async def test_the_usual_answer_is_a_yes_and_a_card_of_nobody_a_no(fake_csms, fake_emp):
    assert (await post(fake_csms, "AuthorizeRemoteStart"))[1]["Result"] is True
    assert (await post(fake_emp, "AuthorizeStart"))[1]["AuthorizationStatus"] == "Authorized"
    other = {"RFIDMifareFamilyIdentification": {"UID": "DEADBEEF"}}
    status, answer = await post(fake_emp, "AuthorizeStart", Identification=other)
    assert (status, answer["StatusCode"]["Code"]) == (200, "102")


async def test_the_newest_rule_counts_as_often_as_it_says(fake_csms):
    fake_csms.answer("AuthorizeRemoteStop", {"Result": True, "StatusCode": {"Code": "000"}, "CPOPartnerSessionID": "x"})
    fake_csms.answer("AuthorizeRemoteStop", status=503, times=1)
    fake_csms.answer("AuthorizeRemoteStop", lambda body: {"seen": body["EvseID"]}, where=lambda body: "Now" in body)
    assert (await post(fake_csms, "AuthorizeRemoteStop"))[0] == 503
    assert (await post(fake_csms, "AuthorizeRemoteStop"))[1]["CPOPartnerSessionID"] == "x"
    assert (await post(fake_csms, "AuthorizeRemoteStop", Now=1))[1] == {"seen": "DE*ABC*E1001*1"}
    fake_csms.reset()
    assert fake_csms.requests == []
    assert "CPOPartnerSessionID" not in (await post(fake_csms, "AuthorizeRemoteStop"))[1]


async def test_a_backend_that_drops_the_connection_or_hangs_has_recorded_the_request(fake_csms):
    fake_csms.drop_connection("AuthorizeRemoteStart", times=1)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await post(fake_csms, "AuthorizeRemoteStart")
    fake_csms.hang("AuthorizeRemoteStart")
    url = OPERATION_BY_NAME["AuthorizeRemoteStart"].url(fake_csms.url, "DE-DCB")
    async with aiohttp.ClientSession() as session:
        with pytest.raises(TimeoutError):
            await session.post(url, json={}, timeout=aiohttp.ClientTimeout(total=0.3))
    fake_csms.assert_received("AuthorizeRemoteStart", count=2)


async def test_a_request_that_did_not_come_is_an_assertion_that_shows_what_was_sent(fake_csms):
    with pytest.raises(AssertionError, match=r"expected 1 AuthorizeRemoteStop, not 0; it was sent nothing"):
        fake_csms.assert_received("AuthorizeRemoteStop", count=1)
    await post(fake_csms, "AuthorizeRemoteStart", SessionID="s1")
    words = r'expected 1 AuthorizeRemoteStart with \{"SessionID": "s2"\} within 0.01 s; it was sent:\n  Auth'
    with pytest.raises(AssertionError, match=words):
        fake_csms.wait_for("AuthorizeRemoteStart", SessionID="s2", timeout=0.01)
    with pytest.raises(AssertionError, match="expected 0 AuthorizeRemoteStart, not 1"):
        fake_csms.assert_not_received("AuthorizeRemoteStart")
    assert fake_csms.assert_received("AuthorizeRemoteStart")[0]["SessionID"] == "s1"


async def test_a_backend_is_away_and_back_at_the_same_url(fake_csms):
    fake_csms.stop()
    with pytest.raises(aiohttp.ClientConnectorError):
        await post(fake_csms, "AuthorizeRemoteStart")
    fake_csms.start()
    assert (await post(fake_csms, "AuthorizeRemoteStart"))[0] == 200


def test_an_operation_that_oicp_does_not_have_is_named_at_once(fake_csms):
    for call in (fake_csms.answer, fake_csms.hang, fake_csms.wait_for, fake_csms.assert_received):
        with pytest.raises(ValueError, match="RemoteStart: no operation of OICP; expected one of AuthorizeStart"):
            call("RemoteStart")


def test_a_backend_without_a_node_says_what_is_missing():
    with pytest.raises(RuntimeError, match="is not open"):
        FakeCsms().authorize_start("DEADBEEF")
    with FakeCsms() as fake, pytest.raises(RuntimeError, match=r"connect\(url\)"):
        fake.authorize_start("DEADBEEF")


def test_a_csms_whose_card_is_refused_fails_the_test_with_the_answer(fake_csms, fake_emp):
    fake_csms.connect(fake_emp.url, token="secret")
    with pytest.raises(AssertionError, match=r'AuthorizeStart was refused: HTTP 200 .*"102"'):
        fake_csms.charge("DEADBEEF")
    (request,) = fake_emp.requests
    assert (request.party, request.headers["Authorization"]) == ("DE*ABC", "Bearer secret")
    assert json.loads(json.dumps(request.body))["EvseID"] == "DE*ABC*E1001*1"
