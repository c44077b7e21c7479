"""One node: the one place where everything is put together and started.

``async with Node(settings) as node`` opens the store, starts both listeners and the workers, and says hello to the
peers; leaving the block drains: it stops accepting, finishes what is in flight, stops the workers and commits what
waits.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

import structlog
from aiohttp import web

from p2p_oicp.backends import (
    CpoBackend,
    EmpBackend,
    GuardedCpoBackend,
    GuardedEmpBackend,
    HttpCpoBackend,
    HttpEmpBackend,
    NoCpoBackend,
    NoEmpBackend,
)
from p2p_oicp.clock import Clock, Mint, RandomMint, SystemClock
from p2p_oicp.delivery import (
    Backoff,
    Bells,
    OutboxWorker,
    PeerCourier,
    SignsOfLife,
    StateKind,
    Supervisor,
)
from p2p_oicp.identity import MessageSigner
from p2p_oicp.logs import hand_logs_to_the_host_program
from p2p_oicp.oicp import Message
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.roles import CpoRole, EmpRole, RoleContext
from p2p_oicp.roles.carriers import EmpBackendCarrier
from p2p_oicp.roles.context import EMP_BACKEND
from p2p_oicp.roles.cpo.statuses import StatusReplication
from p2p_oicp.roles.crew import Crew
from p2p_oicp.settings import Settings, load_registry, own_peer, peers_may_be_absent
from p2p_oicp.storage import Store, open_store
from p2p_oicp.transport import OicpClient
from p2p_oicp.trust import Trust, TrustFiles
from p2p_oicp.version import VERSION
from p2p_oicp.web import (
    AdminPeers,
    Api,
    Greetings,
    Listener,
    Loopback,
    OwnCalls,
    OwnGate,
    PeerGate,
    PeerPairings,
    Side,
    backend_app,
    listen,
    peer_app,
)

log = structlog.get_logger(__name__)

# The hub gives a backend 60 s (CONFORMANCE section 5); each operation's own deadline is at most that.
BACKEND_DEADLINE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the listeners and the workers share."""

    context: RoleContext
    client: OicpClient
    courier: PeerCourier
    signs: SignsOfLife
    cpo_backend: CpoBackend
    emp_backend: EmpBackend


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
        """Read keys and peers file again; a mistake in them is logged, and changes nothing."""
        if self._trust is not None:
            await self._trust.reload()

    async def _start(self, stack: AsyncExitStack) -> None:
        storage = self._settings.storage
        store = self.store = await stack.enter_async_context(open_store(storage.file, synchronous=storage.synchronous))
        supervisor = await stack.enter_async_context(Supervisor())
        trust = stack.enter_context(self._trust_house())
        parts = await self._assemble(stack, store, trust)
        await trust.open(store, parts.client)
        self._trust = trust
        gate = PeerGate(trust)
        peer_api, backend_api = self._apis(parts, gate)
        parts.courier.loopback = Loopback(peer_api)
        self._own_calls = OwnCalls(backend_api, self.me)
        greetings = Greetings(self.me, registry=self.registry, client=parts.client, signs=parts.signs, gate=gate)
        trust.fresh_keys.introduce = greetings.greet
        await self._listen(
            stack, self._peer_app(peer_api, greetings, gate, trust), self._backend_app(backend_api, parts, trust)
        )
        self._start_workers(parts, supervisor, trust, greetings)
        if self._settings.discovery.mdns:
            await self._discover(stack, parts, supervisor, trust)
        self._report()

    async def _discover(self, stack: AsyncExitStack, parts: _Parts, supervisor: Supervisor, trust: Trust) -> None:
        wanted, is_up = self._settings.discovery, parts.signs.heard_from
        found = trust.discover(parts.client, interfaces=wanted.interfaces, auto_accept=wanted.auto_accept, is_up=is_up)
        supervisor.keep_running("discovery", (await stack.enter_async_context(found)).run)

    def _trust_house(self) -> Trust:
        settings = self._settings
        tls, nonces = settings.tls, settings.node.data_dir / "nonces"
        files = TrustFiles(
            settings.security.keys,
            settings.peers_file,
            nonces,
            peers_may_be_absent(settings),
            tls.certificate,
            tls.key,
            tls.ca,
        )
        require = settings.security.require
        return Trust(self.me, registry=self.registry, require=require, files=files, clock=self._clock)

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
            authorization_deadline=self._settings.authorization.deadline,
        )
        signs = SignsOfLife(bells, store, self._clock)
        return _Parts(context, client, courier, signs, *self._backends(client))

    def _client(self, signer: MessageSigner) -> OicpClient:
        return OicpClient(
            mint=self._mint,
            user_agent=f"p2p-oicp/{VERSION}",
            max_body=self._settings.peer_api.max_body,
            clock=self._clock,
            signer=signer,
        )

    def _backends(self, client: OicpClient) -> tuple[CpoBackend, EmpBackend]:
        """Return the systems behind this node: given in Python, reached over HTTP, or none."""
        urls, deadline = self._settings.backend_api, BACKEND_DEADLINE_SECONDS
        cpo: CpoBackend | None = self._cpo and GuardedCpoBackend("the CPO's backend", self._cpo)
        if cpo is None and urls.cpo_url:
            cpo = HttpCpoBackend("the CPO's backend", urls.cpo_url, client, deadline=deadline)
        emp: EmpBackend | None = self._emp and GuardedEmpBackend("the EMP's backend", self._emp)
        if emp is None and urls.emp_url:
            emp = HttpEmpBackend("the EMP's backend", urls.emp_url, client, deadline=deadline)
        return cpo or NoCpoBackend(), emp or NoEmpBackend()

    def _apis(self, parts: _Parts, gate: PeerGate) -> tuple[Api, Api]:
        make = partial(
            Api,
            cpo=CpoRole(parts.context, parts.cpo_backend) if self.me.operators else None,
            emp=EmpRole(parts.context, parts.emp_backend) if self.me.providers else None,
            signs=parts.signs,
        )
        return make(Side.PEER, gate=gate), make(Side.BACKEND, gate=OwnGate(self.me))

    def _peer_app(self, api: Api, greetings: Greetings, gate: PeerGate, trust: Trust) -> web.Application:
        peer = self._settings.peer_api
        listener = Listener(
            api, self._mint, max_body=peer.max_body, public_url=peer.url, signer=trust.signer.sign_answer
        )
        return peer_app(listener, hello=greetings.hear, also=PeerPairings(listener, gate=gate, trust=trust).routes())

    def _backend_app(self, api: Api, parts: _Parts, trust: Trust) -> web.Application:
        backend = self._settings.backend_api
        token = backend.token.get_secret_value() if backend.token else None
        listener = Listener(api, self._mint, max_body=backend.max_body, token=token)
        return backend_app(
            listener, readiness=self._readiness, also=AdminPeers(listener, trust=trust, client=parts.client).routes()
        )

    async def _listen(self, stack: AsyncExitStack, peers: web.Application, backends: web.Application) -> None:
        peer, backend = self._settings.peer_api, self._settings.backend_api
        tls = self._trust.tls.server() if self._trust is not None and self._trust.tls is not None else None
        self.peer_url = await listen(stack, peers, peer.host, peer.port, "peer_api", tls=tls)
        self.backend_url = await listen(stack, backends, backend.host, backend.port, "backend_api")

    def _start_workers(self, parts: _Parts, supervisor: Supervisor, trust: Trust, greetings: Greetings) -> None:
        """Start the workers; those of a peer come and go with it."""
        context = parts.context
        if self.me.providers:
            bell = context.bells.hang(EMP_BACKEND, EMP_BACKEND)
            worker = OutboxWorker(
                EmpBackendCarrier(parts.emp_backend),
                store=context.store,
                bell=bell,
                clock=self._clock,
                backoff=self._backoff,
            )
            supervisor.keep_running(EMP_BACKEND, worker.run)
        crew = Crew(
            context,
            courier=parts.courier,
            supervisor=supervisor,
            backoff=self._backoff,
            kinds_for=self._kinds_for,
            greet=greetings.greet,
        )
        for peer in self.registry.all():
            crew.start(peer)
        trust.directory.on_change = crew.follow
        supervisor.keep_running("peers file", trust.directory.watch)
        supervisor.run_once("hello", greetings.greet_all)

    def _kinds_for(self, peer: Peer) -> list[StateKind]:
        """Return the kinds of state that this node owes to a peer."""
        if peer.is_self or not peer.providers or not self.me.operators:
            return []
        return [kind for kind in (StatusReplication(),) if peer.serves(kind.operation.name)]

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
