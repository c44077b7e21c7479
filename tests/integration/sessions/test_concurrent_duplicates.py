"""Others send a request again while the first is still under way; it has one effect and one answer (H2, H4)."""

import asyncio

import pytest

from p2p_oicp.oicp import Acknowledgement, StatusCode
from p2p_oicp.storage.statements import Statement
from tests.support.dataset_messages import PUSH_DATA, evse, push_data
from tests.support.messages import (
    CDR,
    NOTIFY,
    REMOTE_START,
    START,
    UNKNOWN_SESSION,
    authorize_start,
    cdr,
    notification,
    remote_start,
)


async def test_a_remote_start_that_is_repeated_while_it_is_under_way_starts_once(pair):
    """The second would be refused, the EVSE being in use, and a refused session would lose its CDR."""
    first = pair.csms.authorize_remote_start

    async def slow(request):
        answer = await first(request)
        await asyncio.sleep(0.2)
        occupied = Acknowledgement(result=False, status_code=StatusCode(code="602"))
        return answer if len(pair.csms.starts) == 1 else occupied

    pair.csms.authorize_remote_start = slow
    request = remote_start(SessionID=UNKNOWN_SESSION)
    answers = await asyncio.gather(*(pair.b.post(REMOTE_START, request) for _ in range(3)))
    assert [answer.json for answer in answers] == [answers[0].json] * 3
    assert (answers[0].code, len(pair.csms.starts)) == ("000", 1)
    assert (await pair.a.post(CDR, cdr(UNKNOWN_SESSION))).code == "000"


async def test_an_authorization_that_is_repeated_with_its_session_asks_once(pair):
    request = authorize_start(SessionID=UNKNOWN_SESSION)
    answers = await asyncio.gather(*(pair.a.post(START, request) for _ in range(3)))
    assert [answer.json for answer in answers] == [(await pair.a.post(START, request)).json] * 3
    assert len(pair.contracts.starts) == 1


async def test_an_answer_that_its_own_cdr_overtook_does_not_take_the_session_back(stopped):
    first = stopped.csms.authorize_remote_start

    async def eager(request):
        session = request.session_id.text
        await stopped.a.post(NOTIFY, notification("Start", session))
        await stopped.a.post(CDR, cdr(session))
        await stopped.contracts.until(lambda contracts: contracts.records)
        return await first(request)

    stopped.csms.authorize_remote_start = eager
    async with stopped.running("a") as a, stopped.running("b") as b:
        assert (await stopped.b.post(REMOTE_START, remote_start())).code == "000"
        states = [(await node.store.query(Statement("SELECT state FROM sessions", {})))[0]["state"] for node in (a, b)]
    assert set(states) <= {"ended", "settled"}


@pytest.mark.parametrize("count", [1, 1000], ids=["small", "large"])
async def test_an_insert_whose_answer_our_own_backend_lost_is_acknowledged_again_and_another_one_is_not(stopped, count):
    insert = push_data(*(evse(f"{number:04}") for number in range(count)), action="insert")
    async with stopped.running("a"):
        first = await stopped.a.post(PUSH_DATA, insert)
    async with stopped.running("a"):
        again = await stopped.a.post(PUSH_DATA, insert)
        other = await stopped.a.post(PUSH_DATA, push_data(evse("0000", DynamicInfoAvailable="auto"), action="insert"))
    assert (first.code, again.json, other.code) == ("000", first.json, "009")
