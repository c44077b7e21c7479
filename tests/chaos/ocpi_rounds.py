"""Rounds of faults with an OCPI platform below the CPO's node: four books that must agree.

The platform sends each CDR once, as many do, and lists all of them: what a lost push would have cost is read from the
list. So its own book, the objects of its node, the CDRs of both nodes and the ledger of the EMP's backend must have the
same sessions with the same energy, whatever was killed, cut or not answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from p2p_oicp.simulator import Cluster, NodeProcess, NodeSpec
from p2p_oicp.simulator.node_files import TOKEN_FILE, free_ports
from tests.chaos import ledger, proxy
from tests.chaos.backends import LedgerContracts, listening
from tests.chaos.proxy import Proxy
from tests.support.messages import A_CPO, B_EMP
from tests.support.ocpi_objects import evse, location
from tests.support.ocpi_platform import serving
from tests.support.ocpi_roaming import ChargingPlatform, driver_token, recent_cdr, recent_session
from tests.support.waiting import eventually

_START_SECONDS = 90.0
_EVEN_SECONDS = 60.0
_DRIVERS = 6
_ANSWER_ERRORS = (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, AttributeError)


@dataclass
class Book:
    """What the platform has measured: energy by the SessionID of each session that was authorized, and its CDRs."""

    energy: dict[str, float] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


@dataclass
class OcpiTestbed:
    """Both nodes as processes, the platform, the EMP's backend, and the proxies between them."""

    cluster: Cluster
    platform: ChargingPlatform
    contracts: LedgerContracts
    to_ocpi: Proxy
    to_b: Proxy
    http: aiohttp.ClientSession
    rng: random.Random
    book: Book = field(default_factory=Book)

    @property
    def a(self) -> NodeProcess:
        return self.cluster["node a"]

    @property
    def b(self) -> NodeProcess:
        return self.cluster["node b"]

    @property
    def token(self) -> str:
        """That of node a's administration."""
        return (self.a.directory / TOKEN_FILE).read_text(encoding="utf-8").strip()

    async def admin(self, verb: str, path: str, body: Any = None) -> Any:
        url, headers = f"{self.a.backend_url}/admin/v1/ocpi/{path}", {"Authorization": f"Bearer {self.token}"}
        async with self.http.request(verb, url, json=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def charge_until(self, stop: asyncio.Event) -> None:
        """Let drivers charge one after the other, several at a time."""
        await asyncio.gather(*(self._drive(number, stop) for number in range(_DRIVERS)))

    async def _drive(self, number: int, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._charge(number)
            await asyncio.sleep(self.rng.uniform(0.0, 0.05))

    async def _charge(self, number: int) -> None:
        """Authorize a card, charge, and send each message once, whatever becomes of it."""
        uid = f"{self.rng.getrandbits(32):08X}"
        place = {"location_id": "LOC1", "evse_uids": [f"cp{number}"]}
        answer = await self._attempt(self.platform.authorize(uid, **place))
        if answer is None or (answer.data or {}).get("allowed") != "ALLOWED":
            return
        reference, session_id = answer.data["authorization_reference"], f"S-{len(self.book.energy)}-{uid}"
        energy = self.rng.randrange(1, 500) / 1000
        self.book.energy[reference.lower()] = energy
        card = driver_token(uid=uid)
        value = recent_session(id=session_id, evse_uid=f"cp{number}", cdr_token=card, authorization_reference=reference)
        await self._attempt(self.platform.send("PUT", f"sessions/DE/GEF/{session_id}", value))
        cdr = recent_cdr(id=f"CDR-{session_id}", session_id=session_id, cdr_token=card, total_energy=energy)
        cdr["authorization_reference"] = reference
        cdr["cdr_location"] |= {"evse_uid": f"cp{number}", "evse_id": f"DE*GEF*E{number:04}*1"}
        # Order: in the list first, for a push may be lost.
        self.platform.objects["cdrs"].append(cdr)
        answer = await self._attempt(self.platform.send("POST", "cdrs", cdr))
        if answer is not None and answer.status == 200 and answer.code not in {1000, 3000}:
            self.book.refused.append(str(answer.json))

    @staticmethod
    async def _attempt(call: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(15):
                answer = await call
                return answer if isinstance(answer.json, dict) and "status_code" in answer.json else None
        except _ANSWER_ERRORS:
            return None

    async def differences(self) -> list[str]:
        """Return where the four books differ; the list is read again first, as the node does by itself each hour."""
        await self.admin("POST", "partners/csms/pull", {"module": "cdrs"})
        book = self.book.energy
        at_a = energies(ledger.stored_cdrs(ledger.database(self.a), "cpo"))
        at_b = energies(ledger.stored_cdrs(ledger.database(self.b), "emp"))
        copies = {session.lower(): set(bodies) for session, bodies in self.contracts.records.items()}
        at_emp = energies({session: next(iter(bodies)) for session, bodies in copies.items()})
        faults = [
            f"{name}: {len(book.keys() - own.keys())} lost, {len(own.keys() - book.keys())} too many, "
            f"{sum(book[key] != own[key] for key in book.keys() & own.keys())} with another energy"
            for name, own in (("node a", at_a), ("node b", at_b), ("the EMP", at_emp))
            if own != book
        ]
        faults += [f"{key}: the EMP has {len(each)} different copies" for key, each in copies.items() if len(each) > 1]
        states = ledger.rows(
            self.a, "SELECT state, reason, count(*) FROM ocpi_objects WHERE kind = 'cdr' GROUP BY 1, 2"
        )
        faults += [f"CDRs at node a: {row}" for row in states if row[0] != "carried"]
        return faults + self.book.refused

    async def check(self) -> None:
        """Fail unless all books agree within some seconds."""
        until = time.monotonic() + _EVEN_SECONDS
        while faults := await self.differences():
            assert time.monotonic() < until, faults
            await asyncio.sleep(0.3)


def energies(records: dict[str, bytes]) -> dict[str, float]:
    return {session: json.loads(body)["ConsumedEnergy"] for session, body in records.items()}


async def _crash(testbed: OcpiTestbed, node: NodeProcess) -> None:
    await asyncio.sleep(testbed.rng.uniform(0.2, 1.0))
    await node.kill()
    await asyncio.sleep(testbed.rng.uniform(0.0, 0.5))
    await node.start()


async def kill_cpo(testbed: OcpiTestbed) -> None:
    """Kill the platform's node at a random moment."""
    await _crash(testbed, testbed.a)


async def kill_both(testbed: OcpiTestbed) -> None:
    """Kill both nodes."""
    async with asyncio.TaskGroup() as crashes:
        for node in (testbed.a, testbed.b):
            crashes.create_task(_crash(testbed, node))


async def lose_answers(testbed: OcpiTestbed) -> None:
    """Apply faults to requests of the platform, and to those between the nodes."""
    faults = list(proxy.FAULTS.values())

    def choose(path: str) -> proxy.Fault:
        rate = 0.1 if "authorize" in path else 0.6
        return testbed.rng.choice(faults) if testbed.rng.random() < rate else proxy.PASS

    testbed.to_ocpi.choose = testbed.to_b.choose = choose
    await asyncio.sleep(1.5)
    testbed.to_ocpi.choose = testbed.to_b.choose = None


async def kill_while_answers_are_lost(testbed: OcpiTestbed) -> None:
    """Kill the platform's node while answers are lost."""
    await asyncio.gather(lose_answers(testbed), kill_cpo(testbed))


async def cut_off(testbed: OcpiTestbed) -> None:
    """Cut the platform off, and the EMP's node."""
    for each in (testbed.to_ocpi, testbed.to_b):
        await asyncio.sleep(testbed.rng.uniform(0.1, 0.5))
        await each.close()
    await asyncio.sleep(0.8)
    for each in (testbed.to_ocpi, testbed.to_b):
        await each.open()


FAULT_ACTIONS: dict[str, Callable[[OcpiTestbed], Awaitable[None]]] = {
    "kill": kill_cpo,
    "kill-both": kill_both,
    "answers": lose_answers,
    "kill-answers": kill_while_answers_are_lost,
    "cut": cut_off,
}


async def run_round(testbed: OcpiTestbed, name: str) -> None:
    """Let drivers charge while a fault happens; afterwards the books must agree."""
    stop, before = asyncio.Event(), len(testbed.book.energy)
    driving = asyncio.create_task(testbed.charge_until(stop))
    await FAULT_ACTIONS[name](testbed)
    await asyncio.sleep(0.2)
    stop.set()
    await driving
    await testbed.check()
    assert len(testbed.book.energy) > before, "nobody has charged"


@asynccontextmanager
async def start_testbed(folder: Path, seed: int = 1) -> AsyncIterator[OcpiTestbed]:
    """Start nodes, proxies, platform and backend; the platform is registered."""
    rng = random.Random(seed)
    (ocpi_port,) = free_ports(1)
    places = [evse(uid=f"cp{number}", evse_id=f"DE*GEF*E{number:04}*1") for number in range(_DRIVERS)]
    platform = ChargingPlatform(objects={"locations": [location(evses=places)], "cdrs": []})
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        await stack.enter_async_context(serving(platform))
        contracts = LedgerContracts(http, rng=random.Random(seed + 1))
        await stack.enter_async_context(listening(contracts))
        to_ocpi = await stack.enter_async_context(Proxy(ocpi_port, *free_ports(1)))
        proxies: dict[str, Proxy] = {}
        table = (
            f'[ocpi]\nport = {ocpi_port}\nurl = "{to_ocpi.url}/ocpi"\n'
            '[[ocpi.partners]]\nname = "csms"\nface = "cpo"\nparties = ["DE*GEF"]\nhotline = "+4930123456"\n'
        )
        specs = (
            NodeSpec("node a", operators=(A_CPO,), extra=table),
            NodeSpec("node b", providers=(B_EMP,), emp_url=contracts.url),
        )
        cluster = Cluster(folder, specs, resolve_url=lambda _, other: proxies[other.spec.name].url)
        a, b = cluster["node a"], cluster["node b"]
        a.timeout = b.timeout = _START_SECONDS
        for node in (a, b):
            proxies[node.spec.name] = await stack.enter_async_context(Proxy(node.ports.peer, *free_ports(1)))
        await stack.enter_async_context(cluster)
        contracts.node_url = b.backend_url
        platform.node_url = f"{to_ocpi.url}/ocpi"
        testbed = OcpiTestbed(cluster, platform, contracts, to_ocpi, proxies["node b"], http, rng)
        answer = await platform.register(await testbed.admin("POST", "partners/csms/invitation", {}))
        assert answer.code == 1000, answer
        await eventually(lambda: _knows_evses(testbed), 60.0)
        with contextlib.suppress(asyncio.CancelledError):
            yield testbed


async def _knows_evses(testbed: OcpiTestbed) -> bool:
    return ledger.rows(testbed.a, "SELECT count(*) FROM ocpi_evses")[0][0] == _DRIVERS
