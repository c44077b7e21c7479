"""An app driver: started and stopped remotely."""

import pytest

from p2p_oicp.errors import PeerTimeout, PeerUnreachable
from tests.support.messages import (
    CDR,
    NOTIFY,
    REMOTE_START,
    REMOTE_STOP,
    UNKNOWN_SESSION,
    cdr,
    notification,
    remote_start,
    remote_stop,
)

CONTRACT = {"RemoteIdentification": {"EvcoID": "DE-GDF-C12345678-X"}}


async def test_a_remote_start_reaches_the_csms_of_the_evses_operator(pair):
    answer = await pair.b.post(REMOTE_START, remote_start(EMPPartnerSessionID="app-7"))
    assert (answer.status, answer.json["Result"], answer.code) == (200, True, "000")
    assert (answer.json["CPOPartnerSessionID"], answer.json["EMPPartnerSessionID"]) == ("csms-1", "app-7")
    assert [start.session_id.text for start in pair.csms.starts] == [answer.json["SessionID"]]


async def test_a_remote_stop_follows_its_session(pair):
    session = (await pair.b.post(REMOTE_START, remote_start())).json["SessionID"]
    answer = await pair.b.post(REMOTE_STOP, remote_stop(session))
    assert (answer.json["Result"], answer.code) == (True, "000")
    assert [stop.session_id.text for stop in pair.csms.stops] == [session]


async def test_the_record_of_a_remote_session_is_delivered(pair):
    session = (await pair.b.post(REMOTE_START, remote_start())).json["SessionID"]
    assert (await pair.a.post(NOTIFY, notification("Start", session))).json["Result"] is True
    assert (await pair.a.post(CDR, cdr(session, Identification=CONTRACT))).json["Result"] is True
    await pair.contracts.until(lambda book: book.records)


@pytest.mark.parametrize("code", ["501", "510", "601", "602", "700"])
async def test_the_csms_own_refusal_comes_back_and_leaves_no_session(pair, code):
    pair.csms.refuse_with = code
    answer = await pair.b.post(REMOTE_START, remote_start(SessionID=UNKNOWN_SESSION))
    assert (answer.json["Result"], answer.code) == (False, code)
    assert (await pair.b.post(REMOTE_STOP, remote_stop(UNKNOWN_SESSION))).code == "400"


async def test_an_evse_of_nobody_known_is_300(pair):
    answer = await pair.b.post(REMOTE_START, remote_start("FR*XYZ*E1"))
    assert (answer.json["Result"], answer.code) == (False, "300")


async def test_a_cpo_that_cannot_be_reached_is_310_and_leaves_no_session(stopped):
    async with stopped.running("b"):
        answer = await stopped.b.post(REMOTE_START, remote_start())
    assert (answer.json["Result"], answer.code) == (False, "310")
    assert "SessionID" not in answer.json


async def test_a_csms_that_is_down_is_021(pair):
    pair.csms.fail_with = PeerUnreachable("csms", "connection refused")
    assert (await pair.b.post(REMOTE_START, remote_start())).code == "021"


async def test_a_start_whose_answer_got_lost_stays_uncertain_and_its_record_is_accepted(pair):
    pair.csms.fail_with = PeerTimeout("csms", "no answer in time")
    session = (await pair.b.post(REMOTE_START, remote_start())).json.get("SessionID")
    pair.csms.fail_with = None
    assert (await pair.a.post(CDR, cdr(session, Identification=CONTRACT))).json["Result"] is True
    await pair.contracts.until(lambda book: book.records)


async def test_a_stop_of_an_unknown_session_is_400(pair):
    answer = await pair.b.post(REMOTE_STOP, remote_stop(UNKNOWN_SESSION))
    assert (answer.json["Result"], answer.code) == (False, "400")


async def test_a_repeated_start_starts_once(pair):
    request = remote_start(EMPPartnerSessionID="app-7")
    answers = [(await pair.b.post(REMOTE_START, request)).json for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(pair.csms.starts) == 1


async def test_a_remote_start_of_an_evse_that_is_not_ours_is_300_at_the_peer_api(pair):
    answer = await pair.a_peer.post(REMOTE_START, remote_start("FR*XYZ*E1"))
    assert (answer.json["Result"], answer.code) == (False, "300")
    assert pair.csms.starts == []
