"""Two nodes with a proxy between them that is broken as a test wants it; their clocks may be wrong."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from p2p_oicp.cli.status import fetch_status
from p2p_oicp.config import load_settings
from p2p_oicp.crypto.tls import self_signed
from p2p_oicp.node import Node
from p2p_oicp.simulator.node_files import free_ports
from tests.support.faulty_proxy import FaultyProxy
from tests.support.messages import PUSH_STATUS, push_status
from tests.support.nodes import configured
from tests.support.signed_nodes import SignedPair


@dataclass
class MovedClock:
    """The machine's clock, wrong by ``offset`` seconds."""

    offset: float = 0.0

    def time(self) -> float:
        return time.time() + self.offset

    def monotonic(self) -> float:
        return time.monotonic()


@dataclass
class World(SignedPair):
    """Node A, whose status is read; node B behind a proxy with a certificate of a private CA."""

    proxy: FaultyProxy | None = None
    clocks: dict[str, MovedClock] = field(default_factory=lambda: {"a": MovedClock(), "b": MovedClock()})
    nodes: dict[str, Node] = field(default_factory=dict)
    stacks: dict[str, AsyncExitStack] = field(default_factory=dict)
    statuses: int = 0
    own_csms: bool = True

    def prepare(self) -> None:
        (port,) = free_ports(1)
        certificates = self.folder / "certificates"
        for name, hosts, days in (
            ("good", ["localhost"], 90), ("untrusted", ["localhost"], 1),
            ("other host", ["elsewhere.example"], 1), ("expired", ["localhost"], -1),
        ):  # fmt: skip
            (certificates / name).mkdir(parents=True)
            now = time.time() - (0 if days > 0 else 10 * 86_400)
            key, certificate = self_signed(name, [], hosts, now=now, days=abs(days))
            (certificates / name / "tls.key").write_bytes(key)
            (certificates / name / "tls.crt").write_bytes(certificate)
        trusted = b"".join((certificates / name / "tls.crt").read_bytes() for name in ("good", "other host", "expired"))
        (self.folder / "ca.pem").write_bytes(trusted)
        self.proxy = FaultyProxy(self.ports["b"], port, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        self.proxy.show(certificates / "good")
        self.replace("a/node.toml", "[peer_api]\n", f'[tls]\nca = "{self.folder}/ca.pem"\n[peer_api]\n')
        self.replace("a/peers.toml", f"http://127.0.0.1:{self.ports['b']}", f"https://localhost:{port}")
        self.replace("b/node.toml", "[peer_api]\n", f'[peer_api]\nurl = "https://localhost:{port}"\n')

    def replace(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    async def start(self, name: str) -> None:
        settings = load_settings(self.folder / name / "node.toml")
        backends = {"emp": self.contracts} if name == "b" else {"cpo": self.csms} if self.own_csms else {}
        stack = self.stacks[name] = AsyncExitStack()
        self.nodes[name] = await stack.enter_async_context(Node(settings, clock=self.clocks[name], **backends))

    async def stop(self, name: str) -> None:
        await self.stacks.pop(name).aclose()

    async def try_something(self) -> None:
        """Change an EVSE's status, and have everything tried now."""
        self.statuses += 1
        await self.a.post(PUSH_STATUS, push_status(X="Available" if self.statuses % 2 else "Occupied"))
        await self.http.post(f"{self.a.base.removesuffix('/api/oicp')}/admin/v1/peers/node%20b/retry", json={})

    async def status(self) -> dict:
        return await asyncio.to_thread(fetch_status, self.folder / "a" / "node.toml")


@asynccontextmanager
async def world_of(folder: Path, **members) -> AsyncIterator[World]:
    async with configured(partial(World, **members), folder) as world, AsyncExitStack() as stack:
        world.prepare()
        await stack.enter_async_context(world.proxy)
        stack.push_async_callback(stop_all, world)
        yield world


async def stop_all(world: World) -> None:
    for name in list(world.stacks):
        await world.stop(name)
