"""One node: the one place where everything is put together and started.

``async with Node(settings) as node`` opens the store, starts both listeners and the workers, and says hello to the
peers; leaving the block stops accepting, finishes what is in flight, stops the workers and commits what waits.
"""

from __future__ import annotations

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
    OutboxWorker,
    PeerCourier,
    PeerEnquirer,
    SignsOfLife,
    Supervisor,
    Worker,
)
from p2p_oicp.identity import MessageSigner
from p2p_oicp.logs import hand_logs_to_the_host_program
from p2p_oicp.oicp import Message
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.roles import CpoRole, EmpRole, RoleContext
from p2p_oicp.roles.carriers import EmpBackendCarrier
from p2p_oicp.roles.context import EMP_BACKEND
from p2p_oicp.roles.crew import Crew
from p2p_oicp.roles.expiry import Expiry
from p2p_oicp.roles.forgetting import Forgetting
from p2p_oicp.roles.reports import SessionReports
from p2p_oicp.roles.state.recovery import make_good
from p2p_oicp.roles.state.sweeping import Retention, Sweeper
from p2p_oicp.settings import Settings, load_registry, own_peer
from p2p_oicp.storage import Store, birth, open_store
from p2p_oicp.storage.state.keeper import Keeper
from p2p_oicp.transport import OicpClient
from p2p_oicp.trust import Change, Trust, TrustFiles
from p2p_oicp.version import VERSION
from p2p_oicp.web import (
    Admin,
    AdminPeers,
    Api,
    Greetings,
    Listener,
    Loopback,
    Metrics,
    OutboxAdmin,
    OwnCalls,
    OwnGate,
    PeerGate,
    PeerPairings,
    SessionEnquiries,
    Side,
    backend_app,
    listen,
    peer_app,
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What listeners and workers share."""

    context: RoleContext
    trust: Trust
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
        self._settings = settings
        self._clock = clock or SystemClock()
        self._mint = mint or RandomMint()
        self._cpo, self._emp = cpo, emp
        self._stack = AsyncExitStack()
        self._own_calls: OwnCalls | None = None
        self._trust: Trust | None = None
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

    async def reload(self) -> None:
        """Read keys, certificate and peers file again; a mistake in them is logged, and changes nothing."""
        if self._trust is not None:
            await self._trust.reload()

    async def _start(self, stack: AsyncExitStack) -> None:
        storage = self._settings.storage
        store = self.store = await stack.enter_async_context(open_store(storage.file, synchronous=storage.synchronous))
        trust = self._trust = stack.enter_context(self._trust_house())
        parts = await self._assemble(stack, store, trust)
        supervisor = await stack.enter_async_context(Supervisor())
        await trust.open(store, parts.client)
        await make_good(parts.context)
        gate = PeerGate(trust, requests_per_second=self._settings.peer_api.requests_per_second)
        peer_api, backend_api = self._apis(parts, gate)
        parts.courier.loopback = Loopback(peer_api)
        self._own_calls = OwnCalls(backend_api, self.me)
        greetings = await self._greetings(store, parts, gate)
        trust.fresh_keys.introduce = greetings.introduce
        await self._listen_to_peers(stack, parts, peer_api, greetings, gate)
        await self._listen_to_backends(stack, parts, backend_api)
        self._start_workers(parts, supervisor, greetings)
        if (wanted := self._settings.discovery).mdns:
            discovery = trust.discover(parts.client, wanted.interfaces, wanted.auto_accept, parts.signs.heard_from)
            supervisor.keep_running("discovery", (await stack.enter_async_context(discovery)).run)
        self._report()

    def _trust_house(self) -> Trust:
        settings, tls = self._settings, self._settings.tls
        certificate, nonces = (tls.certificate, tls.key, tls.ca), settings.node.data_dir / "nonces"
        files = TrustFiles(settings.security.keys, settings.peers_file, nonces, certificate, settings.discovery.mdns)
        require = settings.security.require
        return Trust(self.me, registry=self.registry, require=require, files=files, clock=self._clock)

    async def _greetings(self, store: Store, parts: _Parts, gate: PeerGate) -> Greetings:
        ours = await store.write(lambda tx: birth.certificate(tx, self._clock.time()))
        replaced = parts.emp.reconciling.wanted if parts.emp else None
        met = Acquaintances(store, parts.context.bells, ours, replaced)
        return Greetings(self.me, parts.client, parts.signs, gate, met, self._backoff)

    async def _assemble(self, stack: AsyncExitStack, store: Store, trust: Trust) -> _Parts:
        client = await stack.enter_async_context(self._client(trust.signer))
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
        return _Parts(context, trust, client, courier, signs, Metrics(store, self._clock), emp_backend, cpo, emp)

    def _emp_role(self, context: RoleContext, backend: EmpBackend, client: OicpClient) -> EmpRole:
        return EmpRole(
            context,
            backend,
            enquirer=PeerEnquirer(client),
            clarify_interval=self._settings.sessions.clarify_interval,
            reconcile_interval=self._settings.cdrs.reconcile_interval,
        )

    def _client(self, signer: MessageSigner) -> OicpClient:
        return OicpClient(
            mint=self._mint,
            user_agent=f"p2p-oicp/{VERSION}",
            max_body=self._settings.peer_api.max_body,
            clock=self._clock,
            signer=signer,
        )

    def _apis(self, parts: _Parts, gate: PeerGate) -> tuple[Api, Api]:
        make = partial(
            Api,
            me=self.me,
            cpo=parts.cpo,
            emp=parts.emp,
            signs=parts.signs,
        )
        meter = parts.metrics.meter
        ours = make(Side.BACKEND, gate=OwnGate(self.me), meter=meter("backend"))
        return make(Side.PEER, gate=gate, meter=meter("peer")), ours

    async def _listen_to_peers(
        self, stack: AsyncExitStack, parts: _Parts, api: Api, greetings: Greetings, gate: PeerGate
    ) -> None:
        there, away = self._settings.peer_api, parts.metrics.turned_away("peer")
        signer, keep, tls = parts.trust.signer.sign_answer, parts.trust.keep_received, parts.trust.tls
        listener = Listener(
            api, self._mint, max_body=there.max_body, turned_away=away, public_url=there.url, signer=signer, keep=keep
        )
        enquiries = SessionEnquiries(api, SessionReports(parts.context))
        pairings = PeerPairings(listener, gate=gate, trust=parts.trust).routes()
        app = peer_app(listener, hello=greetings.hear, sessions=enquiries.serve, also=pairings)
        self.peer_url = await listen(stack, app, there.host, there.port, "peer_api", tls=tls.server() if tls else None)

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
        peers = AdminPeers(listener, trust=parts.trust, client=parts.client)
        reconciling = parts.emp.reconciling if parts.emp else None
        return [*Admin(reconciling).routes(listener), *outbox.routes(listener), *peers.routes()]

    def _start_workers(self, parts: _Parts, supervisor: Supervisor, greetings: Greetings) -> None:
        """Start the housekeepers, and the workers of each peer, which come and go with it."""
        for name, worker in self._housekeepers(parts).items():
            supervisor.keep_running(name, worker.run)
        crew = Crew(parts.context, supervisor=supervisor, backoff=self._backoff, greet=greetings.greet)
        crew.follow(Change(added=self.registry.all()))
        parts.trust.directory.on_change = crew.follow
        supervisor.keep_running("peers file", parts.trust.directory.watch)

    def _housekeepers(self, parts: _Parts) -> dict[str, Worker]:
        context, times, kept = parts.context, self._settings.sessions, self._settings.storage
        retention = Retention(kept.history_days, kept.status_history_days, kept.quarantine_days)
        workers: dict[str, Worker] = {
            "expiry": Expiry(context, authorize_ttl=times.authorize_ttl, session_ttl=times.session_ttl),
            "sweeper": Sweeper(context, retention),
            "forgetting": Forgetting(context, kept.history_days),
        }
        if parts.emp:
            bell = context.bells.hang(EMP_BACKEND, EMP_BACKEND)
            carrier = EmpBackendCarrier(parts.emp_backend)
            worker = OutboxWorker(carrier, store=context.store, bell=bell, clock=self._clock, backoff=self._backoff)
            workers |= {**parts.emp.workers(), EMP_BACKEND: worker}
        return workers

    def _report(self) -> None:
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
