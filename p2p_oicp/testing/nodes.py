"""Real nodes for tests: each a process of its own, with its files in a folder and ports on loopback.

`open_node` runs one, for any number of parties: with a CPO's and an EMP's backend it is the shortest way between two
systems under test. `open_cluster` runs several that are peers of each other. A backend is a fake one or a URL.
"""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from p2p_oicp.concurrency import offload
from p2p_oicp.simulator import Cluster, NodeProcess, NodeSpec
from p2p_oicp.simulator.local_cluster import Secure, plan_nodes
from p2p_oicp.testing.background import BackgroundLoop
from p2p_oicp.testing.fakes import FakeBackend, FakeCsms, FakeEmp
from p2p_oicp.testing.samples import OPERATOR, PROVIDER

#: Where a backend is: a fake one, or the base URL of one in any language; None: there is none.
Backend = FakeBackend | str | None

# For each start and stop: a machine of a CI service is a busy one.
_TIMEOUT_SECONDS = 90.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class RunningNode:
    """One node; ``cpo`` and ``emp`` are its fake backends, None if there is none of ours."""

    process: NodeProcess
    loop: BackgroundLoop
    cpo: FakeCsms | None = None
    emp: FakeEmp | None = None

    @property
    def name(self) -> str:
        """Its name in the cluster, such as cpo-1."""
        return self.process.spec.name

    @property
    def url(self) -> str:
        """Base URL of its backend API: what a backend knows as the URL of the clearing house."""
        return self.process.backend_url

    @property
    def peer_url(self) -> str:
        """Base URL of its peer API."""
        return self.process.peer_url

    @property
    def config(self) -> Path:
        """Its ``node.toml``, for commands: ``p2p-oicp cdrs list --config …``."""
        return self.process.directory / "node.toml"

    @property
    def party(self) -> str:
        """Its first party: the OperatorID of a CPO, else the ProviderID."""
        return (*self.process.spec.operators, *self.process.spec.providers)[0]

    @property
    def csms(self) -> FakeCsms:
        """Its fake CSMS; raise `LookupError` if it has none."""
        if self.cpo is None:
            raise LookupError(f"{self.name} has no fake CSMS")
        return self.cpo

    @property
    def contracts(self) -> FakeEmp:
        """Its fake contract system; raise `LookupError` if it has none."""
        if self.emp is None:
            raise LookupError(f"{self.name} has no fake contract system")
        return self.emp

    @property
    def is_running(self) -> bool:
        """Whether its process runs."""
        return self.process.is_running

    def kill(self) -> None:
        """End it as a crash would."""
        self.loop.run(self.process.kill())

    def stop(self) -> None:
        """End it in order."""
        self.loop.run(self.process.stop())

    def start(self) -> None:
        """Start it again, on the same files and ports."""
        self.loop.run(self.process.start())

    def restart(self) -> None:
        """End it in order and start it again."""
        self.loop.run(self.process.restart())

    async def kill_async(self) -> None:
        """As `kill`, for tests with an event loop."""
        await offload(self.kill)

    async def start_async(self) -> None:
        """As `start`, for tests with an event loop."""
        await offload(self.start)

    def log(self) -> str:
        """Return what it has logged so far."""
        return self.process.log()


@dataclass(frozen=True, slots=True)
class RunningCluster:
    """Nodes that are peers of each other; ``cpos`` and ``emps`` in the order of their numbers, from cpo-1, emp-1 on."""

    cpos: Sequence[RunningNode]
    emps: Sequence[RunningNode]

    def __getitem__(self, name: str) -> RunningNode:
        return self.nodes[name]

    @property
    def nodes(self) -> Mapping[str, RunningNode]:
        """All nodes by name."""
        return {node.name: node for node in (*self.cpos, *self.emps)}


@contextmanager
def open_node(
    *,
    operators: Sequence[str] = (OPERATOR,),
    providers: Sequence[str] = (PROVIDER,),
    cpo: Backend = None,
    emp: Backend = None,
    directory: Path | None = None,
) -> Iterator[RunningNode]:
    """Run one node without peers; what its operators and its providers send each other it routes by itself.

    Args:
        operators: OperatorIDs that it answers for; ``providers`` likewise ProviderIDs.
        cpo: the CPO's backend; a fake one is connected to the node.
        emp: the EMP's backend, likewise.
        directory: for its files; by default one that is deleted at the end.

    Raises:
        NodeFailed: it does not start; the text has the end of its log.
    """
    spec = NodeSpec("node", tuple(operators), tuple(providers), _url_of(cpo), _url_of(emp), records=True)
    with _running([spec], directory) as (loop, cluster):
        node = RunningNode(cluster["node"], loop, _fake_csms(cpo), _fake_emp(emp))
        _connect(node)
        yield node


@contextmanager
def open_cluster(
    cpo: int = 2,
    emp: int = 3,
    *,
    secure: str = "none",
    backends: Mapping[str, Backend] | None = None,
    directory: Path | None = None,
) -> Iterator[RunningCluster]:
    """Run several nodes that are peers of each other; each has a fake backend unless it is given another.

    Args:
        cpo: how many CPO nodes, ``cpo-1`` of the operator ``DE*C01`` and so on; ``emp`` likewise, with ``DE-M01``.
        secure: how they prove who they are: "none", "signed" or "mtls".
        backends: fake backends, or URLs of others, by the names of their nodes.
        directory: for their files; by default one that is deleted at the end.

    Raises:
        NodeFailed: one does not start; the text has the end of its log.
    """
    with ExitStack() as stack:
        given = dict(backends or {})
        for spec in plan_nodes(cpo, emp):
            if spec.name not in given:
                fake = FakeCsms(spec.operators[0]) if spec.operators else FakeEmp(spec.providers[0])
                given[spec.name] = stack.enter_context(fake)
        urls = {name: url for name, backend in given.items() if (url := _url_of(backend)) is not None}
        fakes = {name: backend for name, backend in given.items() if isinstance(backend, FakeBackend)}
        specs = plan_nodes(cpo, emp, secure=Secure(secure), backends=urls)
        loop, cluster = stack.enter_context(_running(specs, directory))
        nodes = [
            RunningNode(node, loop, _fake_csms(fakes.get(name)), _fake_emp(fakes.get(name)))
            for name, node in cluster.nodes.items()
        ]
        for node in nodes:
            _connect(node)
        yield RunningCluster(nodes[:cpo], nodes[cpo:])


def wait_until_listening(url: str, *, timeout: float = 60.0) -> None:
    """Return as soon as somebody listens at a URL: a backend that was just started needs a moment.

    Raises:
        TimeoutError: nobody does within ``timeout`` seconds.
    """
    address = urlsplit(url)
    port = address.port or (443 if address.scheme == "https" else 80)
    deadline = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((address.hostname or "", port), timeout=1).close()
        except OSError as exc:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{url}: nobody listens after {timeout:g} s ({exc})") from exc
            time.sleep(_POLL_SECONDS)
        else:
            return


@contextmanager
def _running(specs: Sequence[NodeSpec], directory: Path | None) -> Iterator[tuple[BackgroundLoop, Cluster]]:
    with ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="p2p-oicp-test-")))
        loop = stack.enter_context(BackgroundLoop("nodes"))
        yield loop, loop.enter(Cluster(directory, specs, timeout=_TIMEOUT_SECONDS))


def _url_of(backend: Backend) -> str | None:
    return backend.url if isinstance(backend, FakeBackend) else backend


def _fake_csms(backend: Backend) -> FakeCsms | None:
    return backend if isinstance(backend, FakeCsms) else None


def _fake_emp(backend: Backend) -> FakeEmp | None:
    return backend if isinstance(backend, FakeEmp) else None


def _connect(node: RunningNode) -> None:
    for backend in (node.cpo, node.emp):
        if backend is not None:
            backend.connect(node.url)
