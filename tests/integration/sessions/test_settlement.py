"""Charge detail records: one per session, durable before acknowledged, delivered whatever is down meanwhile."""

import json

import pytest

from p2p_oicp.errors import PeerUnreachable
from p2p_oicp.storage.sqlite.store import SqliteStore
from p2p_oicp.storage.statements import Statement
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
from tests.support.nodes import query, start_session
from tests.support.waiting import eventually


async def test_a_record_reaches_the_emps_backend_byte_for_byte(pair):
    session = await start_session(pair)
    body = json.dumps(cdr(session), indent=1).replace("22.5", "22.500").encode()
    answer = await pair.a.post(CDR, body)
    assert (answer.json["Result"], answer.json["SessionID"]) == (True, session)
    await pair.contracts.until(lambda book: book.records)
    assert pair.contracts.records[0].to_json() == body


async def test_a_record_and_a_notification_cost_no_look_up_of_a_replicator(pair, monkeypatch):
    """Each replicator that is woken makes three look-ups; both nodes run in this process, with four of them at A."""
    session = await start_session(pair)
    await pair.a.post(NOTIFY, notification("Start", session))
    await pair.contracts.until(lambda book: book.notifications)
    look_ups, query_inline = [], SqliteStore.query_inline

    async def counted(self, statement, **parameters):
        look_ups.append(statement.text)
        return await query_inline(self, statement, **parameters)

    monkeypatch.setattr(SqliteStore, "query_inline", counted)
    await pair.a.post(NOTIFY, notification("End", session))
    await pair.a.post(CDR, cdr(session))
    await pair.contracts.until(lambda book: book.records)
    await pair.at_rest("a")
    assert any("FROM outbox" in text for text in look_ups)
    assert not [text for text in look_ups if "store_epoch" in text or "dataset_groups" in text]


async def test_the_same_record_again_is_acknowledged_again_and_delivered_once(pair):
    session = await start_session(pair)
    answers = [(await pair.a.post(CDR, cdr(session))).json for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    other = await start_session(pair)
    await pair.a.post(CDR, cdr(other))
    await pair.contracts.until(lambda book: len(book.records) == 2)
    assert sorted(record.session_id.text for record in pair.contracts.records) == sorted([session, other])


async def test_a_different_record_for_the_session_is_refused(pair):
    session = await start_session(pair)
    await pair.a.post(CDR, cdr(session))
    answer = await pair.a.post(CDR, cdr(session, MeterValueEnd=1032.75, ConsumedEnergy=32.5))
    assert (answer.json["Result"], answer.code) == (False, "400")


async def test_a_record_of_an_unknown_session_is_400(pair):
    assert (await pair.a.post(CDR, cdr(UNKNOWN_SESSION))).code == "400"


async def test_a_record_of_a_refused_start_is_400(pair):
    await pair.a.post(START, authorize_start("AABBCCDD", SessionID=UNKNOWN_SESSION))
    assert (await pair.a.post(CDR, cdr(UNKNOWN_SESSION))).code == "400"


async def test_a_record_of_another_evse_than_the_sessions_is_022(pair):
    session = await start_session(pair)
    answer = await pair.a.post(CDR, cdr(session, EvseID="DE*GEF*E7654321*1"))
    assert (answer.json["Result"], answer.code) == (False, "022")


async def test_the_same_evse_in_another_spelling_is_the_same(pair):
    session = await start_session(pair)
    assert (await pair.a.post(CDR, cdr(session, EvseID="DEGEFE12345671"))).code == "000"


async def test_a_record_waits_for_an_emp_that_is_down_also_across_a_restart_of_its_own_node(stopped):
    async with stopped.running("a"), stopped.running("b"):
        session = await start_session(stopped)
    async with stopped.running("a"):
        assert (await stopped.a.post(CDR, cdr(session))).json["Result"] is True
    async with stopped.running("a"), stopped.running("b"):
        await stopped.contracts.until(lambda book: book.records)
    assert [record.session_id.text for record in stopped.contracts.records] == [session]


async def test_an_emp_node_that_starts_gets_its_waiting_messages_at_once(patient):
    async with patient.running("a"):
        async with patient.running("b"):
            session = await start_session(patient)
        await patient.a.post(CDR, cdr(session))
        await until_tried(patient)
        async with patient.running("b"):
            await patient.contracts.until(lambda book: book.records)


async def test_a_peer_that_sends_a_request_gets_its_waiting_messages_at_once(patient):
    """It is up then, whatever the failures before say."""
    async with patient.running("a"), patient.running("b"):
        session = await start_session(patient)
    async with patient.running("a"):
        await patient.a.post(CDR, cdr(session))
        await until_tried(patient)
        peers = patient.folder / "b" / "peers.toml"
        known = peers.read_text()
        peers.write_text("")  # whom it does not know yet, it does not greet
        async with patient.running("b") as b:
            peers.write_text(known)
            await b.reload()
            await patient.b.post(REMOTE_START, remote_start())
            await patient.contracts.until(lambda book: book.records)


async def test_of_the_progress_that_waits_only_the_newest_is_brought(patient):
    async with patient.running("a"):
        async with patient.running("b"):
            session = await start_session(patient)
            await patient.a.post(NOTIFY, notification("Start", session))
            await patient.contracts.until(lambda book: book.notifications)
        for minute in (10, 20, 30):
            progress = notification("Progress", session, EventOccurred=f"2026-03-01T10:{minute}:05+01:00")
            assert (await patient.a.post(NOTIFY, progress)).code == "000"
        async with patient.running("b"):
            await patient.a.post(CDR, cdr(session))
            await patient.contracts.until(lambda book: book.records)
            await patient.at_rest("b")
    assert [received.event_occurred.minute for received in patient.contracts.notifications[1:]] == [30]


async def until_tried(pair) -> None:
    """Wait until node A has failed to deliver its messages."""
    await eventually(lambda: query(pair, "a", "SELECT 1 FROM outbox WHERE attempts > 0"))


async def test_a_record_waits_for_an_emp_backend_that_is_down(pair):
    session = await start_session(pair)
    pair.contracts.fail_with = PeerUnreachable("contracts", "connection refused")
    assert (await pair.a.post(CDR, cdr(session))).json["Result"] is True
    pair.contracts.fail_with = None
    await pair.contracts.until(lambda book: book.records)
    assert len(pair.contracts.records) == 1


async def test_a_record_of_another_operators_session_is_400_at_the_peer_api(pair):
    started = await pair.b.post(REMOTE_START, remote_start())
    foreign = cdr(started.json["SessionID"], EvseID="FR*XYZ*E1")
    answer = await pair.b_peer.post("cdrmgmt/v22/operators/FR*XYZ/charge-detail-record", foreign)
    assert (answer.json["Result"], answer.code) == (False, "300")


STATES = Statement("SELECT role, state FROM sessions ORDER BY role", {})


@pytest.mark.parametrize(("name", "role"), [("a", "cpo"), ("b", "emp")])
async def test_a_delivered_record_settles_the_session(stopped, name, role):
    async with stopped.running("a"), stopped.running("b"):
        session = await start_session(stopped)
        await stopped.a.post(CDR, cdr(session))
        await stopped.contracts.until(lambda book: book.records)
    async with stopped.running(name) as node:
        rows = await node.store.query(STATES)
    assert [(row["role"], row["state"]) for row in rows] == [(role, "settled")]


async def test_the_same_record_written_otherwise_is_the_same_record(pair):
    session = await start_session(pair)
    assert (await pair.a.post(CDR, cdr(session))).code == "000"
    again = json.dumps(cdr(session.upper(), EvseID="DEGEFE12345671"), indent=2).replace("22.5", "22.50").encode()
    assert (await pair.a.post(CDR, again)).code == "000"


async def test_a_record_waits_for_an_emp_that_is_given_another_name_meanwhile(stopped):
    async with stopped.running("a"):
        async with stopped.running("b"):
            session = await start_session(stopped)
        assert (await stopped.a.post(CDR, cdr(session))).json["Result"] is True
    peers = stopped.folder / "a" / "peers.toml"
    peers.write_text(peers.read_text().replace('"node b"', '"Beta Mobility Ltd"'))
    async with stopped.running("a"), stopped.running("b"):
        await stopped.contracts.until(lambda book: book.records)
