"""Deadlines are nested: the inner node gives up first, so that the outer one hears what became of the request."""

import asyncio

import pytest

from p2p_oicp.config.model import DeadlineSettings
from tests.support.messages import REMOTE_START, REMOTE_STOP, RESERVE, START, authorize_start, remote_start, remote_stop
from tests.support.messages import reserve as reservation
from tests.support.sessions import states


def test_by_default_the_inner_node_has_less_time():
    deadlines = DeadlineSettings()
    assert deadlines.authorize_backend < deadlines.authorize
    assert deadlines.remote_backend < deadlines.remote < 57


@pytest.fixture
async def nodes(stopped):
    """Two running nodes whose own backends have much less time than the other side."""
    stopped.authorization_deadline = 30.0
    stopped.extra_config = "remote = 30.0\nremote_backend = 0.05\nauthorize_backend = 0.05\n"
    stopped.write()
    for name in ("a", "b"):
        file = stopped.folder / name / "node.toml"
        text = file.read_text().replace(stopped.extra_config, "")
        file.write_text(text.replace("[deadlines]\n", f"[deadlines]\n{stopped.extra_config}"))
    async with stopped.running("a"), stopped.running("b"):
        yield stopped


@pytest.mark.parametrize(("path", "make"), [(REMOTE_START, remote_start), (RESERVE, reservation)])
async def test_a_csms_that_takes_too_long_is_310_and_the_session_uncertain_on_both_sides(nodes, path, make):
    async def hang(_request):
        await asyncio.Event().wait()

    nodes.csms.authorize_remote_start = nodes.csms.authorize_remote_reservation_start = hang
    answer = await nodes.b.post(path, make())
    assert (answer.json["Result"], answer.code) == (False, "310")
    assert "did not answer" in answer.json["StatusCode"]["AdditionalInfo"]
    assert (states(nodes, "a"), states(nodes, "b")) == (["uncertain"], ["uncertain"])


async def test_a_stop_that_takes_too_long_is_310_and_can_be_sent_again(nodes):
    session = (await nodes.b.post(REMOTE_START, remote_start())).json["SessionID"]
    stop = nodes.csms.authorize_remote_stop

    async def hang(_request):
        await asyncio.Event().wait()

    nodes.csms.authorize_remote_stop = hang
    assert (await nodes.b.post(REMOTE_STOP, remote_stop(session))).code == "310"
    nodes.csms.authorize_remote_stop = stop
    assert (await nodes.b.post(REMOTE_STOP, remote_stop(session))).code == "000"


async def test_the_emps_node_answers_for_a_contract_system_that_takes_too_long(nodes):
    nodes.contracts.hold = asyncio.Event()
    answer = await nodes.a.post(START, authorize_start())
    nodes.contracts.hold.set()
    assert (answer.json["AuthorizationStatus"], answer.code) == ("NotAuthorized", "021")
    assert states(nodes, "b") == ["refused"]
