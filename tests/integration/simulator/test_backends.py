"""The two simulated backends against a clearing house."""

from __future__ import annotations

import json
from decimal import Decimal

import aiohttp
import pytest

from p2p_oicp.errors import PeerUnreachable
from p2p_oicp.oicp import UID, EvcoID, EvseID, validate
from p2p_oicp.simulator.exchange_log import is_accepted, is_refused, status_code_of

FIRST, SECOND = EvseID("DE*GEF*E1001*1"), EvseID("DE*GEF*E1001*2")
CARD, BLOCKED, STRANGE = UID("04A1B2C3D4E5F6"), UID("04B10C4ED00000"), UID("CAFEBABE")
DRIVER = EvcoID("DE-GDF-C12345678-X")


async def charge_with_a_card(csms):
    session, answer = await csms.swipe(FIRST, CARD)
    assert is_accepted(answer)
    await csms.start_charging(session)
    await csms.charge(session, Decimal("7.1"), minutes=30)
    await csms.charge(session, Decimal("0.25"), minutes=10)
    await csms.swipe_to_stop(session, CARD)
    await csms.end_session(session)
    await csms.send_cdr(session)
    return session


async def test_a_session_with_a_card_ends_in_equal_books(csms, contracts):
    session = await charge_with_a_card(csms)
    (cdr,) = contracts.cdrs[session.session_id]
    assert json.loads(cdr.to_json()) == json.loads(session.cdr.to_json())
    assert cdr.consumed_energy == Decimal("7.35") == session.consumed_energy
    kinds = [note.type for note in contracts.notifications[session.session_id]]
    assert kinds == ["Start", "Progress", "Progress", "End"]
    assert contracts.sessions.keys() == csms.sessions.keys() == {session.session_id}
    assert not contracts.sessions[session.session_id].is_charging


async def test_a_session_from_the_app_ends_in_equal_books(csms, contracts):
    session_id, answer = await contracts.start_remotely(DRIVER, SECOND)
    assert is_accepted(answer)
    session = csms.sessions[session_id]
    assert session.point.status == "Occupied"
    await csms.start_charging(session)
    await csms.charge(session, Decimal("0.3"), minutes=6)
    assert is_accepted(await contracts.stop_remotely(session_id))
    await csms.end_session(session)
    await csms.send_cdr(session)
    assert [cdr.consumed_energy for cdr in contracts.cdrs[session_id]] == [Decimal("0.3")]
    assert session.identification.evco_id == DRIVER


async def test_every_message_they_send_is_faultless_oicp(csms, contracts, hub):
    await csms.push_all_statuses()
    await charge_with_a_card(csms)
    session_id, _ = await contracts.start_remotely(DRIVER, SECOND)
    await contracts.stop_remotely(session_id)
    await contracts.pull_statuses()
    await contracts.pull_statuses_by_id(FIRST)
    await contracts.pull_statuses_by_operator(csms.operator)
    findings = [finding for operation, body in hub.taken for finding in validate(operation.request.from_json(body))]
    assert findings == []
    assert len({operation.name for operation, _ in hub.taken}) == 10


async def test_a_sent_cdr_stays_the_same_when_it_is_sent_again(csms, contracts, hub):
    session = await charge_with_a_card(csms)
    await csms.send_cdr(session)
    first, second = [body for operation, body in hub.taken if operation.name == "ChargeDetailRecord"]
    assert first == second
    assert len(contracts.cdrs[session.session_id]) == 2


REFUSED_UIDS = {"unknown": (STRANGE, "102"), "contract not valid": (BLOCKED, "200")}


@pytest.mark.parametrize(("uid", "code"), REFUSED_UIDS.values(), ids=REFUSED_UIDS)
async def test_a_refused_card_leaves_no_trace_in_the_books(csms, contracts, uid, code):
    session, answer = await csms.swipe(FIRST, uid)
    assert (session, is_refused(answer), status_code_of(answer)) == (None, True, code)
    assert not csms.sessions
    assert not contracts.sessions
    assert csms.points[FIRST].status == "Available"


async def test_only_the_drivers_own_card_stops_a_session(csms, contracts):
    session, _ = await csms.swipe(FIRST, CARD)
    assert is_refused(await csms.swipe_to_stop(session, STRANGE))
    assert not session.charging_stopped
    assert contracts.sessions[session.session_id].is_charging
    assert is_accepted(await csms.swipe_to_stop(session, CARD))


async def test_remote_starts_that_cannot_be_are_refused(csms, contracts):
    await contracts.start_remotely(DRIVER, FIRST)
    for evse_id, code in ((FIRST, "602"), (EvseID("DE*GEF*E9"), "603")):
        session_id, answer = await contracts.start_remotely(DRIVER, evse_id)
        assert (session_id, status_code_of(answer)) == (None, code)
    assert len(csms.sessions) == 1


async def test_a_session_is_stopped_remotely_only_once(csms, contracts):
    session_id, _ = await contracts.start_remotely(DRIVER, FIRST)
    await csms.start_charging(csms.sessions[session_id])
    await contracts.stop_remotely(session_id)
    assert status_code_of(await contracts.stop_remotely(session_id)) == "400"


async def test_what_belongs_to_no_session_is_refused(csms, contracts):
    session = await charge_with_a_card(csms)
    contracts.sessions.clear()
    contracts.cdrs.clear()
    assert status_code_of(await csms.send_cdr(session)) == "400"
    assert status_code_of(await csms.end_session(session)) == "400"
    assert status_code_of(await csms.swipe_to_stop(session, CARD)) == "400"
    assert not contracts.cdrs


async def test_only_changed_statuses_are_pushed(csms, contracts, hub):
    await csms.push_all_statuses()
    assert await csms.push_changed_statuses() is None
    csms.points[SECOND].status = "OutOfService"
    await csms.push_changed_statuses()
    assert b"E1001*2" in hub.taken[-1][1]
    assert b"E1001*1" not in hub.taken[-1][1]
    assert await contracts.pull_statuses() == csms.statuses
    assert await contracts.pull_statuses_by_id(SECOND) == {SECOND: "OutOfService"}


@pytest.mark.usefixtures("contracts")
async def test_the_journal_has_both_ends_of_what_is_forwarded(csms, journal):
    heard = []
    journal.listeners.append(heard.append)
    session, _ = await csms.swipe(FIRST, CARD)
    ends = [(each.sender, each.receiver, each.operation, each.result, each.good) for each in journal.exchanges]
    assert ends == [
        ("hub", "contracts", "AuthorizeStart", "Authorized by DE-GDF", True),
        ("CSMS", "hub", "AuthorizeStart", "Authorized by DE-GDF", True),
    ]
    assert {each.session_id for each in journal.exchanges} == {session.session_id.text}
    assert heard == journal.exchanges


async def test_a_node_that_does_not_answer_is_written_down_and_raised(csms, journal, unused_tcp_port):
    csms.connect("gone", f"http://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(PeerUnreachable):
        await csms.swipe(FIRST, CARD)
    (exchange,) = journal.exchanges
    assert (exchange.receiver, exchange.good) == ("gone", False)


UNUSABLE = {
    "unknown path": ("nowhere", b"{}", 404, "320"),
    "operation of the other side": ("charging/v21/operators/DE*GEF/authorize/start", None, 200, "320"),
    "no message": ("charging/v21/providers/DE-GDF/authorize-remote/start", b"{", 400, "022"),
}


@pytest.mark.parametrize(("path", "body", "status", "code"), UNUSABLE.values(), ids=UNUSABLE)
async def test_unusable_requests_have_their_answer(csms, path, body, status, code):
    body = body or b'{"OperatorID":"DE*GEF","Identification":{"RFIDMifareFamilyIdentification":{"UID":"CAFEBABE"}}}'
    async with aiohttp.ClientSession() as session, session.post(f"{csms.url}/api/oicp/{path}", data=body) as response:
        assert response.status == status
        assert (await response.json())["StatusCode"]["Code"] == code


async def test_waiting_ends_when_the_books_have_it_or_time_is_up(csms, contracts):
    assert not await contracts.wait_until(lambda: bool(contracts.cdrs), timeout_seconds=0.01)
    session = await charge_with_a_card(csms)
    assert await contracts.wait_until(lambda: session.session_id in contracts.cdrs, timeout_seconds=1)
