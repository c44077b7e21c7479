"""Two nodes as processes with a proxy before each, and the systems of the two companies behind them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from p2p_oicp.crypto.tls import unverified_context
from p2p_oicp.simulator import Cluster, NodeProcess, NodeSpec
from p2p_oicp.simulator.node_files import CERTIFICATE_FILE, KEY_FILE, ensure_credentials, free_ports
from tests.chaos import ledger
from tests.chaos.backends import Contracts, Csms, listening
from tests.chaos.datasets import CARDS, OF_THE_CPO, Told
from tests.chaos.proxy import Proxy
from tests.support import messages
from tests.support.messages import A_CPO, B_EMP


@dataclass
class World:
    """``to_a`` and ``to_b`` lie before the peer APIs of node A (the CPO's) and node B (the EMP's)."""

    cluster: Cluster
    csms: Csms
    contracts: Contracts
    csms_told: list[Told]
    cards: Told
    to_a: Proxy
    to_b: Proxy
    rng: random.Random
    http: aiohttp.ClientSession
    balance: ledger.Balance = field(default_factory=ledger.Balance)
    megabytes: float = 0.0
    at_rest: dict[str, int] = field(default_factory=dict)

    @property
    def a(self) -> NodeProcess:
        return self.cluster["node a"]

    @property
    def b(self) -> NodeProcess:
        return self.cluster["node b"]

    async def balances(self, within: float = 20.0) -> ledger.Balance:
        """Fail unless the books balance within some seconds."""
        self.balance = await ledger.settled(self.csms, self.contracts, self.told, self.a, self.b, within=within)
        assert self.balance.is_even, self.balance
        assert not self.csms.refused, self.csms.refused[:5]
        return self.balance

    @property
    def told(self) -> list[Told]:
        """What the backends have told their nodes, without the statuses."""
        return [*self.csms_told, self.cards]

    async def push(self) -> None:
        """Let both nodes know all the state of their backends."""
        assert (await self.csms.push_all()).is_yes
        for each in self.told:
            await each.replace()

    async def authorize(self, evse: str) -> str:
        """Open a session, and return its SessionID."""
        answer = await self.csms.insist(messages.START, messages.authorize_start(EvseID=evse))
        assert answer.is_yes, answer
        return answer.json["SessionID"]

    async def state_becomes_equal(self, within: float = 20.0) -> None:
        """Wait until both nodes know exactly what the backends have told; fail if they do not in time."""
        until = time.monotonic() + within
        while faults := await ledger.differences(self.csms, self.contracts, self.told, self.a, self.b):
            assert time.monotonic() < until, faults
            await asyncio.sleep(0.05)

    def measure(self) -> None:
        """Take note of the resident memory of the larger node."""
        for node in (self.a, self.b):
            if node.is_running and node.process:
                with contextlib.suppress(OSError, IndexError):
                    pages = int(Path(f"/proc/{node.process.pid}/statm").read_text().split()[1])
                    self.megabytes = max(self.megabytes, pages * 4096 / 1e6)

    def forget_peaks(self) -> None:
        """Begin anew to watch how much memory the nodes take at most: what is freed at once counts as well."""
        for node in (self.a, self.b):
            assert node.process
            Path(f"/proc/{node.process.pid}/clear_refs").write_text("5")
            self.at_rest[node.spec.name] = _kilobytes(node, "VmRSS")

    def growth(self) -> float:
        """Return by how many MB the node that grew more exceeded what it had when the peaks were forgotten."""
        grown = [_kilobytes(node, "VmHWM") - self.at_rest[node.spec.name] for node in (self.a, self.b)]
        return max(grown) * 1024 / 1e6

    def forget(self) -> None:
        """Let both companies begin new books, for a world with new stores."""
        for book in (self.csms.records, self.csms.notified, self.contracts.records, self.contracts.notified):
            book.clear()

    async def replace(self, node: NodeProcess) -> None:
        """Start a killed node again with an empty store."""
        for file in (node.directory / "data").glob("node.sqlite3*"):
            await asyncio.to_thread(file.unlink)
        await node.start()


def _kilobytes(node: NodeProcess, what: str) -> int:
    assert node.process
    lines = Path(f"/proc/{node.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what))


#: What the nodes prove each other, by name: what node A wants of node B, and the other way round.
SECURE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "none": ((), ()),
    "signed": (("signature",), ("signature",)),
    "mtls": (("mtls",), ("mtls",)),
    "mixed": (("signature",), ("signature", "mtls")),
}


def specs_of(csms: Csms, contracts: Contracts, secure: str) -> tuple[NodeSpec, NodeSpec]:
    """Return what the two nodes are; each can prove whatever is wanted of one of them."""
    wanted = SECURE[secure]
    proves = {"signs": any("signature" in each for each in wanted), "tls": any("mtls" in each for each in wanted)}
    return (
        NodeSpec("node a", operators=(A_CPO,), cpo_url=csms.url, require=wanted[0], **proves),
        NodeSpec("node b", providers=(B_EMP,), emp_url=contracts.url, require=wanted[1], **proves),
    )


def proxy_between(caller: NodeProcess, node: NodeProcess) -> Proxy:
    """Return what lies before a node; where they speak TLS, it has the secrets of both."""
    line = Proxy(node.ports.peer, *free_ports(1))
    if node.spec.tls:
        for each in (caller, node):
            ensure_credentials(each.spec, each.keys)
        line.listens = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        line.listens.load_cert_chain(node.keys / CERTIFICATE_FILE, node.keys / KEY_FILE)
        line.calls = unverified_context()
        line.calls.load_cert_chain(caller.keys / CERTIFICATE_FILE, caller.keys / KEY_FILE)
    return line


@asynccontextmanager
async def world(
    folder: Path, *, seed: int = 1, secure: str = "none", command: Sequence[str] | None = None
) -> AsyncIterator[World]:
    """Start everything; stop everything."""
    rng = random.Random(seed)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http, AsyncExitStack() as stack:
        csms = Csms(http, rng=random.Random(seed + 1))
        contracts = Contracts(http, rng=random.Random(seed + 2))
        await stack.enter_async_context(listening(csms, contracts))
        lines: dict[str, Proxy] = {}
        specs, chosen = specs_of(csms, contracts, secure), {"command": command} if command else {}
        cluster = Cluster(folder, specs, resolve_url=lambda _, other: lines[other.spec.name].url, **chosen)
        a, b = cluster["node a"], cluster["node b"]
        for caller, node in ((b, a), (a, b)):
            lines[node.spec.name] = await stack.enter_async_context(proxy_between(caller, node))
        await stack.enter_async_context(cluster)
        csms.node_url, contracts.node_url = a.backend_url, b.backend_url
        told, cards = [Told(csms, kind) for kind in OF_THE_CPO], Told(contracts, CARDS)
        yield World(cluster, csms, contracts, told, cards, lines["node a"], lines["node b"], rng, http)
