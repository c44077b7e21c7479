"""RULES.md, boxes H: status codes, refusals and repetitions."""

import asyncio
import json

import pytest
from aiohttp import web

from p2p_oicp.oicp import Acknowledgement, StatusCodeValue
from p2p_oicp.roles.emp.remote import EmpRemoteHandler
from tests.support.messages import (
    CDR,
    NOTIFY,
    PUSH_STATUS,
    REMOTE_START,
    REMOTE_STOP,
    RESERVE,
    START,
    STOP,
    UNKNOWN_SESSION,
    authorize_start,
    authorize_stop,
    cdr,
    notification,
    push_status,
    remote_start,
    remote_stop,
    reserve,
)
from tests.support.nodes import query
from tests.support.waiting import eventually

CODES = (
    "000 001 002 009 017 018 019 021 022 101 102 103 105 106 110 120 121 122 200 210 300 310 320 400 501 510 601 602 "
    "603 604 700"
)


@pytest.mark.parametrize("code", CODES.split())
def test_h1_every_code_is_known_with_its_words(code):
    assert StatusCodeValue(code).description


def test_h1_an_unknown_code_is_read_as_it_is():
    message = Acknowledgement.from_json(b'{"Result": false, "StatusCode": {"Code": "999", "Description": "odd"}}')
    assert (str(message.status_code.code), message.status_code.description) == ("999", "odd")


@pytest.fixture
async def silent(stopped):
    """Node B, and in the place of node A's peer API something that takes requests and never answers usefully."""
    taken = []

    async def take(request: web.Request) -> web.Response:
        taken.append((request.path, await request.read()))
        return web.Response(status=502)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", stopped.ports["a"]).start()
    async with stopped.running("b"):
        yield stopped, taken
    await runner.cleanup()


NEVER_RETRIED = {
    "remote start": (REMOTE_START, remote_start()),
    "reservation start": (RESERVE, reserve()),
}


@pytest.mark.parametrize(("path", "request_"), NEVER_RETRIED.values(), ids=NEVER_RETRIED)
async def test_h2_a_start_that_may_have_arrived_is_never_sent_again(silent, path, request_):
    pair, taken = silent
    answer = await pair.b.post(path, {**request_, "EMPPartnerSessionID": "app-7"})
    assert (answer.json["Result"], answer.code) == (False, "310")
    assert (await pair.b.post(path, {**request_, "EMPPartnerSessionID": "app-7"})).json == answer.json
    assert [sent for sent, _ in taken if "hello" not in sent and "sessions" not in sent] == [f"/api/oicp/{path}"]


async def started_again_after_a_crash(stopped, request: dict) -> tuple[dict, dict]:
    """Node A went down between the EMP's response and the commit: it has stored nothing, and asks again."""
    async with stopped.running("a"), stopped.running("b"):
        first = (await stopped.a.post(START, request)).json
    query(stopped, "a", "DELETE FROM sessions")
    async with stopped.running("a"), stopped.running("b"):
        return first, (await stopped.a.post(START, request)).json


async def test_h2_an_authorize_start_is_repeated_with_its_own_session(stopped):
    request = authorize_start(SessionID=UNKNOWN_SESSION, CPOPartnerSessionID="csms-9")
    first, again = await started_again_after_a_crash(stopped, request)
    assert again == first
    assert len(stopped.contracts.starts) == 1  # node B remembers its answer


async def test_h2_an_authorize_start_without_a_session_id_opens_a_second_session_after_a_crash(stopped):
    first, again = await started_again_after_a_crash(stopped, authorize_start(CPOPartnerSessionID="csms-9"))
    assert first["SessionID"] != again["SessionID"]
    assert query(stopped, "a", "SELECT session_id, state FROM sessions") == [(again["SessionID"], "authorized")]


async def test_h2_a_remote_start_is_not_repeated_after_a_crash_and_its_money_is_not_lost(stopped):
    """Node B went down before the answer came: it does not start again, it asks what became of the first start."""
    stopped.extra_config = "[sessions]\nclarify_interval = 0.05\n"
    stopped.write()
    request = remote_start(EMPPartnerSessionID="app-7")
    async with stopped.running("a"), stopped.running("b"):
        session = (await stopped.b.post(REMOTE_START, request)).json["SessionID"]
    query(stopped, "b", "UPDATE sessions SET state = 'requested', start_response = NULL")
    async with stopped.running("a"), stopped.running("b"):
        again = await stopped.b.post(REMOTE_START, request)
        # Node A may have been asked already.
        assert (again.json["Result"], again.code, again.json["SessionID"]) in {
            (False, "310", session), (True, "000", session)
        }  # fmt: skip
        async with asyncio.timeout(10):
            while (answer := await stopped.b.post(REMOTE_START, request)).code != "000":
                await asyncio.sleep(0.01)
        assert answer.json["SessionID"] == session
        assert (await stopped.a.post(CDR, cdr(session))).json["Result"] is True
        await stopped.contracts.until(lambda book: book.records)
    assert len(stopped.csms.starts) == 1


async def test_h2_what_the_cpo_has_answered_since_a_crash_stays_the_answer_of_a_repeated_start(stopped, monkeypatch):
    """The CPO's node is asked at each start of a node, and may answer while the backend repeats its request."""
    request = remote_start(EMPPartnerSessionID="app-8")
    async with stopped.running("a"), stopped.running("b"):
        first = await stopped.b.post(REMOTE_START, request)
    (response,) = query(stopped, "b", "SELECT start_response FROM sessions")[0]
    query(stopped, "b", "UPDATE sessions SET state = 'requested', start_response = NULL")
    repeat = EmpRemoteHandler._after_crash

    async def after_an_answer(self, session, peer):
        query(stopped, "b", "UPDATE sessions SET state = 'authorized', start_response = ?", response)
        return await repeat(self, session, peer)

    monkeypatch.setattr(EmpRemoteHandler, "_after_crash", after_an_answer)
    async with stopped.running("b"):
        again = await stopped.b.post(REMOTE_START, request)
    assert (again.code, again.json["SessionID"]) == ("000", first.json["SessionID"])
    assert query(stopped, "b", "SELECT state FROM sessions") == [("authorized",)]


async def test_h2_a_csms_is_not_called_twice_after_a_crash(stopped):
    request = remote_start(SessionID=UNKNOWN_SESSION)
    async with stopped.running("a"):
        await stopped.a_peer.post(REMOTE_START, request)
    query(stopped, "a", "UPDATE sessions SET state = 'requested', start_response = NULL")
    async with stopped.running("a"):
        assert (await stopped.a_peer.post(REMOTE_START, request)).code == "310"
    assert query(stopped, "a", "SELECT state FROM sessions") == [("uncertain",)]
    assert len(stopped.csms.starts) == 1


async def test_h3_an_answer_with_result_false_is_a_refusal_though_it_is_http_200(pair):
    """The EMP's backend refuses the record: it is disputed, not accepted."""
    refused = Acknowledgement.from_json(b'{"Result": false, "StatusCode": {"Code": "400"}}')

    async def refuse(_record):
        pair.contracts.received.set()
        return refused

    pair.contracts.charge_detail_record = refuse
    session = (await pair.a.post(START, authorize_start())).json["SessionID"]
    await pair.a.post(CDR, cdr(session))
    await eventually(lambda: query(pair, "b", "SELECT state, verdict_code FROM cdrs") == [("disputed", "400")])


async def test_h3_not_authorized_is_an_answer(pair):
    answer = await pair.a.post(START, authorize_start("AABBCCDD"))
    assert (answer.status, answer.json["AuthorizationStatus"]) == (200, "NotAuthorized")


async def session_of(pair) -> str:
    return (await pair.a.post(START, authorize_start())).json["SessionID"]


async def session_by_app(pair) -> str:
    return (await pair.b.post(REMOTE_START, remote_start())).json["SessionID"]


def backend_calls(pair) -> list[int]:
    books = (pair.contracts.starts, pair.contracts.stops, pair.csms.starts, pair.csms.stops, pair.csms.reservations)
    return [len(book) for book in books]


REPEATED = {
    "AuthorizeStart by SessionID": ("a", START, lambda _: authorize_start(SessionID=UNKNOWN_SESSION)),
    "AuthorizeStart by partner session": ("a", START, lambda _: authorize_start(CPOPartnerSessionID="csms-9")),
    "AuthorizeStart that is refused": ("a", START, lambda _: authorize_start("AABBCCDD", CPOPartnerSessionID="csms-9")),
    "AuthorizeStop": ("a", STOP, authorize_stop),
    "AuthorizeRemoteStart by SessionID": ("b", REMOTE_START, lambda _: remote_start(SessionID=UNKNOWN_SESSION)),
    "AuthorizeRemoteStart by partner session": ("b", REMOTE_START, lambda _: remote_start(EMPPartnerSessionID="app-7")),
    "AuthorizeRemoteReservationStart": ("b", RESERVE, lambda _: reserve(EMPPartnerSessionID="app-7")),
    "ChargingNotification": ("a", NOTIFY, lambda session: notification("Start", session)),
    "ChargeDetailRecord": ("a", CDR, cdr),
    "PushEvseStatus": ("a", PUSH_STATUS, lambda _: push_status(A="Available")),
}


@pytest.mark.parametrize("at_once", [False, True], ids=["one after the other", "all at once"])
@pytest.mark.parametrize(("at", "path", "make"), REPEATED.values(), ids=REPEATED)
async def test_h4_the_same_request_up_to_twelve_times_has_one_effect_and_one_answer(pair, at, path, make, at_once):
    body = json.dumps(make(await session_of(pair))).encode()
    caller, before = getattr(pair, at), backend_calls(pair)
    if at_once:
        answers = [answer.json for answer in await asyncio.gather(*(caller.post(path, body) for _ in range(12)))]
    else:
        answers = [(await caller.post(path, body)).json for _ in range(12)]
    assert answers == [answers[0]] * 12
    assert sum(backend_calls(pair)) - sum(before) <= 1
    received = len(pair.contracts.notifications) + len(pair.contracts.records)
    assert received <= 1


async def test_h4_a_remote_stop_that_was_accepted_is_only_answered_again(pair):
    session = await session_by_app(pair)
    answers = [(await pair.b.post(REMOTE_STOP, remote_stop(session))).json for _ in range(12)]
    assert answers == [answers[0]] * 12
    assert len(pair.csms.stops) == 1


async def test_h4_a_stop_that_was_refused_is_forwarded_again(pair):
    session = await session_by_app(pair)
    pair.csms.refuse_with = "501"
    assert (await pair.b.post(REMOTE_STOP, remote_stop(session))).code == "501"
    pair.csms.refuse_with = None
    assert (await pair.b.post(REMOTE_STOP, remote_stop(session))).code == "000"


async def test_h4_a_repetition_outside_the_window_is_a_process_of_its_own(stopped):
    request = authorize_start(CPOPartnerSessionID="csms-9")
    async with stopped.running("a"), stopped.running("b"):
        first = (await stopped.a.post(START, request)).json["SessionID"]
        query(stopped, "a", "UPDATE sessions SET created_at = created_at - 301")
        assert (await stopped.a.post(START, request)).json["SessionID"] != first


MALFORMED = b"GET / HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n"
ANSWERED = {
    "no HTTP": MALFORMED,
    "an unknown path": b"GET /none HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    "a metric": b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    "a stream": b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", ANSWERED.values(), ids=ANSWERED)
@pytest.mark.parametrize("listener", ["a", "a backend"])
async def test_no_answer_tells_what_the_node_is_made_of(pair, listener, request_bytes):
    reader, writer = await asyncio.open_connection("127.0.0.1", pair.ports[listener])
    writer.write(request_bytes)
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    assert [line for line in head.split(b"\r\n") if line.lower().startswith(b"server:")] == [b"Server: p2p-oicp"]
