"""Two operators on two CSMSs and two providers on two contract systems behind one node: each gets what is its own."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest

from p2p_oicp.config import load_settings
from p2p_oicp.crypto import has_signature
from p2p_oicp.crypto.keystore import generate
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.node import Node
from tests.support import database
from tests.support.clients import TestClient
from tests.support.messages import card, cdr, plausible
from tests.support.nodes import QUICKLY, FakeContracts
from tests.support.own_systems import (
    CONTRACTS_ONE,
    CONTRACTS_TWO,
    CSMS_NORTH,
    CSMS_SOUTH,
    NORTH,
    ONE,
    SOUTH,
    TWO,
    Company,
    company,
)
from tests.support.waiting import eventually

NORTH_EVSE, SOUTH_EVSE = f"{NORTH}*E1", f"{SOUTH}*E1"


@pytest.fixture
async def own(tmp_path):
    async with company(tmp_path) as each:
        yield each


def contract(provider: str) -> dict:
    return {"RemoteIdentification": {"EvcoID": f"{provider}-C12345678-X"}}


async def start(own: Company, operator: str, identification: dict) -> dict:
    body = {"OperatorID": operator, "EvseID": f"{operator}*E1", "Identification": identification}
    return (await own.client.post(f"charging/v21/operators/{operator}/authorize/start", body)).json


async def remote_start(own: Company, provider: str, evse: str):
    body = {"ProviderID": provider, "EvseID": evse, "Identification": contract(provider)}
    return await own.client.post(f"charging/v21/providers/{provider}/authorize-remote/start", body)


async def settle(own: Company, operator: str, session: str, identification: dict) -> str:
    record = {**cdr(session, **plausible()), "EvseID": f"{operator}*E1", "Identification": identification}
    return (await own.client.post(f"cdrmgmt/v22/operators/{operator}/charge-detail-record", record)).code


async def test_a_remote_start_goes_to_the_csms_of_the_evses_operator(own):
    async with own.running():
        for evse in (NORTH_EVSE, SOUTH_EVSE, SOUTH_EVSE):
            assert (await remote_start(own, ONE, evse)).code == "000"
    assert len(own.systems[CSMS_NORTH].paths()) == 1
    evses = [body["EvseID"] for body in own.systems[CSMS_SOUTH].bodies("authorize-remote/start")]
    assert evses == [SOUTH_EVSE, SOUTH_EVSE]


async def test_a_stop_goes_where_its_start_went(own):
    async with own.running():
        session = (await remote_start(own, ONE, SOUTH_EVSE)).json["SessionID"]
        body = {"SessionID": session, "ProviderID": ONE, "EvseID": SOUTH_EVSE}
        assert (await own.client.post(f"charging/v21/providers/{ONE}/authorize-remote/stop", body)).code == "000"
    assert own.systems[CSMS_NORTH].paths() == []
    assert len(own.systems[CSMS_SOUTH].bodies("authorize-remote/stop")) == 1


async def test_a_contract_is_authorized_by_the_system_of_its_provider(own):
    async with own.running():
        answer = await start(own, NORTH, contract(TWO))
    assert (answer["AuthorizationStatus"], answer["ProviderID"]) == ("Authorized", TWO)
    assert own.systems[CONTRACTS_ONE].paths() == []


@pytest.mark.parametrize(("uid", "provider"), [("11111111", ONE), ("22222222", TWO)])
async def test_a_card_is_authorized_by_the_system_that_knows_it(own, uid, provider):
    async with own.running():
        answer = await start(own, NORTH, card(uid))
    assert (answer["AuthorizationStatus"], answer["ProviderID"]) == ("Authorized", provider)


async def test_a_card_that_no_system_knows_is_refused_with_their_code(own):
    async with own.running():
        answer = await start(own, NORTH, card("33333333"))
    assert (answer["AuthorizationStatus"], answer["StatusCode"]["Code"]) == ("NotAuthorized", "102")


async def test_the_record_of_a_session_reaches_the_system_of_its_provider_and_is_in_the_books_of_both_roles(own):
    async with own.running():
        session = (await start(own, SOUTH, card("22222222")))["SessionID"]
        assert await settle(own, SOUTH, session, card("22222222")) == "000"
        await eventually(lambda: own.systems[CONTRACTS_TWO].bodies("charge-detail-record"))
        rows = "SELECT role, state FROM cdrs ORDER BY role"
        file = own.folder / "data" / "node.sqlite3"
        await eventually(lambda: database.execute(file, rows) == [("cpo", "accepted"), ("emp", "accepted")])
    assert own.systems[CONTRACTS_ONE].bodies("charge-detail-record") == []


async def test_a_hanging_contract_system_delays_no_driver_and_no_record_of_the_other(own):
    own.systems[CONTRACTS_ONE].hang_always()
    async with own.running():
        hanging = [asyncio.create_task(start(own, NORTH, contract(ONE))) for _ in range(128)]
        await eventually(lambda: len(own.systems[CONTRACTS_ONE].requests) == 64)
        began = time.monotonic()
        session = (await start(own, NORTH, card("22222222")))["SessionID"]
        assert await settle(own, NORTH, session, card("22222222")) == "000"
        await eventually(lambda: own.systems[CONTRACTS_TWO].bodies("charge-detail-record"))
        assert time.monotonic() - began < 2
        answers = await asyncio.gather(*hanging)
    assert {answer["AuthorizationStatus"] for answer in answers} == {"NotAuthorized"}
    # The other drivers were refused at once, and so was the question about the card.
    assert len(own.systems[CONTRACTS_ONE].requests) == 64


async def test_while_half_of_the_remote_lane_hangs_the_other_csms_starts_at_once(own):
    tables = [own.table(name) for name in (CSMS_NORTH, CSMS_SOUTH, CONTRACTS_ONE)]
    own.write("".join(tables), more="[deadlines]\nremote_backend = 3\n")
    own.systems[CSMS_NORTH].hang_always()
    async with own.running(), another_address(own) as other:
        hanging = [asyncio.create_task(remote_start(other, ONE, NORTH_EVSE)) for _ in range(64)]
        await eventually(lambda: len(own.systems[CSMS_NORTH].requests) == 64)
        began = time.monotonic()
        assert (await remote_start(own, TWO, SOUTH_EVSE)).code == "000"
        assert time.monotonic() - began < 1
        assert {answer.code for answer in await asyncio.gather(*hanging)} == {"310"}


async def test_a_csms_that_hangs_leaves_room_for_the_others_though_all_requests_come_from_one_address(own):
    tables = [own.table(name) for name in (CSMS_NORTH, CSMS_SOUTH, CONTRACTS_ONE)]
    own.write("".join(tables), more="[deadlines]\nremote_backend = 3\n")
    own.systems[CSMS_NORTH].hang_always()
    async with own.running():
        hanging = [asyncio.create_task(remote_start(own, ONE, NORTH_EVSE)) for _ in range(80)]
        await eventually(lambda: len(own.systems[CSMS_NORTH].requests) == 64)
        assert [(await remote_start(own, ONE, SOUTH_EVSE)).code for _ in range(3)] == ["000"] * 3
        await asyncio.gather(*hanging)


@asynccontextmanager
async def another_address(own: Company) -> AsyncIterator[Company]:
    """The same node, called from another address: one client holds at most half of the lane."""
    connector = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0), limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        yield replace(own, client=TestClient(http, own.client.base))


async def test_the_dead_backends_messages_wait_and_the_others_arrive(own):
    own.systems[CONTRACTS_ONE].stop()
    async with own.running():
        sessions = [(await start(own, NORTH, card("22222222")))["SessionID"] for _ in range(2)]
        for session in sessions:
            await settle(own, NORTH, session, card("22222222"))
        await eventually(lambda: len(own.systems[CONTRACTS_TWO].bodies("charge-detail-record")) == 2)


async def test_a_backend_gets_its_token_and_a_signature_on_a_path_of_its_own(own):
    keys = {"path": "/oicp", "token": "a long random text", "signature": True}
    generate(own.folder / "keys")
    own.write(own.table(CSMS_NORTH, **keys) + own.table(CONTRACTS_ONE))
    async with own.running():
        assert (await remote_start(own, ONE, NORTH_EVSE)).code == "000"
    (request,) = own.systems[CSMS_NORTH].requests
    assert request.path == f"/oicp/charging/v21/providers/{ONE}/authorize-remote/start"
    assert request.headers["Authorization"] == "Bearer a long random text"
    assert has_signature(request.headers)


async def test_what_no_backend_serves_has_the_token_list_and_no_csms(own):
    own.write(own.table(CSMS_NORTH) + own.table(CONTRACTS_ONE))
    async with own.running():
        assert (await start(own, NORTH, contract(TWO)))["StatusCode"]["Code"] == "105"
        assert (await remote_start(own, ONE, SOUTH_EVSE)).code == "320"


async def test_a_python_backend_has_the_name_of_a_table_without_a_url(own):
    table = f'[[backends]]\nname = "app"\nrole = "emp"\nproviders = ["{TWO}"]\n'
    own.write(own.table(CONTRACTS_ONE) + table)
    contracts, settings = FakeContracts(uids=frozenset({"44444444"})), load_settings(own.folder / "node.toml")
    async with Node(settings, backends={"app": contracts}):
        assert (await start(own, NORTH, card("44444444")))["ProviderID"] == TWO
    with pytest.raises(ConfigurationError, match=r'"app": expected url = "…", or a Python object'):
        await Node(settings).__aenter__()
    with pytest.raises(ConfigurationError, match='the Python backend "apps" serves no party of this node; expected'):
        await Node(settings, backends={"app": contracts, "apps": contracts}).__aenter__()


async def test_messages_of_a_backend_that_is_gone_are_held_shown_and_moved_to_another(own):
    own.systems[CONTRACTS_TWO].hang_always()
    async with own.running():
        session = (await start(own, NORTH, contract(ONE)))["SessionID"]
    own.systems[CONTRACTS_ONE].refuses_with = "021"
    async with own.running():
        await settle(own, NORTH, session, contract(ONE))
    own.systems[CONTRACTS_ONE].refuses_with = ""
    own.systems[CONTRACTS_TWO].reset()
    own.write(own.table(CONTRACTS_TWO, providers=[ONE, TWO]))
    async with own.running():
        (message,) = (await own.client.get("/admin/v1/outbox?state=held")).json["messages"]
        assert (message["destination"], message["state"]) == ("backend:contracts one", "held")
        unknown = await own.client.admin("outbox/move?to=nobody")
        assert (
            "expected a contract system of ours (backend:contracts two)" in unknown.json["StatusCode"]["AdditionalInfo"]
        )
        moved = await own.client.admin("outbox/move?to=contracts%20two")
        assert moved.json == {"moved": 1, "to": "backend:contracts two"}
        await eventually(lambda: own.systems[CONTRACTS_TWO].bodies("charge-detail-record"))
        assert (await own.client.get("/admin/v1/outbox")).json["messages"] == []


async def test_a_backend_that_answers_anything_gets_at_once_what_waits_for_it(own):
    file = own.folder / "node.toml"
    file.write_text(file.read_text().replace(QUICKLY, "retry_first = 300\nretry_max = 600\n"))
    async with own.running():
        session = (await start(own, NORTH, card("22222222")))["SessionID"]
        own.systems[CONTRACTS_TWO].refuses_with = "021"
        await settle(own, NORTH, session, card("22222222"))
        tries = "SELECT attempts FROM outbox"
        await eventually(lambda: database.execute(own.folder / "data" / "node.sqlite3", tries) == [(1,)])
        own.systems[CONTRACTS_TWO].refuses_with = ""
        await start(own, NORTH, card("22222222"))
        await eventually(lambda: len(own.systems[CONTRACTS_TWO].bodies("charge-detail-record")) == 2)
