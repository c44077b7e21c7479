"""A peer that authorizes drivers while its node is attacked by others, and how long it waits for each answer."""

from __future__ import annotations

import asyncio
import statistics
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from p2p_oicp.crypto import PrivateKey, keystore
from p2p_oicp.crypto.tls import unverified_context
from tests.chaos.floods import Stopwatch
from tests.chaos.testbed import Testbed
from tests.support import messages
from tests.support.clients import SigningTestClient

ATTACKER_ADDRESS, ANOTHER_ADDRESS = "127.0.0.1", "127.0.0.2"
# Some are needed for a percentile.
_MIN_ANSWERS = 5
_TIMEOUT_SECONDS = 60.0
_PAUSE_SECONDS = 0.02


class _DirectClient(SigningTestClient):
    """Calls a node without the proxy in front of it, by whose address its peers know it."""

    def __init__(self, *args: Any, authority: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self._authority = authority

    def signed(self, target: str, data: bytes, **changes: Any) -> dict[str, str]:
        return super().signed(target, data, authority=self._authority, **changes)


@dataclass
class HonestPeer:
    """Node A, as another program that has its credentials.

    ``keeps_connection``: it uses one connection, which it has before the attack; else each request has a new one.
    """

    testbed: Testbed
    address: str
    keeps_connection: bool = False
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    @property
    def p99(self) -> float:
        """How long 99 % of the answers took at most, in seconds; see `Stopwatch`."""
        return statistics.quantiles(self.seconds, n=100, method="inclusive")[98]

    def client(self) -> tuple[SigningTestClient, aiohttp.ClientSession]:
        a, b = self.testbed.a, self.testbed.b
        http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(local_addr=(self.address, 0)))
        tls = unverified_context() if a.spec.tls else None
        if tls is not None:
            tls.load_cert_chain(a.keys / "tls.crt", a.keys / "tls.key")
        key = keystore.read_private_key(a.keys / keystore.PRIVATE_KEY_FILE) if a.spec.signs else PrivateKey.generate()
        authority = self.testbed.proxy_to_b.url.partition("://")[2]
        return _DirectClient(http, b.peer_url, key, tls, signs=a.spec.signs, authority=authority), http

    async def keep_authorizing(self, ends: asyncio.Event) -> None:
        """Authorize drivers until the end, and some at least."""
        client, http = self.client()
        try:
            if self.keeps_connection:
                await self._authorize(client)
            self.seconds.clear()
            while not ends.is_set() or len(self.seconds) < _MIN_ANSWERS:
                if not self.keeps_connection:
                    await http.close()
                    client, http = self.client()
                await self._authorize(client)
                await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            await http.close()

    async def _authorize(self, client: SigningTestClient) -> None:
        assert self.testbed.b.process
        watch = Stopwatch(self.testbed.b.process.pid)
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            reply = await client.post(messages.START, messages.authorize_start())
        self.statuses[reply.status] += 1
        self.seconds.append(watch.seconds())


@asynccontextmanager
async def authorizing(*peers: HonestPeer) -> AsyncIterator[None]:
    """Let these peers authorize drivers during the block."""
    ends = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for peer in peers:
            tasks.create_task(peer.keep_authorizing(ends))
        try:
            yield
        finally:
            ends.set()
