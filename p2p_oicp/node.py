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

from p2p_oicp import wiring
from p2p_oicp.backends import CpoBackend, EmpBackend
from p2p_oicp.clock import Clock, Mint, RandomMint, SystemClock
from p2p_oicp.delivery import Supervisor
from p2p_oicp.logs import hand_logs_to_the_host_program
from p2p_oicp.oicp import Message
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.roles.state.recovery import make_good
from p2p_oicp.settings import Settings, load_registry, own_peer
from p2p_oicp.storage import Store, open_store
from p2p_oicp.trust import Trust
from p2p_oicp.web import Loopback, OwnCalls, PeerGate, listen
from p2p_oicp.wiring import Parts, Site

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
        mint: Mint | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._mint = mint or RandomMint()
        self._cpo, self._emp = cpo, emp
        self._stack = AsyncExitStack()
        self._own_calls: OwnCalls | None = None
        self._trust: Trust | None = None
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
        """Read keys, certificate and peers file again; what cannot be used is logged, and stays as it was."""
        if self._trust is not None:
            await self._trust.reload()

    async def _start(self, stack: AsyncExitStack) -> None:
        site, storage = self._site(), self._settings.storage
        store = self.store = await stack.enter_async_context(open_store(storage.file, synchronous=storage.synchronous))
        trust = self._trust = stack.enter_context(wiring.trust_of(site))
        parts = await wiring.assemble(stack, site, store, trust, (self._cpo, self._emp))
        supervisor = await stack.enter_async_context(Supervisor())
        await trust.open(store, parts.client)
        await make_good(parts.context)
        gate = PeerGate(trust, requests_per_second=self._settings.peer_api.requests_per_second)
        peer_api, backend_api = wiring.apis(parts, gate)
        parts.courier.loopback = Loopback(peer_api)
        self._own_calls = OwnCalls(backend_api, self.me)
        greetings = await wiring.greetings_of(parts, gate)
        trust.fresh_keys.introduce = greetings.introduce
        peers = wiring.for_peers(parts, peer_api, gate, greetings)
        await self._listen(stack, trust, peers, wiring.for_backends(parts, backend_api, self._readiness))
        wiring.start_workers(parts, supervisor, greetings)
        await self._discover(stack, parts, supervisor)
        self._report()

    def _site(self) -> Site:
        return Site(self._settings, self.me, self.registry, self._clock, self._mint)

    async def _listen(
        self, stack: AsyncExitStack, trust: Trust, peers: web.Application, backends: web.Application
    ) -> None:
        peer, backend = self._settings.peer_api, self._settings.backend_api
        tls = trust.tls.server() if trust.tls else None
        enter = partial(listen, stack, connections=self._settings.limits.connections)
        self.peer_url = await enter(peers, peer.host, peer.port, "peer_api", tls=tls)
        self.backend_url = await enter(backends, backend.host, backend.port, "backend_api")

    async def _discover(self, stack: AsyncExitStack, parts: Parts, supervisor: Supervisor) -> None:
        if (wanted := self._settings.discovery).mdns:
            is_up = parts.signs.heard_from
            discovery = parts.trust.discover(parts.client, wanted.interfaces, wanted.auto_accept, is_up)
            supervisor.keep_running("discovery", (await stack.enter_async_context(discovery)).run)

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
