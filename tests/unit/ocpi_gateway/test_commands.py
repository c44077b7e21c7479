"""Remote operations are commands of OCPI, whose results come later."""

from __future__ import annotations

import asyncio
import json

import pytest

from p2p_oicp.client.ocpi import NotAnEnvelope
from p2p_oicp.errors import OperationNotSupported, PeerError, PeerRejected, PeerTimeout
from p2p_oicp.ocpi.envelope import OcpiReply
from p2p_oicp.ocpi_gateway.requests import OcpiProblem
from p2p_oicp.oicp import OPERATION_BY_NAME
from p2p_oicp.oicp.operations import OPERATIONS
from p2p_oicp.storage.ocpi import sessions
from tests.support.ocpi_gateway import open_bench
from tests.support.ocpi_objects import cdr, evse, location, session

SESSION = "0199c1c2-7b1f-7c3a-9d52-4f1f0a6a8c11"
START = {
    "SessionID": SESSION,
    "ProviderID": "DE-DCB",
    "EvseID": "DE*GEF*E0001*1",
    "Identification": {"RemoteIdentification": {"EvcoID": "DE-DCB-C12345678-9"}},
    "EMPPartnerSessionID": "emp-7",
}
STOP = {name: START[name] for name in ("SessionID", "ProviderID", "EvseID")}


@pytest.fixture
async def known(bench):
    await bench.request("PUT", "locations", "DE/GEF/LOC1", location())
    await bench.gateway.location_exporter.export()
    bench.node.messages.clear()
    return bench


async def call(bench, name, body):
    operation = OPERATION_BY_NAME[name]
    message = operation.request.from_json(json.dumps(body).encode())
    return await bench.gateway.call(operation, message)


def answers(bench, response, result=None):
    """Let the partner answer commands so, and post the result at once."""

    async def on_call(request):
        if request.target[0] == "commands" and result is not None:
            await post_result(bench, request, result)

    bench.partner.answers["POST", "commands"] = response
    bench.partner.on_call = on_call


async def post_result(bench, request, result):
    *_, command, command_id = request.body["response_url"].split("/")
    return await bench.request("POST", "commands", f"{command}/{command_id}", result)


async def test_a_start_is_answered_with_its_result(known):
    answers(known, {"result": "ACCEPTED", "timeout": 30}, {"result": "ACCEPTED"})
    answer = await call(known, "AuthorizeRemoteStart", START)
    assert (answer.result, str(answer.status_code.code), answer.session_id.text) == (True, "000", SESSION)
    (request,) = known.partner.sent("commands")
    assert request.target == ("commands", "RECEIVER", "START_SESSION")
    assert request.body["response_url"].startswith("https://node.example/ocpi/2.2.1/emsp/commands/START_SESSION/")
    assert (request.body["authorization_reference"], request.body["evse_uid"]) == (SESSION, "cp1")
    assert request.sender == ("DE", "DCB")


OUTCOMES = {
    "refused at once": ({"result": "REJECTED", "timeout": 0}, None, "106"),
    "not supported": ({"result": "NOT_SUPPORTED", "timeout": 0}, None, "320"),
    "occupied": ({"result": "ACCEPTED", "timeout": 30}, {"result": "EVSE_OCCUPIED"}, "602"),
    "failed": ({"result": "ACCEPTED", "timeout": 30}, {"result": "FAILED", "message": {"text": "x"}}, "501"),
    "a list of one": ([{"result": "REJECTED", "timeout": 0}], None, "106"),
}


@pytest.mark.parametrize(("response", "result", "code"), OUTCOMES.values(), ids=OUTCOMES)
async def test_a_refusal_has_its_code(known, response, result, code):
    answers(known, response, result)
    answer = await call(known, "AuthorizeRemoteStart", START)
    assert (answer.result, str(answer.status_code.code)) == (False, code)


ERRORS = {
    "no answer": (PeerTimeout("ocpi:csms", "no answer"), True),
    "a server error": (NotAnEnvelope("ocpi:csms", "HTTP 500", 500), True),
    "no such path": (NotAnEnvelope("ocpi:csms", "HTTP 404", 404), True),
}


@pytest.mark.parametrize(("error", "has_session"), ERRORS.values(), ids=ERRORS)
async def test_a_start_without_a_usable_answer_is_an_error_and_its_session_is_known(known, store, error, has_session):
    answers(known, error)
    with pytest.raises(PeerError):
        await call(known, "AuthorizeRemoteStart", START)
    assert (await sessions.get_now(store, "csms", SESSION) is not None) is has_session


async def test_a_path_that_is_not_there_is_an_unmistakable_no(known):
    answers(known, NotAnEnvelope("ocpi:csms", "HTTP 404", 404))
    with pytest.raises(PeerRejected) as refused:
        await call(known, "AuthorizeRemoteStart", START)
    assert refused.value.code == "320"


async def test_an_unknown_evse_is_refused_without_asking(bench):
    answer = await call(bench, "AuthorizeRemoteStart", START)
    assert (str(answer.status_code.code), bench.partner.calls) == ("603", [])


async def test_a_result_that_is_late_counts_as_done_and_a_bad_one_is_a_notification(known):
    answers(known, {"result": "ACCEPTED", "timeout": 1})
    object.__setattr__(known.gateway.context, "remote_seconds", 2.0)
    answer = await call(known, "AuthorizeRemoteStart", START)
    assert answer.result
    await post_result(known, known.partner.sent("commands")[0], {"result": "FAILED", "message": [{"text": "no cable"}]})
    (error,) = known.node.sent("ChargingNotification")
    assert (error["Type"], error["ErrorType"], error["SessionID"]) == ("Error", "CriticalError", SESSION)
    assert error["ErrorAdditionalInfo"] == "START_SESSION: FAILED; no cable"


async def test_a_second_result_changes_nothing(known):
    answers(known, {"result": "ACCEPTED", "timeout": 30}, {"result": "ACCEPTED"})
    await call(known, "AuthorizeRemoteStart", START)
    await post_result(known, known.partner.sent("commands")[0], {"result": "FAILED"})
    assert known.node.messages == []


async def test_a_result_of_no_command_is_refused(known):
    with pytest.raises(OcpiProblem) as refused:
        await known.request("POST", "commands", "START_SESSION/no-such-command", {"result": "ACCEPTED"})
    assert refused.value.http_status == 404


async def test_a_remote_session_is_recognised_by_its_reference_and_stopped_by_its_id(known):
    answers(known, {"result": "ACCEPTED", "timeout": 30}, {"result": "ACCEPTED"})
    assert str((await call(known, "AuthorizeRemoteStop", STOP)).status_code.code) == "400"
    await call(known, "AuthorizeRemoteStart", START)
    value = session(authorization_reference=SESSION.upper(), auth_method="COMMAND")
    await known.request("PUT", "sessions", "DE/GEF/S-100", value)
    assert (await call(known, "AuthorizeRemoteStop", STOP)).result
    assert known.partner.sent("commands")[-1].body["session_id"] == "S-100"
    await known.request("POST", "cdrs", "", cdr(authorization_reference=SESSION))
    (record,) = known.node.sent("ChargeDetailRecord")
    assert record["EMPPartnerSessionID"] == "emp-7"
    assert record["Identification"] == START["Identification"]


async def test_a_reservation_has_its_session_id_as_its_id(known):
    answers(known, {"result": "ACCEPTED", "timeout": 30}, {"result": "ACCEPTED"})
    assert (await call(known, "AuthorizeRemoteReservationStart", START | {"Duration": 20})).result
    assert (await call(known, "AuthorizeRemoteReservationStop", STOP)).result
    reserve, cancel = known.partner.sent("commands")
    assert (reserve.target[2], reserve.body["reservation_id"]) == ("RESERVE_NOW", SESSION)
    assert (cancel.target[2], cancel.body["reservation_id"]) == ("CANCEL_RESERVATION", SESSION)


async def test_citrineos_takes_no_reservations_and_gets_the_token_before_a_start(store, clock):
    bench = open_bench(store, clock, profile="citrineos")
    await bench.request("PUT", "locations", "DE/GEF/LOC1", location(evses=[evse()]))
    await bench.gateway.location_exporter.export()
    supported = {operation.name for operation in OPERATIONS if bench.gateway.supports(operation)}
    assert supported == {"AuthorizeRemoteStart", "AuthorizeRemoteStop"}
    with pytest.raises(OperationNotSupported):
        await call(bench, "AuthorizeRemoteReservationStart", START)
    answers(bench, {"result": "ACCEPTED", "timeout": 30}, {"result": "ACCEPTED"})
    await call(bench, "AuthorizeRemoteStart", START)
    assert [request.target[0] for request in bench.partner.calls] == ["tokens", "commands"]


async def test_several_starts_wait_side_by_side(known):
    answers(known, {"result": "ACCEPTED", "timeout": 30}, {"result": "ACCEPTED"})
    others = [START | {"SessionID": f"0199c1c2-7b1f-7c3a-9d52-4f1f0a6a8c{number:02}"} for number in range(20, 30)]
    results = await asyncio.gather(*(call(known, "AuthorizeRemoteStart", body) for body in others))
    assert all(answer.result for answer in results)


async def test_a_reply_without_data_is_no_answer(known):
    answers(known, OcpiReply(200, 2003, None, "unknown location"))
    assert str((await call(known, "AuthorizeRemoteStart", START)).status_code.code) == "603"
