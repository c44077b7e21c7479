"""Deadlines are nested: the inner node gives up first, so that the outer one hears what became of the request.

What comes after a deadline still counts: a late answer of the CSMS decides the session at both nodes.
"""

import asyncio
from contextlib import asynccontextmanager

import pytest

from p2p_oicp.config import load_settings
from p2p_oicp.config.limits import DeadlineSettings
from p2p_oicp.errors import PeerTimeout
from p2p_oicp.node import Node
from p2p_oicp.oicp import Acknowledgement, StatusCode
from p2p_oicp.roles.cpo import csms_calls
from p2p_oicp.roles.emp import remote, uncertain_sessions
from p2p_oicp.roles.emp.uncertain_sessions import UncertainSessionResolver
from tests.support.messages import (
    B_EMP,
    END_RESERVATION,
    NOTIFY,
    REMOTE_START,
    REMOTE_STOP,
    RESERVE,
    START,
    authorize_start,
    notification,
    remote_start,
    remote_stop,
)
from tests.support.messages import reserve as reservation
from tests.support.nodes import OK, query
from tests.support.sessions import states, until_state
from tests.support.waiting import eventually

EVENTS = "SELECT event FROM session_events ORDER BY id"
STARTS = [
    pytest.param(REMOTE_START, remote_start, id="remote start"),
    pytest.param(RESERVE, reservation, id="reservation"),
]
STOPS = [
    pytest.param(REMOTE_START, remote_start, REMOTE_STOP, id="remote stop"),
    pytest.param(RESERVE, reservation, END_RESERVATION, id="reservation stop"),
]
ACCEPTED = Acknowledgement(result=True, status_code=OK, cpo_partner_session_id="csms-late")
REFUSED = Acknowledgement(result=False, status_code=StatusCode(code="501"))


class LateCsms:
    """A CSMS that answers when the test says so: with a message, or by hanging up."""

    def __init__(self):
        self.requests = []
        self.answer = asyncio.Future()

    async def _serve(self, request):
        self.requests.append(request)
        return await asyncio.shield(self.answer)

    authorize_remote_start = authorize_remote_stop = _serve
    authorize_remote_reservation_start = authorize_remote_reservation_stop = _serve


def events(nodes, name: str) -> list[str]:
    return [event for (event,) in query(nodes, name, EVENTS)]


def test_by_default_the_inner_node_has_less_time():
    deadlines = DeadlineSettings()
    assert deadlines.authorize_backend < deadlines.authorize
    assert deadlines.remote_backend < deadlines.remote < deadlines.remote + remote._SECONDS_AFTER_PEER == 57
    assert deadlines.record_backend < deadlines.record
    late = deadlines.remote_backend + csms_calls.READ_ON_SECONDS
    assert late < uncertain_sessions._MAX_IN_FLIGHT_SECONDS == 180


@asynccontextmanager
async def running(stopped, deadlines: str):
    stopped.authorization_deadline = 30.0
    stopped.deadlines = deadlines
    stopped.extra_config = "[sessions]\nclarify_interval = 0.05\n"
    stopped.write()
    async with stopped.running("a"), stopped.running("b"):
        yield stopped


@pytest.fixture
async def nodes(stopped):
    """Two running nodes whose own backends have much less time than the other side."""
    async with running(stopped, "remote = 30.0\nremote_backend = 0.05\nauthorize_backend = 0.05\n") as pair:
        yield pair


@pytest.fixture
async def late(stopped):
    """The same, and a CSMS that answers when the test says so."""
    stopped.csms = LateCsms()
    async with running(stopped, "remote = 30.0\nremote_backend = 0.05\n") as pair:
        yield pair


@pytest.mark.parametrize(("path", "make"), STARTS)
async def test_a_csms_that_takes_too_long_is_310_and_the_session_uncertain_on_both_sides(late, path, make):
    answer = await late.b.post(path, make())
    assert (answer.json["Result"], answer.code) == (False, "310")
    assert "no answer to Authorize" in answer.json["StatusCode"]["AdditionalInfo"]
    assert (states(late, "a"), states(late, "b")) == (["uncertain"], ["uncertain"])


@pytest.mark.parametrize(("path", "make"), STARTS)
@pytest.mark.parametrize(
    ("late_answer", "state", "code"), [(ACCEPTED, "authorized", "000"), (REFUSED, "refused", "501")]
)
async def test_a_late_answer_decides_the_session_on_both_sides_and_is_shown(late, path, make, late_answer, state, code):
    request = make(EMPPartnerSessionID="app-9")
    assert (await late.b.post(path, request)).code == "310"
    late.csms.answer.set_result(late_answer)
    for name in "ab":
        await until_state(late, name, state)
    assert [event for event in events(late, "a") if event.startswith("late answer after 0.")]
    assert f"the CPO's node says: {state}{' with 501' if code == '501' else ''}" in events(late, "b")
    repeated = await late.b.post(path, request)
    assert (repeated.code, repeated.json.get("CPOPartnerSessionID")) == (code, "csms-late" if code == "000" else None)
    assert len(late.csms.requests) == 1


async def test_a_csms_that_hangs_up_after_its_deadline_leaves_the_session_uncertain(late):
    await late.b.post(REMOTE_START, remote_start())
    late.csms.answer.set_exception(PeerTimeout("csms", "closed the connection without a response"))
    await eventually(lambda: any("closed the connection" in event for event in events(late, "a")))
    assert (states(late, "a"), states(late, "b")) == (["uncertain"], ["uncertain"])


async def test_a_csms_that_hangs_up_in_time_is_310_at_once(late):
    late.csms.answer.set_exception(PeerTimeout("csms", "closed the connection without a response"))
    answer = await late.b.post(REMOTE_START, remote_start())
    assert answer.code == "310"
    assert "closed the connection" in answer.json["StatusCode"]["AdditionalInfo"]
    assert events(late, "a") == ["uncertain"]


async def test_a_late_refusal_of_a_session_that_charges_already_ends_nothing(late):
    session = (await late.b.post(REMOTE_START, remote_start())).json["SessionID"]
    await late.a.post(NOTIFY, notification("Start", session))
    late.csms.answer.set_result(REFUSED)
    await eventually(lambda: any("refused; the session goes on: charging" in event for event in events(late, "a")))
    await until_state(late, "b", "charging")
    assert states(late, "a") == ["charging"]


def count_calls(monkeypatch, name: str) -> list:
    """Return a list that grows with each call of a method of the resolver."""
    calls, method = [], getattr(UncertainSessionResolver, name)

    async def counted(resolver, *args):
        calls.append(args)
        return await method(resolver, *args)

    monkeypatch.setattr(UncertainSessionResolver, name, counted)
    return calls


async def test_when_no_late_answer_can_come_any_more_the_cpos_node_gets_no_more_requests(late, monkeypatch):
    monkeypatch.setattr(uncertain_sessions, "_MAX_IN_FLIGHT_SECONDS", 0.0)
    rounds, requests = count_calls(monkeypatch, "_resolve_at"), count_calls(monkeypatch, "_get_status")
    await late.b.post(REMOTE_START, remote_start())
    last = "the CPO's node says: uncertain; no answer of its CSMS is awaited any more"
    await eventually(lambda: last in events(late, "b"))
    first, sent = len(rounds), len(requests)
    await eventually(lambda: len(rounds) > first + 3)
    assert (len(requests), events(late, "b").count(last)) == (sent, 1)


async def test_in_a_node_with_both_roles_the_emps_deadline_does_not_cancel_the_call_of_the_csms(stopped):
    stopped.deadlines, stopped.extra_config = "remote = 0.05\n", "[sessions]\nclarify_interval = 0.05\n"
    stopped.write()
    file = stopped.folder / "a" / "node.toml"
    file.write_text(file.read_text().replace("[peer_api]", f'providers = ["{B_EMP}"]\n[peer_api]'))
    (stopped.folder / "a" / "peers.toml").write_text("")
    csms = LateCsms()
    async with Node(load_settings(file), cpo=csms, emp=stopped.contracts):
        assert (await stopped.a.post(REMOTE_START, remote_start())).code == "310"
        csms.answer.set_result(ACCEPTED)
        await eventually(lambda: states(stopped, "a") == ["authorized"] * 2)


@pytest.mark.parametrize(("start", "make", "stop"), STOPS)
async def test_a_late_acceptance_of_a_stop_is_known_on_both_sides_and_the_stop_not_sent_again(late, start, make, stop):
    first, late.csms.answer = late.csms.answer, asyncio.Future()
    late.csms.answer.set_result(ACCEPTED)
    session = (await late.b.post(start, make())).json["SessionID"]
    late.csms.answer = first
    request, name = remote_stop(session), f"Authorize{'Remote' if stop == REMOTE_STOP else 'RemoteReservation'}Stop"
    assert (await late.b.post(stop, request)).code == "310"
    assert any(event.startswith(f"{name} not accepted") for event in events(late, "b"))
    first.set_result(ACCEPTED)
    await eventually(lambda: f"the CPO's node says: {name} accepted" in events(late, "b"))
    assert any(event.startswith(f"{name} accepted by a late answer") for event in events(late, "a"))
    for client in (late.b, late.a_peer):
        assert (await client.post(stop, request)).code == "000"
    assert len(late.csms.requests) == 2


async def test_a_stop_that_takes_too_long_is_310_and_can_be_sent_again(late):
    late.csms.answer.set_result(ACCEPTED)
    session = (await late.b.post(REMOTE_START, remote_start())).json["SessionID"]
    late.csms.answer = asyncio.Future()
    assert (await late.b.post(REMOTE_STOP, remote_stop(session))).code == "310"
    late.csms.answer = asyncio.Future()
    late.csms.answer.set_result(ACCEPTED)
    assert (await late.b.post(REMOTE_STOP, remote_stop(session))).code == "000"


async def test_our_backend_is_answered_in_time_whatever_the_rest_does_and_the_rest_goes_on(stopped, monkeypatch):
    monkeypatch.setattr(remote, "_SECONDS_AFTER_PEER", -29.9)
    stopped.csms = LateCsms()
    async with running(stopped, "remote = 30.0\nremote_backend = 29.0\n") as pair:
        answer = await pair.b.post(REMOTE_START, remote_start())
        assert (answer.json["Result"], answer.code) == (False, "310")
        assert "no answer after 0.1 s" in answer.json["StatusCode"]["AdditionalInfo"]
        pair.csms.answer.set_result(ACCEPTED)
        for name in "ab":
            await until_state(pair, name, "authorized")


async def test_requests_that_hang_at_both_listeners_delay_the_end_of_a_node_once(stopped, monkeypatch):
    monkeypatch.setattr("p2p_oicp.server.listener.SHUTDOWN_SECONDS", 1.0)
    stopped.csms, stopped.contracts.hold = LateCsms(), asyncio.Event()
    stopped.authorization_deadline, stopped.deadlines = 30.0, "authorize_backend = 30.0\n"
    stopped.write()
    async with stopped.running("b"):
        async with stopped.running("a"):
            requests = (stopped.b.post(REMOTE_START, remote_start()), stopped.a.post(START, authorize_start()))
            hanging = [asyncio.ensure_future(each) for each in requests]
            await eventually(lambda: stopped.csms.requests and stopped.contracts.starts)
            began = asyncio.get_running_loop().time()
        # Not one after the other, and not twice as aiohttp does: that would be 4 s.
        assert asyncio.get_running_loop().time() - began < 3.5
        stopped.contracts.hold.set()
        await asyncio.gather(*hanging, return_exceptions=True)


@pytest.mark.parametrize("name", ["a", "b"])
async def test_a_start_under_way_when_its_node_stops_is_uncertain_and_decided_by_the_other_side(
    stopped, name, monkeypatch
):
    monkeypatch.setattr("p2p_oicp.server.listener.SHUTDOWN_SECONDS", 0.2)
    stopped.csms = LateCsms()
    stopped.deadlines, stopped.extra_config = "remote = 30.0\n", "[sessions]\nclarify_interval = 0.05\n"
    stopped.write()
    other = "b" if name == "a" else "a"
    async with stopped.running(other):
        async with stopped.running(name):
            start = asyncio.ensure_future(stopped.b.post(REMOTE_START, remote_start()))
            await eventually(lambda: stopped.csms.requests)
        await asyncio.gather(start, return_exceptions=True)
        assert states(stopped, name) == ["uncertain"]
        assert "uncertain: this node stopped before the answer came" in events(stopped, name)
        if name == "b":
            stopped.csms.answer.set_result(ACCEPTED)
            async with stopped.running(name):
                await until_state(stopped, name, "authorized")


async def test_the_emps_node_answers_for_a_contract_system_that_takes_too_long(nodes):
    nodes.contracts.hold = asyncio.Event()
    answer = await nodes.a.post(START, authorize_start())
    nodes.contracts.hold.set()
    assert (answer.json["AuthorizationStatus"], answer.code) == ("NotAuthorized", "021")
    assert states(nodes, "b") == ["refused"]
