"""One node: the one place where everything is put together and started.

``async with Node(settings) as node`` opens the store, starts both listeners and the workers, and says hello to the
peers; leaving the block stops accepting, finishes what is in flight, stops the workers and commits what waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

import structlog
from aiohttp import web

from p2p_oicp.backends import CpoBackend, EmpBackend, choose_cpo, choose_emp
from p2p_oicp.clock import Clock, Mint, RandomMint, SystemClock
from p2p_oicp.delivery import (
    Acquaintances,
    Backoff,
    Bells,
    Carrier,
    OutboxWorker,
    PeerCourier,
    PeerEnquirer,
    SignsOfLife,
    Supervisor,
    Worker,
)
from p2p_oicp.identity import ClaimedIdentityVerifier
from p2p_oicp.logs import hand_logs_to_the_host_program
from p2p_oicp.oicp import Message
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.roles import CpoRole, EmpRole, RoleContext
from p2p_oicp.roles.carriers import EmpBackendCarrier, PeerCarrier
from p2p_oicp.roles.context import EMP_BACKEND
from p2p_oicp.roles.expiry import Expiry
from p2p_oicp.roles.reports import SessionReports
from p2p_oicp.roles.state.sweeping import Retention
from p2p_oicp.roles.state.workers import state_workers
from p2p_oicp.settings import Settings, load_registry, own_peer, refuse_what_is_not_served
from p2p_oicp.storage import Store, birth, open_store, peer_names
from p2p_oicp.storage.state.batches import finish_batches
from p2p_oicp.storage.state.keeper import Keeper
from p2p_oicp.transport import OicpClient
from p2p_oicp.version import VERSION
from p2p_oicp.web import (
    Admin,
    Api,
    Greetings,
    Listener,
    Loopback,
    Metrics,
    OutboxAdmin,
    OwnCalls,
    SessionEnquiries,
    Side,
    backend_app,
    listen,
    peer_app,
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the listeners and the workers share."""

    context: RoleContext
    client: OicpClient
    courier: PeerCourier
    signs: SignsOfLife
    metrics: Metrics
    emp_backend: EmpBackend
    cpo: CpoRole | None
    emp: EmpRole | None


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
        mint: Mint | None = None,
    ) -> None:
        refuse_what_is_not_served(settings)
        self._settings = settings
        self._clock = clock or SystemClock()
        self._mint = mint or RandomMint()
        self._cpo, self._emp = cpo, emp
        self._stack = AsyncExitStack()
        self._own_calls: OwnCalls | None = None
        self._backoff = Backoff(settings.delivery.retry_first, settings.delivery.retry_max)
        self.me: Peer = own_peer(settings)
        self.store: Store | None = None
        self.registry: PeerRegistry = load_registry(settings)
        self.peer_url = ""
        self.backend_url = ""

    async def __aenter__(self) -> Self:
        hand_logs_to_the_host_program()
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
        if self._own_calls is None:
            raise RuntimeError("the node is not running: use it inside its async with block")
        return await self._own_calls.send(request)

    async def _start(self, stack: AsyncExitStack) -> None:
        storage = self._settings.storage
        store = self.store = await stack.enter_async_context(open_store(storage.file, synchronous=storage.synchronous))
        await finish_batches(store, self._clock.time)
        await self._follow_names(store)
        supervisor = await stack.enter_async_context(Supervisor())
        parts = await self._assemble(stack, store)
        peer_api, backend_api = self._apis(parts)
        parts.courier.loopback = Loopback(peer_api)
        self._own_calls = OwnCalls(backend_api, self.me)
        greetings = await self._greetings(store, parts)
        await self._listen_to_peers(stack, parts, peer_api, greetings)
        await self._listen_to_backends(stack, parts, backend_api)
        for name, work in self._workers(parts):
            supervisor.keep_running(name, work.run)
        supervisor.run_once("hello", greetings.greet_all)
        self._report()

    async def _follow_names(self, store: Store) -> None:
        """Let what belongs to a peer follow it to its new name: a name is only a label."""
        parties = {
            peer.name: [party.key for party in (*peer.operators, *peer.providers)]
            for peer in self.registry.all()
            if not peer.is_self
        }
        followed = await store.write(lambda tx: peer_names.follow(tx, parties))
        for old, new in followed.renamed.items():
            log.info("peer.renamed", old=old, new=new)
        for name, letters in followed.stranded.items():
            log.warning("peer.gone", peer=name, letters=letters, meaning="nobody brings these; enter the peer again")

    async def _greetings(self, store: Store, parts: _Parts) -> Greetings:
        ours = await store.write(lambda tx: birth.certificate(tx, self._clock.time()))
        replaced = parts.emp.reconciling.wanted if parts.emp else None
        met = Acquaintances(store, parts.context.bells, ours, replaced)
        return Greetings(self.me, self.registry, parts.client, parts.signs, met, self._backoff)

    async def _assemble(self, stack: AsyncExitStack, store: Store) -> _Parts:
        client = await stack.enter_async_context(self._client())
        bells, courier = Bells(), PeerCourier(client)
        context = RoleContext(
            me=self.me,
            registry=self.registry,
            store=store,
            courier=courier,
            bells=bells,
            clock=self._clock,
            mint=self._mint,
            keeper=Keeper(store, self._clock.time),
            authorization_deadline=self._settings.authorization.deadline,
            pin_rounds=self._settings.security.pin_rounds,
        )
        signs = SignsOfLife(bells, store, self._clock)
        urls = self._settings.backend_api
        cpo_backend = choose_cpo(self._cpo, urls.cpo_url, client)
        emp_backend = choose_emp(self._emp, urls.emp_url, client, store)
        cpo = CpoRole(context, cpo_backend) if self.me.operators else None
        emp = self._emp_role(context, emp_backend, client) if self.me.providers else None
        return _Parts(context, client, courier, signs, Metrics(store, self._clock), emp_backend, cpo, emp)

    def _emp_role(self, context: RoleContext, backend: EmpBackend, client: OicpClient) -> EmpRole:
        return EmpRole(
            context,
            backend,
            enquirer=PeerEnquirer(client),
            clarify_interval=self._settings.sessions.clarify_interval,
            reconcile_interval=self._settings.cdrs.reconcile_interval,
        )

    def _client(self) -> OicpClient:
        return OicpClient(
            mint=self._mint,
            user_agent=f"p2p-oicp/{VERSION}",
            max_body=self._settings.peer_api.max_body,
            clock=self._clock,
        )

    def _apis(self, parts: _Parts) -> tuple[Api, Api]:
        make = partial(
            Api,
            me=self.me,
            registry=self.registry,
            verifier=ClaimedIdentityVerifier(),
            cpo=parts.cpo,
            emp=parts.emp,
            signs=parts.signs,
        )
        meter = parts.metrics.meter
        return make(Side.PEER, meter=meter("peer")), make(Side.BACKEND, meter=meter("backend"))

    async def _listen_to_peers(self, stack: AsyncExitStack, parts: _Parts, api: Api, greetings: Greetings) -> None:
        there, away = self._settings.peer_api, parts.metrics.turned_away("peer")
        listener = Listener(api, self._mint, max_body=there.max_body, turned_away=away)
        enquiries = SessionEnquiries(api, SessionReports(parts.context))
        app = peer_app(listener, hello=greetings.hear, sessions=enquiries.serve)
        self.peer_url = await listen(stack, app, there.host, there.port, "peer_api")

    async def _listen_to_backends(self, stack: AsyncExitStack, parts: _Parts, api: Api) -> None:
        there, away = self._settings.backend_api, parts.metrics.turned_away("backend")
        token = there.token.get_secret_value() if there.token else None
        listener = Listener(api, self._mint, max_body=there.max_body, turned_away=away, token=token)
        admin = self._admin(parts, listener)
        app = backend_app(listener, readiness=self._readiness, metrics=parts.metrics.show, admin=admin)
        self.backend_url = await listen(stack, app, there.host, there.port, "backend_api")

    def _admin(self, parts: _Parts, listener: Listener) -> list[web.RouteDef]:
        """Return what a person may ask of this node, on the backend listener."""
        context = parts.context
        outbox = OutboxAdmin(context.store, context.bells, self._clock)
        return [*Admin(parts.emp.reconciling if parts.emp else None).routes(listener), *outbox.routes(listener)]

    def _workers(self, parts: _Parts) -> Iterator[tuple[str, Worker]]:
        """Return one outbox worker per destination, one replicator per peer and kind of state, and the housekeepers."""
        context, times = parts.context, self._settings.sessions
        yield "expiry", Expiry(context, authorize_ttl=times.authorize_ttl, session_ttl=times.session_ttl)
        if parts.emp:
            yield from parts.emp.workers().items()
            yield EMP_BACKEND, self._outbox_worker(EMP_BACKEND, EmpBackendCarrier(parts.emp_backend), context)
        for peer in self.registry.all():
            yield peer.name, self._outbox_worker(peer.name, PeerCarrier(self.registry, parts.courier), context)
        kept = self._settings.storage
        retention = Retention(kept.history_days, kept.status_history_days, kept.quarantine_days)
        yield from state_workers(context, self._backoff, retention)

    def _outbox_worker(self, name: str, carrier: Carrier, context: RoleContext) -> OutboxWorker:
        bell = context.bells.hang(name, name)
        return OutboxWorker(carrier, store=context.store, bell=bell, clock=self._clock, backoff=self._backoff)

    def _report(self) -> None:
        if not self._settings.security.require:
            log.warning("node.insecure", node=self.me.name, meaning="require = []: nobody proves who they are")
        log.info("node.ready", node=self.me.name, peer_api=self.peer_url, backend_api=self.backend_url)

    def _readiness(self) -> dict[str, object]:
        security = list(self._settings.security.require)
        return {
            "status": "ready",
            "node": self.me.name,
            "peer_api": self.peer_url,
            "security": security,
            **({} if security else {"warning": "insecure: nobody proves who they are"}),
        }
