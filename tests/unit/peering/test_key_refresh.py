"""Refreshing a peer's keys: once a minute at most, shared by those who ask together, and followed by the listeners."""

import asyncio

import pytest

from p2p_oicp.errors import PeerUnreachable, VerificationError
from p2p_oicp.oicp import ProviderID
from p2p_oicp.peering.key_refresh import PeerKeyRefresher
from p2p_oicp.peers import Peer, PeerRegistry, Profile

ALPHA = Peer("Alpha", "http://alpha.example", providers=(ProviderID("DE-AAA"),))
HUB = Peer("Hub", "http://hub.example", providers=(ProviderID("DE-HUB"),), profile=Profile.WWCP)


class Descriptor:
    """What the directory is given; its key is only logged."""

    class key:  # noqa: N801 - an attribute of a descriptor
        key_id = "SHA256:x"


class World:
    """A refresher whose fetcher and directory count, and fail with ``error`` if there is one."""

    def __init__(self, clock) -> None:
        self.fetched, self.stored, self.notified, self.error = [], [], [], None
        self.refresher = PeerKeyRefresher(
            registry=PeerRegistry([ALPHA, HUB]), directory=self, fetcher=self, clock=clock
        )
        self.refresher.subscribe(self.on_refreshed)

    async def fetch(self, url: str) -> Descriptor:
        self.fetched.append(url)
        await asyncio.sleep(0)
        if isinstance(self.error, PeerUnreachable):
            raise self.error
        return Descriptor()

    async def update_descriptor(self, name: str, _signed: Descriptor) -> None:
        if self.error is not None:
            raise self.error
        self.stored.append(name)

    async def on_refreshed(self, peer: Peer) -> None:
        self.notified.append(peer.name)


@pytest.fixture
def world(clock) -> World:
    return World(clock)


async def test_a_refresh_stores_the_descriptor_and_calls_the_listeners(world):
    assert await world.refresher.refresh("Alpha") is True
    assert (world.fetched, world.stored, world.notified) == (["http://alpha.example"], ["Alpha"], ["Alpha"])


ERRORS = {"unreachable": PeerUnreachable("Alpha", "no connection"), "not endorsed": VerificationError("no chain")}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
async def test_a_failed_refresh_calls_the_listeners_as_well(world, error):
    world.error = error
    assert await world.refresher.refresh("Alpha") is False
    assert (world.stored, world.notified) == ([], ["Alpha"])


async def test_requests_that_fail_together_share_one_fetch(world):
    assert await asyncio.gather(*(world.refresher.refresh("Alpha") for _ in range(5))) == [True] * 5
    assert (len(world.fetched), world.notified) == (1, ["Alpha"])


@pytest.mark.parametrize(("seconds", "result", "fetches"), [(4.0, True, 1), (6.0, False, 1), (61.0, True, 2)])
async def test_keys_of_a_peer_are_fetched_once_a_minute_at_most(world, clock, seconds, result, fetches):
    await world.refresher.refresh("Alpha")
    clock.now += seconds
    assert await world.refresher.refresh("Alpha") is result
    assert len(world.fetched) == fetches


@pytest.mark.parametrize("name", ["nobody", "Hub"])
async def test_only_peers_that_are_nodes_have_a_descriptor(world, name):
    assert await world.refresher.refresh(name) is False
    assert world.fetched == []


async def test_a_listener_may_come_back_to_the_refresher(world):
    """Hello may itself be refused, and then asks for fresh keys."""

    async def hello(peer: Peer) -> None:
        world.notified.append(await world.refresher.refresh(peer.name))

    world.refresher.subscribe(hello)
    async with asyncio.timeout(5):
        assert await world.refresher.refresh("Alpha") is True
    assert world.notified == ["Alpha", True]
