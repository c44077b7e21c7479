"""`HealthReader` reads how peers and backends are doing from the rows that the workers use."""

import pytest

from p2p_oicp.delivery.health import INBOUND, ChannelHealth, ChannelState, HealthReader, PeerHealth, Trouble
from p2p_oicp.delivery.health_texts import Condition
from p2p_oicp.errors import FailureCause, PeerUnreachable
from p2p_oicp.oicp import ProviderID
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.storage import open_store, peer_state
from p2p_oicp.storage.peer_state import Destination

NOW = 10_000.0


class FixedClock:
    def time(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return NOW


class NoCalls:
    skew = None

    def latency(self, _name):
        return None

    def clock_skew(self, _name):
        return self.skew

    def channel(self, _name):
        return None


@pytest.fixture
async def store(tmp_path):
    async with open_store(tmp_path / "node.sqlite3") as store:
        yield store


def reader(store, *, held=None, calls=None, built_in=()):
    peer = Peer("B", "http://127.0.0.1:1", providers=(ProviderID("DE-XYZ"),), id="b")
    return HealthReader(
        store=store,
        registry=PeerRegistry([peer]),
        clock=FixedClock(),
        live=calls or NoCalls(),
        backends=["backend:emp"],
        built_in=built_in,
        replicas=lambda _owner: {},
        held_reason=lambda _peer: held,
        pause_of=lambda _: None,
    )


async def test_a_peer_with_nothing_to_do_is_up(store):
    peer, backend = await reader(store).read()
    assert (peer.name, peer.is_up, backend.name, backend.is_up) == ("B", True, "backend:emp", True)


async def test_a_built_in_backend_is_shown_only_while_something_waits_for_it(store):
    assert [each.name for each in await reader(store, built_in=["backend:emp"]).read()] == ["B"]


async def test_a_failure_is_shown_with_its_cause_until_the_next_success(store):
    destination, error = Destination("b", peer_state.HELLO), PeerUnreachable("B", "refused")
    await store.write(lambda tx: peer_state.mark_failure(tx, destination, 2, NOW + 5, error, now=NOW))
    peer = (await reader(store).read())[0]
    (channel,) = [each for each in peer.channels if each.channel == peer_state.HELLO]
    (trouble,) = channel.troubles
    assert (channel.state, trouble.cause, trouble.tries) == (ChannelState.FAILING, FailureCause.CANNOT_CONNECT, 2)
    assert (trouble.since, trouble.next_try_at, "refused" in trouble.error) == (NOW, NOW + 5, True)
    assert not peer.is_up
    await store.write(lambda tx: peer_state.mark_success(tx, destination, NOW + 6))
    assert (await reader(store).read())[0].is_up


async def test_a_peer_that_is_held_says_why_and_is_not_up(store):
    peer = (await reader(store, held="its descriptor names DE*NEW").read())[0]
    assert (peer.held, peer.is_up) == ("its descriptor names DE*NEW", False)


async def test_a_clock_that_differs_is_a_notice_and_no_failure(store):
    calls = NoCalls()
    calls.skew = 90.0
    peer = (await reader(store, calls=calls).read())[0]
    assert peer.is_up
    assert [trouble.error for each in peer.channels for trouble in each.troubles] == ["90 s ahead of ours"]


@pytest.mark.parametrize(
    ("channel", "causes", "is_up"),
    [
        ("outbox", [FailureCause.MESSAGE_REFUSED], True),
        ("outbox", [FailureCause.MESSAGE_REFUSED, Condition.DEAD_LETTERS], True),
        ("outbox", [FailureCause.MESSAGE_REFUSED, FailureCause.TIMEOUT], False),
        ("hello", [FailureCause.PARTY_REFUSED], False),
        (INBOUND, [FailureCause.SIGNATURE_INVALID], True),
        (INBOUND, [Condition.HELD], False),
    ],
)
def test_a_peer_that_reads_what_it_is_sent_and_refuses_some_of_it_is_up(channel, causes, is_up):
    troubles = tuple(Trouble(cause=cause, error="a reason") for cause in causes)
    peer = PeerHealth(name="B", channels=(ChannelHealth(channel=channel, troubles=troubles),))
    assert peer.is_up == is_up
    assert peer.needs_attention
