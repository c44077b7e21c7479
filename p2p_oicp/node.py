"""One node: started and stopped in order.

``async with Node(settings) as node`` opens the store, starts both listeners and the workers, and sends hello to the
peers. Leaving the block does the same backwards: it stops accepting, finishes the requests in flight, cancels the
workers, and commits what waits in the store.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import ClassVar, Self

import structlog

from p2p_oicp import apps, builder
from p2p_oicp.backends import BackendFactory, BackendRegistry, CpoBackend, EmpBackend
from p2p_oicp.builder import Hello, NodeComponents, NodeEnvironment
from p2p_oicp.client.recording import ExchangeLog, SentRecords
from p2p_oicp.clock import Clock, IdGenerator, SystemClock, UuidGenerator
from p2p_oicp.concurrency import TaskSupervisor, close_together, offload
from p2p_oicp.config import Settings, load_registry, local_peer
from p2p_oicp.config.backends import CPO_BACKEND, EMP_BACKEND
from p2p_oicp.delivery import PeerLiveness, WakeupRegistry
from p2p_oicp.delivery.store_epochs import open_store_epochs
from p2p_oicp.events.feed import EventFeed
from p2p_oicp.events.types import EventData, MissedEvents
from p2p_oicp.events.view import EventFilter
from p2p_oicp.logs import use_stdlib_logging
from p2p_oicp.ocpi_gateway.gateway import OcpiGateway, open_gateway
from p2p_oicp.oicp import Message
from p2p_oicp.peering import Peering, open_peering
from p2p_oicp.peering.components import open_exchange_log
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.roles.datasets.ingest import resume_interrupted_imports
from p2p_oicp.roles.datasets.withdrawal import PartyWithdrawal
from p2p_oicp.roles.sessions import mark_interrupted_starts
from p2p_oicp.server import Authenticator, BackendAuthenticator, LocalBackendClient, start_listener
from p2p_oicp.server.interception import OperationInterceptor
from p2p_oicp.server.pipeline import HttpHandler
from p2p_oicp.server.traced import TracedRouter
from p2p_oicp.storage import Store, open_store
from p2p_oicp.storage.pauses import read_pauses
from p2p_oicp.tracing.spans import SpanRecorder, TracerSource, otlp_provider

log = structlog.get_logger(__name__)


class Node:
    """One node; an async context manager. Attributes with URLs and the store are set while it runs.

    Args:
        settings: see ``docs/configuration.md``.
        cpo: the CPO backend as a Python object; None: the node calls ``backend_api.cpo_url``, if that is set.
        emp: the EMP backend as a Python object; None: ``backend_api.emp_url``, or else the built-in token list.
        backends: further ones, by the names of their tables ``[[backends]]``, which have no ``url``.
        tracer_provider: OpenTelemetry's, which gets spans of all requests; None: ``[tracing]`` says where they go.
        clock: the machine's by default.
        ids: UUIDs by default.

    Raises:
        ConfigurationError: settings, keys or peers cannot be used, or a port cannot be listened on.
        StoreUnavailable: the database cannot be used.
    """

    #: Whether parties are added while it runs (`builder.NodeEnvironment`).
    _is_open: ClassVar[bool] = False

    def __init__(
        self,
        settings: Settings,
        *,
        cpo: CpoBackend | None = None,
        emp: EmpBackend | None = None,
        backends: Mapping[str, CpoBackend | EmpBackend] | None = None,
        tracer_provider: TracerSource | None = None,
        clock: Clock | None = None,
        ids: IdGenerator | None = None,
    ) -> None:
        self._settings = settings
        self._tracer_provider = tracer_provider
        self._spans: SpanRecorder | None = None
        self._clock = clock or SystemClock()
        self._ids = ids or UuidGenerator()
        given = {CPO_BACKEND: cpo, EMP_BACKEND: emp, **(backends or {})}
        self._backends = {name: backend for name, backend in given.items() if backend is not None}
        self._stack = AsyncExitStack()
        self._local_client: LocalBackendClient | None = None
        self._feed: EventFeed | None = None
        self._peering: Peering | None = None
        self._ocpi: OcpiGateway | None = None
        self.local_peer: Peer = local_peer(settings)
        self.store: Store | None = None
        self.registry: PeerRegistry = load_registry(settings)
        self.peer_url = ""
        self.backend_url = ""
        self.ocpi_url = ""

    def __repr__(self) -> str:
        return f"<Node {self.local_peer.name!r} peer_api={self.peer_url or 'stopped'}>"

    async def __aenter__(self) -> Self:
        use_stdlib_logging()
        # A part that fails to start closes those before it: the stack is taken over only when all have started.
        async with AsyncExitStack() as stack:
            components = await self._build(stack)
            # Order: before anything is delivered, for a Python backend may send as soon as it receives.
            self._local_client = LocalBackendClient(components.dispatchers.backend, self.local_peer)
            self._feed = components.feed
            await self._serve(stack, components)
            self._stack = stack.pop_all()
        self._log_ready()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        log.info("node.stopping", node=self.local_peer.name)
        await self._stack.aclose()
        log.info("node.stopped", node=self.local_peer.name)

    async def send(self, request: Message) -> Message:
        """Send one OICP message, as our backend would over HTTP, and return the response.

        Raises:
            PeerRejected: this node refuses the message as invalid.
            RuntimeError: the node is not running.
        """
        if self._local_client is None:
            raise RuntimeError("the node is not running: use it inside its async with block")
        return await self._local_client.send(request)

    async def events(
        self,
        *,
        types: Iterable[str] = (),
        peers: Iterable[str] = (),
        parties: Iterable[str] = (),
        evses: Iterable[str] = (),
        sessions: Iterable[str] = (),
        after: str | None = None,
    ) -> AsyncIterator[EventData | MissedEvents]:
        """Return what happens at this node, as it happens, until the node stops; see ``docs/events.md``.

        Args:
            types: only these, ``session`` or ``cdr.disputed``; none: all.
            peers: only about these, by name or id.
            parties: only of these operators and providers.
            evses: only of these EVSEs.
            sessions: only of these sessions.
            after: the ``id`` of the last event that is known: all since then come first, also those of earlier runs;
                ``"0"``: all that are kept; None: what happens next.

        Raises:
            ValueError: a type or an id is none.
            StoreError: the database cannot be read.
            RuntimeError: the node is not running.
        """
        if self._feed is None:
            raise RuntimeError("the node is not running: use it inside its async with block")
        selection = EventFilter.of(types=types, peers=peers, parties=parties, evses=evses, sessions=sessions)
        with await self._feed.subscribe(selection, after) as subscription:
            async for event in subscription:
                yield event

    async def reload(self) -> None:
        """Read keys, certificate and peers file again; what cannot be used is logged, and stays as it was."""
        if self._peering is not None:
            await self._peering.reload()

    async def _build(self, stack: AsyncExitStack) -> NodeComponents:
        """Open the store and build all parts, each complete when it is made; nothing is served or sent yet."""
        settings, clock = self._settings, self._clock
        store = await stack.enter_async_context(
            open_store(settings.storage.location, synchronous=settings.storage.synchronous)
        )
        exchanges = self._open_exchange_log()
        if exchanges is not None:
            # Order: after all that is recorded has ended.
            stack.push_async_callback(exchanges.close)
        self._spans = self._open_spans(stack)
        wakeups = WakeupRegistry(await read_pauses(store))
        liveness = PeerLiveness(wakeups, store, clock)
        peering = await open_peering(
            stack,
            settings,
            local_peer=self.local_peer,
            registry=self.registry,
            store=store,
            clock=clock,
            on_peer_alive=liveness.mark_alive,
            sent=SentRecords(exchanges, self._spans),
        )
        self.store, self._peering = store, peering
        self._ocpi = await open_gateway(stack, settings, self.registry, store, clock, self._ids, self._spans)
        store_epochs = await open_store_epochs(store, settings.security.keys, clock, self._ids.store_epoch())
        feed = await EventFeed.open(store, self.registry, clock.time)
        return builder.build_roles(
            self._environment(), store, store_epochs, feed, peering, wakeups, liveness, self._create_backends
        )

    def _environment(self) -> NodeEnvironment:
        return NodeEnvironment(
            self._settings,
            self.registry,
            self._clock,
            self._ids,
            self._create_backend_authenticator(),
            interceptor=self._interceptor(),
            is_open=self._is_open,
            ocpi=self._ocpi,
        )

    def _open_exchange_log(self) -> ExchangeLog | None:
        return open_exchange_log(self._settings)

    def _create_backend_authenticator(self) -> Authenticator:
        return BackendAuthenticator(self.local_peer)

    def _interceptor(self) -> OperationInterceptor | None:
        """Return what may answer in place of a role."""
        return None

    def _create_backends(self, factory: BackendFactory) -> BackendRegistry:
        return factory.build_registry(self._settings, self.local_peer, self._backends)

    def _open_spans(self, stack: AsyncExitStack) -> SpanRecorder | None:
        provider, tracing = self._tracer_provider, self._settings.tracing
        if provider is None and tracing.otlp_endpoint is not None:
            own = otlp_provider(self.local_peer.name, tracing.otlp_endpoint, tracing.sampled)
            stack.push_async_callback(offload, own.shutdown)
            provider = own
        return SpanRecorder(provider) if provider is not None else None

    async def _serve(self, stack: AsyncExitStack, components: NodeComponents) -> None:
        """Open the listeners and start the workers."""
        peering = components.peering
        # Order: entered before the listeners, so that on exit requests finish first, then the workers are cancelled,
        # and the transport and the store, which both need, are closed last.
        supervisor = await stack.enter_async_context(TaskSupervisor())
        # Order: before anything is served, for what a crash has interrupted, and again when all requests have ended.
        await mark_interrupted_starts(components.services)
        stack.push_async_callback(mark_interrupted_starts, components.services)
        await stack.enter_async_context(components.services.background)
        # Order: no request may see a dataset half applied, so imports whose commit point the last run has passed are
        # finished first.
        await resume_interrupted_imports(components.services)
        # Order: nothing of a party that was taken away is served.
        withdrawal = PartyWithdrawal(components.services)
        await withdrawal.withdraw_own()
        await withdrawal.update_peers()
        hello = builder.build_hello(components)
        # Order: listening before the workers start, for a peer that is called may call back at once: it answers hello
        # with its own, and fetches our descriptor if it does not know our key.
        await self._start_listeners(stack, components, hello)
        builder.start_workers(components, supervisor, hello.client)
        for name, worker in (self._ocpi.workers if self._ocpi is not None else {}).items():
            supervisor.start_service(name, worker.run)
        await components.webhooks.start(supervisor)
        supervisor.start_service("store position", components.store_epochs.run)
        # Order: announced last, when everything that an announcement makes other nodes ask for is served.
        if peering.discovery is not None:
            await stack.enter_async_context(peering.discovery)
            supervisor.start_service("discovery", peering.discovery.run)

    async def _start_listeners(self, stack: AsyncExitStack, components: NodeComponents, hello: Hello) -> None:
        peer_settings, backend_settings = self._settings.peer_api, self._settings.backend_api
        peer_app = apps.build_peer_app(components, hello)
        backend_app = apps.build_backend_app(components, hello, self._readiness)
        handlers: dict[str, HttpHandler] = {"peer": peer_app, "backend": backend_app}
        if (spans := self._spans) is not None:
            handlers = {name: TracedRouter(handler, spans, name) for name, handler in handlers.items()}
        tls = components.peering.tls.server_context()
        own = components.peering.backend_tls
        backend_tls = own.server_context() if own is not None else None
        max_connections = self._settings.limits.connections
        open_listener = partial(start_listener, max_connections=max_connections, now=self._clock.time)
        peer_stack, backend_stack, ocpi_stack = AsyncExitStack(), AsyncExitStack(), AsyncExitStack()
        # All end together: what each is waiting for gets the same seconds.
        stack.push_async_callback(close_together, peer_stack, backend_stack, ocpi_stack)
        self.peer_url = await open_listener(
            peer_stack, handlers["peer"], peer_settings.host, peer_settings.port, "peer_api", tls=tls
        )
        self.backend_url = await open_listener(
            backend_stack,
            handlers["backend"],
            backend_settings.host,
            backend_settings.port,
            "backend_api",
            tls=backend_tls,
        )
        ocpi_app, ocpi = apps.build_ocpi_app(components), self._settings.ocpi
        if ocpi_app is not None and ocpi is not None:
            self.ocpi_url = await open_listener(ocpi_stack, ocpi_app, ocpi.host, ocpi.port, "ocpi")
        # Order: before the listeners end, which wait for what they have begun.
        stack.callback(components.feed.close)

    def _log_ready(self) -> None:
        if self._peering is not None and (peers := self._peering.policy.unauthenticated_peers()):
            log.warning("peers.unauthenticated", peers=peers, meaning="no credentials are required of them")
        if not self._settings.security.require:
            log.warning("node.insecure", node=self.local_peer.name, meaning="require = []: peers are not authenticated")
        if self._settings.backend_api.token is None:
            log.warning("backend_api.no_token", meaning="whoever runs programs on this machine may administer the node")
        listeners = {"peer_api": self.peer_url, "backend_api": self.backend_url}
        log.info(
            "node.ready", node=self.local_peer.name, **listeners, **({"ocpi": self.ocpi_url} if self._ocpi else {})
        )

    async def _readiness(self) -> dict[str, object]:
        store_failure = await self.store.failure() if self.store is not None else None
        security = list(self._settings.security.require)
        peers = self._peering.policy.unauthenticated_peers() if self._peering is not None else []
        return {
            "status": "ready" if store_failure is None else "unavailable",
            **({} if store_failure is None else {"store": store_failure}),
            "node": self.local_peer.name,
            "peer_api": self.peer_url,
            "security": security,
            **({} if security else {"warning": "insecure: peers are not authenticated"}),
            **({"insecure_peers": peers} if peers else {}),
        }
