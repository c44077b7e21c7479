"""Floods of TLS handshakes: a peer is served meanwhile, on a connection that it has, and on new ones.

Times are those of `Stopwatch`: a flood takes a processor for itself.
"""

import asyncio
import statistics

import pytest

from tests.chaos.floods import HANDSHAKES, flood
from tests.chaos.honest_peer import ANOTHER_ADDRESS, ATTACKER_ADDRESS, HonestPeer, authorizing
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECURE = "mtls"


async def authorize_during(testbed, kind: str, *options: str, seconds: float = 4.0) -> dict[str, HonestPeer]:
    """Run a flood; return the peers that were served meanwhile, by name."""
    peers = {
        "has a connection": HonestPeer(testbed, ATTACKER_ADDRESS, keeps_connection=True),
        "of the same address": HonestPeer(testbed, ATTACKER_ADDRESS),
        "of another address": HonestPeer(testbed, ANOTHER_ADDRESS),
    }
    async with flood(kind, testbed.b.ports.peer, *options) as load, authorizing(*peers.values()):
        await asyncio.sleep(seconds)
        await eventually(lambda: load.count, timeout=30)
    assert {status for peer in peers.values() for status in peer.statuses} == {200}
    return peers


@pytest.mark.parametrize("has_certificate", [False, True], ids=["without a certificate", "with a peer's certificate"])
async def test_two_thousand_silent_tls_connections_keep_a_peer_waiting_for_at_most_their_handshakes(
    testbed, has_certificate
):
    certificate = ("--certificate", str(testbed.a.keys)) if has_certificate else ()
    peers = await authorize_during(testbed, "tls", "--count", "2000", *certificate)
    assert peers["has a connection"].p99 < 1.0
    assert peers["of another address"].p99 < 1.0
    # Who connects in the moment in which all of them do is one of two thousand, and nothing distinguishes it.
    assert statistics.median(peers["of the same address"].seconds) < 0.5
    assert peers["of the same address"].p99 < 3.0


@pytest.mark.parametrize("kind", HANDSHAKES)
async def test_handshakes_that_fail_keep_no_peer_waiting_and_fill_no_log(testbed, kind):
    lines = testbed.b.log().count("\n")
    peers = await authorize_during(testbed, kind)
    assert {name: peer.p99 for name, peer in peers.items() if peer.p99 >= 1.0} == {}
    assert testbed.b.log().count("\n") - lines < 100
