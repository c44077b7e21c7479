"""One node: the one place where everything is put together and started.

``async with Node(settings) as node`` opens the store, starts both listeners and the workers, and says hello to the
peers; leaving the block drains: it stops accepting, finishes what is in flight, stops the workers and commits what
waits.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

import structlog
from aiohttp import web

from p2p_oicp.backends import CpoBackend, EmpBackend, HttpCpoBackend, HttpEmpBackend, NoCpoBackend, NoEmpBackend
from p2p_oicp.clock import Clock, Mint, RandomMint, SystemClock
from p2p_oicp.delivery import (
    Backoff,
    Bells,
    Carrier,
    OutboxWorker,
    PeerCourier,
    Replicator,
    SignsOfLife,
    StateKind,
    Supervisor,
)
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.identity import KeyRing, KnownKey, MessageSigner, OwnKeys, PublicKey, ReplayGuard, read_own_keys
from p2p_oicp.logs import configure_logs, hand_logs_to_the_host_program
from p2p_oicp.oicp import Message
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.roles import CpoRole, EmpRole, RoleContext
from p2p_oicp.roles.carriers import EmpBackendCarrier, PeerCarrier
from p2p_oicp.roles.context import EMP_BACKEND
from p2p_oicp.roles.cpo.statuses import StatusReplication
from p2p_oicp.settings import Settings, load_registry, own_peer
from p2p_oicp.storage import Store, open_store
from p2p_oicp.transport import OicpClient
from p2p_oicp.version import VERSION
from p2p_oicp.web import (
    Api,
    Greetings,
    Listener,
    Loopback,
    OwnCalls,
    OwnGate,
    PeerGate,
    Side,
    backend_app,
    peer_app,
)

log = structlog.get_logger(__name__)

SHUTDOWN_SECONDS = 10.0
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
        supervisor = await stack.enter_async_context(Supervisor())
        self._identify(stack)
        parts = await self._assemble(stack, store)
        peer_api, backend_api = self._apis(parts)
        parts.courier.loopback = Loopback(peer_api)
        self._own_calls = OwnCalls(backend_api, self.me)
        greetings = Greetings(
            self.me, registry=self.registry, client=parts.client, signs=parts.signs, gate=self._peer_gate
        )
        await self._listen(stack, peer_api, backend_api, greetings)
        for name, work in self._workers(parts):
            supervisor.keep_running(name, work.run)
        supervisor.run_once("hello", greetings.greet_all)
        self._report()

    def _identify(self, stack: AsyncExitStack) -> None:
        """Take our keys and those of the peers."""
        security = self._settings.security
        ring = KeyRing(
            KnownKey(PublicKey.from_line(line), peer.name) for peer in self.registry.all() for line in peer.public_keys
        )
        guard = stack.enter_context(ReplayGuard(self._settings.node.data_dir / "nonces"))
        self._peer_gate = PeerGate(
            self.me, registry=self.registry, ring=ring, guard=guard, clock=self._clock, require=security.require
        )
        keys = read_own_keys(security.keys) if self._signs_for_anybody() else OwnKeys(())
        self._signer = MessageSigner(keys, ring, self._clock, needs_signature=self._needs_signature)

    def _signs_for_anybody(self) -> bool:
        return any(self._needs_signature(peer.name) for peer in self.registry.all()) or bool(
            self._settings.security.require
        )

    def _needs_signature(self, name: str) -> bool:
        peer = self.registry.by_name(name)
        if peer is None or peer.is_self:
            return False
        return "signature" in (self._settings.security.require if peer.security is None else peer.security)

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
            authorization_deadline=self._settings.authorization.deadline,
        )
        signs = SignsOfLife(bells, store, self._clock)
        return _Parts(context, client, courier, signs, *self._backends(client))

    def _client(self) -> OicpClient:
        return OicpClient(
            mint=self._mint,
            user_agent=f"p2p-oicp/{VERSION}",
            max_body=self._settings.peer_api.max_body,
            clock=self._clock,
            signer=self._signer,
        )

    def _backends(self, client: OicpClient) -> tuple[CpoBackend, EmpBackend]:
        """Return the systems behind this node: given in Python, reached over HTTP, or none."""
        urls, deadline = self._settings.backend_api, BACKEND_DEADLINE_SECONDS
        cpo: CpoBackend | None = self._cpo
        if cpo is None and urls.cpo_url:
            cpo = HttpCpoBackend("the CPO's backend", urls.cpo_url, client, deadline=deadline)
        emp: EmpBackend | None = self._emp
        if emp is None and urls.emp_url:
            emp = HttpEmpBackend("the EMP's backend", urls.emp_url, client, deadline=deadline)
        return cpo or NoCpoBackend(), emp or NoEmpBackend()

    def _apis(self, parts: _Parts) -> tuple[Api, Api]:
        make = partial(
            Api,
            cpo=CpoRole(parts.context, parts.cpo_backend) if self.me.operators else None,
            emp=EmpRole(parts.context, parts.emp_backend) if self.me.providers else None,
            signs=parts.signs,
        )
        return make(Side.PEER, gate=self._peer_gate), make(Side.BACKEND, gate=OwnGate(self.me))

    async def _listen(self, stack: AsyncExitStack, peer_api: Api, backend_api: Api, greetings: Greetings) -> None:
        peer, backend = self._settings.peer_api, self._settings.backend_api
        token = backend.token.get_secret_value() if backend.token else None
        theirs = Listener(
            peer_api,
            self._mint,
            max_body=peer.max_body,
            public_url=peer.url,
            signer=self._signer.sign_answer,
        )
        peers = peer_app(theirs, hello=greetings.hear)
        ours = Listener(backend_api, self._mint, max_body=backend.max_body, token=token)
        backends = backend_app(ours, readiness=self._readiness)
        self.peer_url = await _serve(stack, peers, peer.host, peer.port, "peer_api")
        self.backend_url = await _serve(stack, backends, backend.host, backend.port, "backend_api")

    def _workers(self, parts: _Parts) -> Iterator[tuple[str, OutboxWorker | Replicator]]:
        """Return one outbox worker per destination, and one replicator per peer and kind of state."""
        context = parts.context
        if self.me.providers:
            yield EMP_BACKEND, self._outbox_worker(EMP_BACKEND, EmpBackendCarrier(parts.emp_backend), context)
        for peer in self.registry.all():
            yield peer.name, self._outbox_worker(peer.name, PeerCarrier(self.registry, parts.courier), context)
            for kind in self._kinds_for(peer):
                bell = context.bells.hang(peer.name, f"{kind.name} to {peer.name}")
                yield (
                    bell.destination,
                    Replicator(
                        peer,
                        kind,
                        store=context.store,
                        courier=parts.courier,
                        bell=bell,
                        clock=self._clock,
                        backoff=self._backoff,
                    ),
                )

    def _outbox_worker(self, name: str, carrier: Carrier, context: RoleContext) -> OutboxWorker:
        bell = context.bells.hang(name, name)
        return OutboxWorker(carrier, store=context.store, bell=bell, clock=self._clock, backoff=self._backoff)

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


async def _serve(stack: AsyncExitStack, app: web.Application, host: str, port: int, table: str) -> str:
    """Listen; return the base URL with the port that was bound."""
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, host, port)
    try:
        await site.start()
    except OSError as error:
        raise ConfigurationError(
            f"[{table}] cannot listen on {host}:{port}: {error.strerror}; choose another port"
        ) from error
    bound = runner.addresses[0][1]
    return f"http://{f'[{host}]' if ':' in host else host}:{bound}"


async def _run_until_told(settings: Settings) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    async with Node(settings):
        await told.wait()


def run(settings: Settings) -> int:
    """Run one node until SIGTERM or SIGINT; return the exit code."""
    configure_logs(settings.log.format, settings.log.level)
    try:
        import uvloop  # noqa: PLC0415 - not on Windows
    except ImportError:
        asyncio.run(_run_until_told(settings))
    else:
        uvloop.run(_run_until_told(settings))
    return 0
