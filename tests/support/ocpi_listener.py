"""An OCPI listener alone, on a real socket: a recorder serves its modules, and a foreign platform is its partner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from p2p_oicp.client import HttpTransport
from p2p_oicp.client.ocpi import MAX_RESPONSE_BYTES, OcpiClient
from p2p_oicp.clock import SystemClock, UuidGenerator
from p2p_oicp.config.ocpi import OcpiSettings
from p2p_oicp.crypto.sealing import SecretSealer
from p2p_oicp.ocpi_gateway.partners import OcpiPartners
from p2p_oicp.ocpi_gateway.registration import Registrar
from p2p_oicp.ocpi_gateway.requests import ModuleRequest, ModuleResult
from p2p_oicp.oicp import OperatorID, ProviderID
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.server.listener import start_listener
from p2p_oicp.server.ocpi import OcpiListener
from p2p_oicp.simulator.node_files import free_ports
from p2p_oicp.storage import open_store
from tests.support.ocpi_platform import Answer, Platform, serving

OWN = Peer("Node A", "http://a.example", operators=(OperatorID("DE*GEF"), OperatorID("DE*ABC")), is_self=True)
DRIVERS = Peer("Drivers", "http://b.example", providers=(ProviderID("DE-DCB"),))


@dataclass
class Recorder:
    """Serves modules: keeps requests, and answers what a test says."""

    requests: list[ModuleRequest] = field(default_factory=list)
    answer: Callable[[ModuleRequest], ModuleResult] = lambda _: ModuleResult()
    hold: asyncio.Event | None = None

    async def handle(self, request: ModuleRequest) -> ModuleResult:
        self.requests.append(request)
        if self.hold is not None:
            await self.hold.wait()
        return self.answer(request)

    @property
    def last(self) -> ModuleRequest:
        return self.requests[-1]


@dataclass
class ListenerLab:
    """The listener with two partners: ``citrine`` is the platform, ``other`` another operator's."""

    url: str
    platform: Platform
    partners: OcpiPartners
    registrar: Registrar
    modules: Recorder
    token: str = ""

    async def call(self, verb: str, path: str, body=None, token: str | None = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.platform.call(verb, f"{self.url}{path}", self.token if token is None else token, body, named)

    async def register(self, name: str = "citrine") -> str:
        """Register the platform; return the token by which it calls."""
        invitation = await self.registrar.invite(name)
        self.platform.party_id = "GEF" if name == "citrine" else "ABC"
        answer = await self.platform.register({"token": invitation.token, "versions_url": invitation.versions_url})
        assert answer.code == 1000, answer
        return answer.data["token"]


@asynccontextmanager
async def ocpi_listener(
    folder: Path, platform: Platform | None = None, **settings: object
) -> AsyncIterator[ListenerLab]:
    """Serve OCPI with a registered partner; ``settings``: further ones of the table."""
    clock, ids = SystemClock(), UuidGenerator()
    async with AsyncExitStack() as stack:
        platform = await stack.enter_async_context(serving(platform or Platform()))
        (port,) = free_ports(1)
        table = OcpiSettings.model_validate({"port": port, "partners": _partners(platform), **settings})
        store = await stack.enter_async_context(open_store(folder / "node.sqlite3"))
        transport = await stack.enter_async_context(HttpTransport(user_agent="test", max_body=MAX_RESPONSE_BYTES))
        client, sealer = OcpiClient(transport, ids=ids, clock=clock), SecretSealer(bytes(32))
        partners = OcpiPartners(table, PeerRegistry((OWN, DRIVERS)), store, sealer, client, clock, [])
        registrar, modules = Registrar(partners, store, sealer, clock), Recorder()
        listener = OcpiListener(partners, registrar, {"cpo": modules}, store=store, ids=ids, clock=clock)
        await start_listener(stack, listener, "127.0.0.1", port, "ocpi", max_connections=200, now=clock.time)
        lab = ListenerLab(table.url, platform, partners, registrar, modules)
        lab.token = await lab.register()
        yield lab


def _partners(platform: Platform) -> list[dict[str, object]]:
    common = {"face": "cpo", "hotline": "+4930123456", "versions_url": platform.versions_url}
    return [
        {"name": "citrine", "parties": ["DE*GEF"], **common},
        {"name": "other", "parties": ["DE*ABC"], "profile": "citrineos", **common},
    ]
