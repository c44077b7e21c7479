"""A Python backend that hangs, raises or answers nonsense costs its own company an answer, and nobody else anything."""

import asyncio

import pytest

from p2p_oicp.config import load_settings
from p2p_oicp.node import Node
from tests.support.messages import CDR, REMOTE_START, START, authorize_start, cdr, remote_start
from tests.support.nodes import UID, FakeContracts


async def hang(_request):
    await asyncio.sleep(3600)


async def fail(_request):
    raise KeyError("a bug of the backend")


async def say_nothing(_request):
    return None


FAULTS = pytest.mark.parametrize("fault", [hang, fail, say_nothing])


@FAULTS
async def test_a_faulty_backend_of_our_own_does_not_spoil_the_yes_or_no_of_others(stopped, fault):
    """Node A is an EMP as well; its own contract system is called beside node B."""
    config = stopped.folder / "a" / "node.toml"
    config.write_text(config.read_text().replace("[peer_api]", 'providers = ["DE-OWN"]\n[peer_api]'))
    own = FakeContracts()
    own.authorize_start = fault
    async with Node(load_settings(config), emp=own), stopped.running("b"):
        assert (await stopped.a.post(START, authorize_start(UID))).code == "000"
        refused = await stopped.a.post(START, authorize_start("AABBCCDD"))
    assert (refused.status, refused.json["AuthorizationStatus"]) == (200, "NotAuthorized")


@pytest.mark.parametrize("fault", [fail, say_nothing])
async def test_a_charging_system_with_a_bug_leaves_an_uncertain_session_and_a_code(pair, fault):
    pair.csms.authorize_remote_start = fault
    answer = await pair.b.post(REMOTE_START, remote_start())
    assert (answer.status, answer.code) == (200, "310")
    assert (await pair.a.post(CDR, cdr(answer.json["SessionID"]))).code == "000"


async def test_records_that_the_backend_chokes_on_do_not_hold_up_the_others(pair):
    """More of them than are sent side by side."""
    good = pair.contracts.charge_detail_record
    sessions = [(await pair.a.post(START, authorize_start())).json["SessionID"] for _ in range(10)]

    async def choke(record):
        return await (good if record.session_id.text == sessions[-1] else fail)(record)

    pair.contracts.charge_detail_record = choke
    for session in sessions:
        await pair.a.post(CDR, cdr(session))
    await pair.contracts.until(lambda contracts: contracts.records)
    assert pair.contracts.records[0].session_id.text == sessions[-1]
