"""Floods of TLS handshakes: a peer is served meanwhile, on a connection that it has, and on new ones.

Times are without those in which the node, or this process, was ready to run and the machine had no processor for it: a
flood takes one for itself.
"""

import asyncio
import json
import ssl
import statistics
from dataclasses import dataclass, field

import aiohttp
import pytest

from p2p_oicp.crypto.tls import unverified_context
from tests.chaos.floods import HANDSHAKES, Stopwatch, flood
from tests.support import messages
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECURE = "mtls"
ATTACKER, ANOTHER_ADDRESS = "127.0.0.1", "127.0.0.2"
TIMEOUT_SECONDS = 30.0
BODY = json.dumps(messages.authorize_start()).encode()


@dataclass
class Honest:
    """A peer that authorizes drivers, from an address; ``keeps``: by one connection, which it has before."""

    testbed: object
    address: str
    keeps: bool
    seconds: list[float] = field(default_factory=list)

    @property
    def p99(self) -> float:
        assert len(self.seconds) > 1, self
        return statistics.quantiles(self.seconds, n=100, method="inclusive")[98]

    async def authorize(self, http: aiohttp.ClientSession, tls: ssl.SSLContext) -> None:
        url, headers = f"{self.testbed.b.peer_url}/api/oicp/{messages.START}", {"Content-Type": "application/json"}
        async with asyncio.timeout(TIMEOUT_SECONDS), http.post(url, data=BODY, headers=headers, ssl=tls) as reply:
            assert (reply.status, '"Authorized"' in await reply.text()) == (200, True)

    def session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(local_addr=(self.address, 0)))

    async def keep_authorizing(self, begins: asyncio.Event, ends: asyncio.Event) -> None:
        tls = unverified_context()
        tls.load_cert_chain(self.testbed.a.keys / "tls.crt", self.testbed.a.keys / "tls.key")
        http = self.session()
        try:
            if self.keeps:
                await self.authorize(http, tls)
            await begins.wait()
            while not ends.is_set():
                if not self.keeps:
                    await http.close()
                    http = self.session()
                watch = Stopwatch(self.testbed.b.process.pid)
                await self.authorize(http, tls)
                self.seconds.append(watch.seconds())
                await asyncio.sleep(0.02)
        finally:
            await http.close()


async def authorize_during(testbed, kind: str, *options: str, seconds: float = 4.0) -> dict[str, Honest]:
    """Run a flood; return the clients that were served meanwhile, by name."""
    clients = {
        "has a connection": Honest(testbed, ATTACKER, keeps=True),
        "of the same address": Honest(testbed, ATTACKER, keeps=False),
        "of another address": Honest(testbed, ANOTHER_ADDRESS, keeps=False),
    }
    begins, ends = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(client.keep_authorizing(begins, ends)) for client in clients.values()]
        await asyncio.sleep(0.5)  # until the connection is there
        async with flood(kind, testbed.b.ports.peer, *options) as load:
            begins.set()
            await asyncio.sleep(seconds)
            ends.set()
            await asyncio.wait(running)  # who waits is served while the flood goes on
            await eventually(lambda: load.count, timeout=TIMEOUT_SECONDS)
    return clients


@pytest.mark.parametrize("has_certificate", [False, True], ids=["without a certificate", "with a peer's certificate"])
async def test_two_thousand_silent_tls_connections_keep_a_peer_waiting_for_at_most_their_handshakes(
    testbed, has_certificate
):
    certificate = ("--certificate", str(testbed.a.keys)) if has_certificate else ()
    clients = await authorize_during(testbed, "tls", "--count", "2000", *certificate)
    assert clients["has a connection"].p99 < 1.0
    assert clients["of another address"].p99 < 1.0
    # Who connects in the moment in which all of them do is one of two thousand, and nothing distinguishes it.
    assert statistics.median(clients["of the same address"].seconds) < 0.5
    assert clients["of the same address"].p99 < 3.0


@pytest.mark.parametrize("kind", HANDSHAKES)
async def test_handshakes_that_fail_keep_no_peer_waiting_and_fill_no_log(testbed, kind):
    lines = testbed.b.log().count("\n")
    clients = await authorize_during(testbed, kind)
    assert {name: client.p99 for name, client in clients.items() if client.p99 >= 1.0} == {}
    assert testbed.b.log().count("\n") - lines < 100
