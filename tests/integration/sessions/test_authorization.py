"""An RFID driver: authorized, notified, stopped, settled, between two nodes."""

import asyncio
import json

import pytest

from p2p_oicp.errors import PeerUnreachable
from tests.support.messages import (
    CDR,
    NOTIFY,
    START,
    STOP,
    UNKNOWN_SESSION,
    authorize_start,
    authorize_stop,
    cdr,
    notification,
)
from tests.support.nodes import start_session


async def test_a_card_of_the_emp_is_authorized_and_gets_a_session(pair):
    answer = await pair.a.post(START, authorize_start(CPOPartnerSessionID="csms-9"))
    assert answer.status == 200
    assert answer.json["AuthorizationStatus"] == "Authorized"
    assert answer.code == "000"
    assert answer.json["ProviderID"] == "DE-GDF"
    assert (answer.json["CPOPartnerSessionID"], answer.json["EMPPartnerSessionID"]) == ("csms-9", "contract-1")
    assert pair.contracts.starts[0].session_id.text == answer.json["SessionID"]


async def test_a_valid_session_id_of_the_request_is_used(pair):
    answer = await pair.a.post(START, authorize_start(SessionID=UNKNOWN_SESSION))
    assert answer.json["SessionID"] == UNKNOWN_SESSION


async def test_a_card_nobody_knows_is_refused_with_the_emps_own_code_and_has_no_session(pair):
    answer = await pair.a.post(START, authorize_start("AABBCCDD"))
    assert (answer.status, answer.json["AuthorizationStatus"], answer.code) == (200, "NotAuthorized", "102")
    assert "node b" in answer.json["StatusCode"]["AdditionalInfo"]
    assert "SessionID" not in answer.json


async def test_an_emp_that_cannot_be_reached_counts_as_not_authorized(stopped):
    async with stopped.running("a"):
        answer = await stopped.a.post(START, authorize_start())
    assert (answer.json["AuthorizationStatus"], answer.code) == ("NotAuthorized", "106")
    assert "node b" in answer.json["StatusCode"]["AdditionalInfo"]


async def test_an_emp_that_never_answers_costs_its_deadline_and_not_more(pair):
    pair.contracts.hold = asyncio.Event()
    async with asyncio.timeout(15):
        answer = await pair.a.post(START, authorize_start())
    pair.contracts.hold.set()
    assert (answer.json["AuthorizationStatus"], answer.code) == ("NotAuthorized", "106")


async def test_an_emp_backend_that_is_down_is_a_refusal_with_021(pair):
    pair.contracts.fail_with = PeerUnreachable("contracts", "connection refused")
    answer = await pair.a.post(START, authorize_start())
    assert (answer.json["AuthorizationStatus"], answer.code) == ("NotAuthorized", "021")


async def test_the_same_request_again_gets_the_same_answer_and_asks_the_backend_once(pair):
    request = authorize_start(CPOPartnerSessionID="csms-9")
    answers = [(await pair.a.post(START, request)).json for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert len(pair.contracts.starts) == 1


async def test_the_same_card_twice_without_an_id_of_the_process_is_two_sessions(pair):
    first, second = [(await pair.a.post(START, authorize_start())).json["SessionID"] for _ in range(2)]
    assert first != second


async def test_a_session_id_that_another_process_has_is_refused(pair):
    session = await start_session(pair, CPOPartnerSessionID="csms-9")
    answer = await pair.a.post(START, authorize_start("AABBCCDD", SessionID=session))
    assert (answer.json["AuthorizationStatus"], answer.code) == ("NotAuthorized", "400")


async def test_a_stop_goes_to_the_emp_of_the_session(pair):
    session = await start_session(pair, CPOPartnerSessionID="csms-9")
    answer = await pair.a.post(STOP, authorize_stop(session))
    assert (answer.json["AuthorizationStatus"], answer.code) == ("Authorized", "000")
    assert answer.json["CPOPartnerSessionID"] == "csms-9"
    assert [stop.session_id.text for stop in pair.contracts.stops] == [session]


async def test_a_stop_finds_its_session_in_upper_case_and_lower_case(pair):
    session = await start_session(pair, CPOPartnerSessionID="csms-9")
    assert (await pair.a.post(STOP, authorize_stop(session.upper()))).code == "000"


async def test_a_stop_of_an_unknown_session_is_400(pair):
    answer = await pair.a.post(STOP, authorize_stop(UNKNOWN_SESSION))
    assert (answer.status, answer.json["AuthorizationStatus"], answer.code) == (200, "NotAuthorized", "400")


async def test_a_stop_that_the_emp_cannot_answer_is_310(stopped):
    async with stopped.running("a"):
        async with stopped.running("b"):
            session = await start_session(stopped, CPOPartnerSessionID="csms-9")
        answer = await stopped.a.post(STOP, authorize_stop(session))
    assert (answer.json["AuthorizationStatus"], answer.code) == ("NotAuthorized", "310")


@pytest.mark.parametrize("kind", ["Start", "Progress", "End", "Error"])
async def test_every_notification_reaches_the_emps_backend_unchanged(pair, kind):
    session = await start_session(pair, CPOPartnerSessionID="csms-9")
    sent = notification(kind, session, CustomData={"bay": 7})
    assert (await pair.a.post(NOTIFY, sent)).json["Result"] is True
    await pair.contracts.until(lambda book: book.notifications)
    assert json.loads(pair.contracts.notifications[0].to_json()) == sent


async def test_notifications_of_one_session_arrive_in_their_order(pair):
    session = await start_session(pair, CPOPartnerSessionID="csms-9")
    for kind in ("Start", "Progress", "End"):
        await pair.a.post(NOTIFY, notification(kind, session))
    await pair.a.post(CDR, cdr(session))
    await pair.contracts.until(lambda book: book.records)
    assert [str(received.type) for received in pair.contracts.notifications] == ["Start", "Progress", "End"]


async def test_a_notification_of_an_unknown_session_is_400(pair):
    answer = await pair.a.post(NOTIFY, notification("Start", UNKNOWN_SESSION))
    assert (answer.json["Result"], answer.code) == (False, "400")
