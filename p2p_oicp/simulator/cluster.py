"""Several nodes on this machine, each a real process with its own files and loopback listeners.

A cluster writes ``node.toml`` and ``peers.toml`` for each node, with all others as its peers. Unless their specs
require signatures or mTLS, nodes do not authenticate each other, which is for loopback only. ``start`` returns when the
node responds to ``/readyz``; ``kill`` is a crash, ``stop`` an orderly end. What still runs when the block ends is
stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from p2p_oicp.errors import P2pOicpError
from p2p_oicp.simulator.node_files import (
    KEYS_DIRECTORY,
    LOOPBACK,
    NodeSpec,
    Ports,
    ensure_credentials,
    ensure_token,
    free_ports,
    node_toml,
    peers_toml,
)

_RUN_NODE = (sys.executable, "-m", "p2p_oicp", "run", "--config")
_TIMEOUT_SECONDS = 20.0
_POLL_SECONDS = 0.02
_LOG_TAIL_LINES = 20


class NodeFailed(P2pOicpError):
    """A node process did not start or stop as it should; the text ends with the last lines of its log."""


@dataclass
class NodeProcess:
    """One node: its folder, its ports and, while it runs, its process.

    ``command`` takes the path of ``node.toml`` as its last argument; ``timeout``, in seconds, bounds each start
    and stop.
    """

    spec: NodeSpec
    directory: Path
    ports: Ports
    command: Sequence[str] = _RUN_NODE
    timeout: float = _TIMEOUT_SECONDS
    process: asyncio.subprocess.Process | None = field(default=None, init=False)

    @property
    def backend_url(self) -> str:
        """Base URL of the backend API."""
        return f"http://{LOOPBACK}:{self.ports.backend}"

    @property
    def peer_url(self) -> str:
        """Base URL of the peer API."""
        return f"{'https' if self.spec.tls else 'http'}://{LOOPBACK}:{self.ports.peer}"

    @property
    def keys(self) -> Path:
        """Folder of its keys and its certificate, if it has any."""
        return self.directory / KEYS_DIRECTORY

    @property
    def log_file(self) -> Path:
        """The node's output, of all its starts."""
        return self.directory / "node.log"

    @property
    def is_running(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.returncode is None

    @property
    def exit_code(self) -> int | None:
        """What the process ended with, once it has ended."""
        return self.process.returncode if self.process else None

    async def start(self) -> None:
        """Start the process and wait until it serves; raise NodeFailed if it does not in time."""
        if self.is_running:
            raise NodeFailed(f"{self.spec.name}: runs already")
        # Appended: a restarted node continues the log of its earlier starts.
        with self.log_file.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.command, str(self.directory / "node.toml"),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=_environment(),
            )  # fmt: skip
        try:
            async with asyncio.timeout(self.timeout):
                await self._wait_until_ready(self.process)
        except TimeoutError:
            await self.kill()
            raise self._failure(f"is not ready after {self.timeout:g} s") from None

    async def stop(self) -> None:
        """End the process in order (SIGTERM); raise NodeFailed if it does not exit with 0 in time."""
        process = self._require_running()
        # It may end by itself: at a terminal, Ctrl-C reaches the nodes too.
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self.timeout):
                code = await process.wait()
        except TimeoutError:
            await self.kill()
            raise self._failure(f"still runs {self.timeout:g} s after SIGTERM") from None
        if code != 0:
            raise self._failure(f"exited with {code} after SIGTERM")

    async def kill(self) -> None:
        """End the process as a crash would (SIGKILL)."""
        process = self._require_running()
        process.kill()
        await process.wait()

    async def restart(self) -> None:
        """End the process in order and start it again, on the same ports and files."""
        await self.stop()
        await self.start()

    def log(self) -> str:
        """Return what the node has written so far."""
        return self.log_file.read_text(encoding="utf-8", errors="replace") if self.log_file.exists() else ""

    async def _wait_until_ready(self, process: asyncio.subprocess.Process) -> None:
        async with aiohttp.ClientSession() as session:
            while not await _is_ready(session, f"{self.backend_url}/readyz"):
                if process.returncode is not None:
                    raise self._failure(f"exited with {process.returncode} while starting")
                await asyncio.sleep(_POLL_SECONDS)

    def _require_running(self) -> asyncio.subprocess.Process:
        if self.process is None or self.process.returncode is not None:
            raise self._failure("does not run")
        return self.process

    def _failure(self, problem: str) -> NodeFailed:
        tail = "\n".join(self.log().splitlines()[-_LOG_TAIL_LINES:])
        return NodeFailed(f"{self.spec.name} {problem}\n{tail}".rstrip())


class Cluster:
    """Nodes that are peers of each other; an async context manager that starts all, and stops what still runs.

    Args:
        directory: each node gets a folder of its name in it.
        specs: one for each node; their names are the keys of ``nodes``.
        command: as `NodeProcess.command`.
        timeout: seconds for each start and stop.
        resolve_url: returns the URL at which one node (first argument) calls another; by default the other's peer API.
            Signatures cover that URL, so nodes that sign need the same one for all others.
        ports: two for each node, of its peer API and of its backend API; by default free ones.
    """

    def __init__(
        self,
        directory: Path,
        specs: Sequence[NodeSpec],
        *,
        command: Sequence[str] = _RUN_NODE,
        timeout: float = _TIMEOUT_SECONDS,
        resolve_url: Callable[[NodeProcess, NodeProcess], str] | None = None,
        ports: Sequence[int] | None = None,
    ) -> None:
        self._resolve_url = resolve_url or (lambda _, other: other.peer_url)
        next_ports = iter(free_ports(2 * len(specs)) if ports is None else ports)
        self.nodes: Mapping[str, NodeProcess] = {
            spec.name: NodeProcess(
                spec, directory / spec.name, Ports(peer=next(next_ports), backend=next(next_ports)), command, timeout
            )
            for spec in specs
        }

    def __getitem__(self, name: str) -> NodeProcess:
        return self.nodes[name]

    async def __aenter__(self) -> Self:
        for node in self.nodes.values():
            self.write_files(node)
        try:
            async with asyncio.TaskGroup() as task_group:
                for node in self.nodes.values():
                    task_group.create_task(node.start())
        except ExceptionGroup as group:
            await self._kill_all()
            # The first failure cancelled the other starts, so it is the one to report.
            raise group.exceptions[0] from None
        except BaseException:
            await self._kill_all()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is not None:
            # No orderly stop: its own failure would hide the original one.
            await self._kill_all()
            return
        try:
            await self._stop_all()
        finally:
            await self._kill_all()

    async def _stop_all(self) -> None:
        """Stop what runs, all at the same time; raise the first failure when all have ended."""
        running = [node for node in self.nodes.values() if node.is_running]
        outcomes = await asyncio.gather(*(node.stop() for node in running), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _kill_all(self) -> None:
        for node in self.nodes.values():
            with contextlib.suppress(NodeFailed, ProcessLookupError):
                await node.kill()

    def write_files(self, node: NodeProcess) -> None:
        """Write the node's configuration files, and its credentials, if it has none yet."""
        node.directory.mkdir(parents=True, exist_ok=True)
        others = [other for other in self.nodes.values() if other is not node]
        url = self._resolve_url(others[0], node) if others else None
        toml = node_toml(node.spec, node.ports, url, ensure_token(node.directory))
        (node.directory / "node.toml").write_text(toml, encoding="utf-8")
        entries = [
            (other.spec, self._resolve_url(node, other), ensure_credentials(other.spec, other.keys)) for other in others
        ]
        (node.directory / "peers.toml").write_text(peers_toml(entries), encoding="utf-8")
        ensure_credentials(node.spec, node.keys)


async def _is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=1)) as response:
            return response.status == HTTPStatus.OK
    except (aiohttp.ClientError, TimeoutError):
        return False


def _environment() -> dict[str, str]:
    """Return our environment without settings of nodes, and with this very package first on the path."""
    filtered = {name: value for name, value in os.environ.items() if not name.upper().startswith("P2P_OICP_")}
    package_root = str(Path(__file__).parents[2])
    return {**filtered, "PYTHONPATH": os.pathsep.join(filter(None, (package_root, filtered.get("PYTHONPATH"))))}
