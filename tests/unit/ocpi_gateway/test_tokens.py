"""Authentication data of EMPs become tokens of the partner; and cards are authorized in real time."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from p2p_oicp.errors import PeerTimeout
from p2p_oicp.ocpi.envelope import OcpiReply
from p2p_oicp.ocpi_gateway.requests import PageFilter
from p2p_oicp.oicp import OPERATION_BY_NAME
from tests.support.ocpi_gateway import open_bench
from tests.support.ocpi_objects import location

PUSH = OPERATION_BY_NAME["PushAuthenticationData"]


def card(uid="04A1B2C3", **more):
    return {"Identification": {"RFIDIdentification": {"UID": uid, "EvcoID": "DE-DCB-C12345678-9", **more}}}


async def push(bench, action, *records, provider="DE-DCB"):
    data = {"ProviderID": provider, "AuthenticationDataRecord": list(records)}
    body = json.dumps({"ActionType": action, "ProviderAuthenticationData": data}).encode()
    await bench.gateway.push(PUSH, provider, body)


def sent(bench):
    return [(call.verb, call.target[4], call.body["valid"]) for call in bench.partner.sent("tokens")]


async def listed(bench, **page):
    result = await bench.request("GET", "tokens", page=PageFilter(**{"offset": 0, "limit": 50} | page))
    return [(each["uid"], each["valid"]) for each in result.data], result.total


async def test_tokens_are_put_once_and_listed(bench):
    await push(bench, "fullLoad", card(), card("04A1B2C4"))
    await push(bench, "update", card())
    assert sorted(sent(bench)) == [("PUT", "04A1B2C3", True), ("PUT", "04A1B2C4", True)]
    assert await listed(bench) == ([("04A1B2C3", True), ("04A1B2C4", True)], 2)
    assert await listed(bench, limit=1, offset=1) == ([("04A1B2C4", True)], 2)
    put = bench.partner.calls[0]
    assert (put.target[:4], dict(put.query), put.sender) == (
        ("tokens", "RECEIVER", "DE", "DCB"),
        {"type": "RFID"},
        ("DE", "DCB"),
    )


async def test_a_withdrawn_token_is_invalid_and_stays_listed(bench):
    await push(bench, "fullLoad", card(), card("04A1B2C4"))
    bench.clock.now += 10
    await push(bench, "delete", card())
    assert sent(bench)[-1] == ("PATCH", "04A1B2C3", False)
    assert await listed(bench) == ([("04A1B2C3", False), ("04A1B2C4", True)], 2)
    since = datetime.fromtimestamp(bench.clock.now - 5, UTC)
    assert await listed(bench, date_from=since) == ([("04A1B2C3", False)], 1)


async def test_what_a_whole_push_has_not_is_invalid(bench):
    await push(bench, "fullLoad", card(), card("04A1B2C4"))
    await push(bench, "fullLoad", card("04A1B2C4"))
    assert dict((await listed(bench))[0]) == {"04A1B2C3": False, "04A1B2C4": True}


async def test_a_token_becomes_invalid_when_its_card_expires(bench):
    expiry = datetime.fromtimestamp(bench.clock.now + 60, UTC).isoformat()
    await push(bench, "insert", card(ExpiryDate=expiry))
    await bench.gateway.tokens.expire()
    assert dict((await listed(bench))[0]) == {"04A1B2C3": True}
    bench.clock.now += 61
    await bench.gateway.tokens.expire()
    await bench.gateway.tokens.send_outstanding()
    assert sent(bench)[-1] == ("PATCH", "04A1B2C3", False)


async def test_an_unknown_token_that_is_withdrawn_is_sent_as_a_whole(bench):
    bench.partner.answers["PATCH", "tokens"] = OcpiReply(404, 2004, None, "unknown token")
    await push(bench, "insert", card())
    await push(bench, "delete", card())
    assert sent(bench)[-2:] == [("PATCH", "04A1B2C3", False), ("PUT", "04A1B2C3", False)]


async def test_a_partner_that_is_away_gets_the_newest_form_later(bench):
    bench.partner.answers["PUT", "tokens"] = PeerTimeout("ocpi:csms", "no answer")
    with pytest.raises(PeerTimeout):
        await push(bench, "insert", card())
    bench.partner.answers.clear()
    bench.partner.calls.clear()
    assert await bench.gateway.tokens.send_outstanding() == 1
    assert sent(bench) == [("PUT", "04A1B2C3", True)]
    assert await bench.gateway.tokens.send_outstanding() == 0


async def test_a_token_that_the_partner_refuses_costs_no_other(bench):
    bench.partner.answers["PUT", "tokens"] = OcpiReply(200, 2001, None, "no")
    await push(bench, "insert", card(), card("04A1B2C4"))
    assert len(sent(bench)) == 2
    assert await bench.gateway.tokens.send_outstanding() == 0


async def test_tokens_wait_until_the_partner_is_registered(bench):
    bench.partner.is_callable = False
    await push(bench, "insert", card())
    assert sent(bench) == []
    bench.partner.is_callable = True
    assert await bench.gateway.tokens.send_outstanding() == 1
    assert await bench.gateway.tokens.send_again() == 1


async def test_only_the_tokens_of_whom_the_partner_knows_are_sent(store, clock):
    bench = open_bench(store, clock, **{"as": ["DE-DCB"]})
    await push(bench, "insert", {"Identification": {"RFIDIdentification": {"UID": "04A1B2C5"}}}, provider="DE-XYZ")
    assert await listed(bench) == ([], 0)


async def test_a_contract_in_an_app_and_in_a_vehicle_are_two_tokens(bench):
    kinds = ("RemoteIdentification", "PlugAndChargeIdentification")
    await push(bench, "insert", *({"Identification": {kind: {"EvcoID": "DE-DCB-C12345678-9"}}} for kind in kinds))
    assert (await listed(bench))[1] == 2


async def ask(bench, path="04A1B2C3/authorize", body=None, **query):
    return await bench.request("POST", "tokens", path, body, query)


async def test_a_card_is_authorized_with_the_session_as_its_reference(bench):
    await bench.request("PUT", "locations", "DE/GEF/LOC1", location())
    await bench.gateway.location_exporter.export()
    result = await ask(bench, body={"location_id": "loc1", "evse_uids": ["CP1"]})
    (question,) = bench.node.sent("AuthorizeStart")
    assert (question["EvseID"], question["OperatorID"]) == ("DE*GEF*E0001*1", "DE*GEF")
    assert (result.data["allowed"], result.data["authorization_reference"]) == ("ALLOWED", question["SessionID"])


VERDICTS = {
    "no": ("106", 1000, 200, "NOT_ALLOWED"),
    "blocked": ("200", 1000, 200, "BLOCKED"),
    "unknown": ("102", 2004, 404, None),
    "nobody answers": ("310", 3001, 200, None),
}


@pytest.mark.parametrize(("code", "status", "http_status", "allowed"), VERDICTS.values(), ids=VERDICTS)
async def test_a_refusal_has_its_word(bench, code, status, http_status, allowed):
    bench.node.answers["AuthorizeStart"] = {"AuthorizationStatus": "NotAuthorized", "StatusCode": {"Code": code}}
    result = await ask(bench)
    assert (result.status_code, result.http_status, (result.data or {}).get("allowed")) == (
        status,
        http_status,
        allowed,
    )


async def test_a_user_of_an_app_is_answered_from_the_table(bench):
    uid = "DE-DCB-C12345678-9"
    assert (await ask(bench, f"{uid}/authorize", type="APP_USER")).status_code == 2004
    await push(bench, "insert", {"Identification": {"RemoteIdentification": {"EvcoID": uid}}})
    assert (await ask(bench, f"{uid}/authorize", type="APP_USER")).data["allowed"] == "ALLOWED"
    assert bench.node.messages == []


async def test_evses_that_nobody_knows_are_refused(bench):
    assert (await ask(bench, body={"location_id": "LOC1", "evse_uids": ["x"]})).status_code == 2003


async def test_a_node_that_cannot_answer_is_no_verdict(bench):
    bench.node.answers["AuthorizeStart"] = PeerTimeout("node", "no answer")
    assert (await ask(bench, token_type="RFID")).status_code == 3000
