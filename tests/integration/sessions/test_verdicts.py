"""What the EMP's backend says of a CDR reaches the CPO's node: at once, or later (RULES L11)."""

import asyncio

import pytest

from p2p_oicp.errors import PeerUnreachable
from p2p_oicp.roles import settlement, verdicts
from p2p_oicp.roles.responses import SessionIds, acknowledgement_response
from tests.support.messages import CDR, cdr
from tests.support.nodes import query, start_session
from tests.support.waiting import eventually

STATES = "SELECT state, verdict_code, verdict_text FROM cdrs"


def states(pair, name: str) -> list[tuple]:
    return query(pair, name, STATES)


async def until_state(pair, name: str, state: str) -> None:
    await eventually(lambda: [row[0] for row in states(pair, name)] == [state])


async def act(pair, name: str, session: str, action: str, **options) -> dict:
    client = getattr(pair, name)
    async with pair.http.post(f"{client.base}/admin/v1/cdrs/{session}/{action}", json=options) as answer:
        return {"status": answer.status, **await answer.json()}


async def test_a_record_that_the_backend_accepts_is_accepted_on_both_sides_and_settles_the_session(pair):
    session = await start_session(pair)
    await pair.a.post(CDR, cdr(session))
    for name in ("a", "b"):
        await until_state(pair, name, "accepted")
        assert query(pair, name, "SELECT state FROM sessions") == [("settled",)]


async def test_a_record_that_the_backend_refuses_is_disputed_on_both_sides_with_its_reason(pair):
    pair.contracts.refuse_records_with = "200"
    session = await start_session(pair)
    answer = await pair.a.post(CDR, cdr(session))
    assert answer.json["Result"] is True  # the CPO's node has stored it
    for name in ("a", "b"):
        await until_state(pair, name, "disputed")
        ((_, code, text),) = states(pair, name)
        assert code == "200"
        assert "no such contract" in text
        assert query(pair, name, "SELECT state FROM sessions") == [("ended",)]
    assert query(pair, "a", "SELECT count(*) FROM outbox") == [(0,)]


async def test_the_refusal_is_in_the_answer_of_the_emps_node(pair):
    pair.contracts.refuse_records_with = "200"
    session = await start_session(pair)
    answer = await pair.b_peer.post(CDR, cdr(session))
    assert (answer.json["Result"], answer.code, answer.json["P2P"]) == (False, "200", {"verdict": "disputed"})


@pytest.mark.parametrize("accepts", [True, False])
async def test_the_same_record_again_gets_the_verdict_that_stands_and_does_not_reach_the_backend_again(pair, accepts):
    pair.contracts.refuse_records_with = None if accepts else "200"
    session = await start_session(pair)
    first = await pair.b_peer.post(CDR, cdr(session))
    pair.contracts.refuse_records_with = None
    second = await pair.b_peer.post(CDR, cdr(session))
    assert first.json == second.json
    assert len(pair.contracts.records) == accepts


async def test_a_backend_that_is_down_leaves_the_record_delivered_until_its_verdict_comes(pair):
    session = await start_session(pair)
    pair.contracts.fail_with = PeerUnreachable("contracts", "down")
    await pair.a.post(CDR, cdr(session))
    await until_state(pair, "a", "delivered")
    assert query(pair, "a", "SELECT state FROM sessions WHERE session_id = ?", session) == [("ended",)]
    pair.contracts.fail_with = None
    await until_state(pair, "a", "accepted")
    assert query(pair, "a", "SELECT state FROM sessions WHERE session_id = ?", session) == [("settled",)]


async def test_a_verdict_on_a_session_whose_start_was_interrupted_by_a_crash_reaches_the_cpo(pair):
    session = await start_session(pair)
    query(pair, "b", "UPDATE sessions SET state = 'requested', provider_id = '', provider_key = ''")
    pair.contracts.fail_with = PeerUnreachable("contracts", "down")
    await pair.a.post(CDR, cdr(session))
    await until_state(pair, "a", "delivered")
    pair.contracts.fail_with = None
    await until_state(pair, "a", "accepted")


@pytest.fixture
async def quick(stopped):
    """Two running nodes; a CDR waits for the EMP's backend for a moment only."""
    stopped.deadlines = "record_backend = 0.05\n"
    stopped.write()
    async with stopped.running("a"), stopped.running("b"):
        yield stopped


async def test_a_backend_that_hangs_delays_the_answer_by_a_few_seconds_only_and_the_verdict_follows(quick, monkeypatch):
    pair = quick
    session = await start_session(pair)
    release, receive = asyncio.Event(), pair.contracts.charge_detail_record

    async def hang(record):
        await release.wait()
        return await receive(record)

    monkeypatch.setattr(pair.contracts, "charge_detail_record", hang)
    answer = await pair.b_peer.post(CDR, cdr(session))
    assert (answer.json["Result"], answer.json["P2P"]) == (True, {"verdict": "pending"})
    await pair.a.post(CDR, cdr(session))
    await until_state(pair, "a", "delivered")
    release.set()
    await until_state(pair, "a", "accepted")


async def test_only_a_bounded_number_of_requests_waits_for_a_backend_that_hangs(pair, monkeypatch):
    monkeypatch.setattr(verdicts, "_MAX_WAITING", 0)
    session = await start_session(pair)
    answer = await pair.b_peer.post(CDR, cdr(session))
    assert answer.json["P2P"] == {"verdict": "pending"}


async def test_a_disputed_record_that_is_sent_to_the_backend_again_becomes_accepted_at_the_cpo_too(pair):
    pair.contracts.refuse_records_with = "200"
    session = await start_session(pair)
    await pair.a.post(CDR, cdr(session))
    await until_state(pair, "a", "disputed")
    pair.contracts.refuse_records_with = None
    assert (await act(pair, "b", session, "retry"))["done"] == "sent again to backend:emp"
    await until_state(pair, "a", "accepted")
    assert query(pair, "a", "SELECT state FROM sessions") == [("settled",)]
    assert (await act(pair, "b", session, "retry"))["status"] == 409


async def test_a_verdict_about_another_record_is_refused(pair):
    session = await start_session(pair)
    await pair.a.post(CDR, cdr(session))
    await until_state(pair, "a", "accepted")
    verdict = {"SessionID": session, "Digest": "00" * 32, "Verdict": "disputed", "StatusCode": {"Code": "400"}}
    url = f"{pair.a_peer.base}/p2p/v1/cdr-verdicts?provider=DE-GDF"
    async with pair.http.post(url, json=verdict) as answer:
        assert answer.status == 400
    assert states(pair, "a")[0][0] == "accepted"


@pytest.mark.parametrize("members", [{"Verdict": "pending"}, {"Verdict": 1}, {"SessionID": 1}, {"Digest": "x"}])
async def test_a_verdict_that_says_nothing_is_refused(pair, members):
    session = await start_session(pair)
    pair.contracts.fail_with = PeerUnreachable("contracts", "down")
    await pair.a.post(CDR, cdr(session))
    await until_state(pair, "a", "delivered")
    ((digest,),) = query(pair, "a", "SELECT digest FROM cdrs")
    verdict = {"SessionID": session, "Digest": digest.hex(), "Verdict": "accepted"} | members
    url = f"{pair.a_peer.base}/p2p/v1/cdr-verdicts?provider=DE-GDF"
    async with pair.http.post(url, json=verdict) as answer:
        assert answer.status == 400
    assert states(pair, "a")[0][0] == "delivered"


async def test_a_dispute_that_comes_after_the_acceptance_changes_nothing(pair):
    session = await start_session(pair)
    await pair.a.post(CDR, cdr(session))
    await until_state(pair, "a", "accepted")
    ((digest,),) = query(pair, "a", "SELECT digest FROM cdrs")
    verdict = {"SessionID": session, "Digest": digest.hex(), "Verdict": "disputed", "StatusCode": {"Code": "400"}}
    url = f"{pair.a_peer.base}/p2p/v1/cdr-verdicts?provider=DE-GDF"
    async with pair.http.post(url, json=verdict) as answer:
        assert answer.status == 200
    assert states(pair, "a")[0][0] == "accepted"


async def test_a_record_that_the_peers_node_refuses_is_dead_and_can_be_sent_again(stopped):
    async with stopped.running("a") as node, stopped.running("b"):
        session = await start_session(stopped)
        await stopped.at_rest("b")
        await node.store.write(lambda _: None)
    query(stopped, "b", "DELETE FROM sessions")
    async with stopped.running("a"), stopped.running("b"):
        await stopped.a.post(CDR, cdr(session))
        await until_state(stopped, "a", "dead")
        assert query(stopped, "a", "SELECT state FROM outbox") == [("dead",)]
        assert (await act(stopped, "a", session, "retry"))["done"] == "sent again to node b"
        await until_state(stopped, "a", "dead")


async def test_a_record_that_a_peer_without_verdicts_has_taken_is_delivered_and_its_session_settled(pair, monkeypatch):
    def acknowledge(_status, session, _doubts):
        return acknowledgement_response(ids=SessionIds.from_session(session))

    monkeypatch.setattr(settlement, "verdict_response", acknowledge)
    session = await start_session(pair)
    await pair.a.post(CDR, cdr(session))
    await until_state(pair, "a", "delivered")
    assert query(pair, "a", "SELECT state FROM sessions") == [("settled",)]
