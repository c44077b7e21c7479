"""Two CPO nodes and three EMP nodes as processes: all drivers charge everywhere; the third EMP has no backend."""

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial

import pytest
import pytest_asyncio

from p2p_oicp.clock import SystemClock
from p2p_oicp.oicp import UID, EvcoID, EvseID, OperatorID, ProviderID
from p2p_oicp.simulator import (
    ChargingPoint,
    Cluster,
    Contract,
    ContractSystem,
    Csms,
    ExchangeLog,
    NodeSpec,
    SimulatedClock,
)
from p2p_oicp.simulator.exchange_log import is_accepted, status_code_of
from tests.support.waiting import eventually_equals

pytestmark = pytest.mark.asyncio(loop_scope="module")

CPOS = {"cpo one": "DE*AAA", "cpo two": "FR*BBB"}
EMPS = {"emp one": "DE-XXX", "emp two": "FR-YYY"}
ALONE, ALONE_PROVIDER = "emp three", "AT-ZZZ"
UIDS = {"emp one": UID("11111111"), "emp two": UID("22222222"), ALONE: UID("33333333")}
NOBODYS_CARD = UID("99999999")
TIMEOUT_SECONDS = 20.0


@dataclass
class Roaming:
    """The cluster and the backends of four of its five companies."""

    nodes: Cluster
    csms: dict[str, Csms]
    contracts: dict[str, ContractSystem]

    async def command(self, node: str, *arguments: str) -> str:
        config = str(self.nodes[node].directory / "node.toml")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "p2p_oicp", *arguments, "--config", config, stdout=asyncio.subprocess.PIPE
        )
        response, _ = await process.communicate()
        assert process.returncode == 0, response
        return response.decode()

    async def exported_alone(self) -> list[str]:
        """Return the SessionIDs of the records at the node that has no backend."""
        response = await self.command(ALONE, "cdrs", "export", "--since", "2026-01-01")
        return [record["SessionID"] for record in json.loads(response)]

    async def charge(self, cpo: str, card: UID):
        """Let a driver charge at the first point of a CPO; return the session."""
        csms = self.csms[cpo]
        session, answer = await csms.swipe(point(cpo), card)
        assert session is not None, answer
        await csms.start_charging(session)
        await csms.charge(session, Decimal("7.5"), minutes=20)
        await csms.end_session(session)
        return session


def point(cpo: str) -> EvseID:
    return EvseID(f"{CPOS[cpo]}*E1")


def contract(emp: str) -> Contract:
    return Contract(EvcoID(f"{EMPS[emp]}-C12345678-X"), (UIDS[emp],))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def roaming(tmp_path_factory):
    journal, clock = ExchangeLog(SystemClock()), SimulatedClock(datetime(2026, 3, 1, 9, tzinfo=UTC))
    async with AsyncExitStack() as stack:
        csms = {
            name: Csms(
                name=name,
                operator=OperatorID(party),
                points=[ChargingPoint(point(name))],
                exchange_log=journal,
                clock=clock,
            )
            for name, party in CPOS.items()
        }
        contracts = {
            name: ContractSystem(
                name=name, provider=ProviderID(party), contracts=[contract(name)], exchange_log=journal
            )
            for name, party in EMPS.items()
        }
        for backend in (*csms.values(), *contracts.values()):
            await stack.enter_async_context(backend)
        specs = [NodeSpec(name, operators=(CPOS[name],), cpo_url=csms[name].url) for name in CPOS]
        specs += [NodeSpec(name, providers=(EMPS[name],), emp_url=contracts[name].url) for name in EMPS]
        specs.append(NodeSpec(ALONE, providers=(ALONE_PROVIDER,)))
        nodes = await stack.enter_async_context(Cluster(tmp_path_factory.mktemp("five"), specs))
        for name, backend in (csms | contracts).items():
            backend.connect(name, nodes[name].backend_url)
        yield Roaming(nodes, csms, contracts)


async def test_every_driver_charges_everywhere_and_each_record_reaches_its_own_emp_once(roaming):
    await roaming.command(ALONE, "tokens", "add", UIDS[ALONE].text)
    sent = {}
    for cpo in CPOS:
        for emp, card in UIDS.items():
            session = await roaming.charge(cpo, card)
            assert is_accepted(await roaming.csms[cpo].send_cdr(session))
            sent[session.session_id] = emp
    for emp, system in roaming.contracts.items():
        mine = {session for session, owner in sent.items() if owner == emp}
        assert await system.wait_until(
            lambda system=system, mine=mine: set(system.cdrs) >= mine, timeout_seconds=TIMEOUT_SECONDS
        )
        assert set(system.cdrs).isdisjoint(sent.keys() - mine)
        assert {len(system.cdrs[session]) for session in mine} == {1}
    mine = {str(session) for session, owner in sent.items() if owner == ALONE}
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while len(alone := await roaming.exported_alone()) < len(mine):
            await asyncio.sleep(0.05)
    assert sorted(alone) == sorted(mine)


async def test_a_card_of_nobody_is_refused_by_all_and_a_drivers_app_reaches_any_cpo(roaming):
    session, answer = await roaming.csms["cpo one"].swipe(point("cpo one"), NOBODYS_CARD)
    assert (session, status_code_of(answer)) == (None, "106")
    for emp, system in roaming.contracts.items():
        for cpo in CPOS:
            session_id, answer = await system.start_remotely(contract(emp).evco_id, point(cpo))
            assert session_id is not None, answer
            assert is_accepted(await system.stop_remotely(session_id))
            started = roaming.csms[cpo].sessions[session_id]
            await roaming.csms[cpo].end_session(started)
            assert is_accepted(await roaming.csms[cpo].send_cdr(started))
            assert await system.wait_until(
                lambda s=session_id, system=system: s in system.cdrs, timeout_seconds=TIMEOUT_SECONDS
            )


async def test_an_emp_that_crashes_gets_its_record_afterwards_and_once(roaming):
    session = await roaming.charge("cpo one", UIDS["emp one"])
    await roaming.nodes["emp one"].kill()
    assert is_accepted(await roaming.csms["cpo one"].send_cdr(session))
    await roaming.nodes["cpo one"].kill()
    await roaming.nodes["cpo one"].start()
    await roaming.nodes["emp one"].start()
    system = roaming.contracts["emp one"]
    assert await system.wait_until(lambda: session.session_id in system.cdrs, timeout_seconds=TIMEOUT_SECONDS)
    assert is_accepted(await roaming.csms["cpo one"].send_cdr(session))
    await roaming.nodes["emp one"].restart()
    assert len(system.cdrs[session.session_id]) == 1
    story = json.loads(await roaming.command("emp one", "sessions", "show", str(session.session_id), "--json"))
    assert story[0]["state"] == "settled"
    assert [event["event"] for event in story[0]["events"]][-1] == "charge detail record accepted"


async def test_the_statuses_of_both_cpos_are_seen_by_all_three_emps(roaming):
    for csms in roaming.csms.values():
        assert is_accepted(await csms.push_all_statuses())
    expected = {point(cpo): "Available" for cpo in CPOS}
    for system in roaming.contracts.values():
        await eventually_equals(partial(system.pull_statuses, logged=False), expected, TIMEOUT_SECONDS)
