"""A company's own systems over HTTP, and one node that serves several of them."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import aiohttp

from p2p_oicp.config import load_settings
from p2p_oicp.node import Node
from p2p_oicp.oicp import OPERATION_BY_NAME
from p2p_oicp.simulator.node_files import free_ports
from p2p_oicp.testing import FakeBackend
from p2p_oicp.testing.script import acknowledgement, authorization
from tests.support.clients import TestClient
from tests.support.nodes import QUICKLY

CSMS_NORTH, CSMS_SOUTH, CONTRACTS_ONE, CONTRACTS_TWO = "csms north", "csms south", "contracts one", "contracts two"
NORTH, SOUTH, ONE, TWO = "DE*NOR", "DE*SUD", "DE-ONE", "DE-TWO"


class OwnSystem(FakeBackend):
    """A CSMS or a contract system that speaks OICP over HTTP: a yes to everything but cards that it does not have."""

    def __init__(self, uids: frozenset[str] = frozenset()) -> None:
        super().__init__("a company")
        self.uids = uids
        self.refuses_with = ""

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__(None, None, None)

    def paths(self) -> list[str]:
        return [request.path.partition("?")[0] for request in self.requests]

    def bodies(self, part: str) -> list[dict]:
        return [request.body for request in self.requests if part in request.path]

    def hang_always(self) -> None:
        for operation in OPERATION_BY_NAME:
            self.hang(operation)

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

    def usual_answer(self, operation: str, body: dict) -> dict:
        if self.refuses_with:
            return acknowledgement(self.refuses_with)
        card = body.get("Identification", {}).get("RFIDMifareFamilyIdentification")
        if operation in {"AuthorizeStart", "AuthorizeStop"} and card is not None and card["UID"] not in self.uids:
            return authorization("102")
        return super().usual_answer(operation, body)


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
