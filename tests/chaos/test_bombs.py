"""200 compression bombs of 32 kB a second, from one address: memory stays bounded, and a peer is served meanwhile."""

import asyncio

import pytest
import pytest_asyncio

from p2p_oicp.crypto import keystore
from tests.chaos.floods import BOMBS, flood
from tests.chaos.honest_peer import ANOTHER_ADDRESS, ATTACKER_ADDRESS, HonestPeer, authorizing
from tests.chaos.testbed import start_testbed
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

RATE, SECONDS = 200, 5.0
# Room for two bodies of the largest size (32 MiB each), connections, and what is freed and not returned.
MAX_MEMORY_GROWTH = 140


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["none", "signed"])
async def shared(request, tmp_path_factory):
    async with start_testbed(tmp_path_factory.mktemp("testbed"), secure=request.param) as testbed:
        yield testbed


def options(testbed, signature: str) -> tuple[str, ...]:
    if signature == "none":
        return ()
    if not testbed.b.spec.require:
        pytest.skip("nothing is verified")
    key = keystore.read_public_key(testbed.a.keys / keystore.PUBLIC_KEY_FILE)
    return ("--signature", signature, "--key-id", key.key_id)


@pytest.mark.parametrize("signature", ["none", "forged"])
@pytest.mark.parametrize("kind", BOMBS)
async def test_two_hundred_bombs_a_second_are_refused_in_bounded_memory_and_peers_are_served(testbed, kind, signature):
    other, same = HonestPeer(testbed, ANOTHER_ADDRESS), HonestPeer(testbed, ATTACKER_ADDRESS, keeps_connection=True)
    command = (kind, testbed.b.ports.peer, "--rate", str(RATE), "--count", "5000", *options(testbed, signature))
    lines = testbed.b.log().count("\n")
    testbed.reset_peak_memory()
    async with flood(*command) as load, authorizing(other, same):
        await asyncio.sleep(SECONDS)
        await eventually(lambda: load.count > 0.8 * RATE * SECONDS, timeout=60)
    growth = testbed.memory_growth()
    print(
        f"{kind} {signature}: {growth:.0f} MB, p99 {other.p99:.3f} s {other.statuses}, {same.p99:.3f} {same.statuses}"
    )
    assert growth < MAX_MEMORY_GROWTH
    assert other.p99 < 1.0
    assert other.statuses.keys() == {200}
    # Who is not proved shares what an address may take.
    assert same.p99 < 1.0
    assert same.statuses.keys() <= ({200} if testbed.b.spec.require else {200, 429})
    assert testbed.b.log().count("\n") - lines < 200
