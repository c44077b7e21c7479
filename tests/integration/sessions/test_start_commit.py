"""AuthorizeStart at the CPO's node between the EMP's response and the commit: one transaction, and who waits for it."""

import asyncio

import pytest

from p2p_oicp.errors import StoreError
from p2p_oicp.storage.statements import Statement
from tests.support.database import HandlersWrites
from tests.support.messages import REMOTE_STOP, START, UNKNOWN_SESSION, authorize_start, remote_stop
from tests.support.nodes import peer_id, query


async def test_outcome_event_and_preferred_peer_are_one_transaction(stopped):
    async with stopped.running("a") as a, stopped.running("b"):
        writes = HandlersWrites(a.store)
        session = (await stopped.a.post(START, authorize_start())).json["SessionID"]
        assert writes.count == 1
        rows = await a.store.query(Statement("SELECT peer FROM uid_routes", {}))
        assert [row["peer"] for row in rows] == [peer_id(stopped, "a", "node b")]
    assert query(stopped, "a", "SELECT session_id, state FROM sessions") == [(session, "authorized")]
    assert query(stopped, "a", "SELECT event FROM session_events") == [("authorized",)]


async def test_a_remote_stop_that_overtakes_the_commit_waits_for_it(stopped):
    async with stopped.running("a") as a, stopped.running("b"):
        held = HandlersWrites(a.store, hold=True)
        start = asyncio.create_task(stopped.a.post(START, authorize_start(SessionID=UNKNOWN_SESSION)))
        await held.reached.wait()
        stop = asyncio.create_task(stopped.b.post(REMOTE_STOP, remote_stop(UNKNOWN_SESSION)))
        done, _ = await asyncio.wait([start, stop], timeout=0.2)
        assert not done
        held.release()
        assert [(await answer).code for answer in (start, stop)] == ["000", "000"]
    assert [request.session_id.text for request in stopped.csms.stops] == [UNKNOWN_SESSION]


async def test_another_request_with_the_session_id_of_a_start_under_way_is_400(stopped):
    async with stopped.running("a"), stopped.running("b"):
        stopped.contracts.hold = asyncio.Event()
        start = asyncio.create_task(stopped.a.post(START, authorize_start(SessionID=UNKNOWN_SESSION)))
        while not stopped.contracts.starts:
            await asyncio.sleep(0.01)
        other = await stopped.a.post(START, authorize_start("AABBCCDD", SessionID=UNKNOWN_SESSION))
        stopped.contracts.hold.set()
        assert (other.code, (await start).code) == ("400", "000")


@pytest.mark.parametrize("card", ["1234ABCD", "AABBCCDD"], ids=["granted", "denied"])
async def test_a_start_that_cannot_be_stored_is_503_with_021(stopped, card):
    async with stopped.running("a") as a, stopped.running("b"):

        async def fail(*_args, **_named):
            raise StoreError("the disk is full")

        a.store.write = fail
        answer = await stopped.a.post(START, authorize_start(card))
        assert (answer.status, answer.code) == (503, "021")
    assert query(stopped, "a", "SELECT * FROM sessions") == []
