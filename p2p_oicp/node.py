"""One node: the one place where everything is put together and started.

``async with Node(settings) as node`` opens the store, starts both listeners and the workers, and says hello to the
peers; leaving the block stops accepting, finishes what is in flight, stops the workers and commits what waits.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Self

import structlog
from aiohttp import web

from p2p_oicp import builder
from p2p_oicp.backends import CpoBackend, EmpBackend
from p2p_oicp.builder import NodeComponents, NodeEnvironment
from p2p_oicp.clock import Clock, IdGenerator, SystemClock, UuidGenerator
from p2p_oicp.config import Settings, load_registry, local_peer
from p2p_oicp.delivery import TaskSupervisor
from p2p_oicp.logs import use_stdlib_logging
from p2p_oicp.oicp import Message
from p2p_oicp.peering import PeerTls
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.roles.datasets.ingest import resume_interrupted_imports
from p2p_oicp.server import InProcessPeerClient, LocalBackendClient, PeerAuthenticator, start_listener
from p2p_oicp.storage import Store, open_store

log = structlog.get_logger(__name__)


class Node:
    """One running node.

    ``cpo`` and ``emp`` are Python backends; without them the node calls ``backend_api.cpo_url`` and ``emp_url``.
    Raises ConfigurationError or StoreUnusable where it cannot start.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        cpo: CpoBackend | None = None,
        emp: EmpBackend | None = None,
        clock: Clock | None = None,
        ids: IdGenerator | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._ids = ids or UuidGenerator()
        self._cpo, self._emp = cpo, emp
        self._stack = AsyncExitStack()
        self._local_client: LocalBackendClient | None = None
        self._trust: PeerTls | None = None
        self.me: Peer = local_peer(settings)
        self.store: Store | None = None
        self.registry: PeerRegistry = load_registry(settings)
        self.peer_url = ""
        self.backend_url = ""

    async def __aenter__(self) -> Self:
        use_stdlib_logging()
        async with AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        log.info("node.stopping", node=self.me.name)
        await self._stack.aclose()
        log.info("node.stopped", node=self.me.name)

    async def send(self, request: Message) -> Message:
        """Send one OICP message, as our backend would over HTTP, and return the answer.

        Raises errors.PeerRejected where this node refuses the message as invalid.
        """
        if self._local_client is None:
            raise RuntimeError("the node is not running: use it inside its async with block")
        return await self._local_client.send(request)

    async def reload(self) -> None:
        """Read keys, certificate and peers file again; what cannot be used is logged, and stays as it was."""
        if self._trust is not None:
            await self._trust.reload()

    async def _start(self, stack: AsyncExitStack) -> None:
        environment, storage = self._environment(), self._settings.storage
        store = self.store = await stack.enter_async_context(open_store(storage.file, synchronous=storage.synchronous))
        trust = self._trust = stack.enter_context(builder.build_identity(environment))
        components = await builder.build_components(stack, environment, store, trust, (self._cpo, self._emp))
        supervisor = await stack.enter_async_context(TaskSupervisor())
        await trust.open(store, components.client)
        await resume_interrupted_imports(components.services)
        limiter = builder.build_limiter(environment)
        authenticator = PeerAuthenticator(trust, limiter)
        peer_dispatcher, backend_dispatcher = builder.build_dispatchers(components, authenticator, limiter)
        components.peer_client.local = InProcessPeerClient(peer_dispatcher)
        self._local_client = LocalBackendClient(backend_dispatcher, self.me)
        hello_client = await builder.build_hello(components)
        trust.key_refresher.on_refreshed = hello_client.send_once
        peer_app = builder.build_peer_app(components, peer_dispatcher, authenticator, hello_client)
        await self._start_listeners(
            stack, trust, peer_app, builder.build_backend_app(components, backend_dispatcher, self._readiness)
        )
        builder.start_workers(components, supervisor, hello_client)
        await self._start_discovery(stack, components, supervisor)
        self._log_ready()

    def _environment(self) -> NodeEnvironment:
        return NodeEnvironment(self._settings, self.me, self.registry, self._clock, self._ids)

    async def _start_listeners(
        self, stack: AsyncExitStack, trust: PeerTls, peer_app: web.Application, backend_app: web.Application
    ) -> None:
        peer_settings, backend_settings = self._settings.peer_api, self._settings.backend_api
        tls = trust.tls.server_context() if trust.tls else None
        open_listener = partial(start_listener, stack, max_connections=self._settings.limits.connections)
        self.peer_url = await open_listener(peer_app, peer_settings.host, peer_settings.port, "peer_api", tls=tls)
        self.backend_url = await open_listener(backend_app, backend_settings.host, backend_settings.port, "backend_api")

    async def _start_discovery(
        self, stack: AsyncExitStack, components: NodeComponents, supervisor: TaskSupervisor
    ) -> None:
        if (discovery_settings := self._settings.discovery).mdns:
            mark_alive = components.liveness.mark_alive
            discovery = components.trust.create_discovery(
                components.client, discovery_settings.interfaces, discovery_settings.auto_accept, mark_alive
            )
            supervisor.start_service("discovery", (await stack.enter_async_context(discovery)).run)

    def _log_ready(self) -> None:
        if not self._settings.security.require:
            log.warning("node.insecure", node=self.me.name, meaning="require = []: nobody proves who they are")
        log.info("node.ready", node=self.me.name, peer_api=self.peer_url, backend_api=self.backend_url)

    def _readiness(self) -> dict[str, object]:
        security = list(self._settings.security.require)
        peers = self._trust.insecure_peers() if self._trust is not None else []
        return {
            "status": "ready",
            "node": self.me.name,
            "peer_api": self.peer_url,
            "security": security,
            **({} if security else {"warning": "insecure: nobody proves who they are"}),
            **({"insecure_peers": peers} if peers else {}),
        }
