"""RULES.md, boxes L1, L2, L4, L5: what answers mean, and whose a stop is, through both nodes and over HTTP."""

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from p2p_oicp.config import load_settings
from p2p_oicp.node import Node
from p2p_oicp.simulator.node_files import free_ports
from tests.support.messages import (
    CDR,
    END_RESERVATION,
    NOTIFY,
    REMOTE_START,
    REMOTE_STOP,
    RESERVE,
    START,
    STOP,
    authorize_start,
    authorize_stop,
    cdr,
    notification,
    remote_start,
    remote_stop,
    reserve,
)
from tests.support.nodes import query, start_session
from tests.support.sessions import states, until_state
from tests.support.waiting import eventually_equals

YES = (True, "000")
CONTRACT = {"RemoteIdentification": {"EvcoID": "DE-GDF-C12345678-X"}}
OK = {"Result": True, "StatusCode": {"Code": "000"}}


@dataclass
class Backend:
    """A backend over HTTP that answers everything with ``answers``, the last one again and again."""

    answers: list = field(default_factory=lambda: [(200, OK)])
    headers: dict = field(default_factory=dict)
    requests: list = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.requests.append((request.path, json.loads(await request.read())))
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        body = body(self.requests[-1][1]) if callable(body) else body
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text, headers=self.headers, content_type="application/json")


@asynccontextmanager
async def behind_http(pair, backend: Backend, *, at: str):
    """Run both nodes; ``backend`` is that of node ``at``, over HTTP."""
    (port,) = free_ports(1)
    app = web.Application()
    app.router.add_post("/{path:.*}", backend.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    key = {"a": "cpo_url", "b": "emp_url"}[at]
    file = pair.folder / at / "node.toml"
    file.write_text(file.read_text().replace("[backend_api]", f'[backend_api]\n{key} = "http://127.0.0.1:{port}"'))
    try:
        async with Node(load_settings(file)), pair.running("b" if at == "a" else "a"):
            yield
    finally:
        await runner.cleanup()


@pytest.fixture
async def csms(stopped):
    """Two running nodes, the CSMS over HTTP: ``stopped`` is the pair."""
    backend = Backend()
    async with behind_http(stopped, backend, at="a"):
        yield backend


@pytest.fixture
async def contracts(stopped):
    backend = Backend()
    async with behind_http(stopped, backend, at="b"):
        yield backend


ANSWERS = {
    "000 without a Result": (200, {"StatusCode": {"Code": "000"}}, YES, "uncertain", "authorized"),
    "true as a text": (200, {"Result": "true", "StatusCode": {"Code": "000"}}, YES, "authorized", "authorized"),
    "true without a code": (200, {"Result": True}, YES, "authorized", "authorized"),
    "false with 000": (200, {"Result": False, "StatusCode": {"Code": "000"}}, (False, "310"), "uncertain", "uncertain"),
    "false with 021": (200, {"Result": False, "StatusCode": {"Code": "021"}}, (False, "021"), "uncertain", "uncertain"),
    "true with 602": (200, {"Result": True, "StatusCode": {"Code": "602"}}, (False, "310"), "uncertain", "uncertain"),
    "602 alone": (200, {"StatusCode": {"Code": 602}}, (False, "602"), "refused", "refused"),
    "no body": (200, "", (False, "310"), "uncertain", "uncertain"),
    "no JSON": (200, "started", (False, "310"), "uncertain", "uncertain"),
    "an error of its server": (500, {"message": "oh"}, (False, "310"), "uncertain", "uncertain"),
    "an error with a code": (404, {"StatusCode": {"Code": "501"}}, (False, "501"), "refused", "refused"),
    "invalid for it": (400, {"validationErrors": [{"fieldReference": "x"}]}, (False, "022"), "refused", "refused"),
    "a proxy's error": (503, {"message": "later"}, (False, "310"), "uncertain", "uncertain"),
}  # fmt: skip


@pytest.mark.parametrize(("status", "body", "out", "at_cpo", "at_emp"), ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize(("path", "make"), [(REMOTE_START, remote_start), (RESERVE, reserve)], ids=["start", "reserve"])
async def test_l1_what_the_csms_answers_to_a_start(stopped, csms, path, make, status, body, out, at_cpo, at_emp):
    csms.answers = [(status, body)]
    answer = await stopped.b.post(path, make())
    assert (answer.status, answer.json["Result"], answer.code) == (200, *out)
    assert (states(stopped, "a"), states(stopped, "b")) == ([at_cpo], [at_emp])
    assert ("SessionID" in answer.json) is (at_emp != "refused")


@pytest.mark.parametrize("name", ["000 without a Result", "true with 602", "no JSON", "a proxy's error"])
async def test_l1_notifications_and_the_cdr_of_an_uncertain_session_are_accepted(stopped, csms, name):
    status, body, *_ = ANSWERS[name]
    csms.answers = [(status, body)]
    session = (await stopped.b.post(REMOTE_START, remote_start())).json["SessionID"]
    assert (await stopped.a.post(NOTIFY, notification("Start", session))).code == "000"
    assert (await stopped.a.post(CDR, cdr(session, Identification=CONTRACT))).code == "000"
    await stopped.contracts.until(lambda book: book.notifications and book.records)


@pytest.mark.parametrize("name", ["false with 000", "true with 602", "no body", "false with 021"])
async def test_l1_a_stop_without_an_answer_leaves_the_session_as_it_was(stopped, csms, name):
    session = (await stopped.b.post(REMOTE_START, remote_start())).json["SessionID"]
    status, body, out, *_ = ANSWERS[name]
    csms.answers = [(status, body), (200, OK)]
    answers = [await stopped.b.post(REMOTE_STOP, remote_stop(session)) for _ in range(2)]
    assert [(answer.json["Result"], answer.code) for answer in answers] == [out, (True, "000")]


BOOKED = {
    "000 without a Result": (200, {"StatusCode": {"Code": "000"}}, "accepted"),
    "true without a code": (200, {"Result": True}, "accepted"),
    "a code alone": (200, {"StatusCode": {"Code": "200"}}, "disputed"),
}


@pytest.mark.parametrize(("status", "body", "state"), BOOKED.values(), ids=BOOKED)
async def test_l1_what_the_emps_backend_answers_to_a_cdr(stopped, contracts, status, body, state):
    contracts.answers = [(200, {"AuthorizationStatus": "Authorized"}), (status, body)]
    session = await start_session(stopped)
    answer = await stopped.b_peer.post(CDR, cdr(session))
    assert answer.json["P2P"] == {"verdict": state}


REFUSALS = {
    "an Acknowledgement": (200, {"Result": False, "StatusCode": {"Code": "210"}}, "210"),
    "its code alone": (200, {"StatusCode": {"Code": "200"}}, "200"),
    "an Acknowledgement with HTTP 404": (404, {"Result": False, "StatusCode": {"Code": "210"}}, "210"),
    "NotAuthorized with 000": (200, {"AuthorizationStatus": "NotAuthorized", "StatusCode": {"Code": "000"}}, "106"),
    "a contradiction": (200, {"AuthorizationStatus": "Authorized", "StatusCode": {"Code": "102"}}, "021"),
    "success without an authorization": (200, OK, "021"),
}


@pytest.mark.parametrize(("status", "body", "code"), REFUSALS.values(), ids=REFUSALS)
async def test_l2_a_refusal_of_the_emps_backend_keeps_its_code(stopped, contracts, status, body, code):
    contracts.answers = [(status, body)]
    answer = await stopped.a.post(START, authorize_start())
    assert (answer.json["AuthorizationStatus"], answer.code) == ("NotAuthorized", code)
    assert "SessionID" not in answer.json
    assert (states(stopped, "a"), states(stopped, "b")) == (["refused"], ["refused"])


async def test_l1_authorized_without_a_code_is_a_yes(stopped, contracts):
    contracts.answers = [(200, {"AuthorizationStatus": "Authorized"})]
    answer = await stopped.a.post(START, authorize_start())
    assert (answer.json["AuthorizationStatus"], answer.code, answer.json["ProviderID"]) == (
        "Authorized",
        "000",
        "DE-GDF",
    )


OTHER_EVSE = "DE*GEF*E999"
BOUND = {
    "notification": (NOTIFY, lambda session: notification("Start", session, EvseID=OTHER_EVSE)),
    "authorize stop": (STOP, lambda session: authorize_stop(session, EvseID=OTHER_EVSE)),
}


@pytest.mark.parametrize("listener", ["a", "b_peer"])
@pytest.mark.parametrize(("path", "make"), BOUND.values(), ids=BOUND)
async def test_l4_another_evse_than_the_sessions_is_022_and_goes_no_further(pair, listener, path, make):
    session = await start_session(pair, EvseID="DE*GEF*E1")
    answer = await getattr(pair, listener).post(path, make(session))
    assert (answer.status, answer.code) == (200, "022")
    assert "DE*GEF*E999" in answer.json["StatusCode"]["AdditionalInfo"]
    assert (pair.contracts.notifications, pair.contracts.stops) == ([], [])


KINDS = {
    "charging": (REMOTE_START, remote_start, REMOTE_STOP, END_RESERVATION),
    "a reservation": (RESERVE, reserve, END_RESERVATION, REMOTE_STOP),
}


@pytest.mark.parametrize("listener", ["b", "a_peer"])
@pytest.mark.parametrize(("start", "make", "own_stop", "other_stop"), KINDS.values(), ids=KINDS)
async def test_l4_a_stop_is_for_its_own_kind_and_its_own_evse(pair, listener, start, make, own_stop, other_stop):
    session = (await pair.b.post(start, make())).json["SessionID"]
    other_kind = await getattr(pair, listener).post(other_stop, remote_stop(session))
    other_evse = await getattr(pair, listener).post(own_stop, {**remote_stop(session), "EvseID": OTHER_EVSE})
    assert [(answer.json["Result"], answer.code) for answer in (other_kind, other_evse)] == [
        (False, "400"),
        (False, "022"),
    ]
    assert pair.csms.stops + pair.csms.reservation_stops == []
    assert (await pair.b.post(own_stop, remote_stop(session))).code == "000"


async def test_l4_a_reservation_is_not_stopped_by_an_authorize_stop(pair):
    session = (await pair.b.post(RESERVE, reserve())).json["SessionID"]
    answer = await pair.a.post(STOP, authorize_stop(session))
    assert (answer.json["AuthorizationStatus"], answer.code) == ("NotAuthorized", "400")


AGAIN = {
    "a partner session id": ({"EMPPartnerSessionID": "app-7"}, "000"),
    "a SessionID": ({"SessionID": "f98efba4-02d8-4fa0-b810-9a9d50d2c527"}, "400"),
}


@pytest.mark.parametrize("state", ["ended", "settled", "expired"])
@pytest.mark.parametrize(("ids", "code"), AGAIN.values(), ids=AGAIN)
async def test_l5_after_its_session_the_same_start_is_a_new_one(pair, state, ids, code):
    first = (await pair.b.post(REMOTE_START, remote_start(**ids))).json["SessionID"]
    query(pair, "b", "UPDATE sessions SET state = ?", state)
    again = await pair.b.post(REMOTE_START, remote_start(**ids))
    assert again.code == code
    assert again.json.get("SessionID") != first or code == "400"
    assert len(pair.csms.starts) == (2 if code == "000" else 1)


@pytest.mark.parametrize("state", ["ended", "settled", "expired"])
async def test_l5_after_its_session_the_same_authorize_start_is_a_new_one(pair, state):
    request = authorize_start(CPOPartnerSessionID="csms-9")
    first = (await pair.a.post(START, request)).json["SessionID"]
    query(pair, "a", "UPDATE sessions SET state = ?", state)
    assert (await pair.a.post(START, request)).json["SessionID"] != first


@pytest.mark.parametrize("state", ["authorized", "uncertain", "charging"])
async def test_l5_while_its_session_lives_the_same_start_gets_the_first_answer(pair, state):
    request = remote_start(EMPPartnerSessionID="app-7")
    first = await pair.b.post(REMOTE_START, request)
    query(pair, "b", "UPDATE sessions SET state = ?", state)
    assert (await pair.b.post(REMOTE_START, request)).json == first.json
    assert len(pair.csms.starts) == 1


NOT_ARRIVED = {
    "429": (429, {}, 2),
    "503 of a node that sheds": (503, {"P2P-Not-Processed": "1"}, 2),
    "any other 503": (503, {}, 1),
}


@pytest.mark.parametrize(("status", "headers", "calls"), NOT_ARRIVED.values(), ids=NOT_ARRIVED)
async def test_l5_a_refusal_is_forgotten_only_where_the_start_did_not_arrive(stopped, csms, status, headers, calls):
    csms.answers, csms.headers = [(status, {"message": "busy"}), (200, OK)], headers
    request = remote_start(EMPPartnerSessionID="app-7")
    for _ in range(2):
        answer = await stopped.a_peer.post(REMOTE_START, request)
    assert len(csms.requests) == calls
    assert answer.json["Result"] is (calls == 2)


async def test_l5_a_cpo_that_could_not_be_reached_is_called_again_by_the_same_start(stopped):
    request = remote_start(EMPPartnerSessionID="app-7")
    async with stopped.running("b"):
        assert (await stopped.b.post(REMOTE_START, request)).code == "310"
        async with stopped.running("a"):
            assert (await stopped.b.post(REMOTE_START, request)).code == "000"


async def test_l5_an_emp_that_could_not_be_reached_is_called_again_by_the_same_start(stopped):
    request = authorize_start(CPOPartnerSessionID="csms-9")
    async with stopped.running("a"):
        assert (await stopped.a.post(START, request)).code == "106"
        async with stopped.running("b"):
            assert (await stopped.a.post(START, request)).code == "000"
            await until_state(stopped, "b", "authorized")


CONTRADICTIONS = {
    "a yes with a refusal's code": {"Result": True, "StatusCode": {"Code": "601"}},
    "a no with success": {"Result": False, "StatusCode": {"Code": "000"}},
    "a no without a code": {"Result": False},
}
ATTEMPTS = 5


@pytest.mark.parametrize("contradiction", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
async def test_l1_a_cdr_whose_answer_contradicts_itself_is_disputed_after_some_attempts(
    stopped, contracts, contradiction
):
    contracts.answers = [(200, {"AuthorizationStatus": "Authorized"}), (200, contradiction)]
    session = await start_session(stopped)
    assert (await stopped.a.post(CDR, cdr(session))).code == "000"
    await eventually_equals(lambda: query(stopped, "a", "SELECT state FROM cdrs"), [("disputed",)])
    assert len([path for path, _ in contracts.requests if path.endswith(CDR)]) == ATTEMPTS
    for name in ("a", "b"):
        (found,) = query(stopped, name, "SELECT state, verdict_code, verdict_text FROM cdrs")
        assert found[:2] == ("disputed", "310")
        assert "contradictory answer" in found[2]
    # A person sees it, and has it sent again when the backend has been mended.
    contracts.answers = [(200, OK)]
    assert (await stopped.b.admin(f"cdrs/{session}/retry")).status == 200
    await eventually_equals(lambda: query(stopped, "a", "SELECT state FROM cdrs"), [("accepted",)])


async def test_l1_a_contradictory_answer_holds_up_no_other_session(stopped, contracts):
    contracts.answers = [(200, {"AuthorizationStatus": "Authorized"})]
    sessions = [await start_session(stopped, CPOPartnerSessionID=str(number)) for number in range(4)]

    def answer(message: dict) -> dict:
        return CONTRADICTIONS["a no with success"] if message["SessionID"] == sessions[0] else OK

    contracts.answers = [(200, answer)]
    for session in sessions:
        await stopped.a.post(CDR, cdr(session))
    states_of = "SELECT state FROM cdrs ORDER BY id"
    await eventually_equals(lambda: query(stopped, "b", states_of), [("disputed",), *[("accepted",)] * 3])


async def test_l1_a_notification_whose_answer_contradicts_itself_becomes_a_dead_letter(stopped, contracts):
    contracts.answers = [(200, {"AuthorizationStatus": "Authorized"}), (200, {"Result": False})]
    session = await start_session(stopped)
    assert (await stopped.a.post(NOTIFY, notification("Start", session))).code == "000"
    dead = "SELECT operation FROM outbox WHERE state = 'dead'"
    await eventually_equals(lambda: query(stopped, "b", dead), [("ChargingNotifications",)])
    assert len([path for path, _ in contracts.requests if path.endswith(NOTIFY)]) == ATTEMPTS
