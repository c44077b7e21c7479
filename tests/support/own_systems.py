"""A company's own systems over HTTP, and one node that serves several of them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from p2p_oicp.config import load_settings
from p2p_oicp.node import Node
from p2p_oicp.simulator.node_files import free_ports
from tests.support.clients import TestClient
from tests.support.nodes import QUICKLY

CSMS_NORTH, CSMS_SOUTH, CONTRACTS_ONE, CONTRACTS_TWO = "csms north", "csms south", "contracts one", "contracts two"
NORTH, SOUTH, ONE, TWO = "DE*NOR", "DE*SUD", "DE-ONE", "DE-TWO"


@dataclass
class OwnSystem:
    """A CSMS or a contract system that speaks OICP over HTTP; it lists what it gets: (path, headers, body)."""

    uids: frozenset[str] = frozenset()
    requests: list[tuple[str, dict, dict]] = field(default_factory=list)
    hangs: bool = False
    refuses_with: str = ""
    server: TestServer = field(init=False)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/{path:.*}", self._answer)
        self.server = TestServer(app)
        await self.server.start_server()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.close()

    @property
    def url(self) -> str:
        return str(self.server.make_url("")).rstrip("/")

    def paths(self) -> list[str]:
        return [path for path, _, _ in self.requests]

    def bodies(self, part: str) -> list[dict]:
        return [body for path, _, body in self.requests if part in path]

    def statuses(self) -> dict[str, str]:
        """What a strict contract system has after all pushes of EVSE statuses."""
        state: dict[str, str] = {}
        for body in self.bodies("status-records"):
            records = {each["EvseID"]: each["EvseStatus"] for each in body["OperatorEvseStatus"]["EvseStatusRecord"]}
            if body["ActionType"] == "fullLoad":
                state = records
            elif body["ActionType"] == "delete":
                state = {key: value for key, value in state.items() if key not in records}
            else:
                state |= records
        return state

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.requests.append((request.path, dict(request.headers), body))
        if self.hangs:
            await asyncio.Event().wait()
        return web.json_response(self._response(request.path, body))

    def _response(self, path: str, body: dict) -> dict:
        ok = {"Code": "000"}
        if self.refuses_with:
            return {"Result": False, "StatusCode": {"Code": self.refuses_with}}
        if not path.endswith(("authorize/start", "authorize/stop")):
            return {"Result": True, "StatusCode": ok}
        card = body["Identification"].get("RFIDMifareFamilyIdentification")
        is_ours = card is None or card["UID"] in self.uids
        status = {"AuthorizationStatus": "Authorized", "StatusCode": ok}
        return status if is_ours else {"AuthorizationStatus": "NotAuthorized", "StatusCode": {"Code": "102"}}


@dataclass
class Company:
    """One node with two operators and two providers, each with a system of its own."""

    folder: Path
    client: TestClient
    systems: dict[str, OwnSystem]

    def write(self, backends: str, more: str = "") -> None:
        port, own = self.ports
        (self.folder / "peers.toml").touch()
        (self.folder / "node.toml").write_text(
            f'[node]\nname = "company"\noperators = ["{NORTH}", "{SOUTH}"]\nproviders = ["{ONE}", "{TWO}"]\n'
            f"[peer_api]\nport = {port}\n[backend_api]\nport = {own}\n[security]\nrequire = []\n"
            f"[delivery]\n{QUICKLY}[storage]\nsynchronous = 'NORMAL'\n{more}{backends}"
        )

    ports: tuple[int, int] = (0, 0)

    def table(self, name: str, **keys: object) -> str:
        role, party = PARTIES[name]
        lines = {"name": name, "role": role, party[0]: [party[1]], "url": self.systems[name].url, **keys}
        return "[[backends]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())

    def all_tables(self) -> str:
        return "".join(self.table(name) for name in PARTIES)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Node]:
        async with Node(load_settings(self.folder / "node.toml")) as node:
            yield node


PARTIES = {
    CSMS_NORTH: ("cpo", ("operators", NORTH)),
    CSMS_SOUTH: ("cpo", ("operators", SOUTH)),
    CONTRACTS_ONE: ("emp", ("providers", ONE)),
    CONTRACTS_TWO: ("emp", ("providers", TWO)),
}


@asynccontextmanager
async def company(folder: Path) -> AsyncIterator[Company]:
    """The company with its systems; its node is configured and does not run yet."""
    ports = tuple(free_ports(2))
    systems = {name: OwnSystem() for name in PARTIES}
    systems[CONTRACTS_ONE].uids = frozenset({"11111111"})
    systems[CONTRACTS_TWO].uids = frozenset({"22222222"})
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        for system in systems.values():
            await stack.enter_async_context(system)
        each = Company(folder, TestClient(http, f"http://127.0.0.1:{ports[1]}"), systems, ports)
        each.write(each.all_tables())
        yield each
