"""A cluster that other programs find: ``p2p-oicp cluster up`` and what the test kit builds on.

``plan_nodes`` names nodes and parties by numbers: ``cpo-1`` is the operator ``DE*C01``, ``emp-1`` the provider
``DE-M01``. `ClusterControl` writes ``cluster.json`` into the cluster's folder: URL and token of a small HTTP API on
loopback that lists, kills and restarts the nodes; `read_state` finds it. The nodes stay children of the program
that started them, so that nothing is left running when it ends.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from p2p_oicp.errors import ConfigurationError
from p2p_oicp.simulator.cluster import Cluster, NodeFailed, NodeProcess
from p2p_oicp.simulator.node_files import LOOPBACK, NodeSpec

STATE_FILE = "cluster.json"
MAX_NODES_OF_A_ROLE = 20


class Secure(StrEnum):
    """How the nodes of a cluster authenticate each other."""

    NONE = "none"
    SIGNED = "signed"
    MTLS = "mtls"


_CREDENTIALS: Mapping[Secure, dict[str, Any]] = {
    Secure.NONE: {},
    Secure.SIGNED: {"require": ("signature",), "signs": True},
    Secure.MTLS: {"require": ("mtls",), "tls": True},
}


def plan_nodes(
    cpo: int, emp: int, *, secure: Secure = Secure.NONE, backends: Mapping[str, str] | None = None
) -> list[NodeSpec]:
    """Return the specs of a cluster's nodes.

    Args:
        cpo: how many CPO nodes; ``emp`` likewise.
        secure: how they authenticate each other.
        backends: URLs of backends, by the names of their nodes; the others have none.

    Raises:
        ConfigurationError: there is no node of such a name.
    """
    urls = dict(backends or {})
    credentials = _CREDENTIALS[secure]
    specs = [
        NodeSpec(name, operators=(operator_id(number),), cpo_url=urls.pop(name, None), records=True, **credentials)
        for number, name in _numbered("cpo", cpo)
    ]
    specs += [
        NodeSpec(name, providers=(provider_id(number),), emp_url=urls.pop(name, None), records=True, **credentials)
        for number, name in _numbered("emp", emp)
    ]
    if urls:
        names = ", ".join(spec.name for spec in specs)
        raise ConfigurationError(f"{next(iter(urls))}: no such node; expected one of {names}")
    return specs


def operator_id(number: int) -> str:
    """Return the OperatorID of the CPO node of this number, from 1 on."""
    return f"DE*C{number:02}"


def provider_id(number: int) -> str:
    """Return the ProviderID of the EMP node of this number, from 1 on."""
    return f"DE-M{number:02}"


def party_of(name: str) -> tuple[str, str]:
    """Return role and party of the node of a name: cpo and ``DE*C01`` of ``cpo-1``; raise `ConfigurationError`."""
    match = re.fullmatch(r"(cpo|emp)-([1-9]\d?)", name)
    if match is None:
        raise ConfigurationError(f"{name}: no node of a cluster has this name; expected one such as cpo-1 or emp-3")
    number = int(match[2])
    return match[1], operator_id(number) if match[1] == "cpo" else provider_id(number)


def node_name(role: str, number: int) -> str:
    """Return the name of a node: ``cpo-1``."""
    return f"{role}-{number}"


def _numbered(role: str, count: int) -> Iterator[tuple[int, str]]:
    return ((number, node_name(role, number)) for number in range(1, count + 1))


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node of a running cluster; ``backend`` says who the company's own system is."""

    name: str
    role: str
    party: str
    is_running: bool
    pid: int | None
    backend_url: str
    peer_url: str
    directory: str
    backend: str


@dataclass(frozen=True, slots=True)
class ClusterState:
    """Where the program that runs a cluster is reached; ``pid`` is its process."""

    pid: int
    url: str
    token: str


def read_state(directory: Path) -> ClusterState:
    """Return the state of the cluster in a folder; raise `ConfigurationError` if there is none."""
    try:
        state = ClusterState(**json.loads((directory / STATE_FILE).read_bytes()))
    except FileNotFoundError:
        raise ConfigurationError(
            f"{directory}: no cluster runs in this folder; start one: p2p-oicp cluster up --dir {directory}"
        ) from None
    except (OSError, ValueError, TypeError) as exc:
        raise ConfigurationError(f"{directory / STATE_FILE}: cannot be read: {exc}") from exc
    return state


class ClusterControl:
    """Lets other programs see and steer a running cluster; an async context manager.

    Args:
        cluster: whose nodes run already.
        directory: where ``cluster.json`` is written; it is removed at the end.
        backends: who plays the backend of a node, by its name.
    """

    def __init__(self, cluster: Cluster, directory: Path, backends: Mapping[str, str]) -> None:
        self._cluster = cluster
        self._file = directory / STATE_FILE
        self._backends = backends
        self._token = secrets.token_urlsafe(32)
        app = web.Application(middlewares=[self._check_token])
        app.router.add_get("/nodes", self._list_nodes)
        app.router.add_post("/nodes/{name}/{action:kill|restart}", self._steer)
        self._runner = web.AppRunner(app, access_log=None)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, 0).start()
        url = f"http://{LOOPBACK}:{self._runner.addresses[0][1]}"
        self._file.unlink(missing_ok=True)
        self._file.touch(mode=0o600)
        self._file.write_text(json.dumps(asdict(ClusterState(os.getpid(), url, self._token))), encoding="utf-8")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.unlink(missing_ok=True)
        await self._runner.cleanup()

    def statuses(self) -> list[NodeStatus]:
        """Return all nodes and how they are."""
        return [self._status(node) for node in self._cluster.nodes.values()]

    def _status(self, node: NodeProcess) -> NodeStatus:
        spec = node.spec
        return NodeStatus(
            name=spec.name,
            role="cpo" if spec.operators else "emp",
            party=", ".join((*spec.operators, *spec.providers)),
            is_running=node.is_running,
            pid=node.process.pid if node.process is not None and node.is_running else None,
            backend_url=node.backend_url,
            peer_url=node.peer_url,
            directory=str(node.directory),
            backend=self._backends.get(spec.name, "none"),
        )

    @web.middleware
    async def _check_token(self, request: web.Request, handler: Any) -> web.StreamResponse:  # noqa: ANN401 - aiohttp's
        presented = request.headers.get("Authorization", "").encode()
        if not secrets.compare_digest(presented, f"Bearer {self._token}".encode()):
            return web.json_response({"problem": "another token is expected"}, status=HTTPStatus.UNAUTHORIZED)
        response: web.StreamResponse = await handler(request)
        return response

    async def _list_nodes(self, _: web.Request) -> web.Response:
        return web.json_response({"nodes": [asdict(status) for status in self.statuses()]})

    async def _steer(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        node = self._cluster.nodes.get(name)
        if node is None:
            problem = f"{name}: no such node; expected one of {', '.join(self._cluster.nodes)}"
            return web.json_response({"problem": problem}, status=HTTPStatus.NOT_FOUND)
        try:
            await _apply(node, request.match_info["action"])
        except NodeFailed as exc:
            return web.json_response({"problem": str(exc)}, status=HTTPStatus.CONFLICT)
        return web.json_response(asdict(self._status(node)))


async def _apply(node: NodeProcess, action: str) -> None:
    if action == "kill":
        await node.kill()
    elif node.is_running:
        await node.restart()
    else:
        await node.start()
