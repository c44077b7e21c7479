"""A node that is restored from a backup, or starts with an empty store, goes on (DESIGN section 5, "After a restore").

The sessions of these tests begin now: after the backup, and before the restore.
"""

import asyncio
import time

import pytest

from p2p_oicp.delivery.hello import HelloClient
from p2p_oicp.delivery.node_protocol import HttpNodeClient
from p2p_oicp.errors import PeerUnreachable
from p2p_oicp.roles import lost_sessions
from p2p_oicp.roles.emp import uncertain_sessions
from p2p_oicp.roles.emp.uncertain_sessions import UncertainSessionResolver
from p2p_oicp.roles.lost_sessions import LostSessions
from p2p_oicp.roles.recovery import RecoveryJob
from p2p_oicp.storage.sqlite.backup import back_up
from tests.support.messages import (
    CDR,
    NOTIFY,
    REMOTE_START,
    STOP,
    UNKNOWN_SESSION,
    authorize_stop,
    cdr,
    notification,
    remote_start,
    remote_stop,
)
from tests.support.nodes import query, start_session
from tests.support.restores import back_up_all, record, restore_all, timestamp
from tests.support.waiting import eventually

REMOTE_STOP = "charging/v21/providers/DE-GDF/authorize-remote/stop"
GET_CDRS = "cdrmgmt/v22/providers/DE-GDF/get-charge-detail-records-request"


# Which nodes are restored, and from what: "old" is the backup, "copy" a copy by hand, "empty" no database at all.
RESTORES = [
    pytest.param({"a": "old"}, id="the CPO from a backup"),
    pytest.param({"a": "copy"}, id="the CPO from a copy of the file"),
    pytest.param({"a": "empty"}, id="the CPO with an empty store"),
    pytest.param({"b": "old"}, id="the EMP from a backup"),
    pytest.param({"b": "copy"}, id="the EMP from a copy of the file"),
    pytest.param({"b": "empty"}, id="the EMP with an empty store"),
]
BOTH = [
    pytest.param({"a": "old", "b": "old"}, id="both from backups"),
    pytest.param({"a": "copy", "b": "copy"}, id="both from copies of the files"),
    pytest.param({"a": "empty", "b": "empty"}, id="both with empty stores"),
]


def outbox_of(pair, name: str) -> list[tuple]:
    return query(pair, name, "SELECT operation, state FROM outbox")


@pytest.mark.parametrize("how", RESTORES)
@pytest.mark.parametrize("opener", ["csms", "app"])
async def test_a_session_of_the_gap_goes_on_after_a_restore(stopped, how, opener):
    backups = await back_up_all(stopped)
    async with stopped.running("a"), stopped.running("b"):
        session = await open_session(stopped, opener)
    await restore_all(stopped, backups, how)
    async with stopped.running("a"), stopped.running("b"):
        start = notification("Start", session, ChargingStart=timestamp(1))
        assert (await stopped.a.post(NOTIFY, start)).json["Result"] is True
        if opener == "csms":
            assert (await stopped.a.post(STOP, authorize_stop(session))).json["AuthorizationStatus"] == "Authorized"
        else:
            assert (await stopped.b.post(REMOTE_STOP, remote_stop(session))).json["Result"] is True
        assert (await stopped.a.post(CDR, record(session))).json["Result"] is True
        await eventually(lambda: query(stopped, "a", "SELECT state FROM cdrs") == [("accepted",)])
        assert query(stopped, "b", "SELECT state, unconfirmed FROM cdrs") == [("accepted", 0)]
        assert [each.session_id.text for each in stopped.contracts.records] == [session]
        assert len(stopped.contracts.notifications) == 1
        assert outbox_of(stopped, "a") == outbox_of(stopped, "b") == []


async def open_session(pair, opener: str) -> str:
    if opener == "csms":
        return await start_session(pair)
    return (await pair.b.post(REMOTE_START, remote_start())).json["SessionID"]


@pytest.mark.parametrize("how", RESTORES)
async def test_the_books_of_both_nodes_are_whole_again(stopped, how):
    backups = await back_up_all(stopped)
    async with stopped.running("a"), stopped.running("b"):
        sessions = [await start_session(stopped) for _ in range(3)]
        for session in sessions:
            await stopped.a.post(CDR, record(session))
        await eventually(lambda: query(stopped, "a", "SELECT count(*) FROM cdrs WHERE state = 'accepted'") == [(3,)])
    await restore_all(stopped, backups, how)
    async with stopped.running("a"), stopped.running("b"):
        for name in "ab":
            await eventually(lambda name=name: query(stopped, name, "SELECT state FROM cdrs") == [("accepted",)] * 3)
            assert query(stopped, name, "SELECT state FROM sessions") == [("settled",)] * 3
        query_period = {"ProviderID": "DE-GDF", "From": timestamp(-3600), "To": timestamp(3600)}
        page = (await stopped.a_peer.post(GET_CDRS, query_period)).json
        assert sorted(each["SessionID"] for each in page["content"]) == sorted(sessions)
    # An EMP's backend may be told once more what it knows; nothing else is.
    copies = 2 if "b" in how else 1
    assert len(stopped.contracts.records) <= 3 * copies
    assert {each.session_id.text for each in stopped.contracts.records} == set(sessions)


@pytest.mark.parametrize("how", BOTH)
async def test_a_record_that_both_nodes_have_forgotten_is_delivered_once_unconfirmed(stopped, how):
    backups = await back_up_all(stopped)
    async with stopped.running("a"), stopped.running("b"):
        session = await start_session(stopped)
    await restore_all(stopped, backups, how)
    async with stopped.running("a"), stopped.running("b"):
        await until_known(stopped)
        body = record(session)  # made once: its times are those of now, and a second one would be another record
        for _ in range(2):
            assert (await stopped.a.post(CDR, body)).json["Result"] is True
        await eventually(lambda: query(stopped, "a", "SELECT state, unconfirmed FROM cdrs") == [("accepted", 1)])
        assert query(stopped, "b", "SELECT state, unconfirmed FROM cdrs") == [("accepted", 1)]
        assert len(stopped.contracts.records) == 1
        confirmed = await stopped.b.admin(f"cdrs/{session}/confirm")
        assert confirmed.json == {"done": "confirmed"}
        assert query(stopped, "b", "SELECT unconfirmed FROM cdrs") == [(0,)]


async def test_a_node_learns_of_the_others_restore_from_its_answer_where_no_hello_has_come_yet(stopped, monkeypatch):
    backups = await back_up_all(stopped)
    async with stopped.running("a"), stopped.running("b"):
        session = await start_session(stopped)
    await restore_all(stopped, backups, {"a": "old", "b": "old"})

    async def say_nothing(*_):
        return None

    monkeypatch.setattr(HelloClient, "keep_sending", say_nothing)
    async with stopped.running("a"), stopped.running("b"):
        assert (await stopped.a.post(CDR, record(session))).json["Result"] is True
        await eventually(lambda: query(stopped, "a", "SELECT state, unconfirmed FROM cdrs") == [("accepted", 1)])
    assert len(stopped.contracts.records) == 1


@pytest.mark.parametrize("how", RESTORES)
async def test_messages_of_one_lost_session_may_come_at_the_same_time(stopped, how):
    backups = await back_up_all(stopped)
    async with stopped.running("a"), stopped.running("b"):
        session = await start_session(stopped)
    await restore_all(stopped, backups, how)
    async with stopped.running("a"), stopped.running("b"):
        messages = [(NOTIFY, notification(kind, session, ChargingStart=timestamp(1))) for kind in ("Start", "Error")]
        answers = await asyncio.gather(*(stopped.a.post(*message) for message in [*messages, (CDR, record(session))]))
        assert [answer.json["Result"] for answer in answers] == [True] * 3
        await eventually(lambda: query(stopped, "a", "SELECT state FROM cdrs") == [("accepted",)])


async def test_a_message_whose_session_another_one_has_opened_meanwhile_goes_on(stopped, monkeypatch):
    backups = await back_up_all(stopped)
    async with stopped.running("a"), stopped.running("b"):
        session = await start_session(stopped)
    await restore_all(stopped, backups, {"a": "old"})
    find = LostSessions.find

    async def find_twice(lost_sessions, *args):
        await find(lost_sessions, *args)
        return await find(lost_sessions, *args)

    monkeypatch.setattr(LostSessions, "find", find_twice)
    async with stopped.running("a"), stopped.running("b"):
        assert (await stopped.a.post(CDR, record(session))).json["Result"] is True


async def test_a_remote_start_whose_answer_was_lost_with_the_cpos_database_goes_on(signed):
    backups = await back_up_all(signed)
    signed.csms.hold = asyncio.Event()
    async with signed.running("a"), signed.running("b"):
        start = asyncio.create_task(signed.b.post(REMOTE_START, remote_start()))
        await eventually(lambda: len(signed.csms.starts) == 1)
        backup = signed.folder / "requested"
        back_up(signed.database("b"), backup, time.time())  # as a crash leaves it: no answer has come
        signed.csms.hold.set()
        await start
    (session,) = (each.session_id.text for each in signed.csms.starts)
    await restore_all(signed, backups | {"b": backup}, {"a": "old", "b": "old"})
    async with signed.running("a"), signed.running("b"):
        assert (await signed.a.post(CDR, record(session))).json["Result"] is True
        await eventually(lambda: query(signed, "a", "SELECT state, unconfirmed FROM cdrs") == [("accepted", 0)])
    assert len(signed.contracts.records) == 1


async def test_a_verdict_of_the_gap_comes_again_with_the_export(stopped):
    backups, backup = await back_up_all(stopped), stopped.folder / "delivered"
    async with stopped.running("a"), stopped.running("b"):
        session = await start_session(stopped)
        stopped.contracts.fail_with = PeerUnreachable("contracts", "down")
        await stopped.a.post(CDR, record(session))
        await eventually(lambda: query(stopped, "a", "SELECT state FROM cdrs") == [("delivered",)])
        back_up(stopped.database("a"), backup, time.time())
        # Long before the gap: it is the verdict that was lost.
        query(stopped, "b", "UPDATE cdrs SET received_at = received_at - 90000")
        stopped.contracts.fail_with = None
        await eventually(lambda: query(stopped, "a", "SELECT state FROM cdrs") == [("accepted",)])
    await restore_all(stopped, backups | {"a": backup}, {"a": "old"})
    async with stopped.running("a"), stopped.running("b"):
        await eventually(lambda: query(stopped, "a", "SELECT state FROM cdrs") == [("accepted",)])
        assert query(stopped, "a", "SELECT state FROM sessions") == [("settled",)]


@pytest.mark.parametrize("name", ["a", "b"])
async def test_the_books_are_whole_though_the_other_clock_is_minutes_behind(stopped, name):
    backups, other = await back_up_all(stopped), {"a": "b", "b": "a"}[name]
    async with stopped.running("a"), stopped.running("b"):
        session = await start_session(stopped)
        await stopped.a.post(CDR, record(session))
        await eventually(lambda: query(stopped, "a", "SELECT state FROM cdrs") == [("accepted",)])
        query(stopped, other, "UPDATE sessions SET created_at = created_at - 900")
        query(stopped, other, "UPDATE cdrs SET received_at = received_at - 900, forwarded_at = forwarded_at - 900")
    await restore_all(stopped, backups, {name: "old"})
    async with stopped.running("a"), stopped.running("b"):
        await eventually(lambda: query(stopped, name, "SELECT state FROM cdrs") == [("accepted",)])


async def test_a_record_that_waited_long_before_it_reached_the_emp_is_not_lost_with_the_emps_database(stopped):
    backups = await back_up_all(stopped)
    async with stopped.running("a"), stopped.running("b"):
        session = await start_session(stopped)
        back_up(stopped.database("b"), stopped.folder / "with the session", time.time())
        await stopped.a.post(CDR, record(session))
        await eventually(lambda: query(stopped, "a", "SELECT state FROM cdrs") == [("accepted",)])
        query(stopped, "a", "UPDATE cdrs SET received_at = received_at - 90000")
    await restore_all(stopped, backups | {"b": stopped.folder / "with the session"}, {"b": "old"})
    async with stopped.running("a"), stopped.running("b"):
        await eventually(lambda: query(stopped, "b", "SELECT state FROM cdrs") == [("accepted",)])


async def test_a_verdict_waits_until_the_restored_node_has_fetched_its_records(stopped, monkeypatch):
    backups = await back_up_all(stopped)
    async with stopped.running("a"), stopped.running("b"):
        session = await start_session(stopped)
        stopped.contracts.fail_with = PeerUnreachable("contracts", "down")
        await stopped.a.post(CDR, record(session))
        await eventually(lambda: query(stopped, "a", "SELECT state FROM cdrs") == [("delivered",)])
    await restore_all(stopped, backups, {"a": "old"})

    async def fail(*_, **__):
        raise PeerUnreachable("node b", "down")

    with monkeypatch.context() as patch:
        patch.setattr(HttpNodeClient, "export_sessions", fail)
        async with stopped.running("a"), stopped.running("b"):
            stopped.contracts.fail_with = None
            failed = "SELECT count(*) FROM outbox WHERE operation = 'CdrVerdict' AND attempts > 0 AND state = 'waiting'"
            await eventually(lambda: query(stopped, "b", failed) == [(1,)])
    async with stopped.running("a"), stopped.running("b"):
        await eventually(lambda: query(stopped, "a", "SELECT state FROM cdrs") == [("accepted",)])
        await eventually(lambda: outbox_of(stopped, "b") == [])


async def until_known(pair) -> None:
    """Wait until both nodes have told each other of their new databases."""
    await eventually(
        lambda: all(query(pair, name, "SELECT count(*) FROM peer_epochs WHERE proved = 1")[0][0] for name in "ab")
    )


async def test_an_unconfirmed_record_can_be_refused_and_the_cpo_hears_of_it(stopped):
    backups = await back_up_all(stopped)
    async with stopped.running("a"), stopped.running("b"):
        session = await start_session(stopped)
    await restore_all(stopped, backups, {"a": "old", "b": "old"})
    stopped.contracts.fail_with = None
    async with stopped.running("a"), stopped.running("b"):
        await until_known(stopped)
        stopped.contracts.refuse_records_with = "017"  # asked again later: it stays undecided
        await stopped.a.post(CDR, record(session))
        await eventually(lambda: query(stopped, "a", "SELECT state, unconfirmed FROM cdrs") == [("delivered", 1)])
        refused = await stopped.b.admin(f"cdrs/{session}/refuse", {"reason": "nobody charged"})
        assert refused.json == {"done": "refused; node a is told"}
        await eventually(lambda: query(stopped, "a", "SELECT state FROM cdrs") == [("disputed",)])
        assert query(stopped, "a", "SELECT verdict_text FROM cdrs") == [("nobody charged",)]


@pytest.mark.parametrize("restored", [{}, {"a": "old"}, {"b": "old"}, {"a": "empty"}, {"b": "empty"}])
async def test_a_session_that_never_existed_is_refused_whatever_was_restored(stopped, restored):
    backups = await back_up_all(stopped)
    await restore_all(stopped, backups, restored)
    async with stopped.running("a"), stopped.running("b"):
        lie = {"name": "node a", "operators": ["DE*GEF"], "store": 7, "remembers": 8, "epoch": 9, "copied_from": 10}
        lie |= {"gap": [0, time.time() + 100]}
        async with stopped.http.post(f"{stopped.b_peer.base}/p2p/v1/hello", json=lie) as answer:
            assert answer.status == 200
        at_b = await stopped.b_peer.post(CDR, record(UNKNOWN_SESSION))
        assert (at_b.json["Result"], at_b.code) == (False, "400")
        at_a = await stopped.a.post(CDR, record(UNKNOWN_SESSION))
        assert (at_a.json["Result"], at_a.code) == (False, "400")
        assert not stopped.contracts.records


async def test_a_session_of_another_time_is_refused_without_asking_anybody(stopped):
    backups = await back_up_all(stopped)
    await restore_all(stopped, backups, {"a": "old"})
    async with stopped.running("a"), stopped.running("b"):
        answer = await stopped.a.post(CDR, cdr(UNKNOWN_SESSION))  # of months ago
        assert (answer.json["Result"], answer.code) == (False, "400")


async def test_a_record_is_stored_unconfirmed_while_the_peer_is_down_and_delivered_when_it_is_back(
    stopped, monkeypatch
):
    backups = await back_up_all(stopped)
    async with stopped.running("a"), stopped.running("b"):
        session = await start_session(stopped)
    await restore_all(stopped, backups, {"a": "old"})
    async with stopped.running("a"):
        busy = await stopped.a.post(CDR, record(session))
        assert (busy.status, busy.code) == (503, "021")
        monkeypatch.setattr(lost_sessions, "_RETRY_SECONDS", 0.0)
        stored = await stopped.a.post(CDR, record(session))
        assert stored.json["Result"] is True
        assert "unconfirmed" in stored.json["StatusCode"]["AdditionalInfo"]
        assert query(stopped, "a", "SELECT state, unconfirmed FROM cdrs") == [("waiting", 1)]
        assert outbox_of(stopped, "a") == []
        async with stopped.running("b"):
            await eventually(lambda: query(stopped, "a", "SELECT state, unconfirmed FROM cdrs") == [("accepted", 0)])
    assert len(stopped.contracts.records) == 1


async def test_a_node_that_is_restored_twice_in_a_row_goes_on(stopped):
    backups = await back_up_all(stopped)
    async with stopped.running("a"), stopped.running("b"):
        first = await start_session(stopped)
    await restore_all(stopped, backups, {"a": "old"})
    async with stopped.running("a"), stopped.running("b"):
        second = await start_session(stopped)
    await restore_all(stopped, backups, {"a": "empty"})
    async with stopped.running("a"), stopped.running("b"):
        for session in (first, second):
            answer = await stopped.a.post(CDR, record(session))
            assert answer.json["Result"] is True, answer.json
        await eventually(lambda: query(stopped, "a", "SELECT state FROM cdrs") == [("accepted",)] * 2)
    assert sorted(each.session_id.text for each in stopped.contracts.records) == sorted([first, second])


@pytest.mark.parametrize(
    ("source", "state"),
    [
        pytest.param("same", "refused", id="a database that is older than the session"),
        pytest.param("old", "uncertain", id="a backup that is older than the session"),
        pytest.param("empty", "uncertain", id="an empty database"),
    ],
)
async def test_that_an_uncertain_start_never_arrived_is_believed_only_of_a_database_older_than_it(
    stopped, monkeypatch, source, state
):
    monkeypatch.setattr(uncertain_sessions, "_MAX_IN_FLIGHT_SECONDS", 0.0)
    stopped.extra_config = "[sessions]\nclarify_interval = 0.05\n"
    stopped.write()
    backups = await back_up_all(stopped)
    async with stopped.running("b"):
        await stopped.b.post(REMOTE_START, remote_start())
        query(stopped, "b", "UPDATE sessions SET state = 'uncertain'")
        if source != "same":
            await restore_all(stopped, backups, {"a": source})
        answers, get_status = [], UncertainSessionResolver._get_status

        async def counted(resolver, *args):
            answers.append(await get_status(resolver, *args))
            return answers[-1]

        monkeypatch.setattr(UncertainSessionResolver, "_get_status", counted)
        async with stopped.running("a"):
            await eventually(lambda: len(answers) > 2 or any(each.is_known for each in answers) or state == "refused")
            await eventually(lambda: query(stopped, "b", "SELECT state FROM sessions") == [(state,)])


@pytest.mark.parametrize("again", ["a", "b"])
async def test_what_is_unconfirmed_comes_back_after_another_restore_and_is_not_delivered_again(
    stopped, again, monkeypatch
):
    jobs, run = [], RecoveryJob.run

    async def run_registered(job):
        jobs.append(job)
        await run(job)

    monkeypatch.setattr(RecoveryJob, "run", run_registered)
    backups = await back_up_all(stopped)
    async with stopped.running("a"), stopped.running("b"):
        session = await start_session(stopped)
    await restore_all(stopped, backups, {"a": "old", "b": "old"})
    async with stopped.running("a"), stopped.running("b"):
        await until_known(stopped)
        await stopped.a.post(CDR, record(session))
        await eventually(lambda: query(stopped, "a", "SELECT state, unconfirmed FROM cdrs") == [("accepted", 1)])
    await restore_all(stopped, backups, {again: "empty"})
    async with stopped.running("a"), stopped.running("b"):
        state = {"a": "accepted", "b": "waiting"}[again]  # an EMP's node asks a person before it delivers it again
        await eventually(lambda: query(stopped, again, "SELECT state, unconfirmed FROM cdrs") == [(state, 1)])
        for job in jobs[-2:]:
            await job.run_once()  # looks again at what is held, as after each hello
        assert query(stopped, again, "SELECT state, unconfirmed FROM cdrs") == [(state, 1)]
        assert outbox_of(stopped, again) == []
        assert len(stopped.contracts.records) == 1


async def test_a_record_that_waits_for_a_person_is_refused_and_the_cpo_hears_of_it(stopped, monkeypatch):
    """The EMP's node could ask nobody about its session, so it has none, and the backend was not asked."""
    monkeypatch.setattr(lost_sessions, "_RETRY_SECONDS", 0.0)
    backups = await back_up_all(stopped)
    async with stopped.running("a"), stopped.running("b"):
        session = await start_session(stopped)
    await restore_all(stopped, backups, {"b": "old"})

    async def unreachable(_client, peer, *_, **__):
        raise PeerUnreachable(peer.name, "down")

    monkeypatch.setattr(HttpNodeClient, "get_status", unreachable)
    monkeypatch.setattr(HttpNodeClient, "export_sessions", unreachable)
    async with stopped.running("a"), stopped.running("b"):
        await stopped.a.post(CDR, record(session))
        await eventually(lambda: query(stopped, "b", "SELECT state, unconfirmed FROM cdrs") == [("waiting", 1)])
        await eventually(lambda: query(stopped, "a", "SELECT state FROM cdrs") == [("delivered",)])
        refused = await stopped.b.admin(f"cdrs/{session}/refuse", {"reason": "nobody charged"})
        assert refused.json == {"done": "refused; node a is told"}
        await eventually(lambda: query(stopped, "a", "SELECT state, verdict_text FROM cdrs") == [DISPUTED])
    assert stopped.contracts.records == []


DISPUTED = ("disputed", "nobody charged")
