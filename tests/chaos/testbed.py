"""Two nodes as processes with a proxy in front of each, and the systems of the two companies behind them."""

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
from tests.chaos.backends import LedgerContracts, LedgerCsms, listening
from tests.chaos.datasets import AUTHENTICATION, CPO_DATASETS, PushedDataset
from tests.chaos.proxy import Proxy
from tests.support import messages
from tests.support.messages import A_CPO, B_EMP

# How long a start or an orderly stop may take on a machine that does much else.
_START_SECONDS = 90.0


@dataclass
class Testbed:
    """``proxy_to_a`` and ``proxy_to_b`` are in front of the peer APIs of node A (the CPO's) and node B (the EMP's)."""

    cluster: Cluster
    csms: LedgerCsms
    contracts: LedgerContracts
    cpo_datasets: list[PushedDataset]
    authentication: PushedDataset
    proxy_to_a: Proxy
    proxy_to_b: Proxy
    rng: random.Random
    http: aiohttp.ClientSession
    balance: ledger.Balance = field(default_factory=ledger.Balance)
    restores: ledger.Restores = field(default_factory=ledger.Restores)
    peak_megabytes: float = 0.0
    baseline_memory: dict[str, int] = field(default_factory=dict)

    @property
    def a(self) -> NodeProcess:
        return self.cluster["node a"]

    @property
    def b(self) -> NodeProcess:
        return self.cluster["node b"]

    async def check_ledger(self, within: float = 20.0) -> ledger.Balance:
        """Fail unless ledgers and databases agree within some seconds."""
        self.balance = await ledger.compare_until_even(
            self.csms, self.contracts, self.datasets, self.a, self.b, self.restores, within=within
        )
        assert self.balance.is_even, self.balance
        assert not self.csms.refused, self.csms.refused[:5]
        return self.balance

    @property
    def datasets(self) -> list[PushedDataset]:
        """What the backends have pushed to their nodes, without the statuses."""
        return [*self.cpo_datasets, self.authentication]

    async def push(self) -> None:
        """Push all datasets of both backends."""
        assert (await self.csms.push_all()).is_positive
        for each in self.datasets:
            await each.replace()

    async def authorize(self, evse: str) -> str:
        """Authorize a session, and return its SessionID."""
        reply = await self.csms.send_until_answered(messages.START, messages.authorize_start(EvseID=evse))
        assert reply.is_positive, reply
        return reply.json["SessionID"]

    async def wait_until_datasets_agree(self, within: float = 20.0) -> None:
        """Wait until both nodes have stored exactly what the backends have pushed; fail if they have not in time."""
        until = time.monotonic() + within
        while faults := await ledger.differences(self.csms, self.contracts, self.datasets, self.a, self.b):
            assert time.monotonic() < until, faults
            await asyncio.sleep(0.05)

    def record_memory(self) -> None:
        """Record the resident memory of the larger node."""
        for node in (self.a, self.b):
            if node.is_running and node.process:
                with contextlib.suppress(OSError, IndexError):
                    pages = int(Path(f"/proc/{node.process.pid}/statm").read_text().split()[1])
                    self.peak_megabytes = max(self.peak_megabytes, pages * 4096 / 1e6)

    def reset_peak_memory(self) -> None:
        """Reset the peak memory of both nodes, which includes what is freed at once."""
        for node in (self.a, self.b):
            assert node.process
            Path(f"/proc/{node.process.pid}/clear_refs").write_text("5")
            self.baseline_memory[node.spec.name] = _kilobytes(node, "VmRSS")

    def memory_growth(self) -> float:
        """Return the larger growth of a node's peak memory since `reset_peak_memory`, in MB."""
        grown = [_kilobytes(node, "VmHWM") - self.baseline_memory[node.spec.name] for node in (self.a, self.b)]
        return max(grown) * 1024 / 1e6

    def clear_ledgers(self) -> None:
        """Clear both ledgers, for nodes with new databases."""
        for ledger_ in (self.csms.records, self.csms.notified, self.contracts.records, self.contracts.notified):
            ledger_.clear()

    async def replace(self, node: NodeProcess) -> None:
        """Start a killed node again with an empty database."""
        for file in (node.directory / "data").glob("node.sqlite3*"):
            await asyncio.to_thread(file.unlink)
        await node.start()


def _kilobytes(node: NodeProcess, what: str) -> int:
    assert node.process
    proxies = Path(f"/proc/{node.process.pid}/status").read_text().splitlines()
    return next(int(proxy.split()[1]) for proxy in proxies if proxy.startswith(what))


def set_clock(node: NodeProcess, seconds: float) -> None:
    """Let the clock of a node be wrong by some seconds, now and later; for nodes that run `shifted_clock`."""
    (node.directory / "clock").write_text(str(seconds))


#: How the nodes authenticate, by name: what node A requires of node B, and the other way round.
SECURE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "none": ((), ()),
    "signed": (("signature",), ("signature",)),
    "mtls": (("mtls",), ("mtls",)),
    "mixed": (("signature",), ("signature", "mtls")),
}


def node_specs(csms: LedgerCsms, contracts: LedgerContracts, secure: str) -> tuple[NodeSpec, NodeSpec]:
    """Return the specs of both nodes; each has all credentials that one of them requires."""
    required = SECURE[secure]
    proves = {"signs": any("signature" in each for each in required), "tls": any("mtls" in each for each in required)}
    return (
        NodeSpec("node a", operators=(A_CPO,), cpo_url=csms.url, require=required[0], **proves),
        NodeSpec("node b", providers=(B_EMP,), emp_url=contracts.url, require=required[1], **proves),
    )


def proxy_between(caller: NodeProcess, node: NodeProcess) -> Proxy:
    """Return a proxy in front of a node; with TLS it has the keys of both nodes."""
    proxy = Proxy(node.ports.peer, *free_ports(1))
    if node.spec.tls:
        for each in (caller, node):
            ensure_credentials(each.spec, each.keys)
        proxy.server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        proxy.server_tls.load_cert_chain(node.keys / CERTIFICATE_FILE, node.keys / KEY_FILE)
        proxy.client_tls = unverified_context()
        proxy.client_tls.load_cert_chain(caller.keys / CERTIFICATE_FILE, caller.keys / KEY_FILE)
    return proxy


@asynccontextmanager
async def start_testbed(
    folder: Path, *, seed: int = 1, secure: str = "none", command: Sequence[str] | None = None
) -> AsyncIterator[Testbed]:
    """Start nodes, proxies and backends; stop them at the end."""
    rng = random.Random(seed)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http, AsyncExitStack() as stack:
        csms = LedgerCsms(http, rng=random.Random(seed + 1))
        contracts = LedgerContracts(http, rng=random.Random(seed + 2))
        await stack.enter_async_context(listening(csms, contracts))
        proxies: dict[str, Proxy] = {}
        specs, chosen = node_specs(csms, contracts, secure), {"command": command} if command else {}
        cluster = Cluster(folder, specs, resolve_url=lambda _, other: proxies[other.spec.name].url, **chosen)
        a, b = cluster["node a"], cluster["node b"]
        a.timeout = b.timeout = _START_SECONDS
        for caller, node in ((b, a), (a, b)):
            proxies[node.spec.name] = await stack.enter_async_context(proxy_between(caller, node))
        await stack.enter_async_context(cluster)
        csms.node_url, contracts.node_url = a.backend_url, b.backend_url
        datasets = [PushedDataset(csms, spec) for spec in CPO_DATASETS]
        authentication = PushedDataset(contracts, AUTHENTICATION)
        proxy_to_a, proxy_to_b = (proxies[node.spec.name] for node in (a, b))
        yield Testbed(cluster, csms, contracts, datasets, authentication, proxy_to_a, proxy_to_b, rng, http)
