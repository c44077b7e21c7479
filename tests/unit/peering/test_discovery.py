"""What a machine of the local network can make a node call: little, and seldom (docs/security.md)."""

from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from p2p_oicp.errors import PeerUnreachable
from p2p_oicp.peering import discovery
from p2p_oicp.peering.discovery import MdnsDiscovery

ADAPTERS = [
    SimpleNamespace(ips=[SimpleNamespace(ip="127.0.0.1", network_prefix=8)]),
    SimpleNamespace(ips=[SimpleNamespace(ip="192.168.7.2", network_prefix=24)]),
    SimpleNamespace(ips=[SimpleNamespace(ip=("fd00:7::2", 0, 0), network_prefix=64)]),
]


class Fetcher:
    """Keeps what it is asked to fetch, and finds nothing there."""

    def __init__(self) -> None:
        self.fetched: list[tuple[str, str]] = []

    async def fetch(self, url: str, address: str) -> None:
        self.fetched.append((url, address))
        raise PeerUnreachable(url, "nothing is there")


@pytest.fixture
def fetcher() -> Fetcher:
    return Fetcher()


@pytest.fixture
def browse(monkeypatch, clock, fetcher):
    """Make a discovery on interfaces of this machine."""
    monkeypatch.setattr(discovery.ifaddr, "get_adapters", lambda: ADAPTERS)

    def make(*interfaces: str, url: str = "http://192.168.7.2") -> MdnsDiscovery:
        identity = SimpleNamespace(require=("signature",), clock=clock, local_peer=SimpleNamespace(url=url))
        return MdnsDiscovery(
            identity,
            directory=None,
            store=None,
            fetcher=fetcher,
            interfaces=interfaces,
            auto_accept=False,
            on_peer_alive=None,
        )

    return make


async def announce(found: MdnsDiscovery, url: str) -> None:
    await found._inspect(SimpleNamespace(name="x", decoded_properties={"url": url}))


LOCAL = {
    "an address of the network": ((), "http://192.168.7.9:8080", "192.168.7.9:8080"),
    "its IPv6 address": ((), "https://[fd00:7::9]/node", "[fd00:7::9]:443"),
    "loopback, where that is the interface": (("127.0.0.1",), "http://127.0.0.1:1", "127.0.0.1:1"),
    "a name of it": (("127.0.0.1",), "http://localhost:1", "127.0.0.1:1"),
}
FOREIGN = {
    "loopback": ((), "http://127.0.0.1:1"),
    "a name of loopback": ((), "http://localhost:1"),
    "another network": ((), "http://192.168.8.9:1"),
    "the internet": ((), "https://203.0.113.9"),
    "the metadata of a cloud": ((), "http://169.254.169.254"),
    "another interface": (("127.0.0.1",), "http://192.168.7.9:1"),
    "an unknown name": ((), "http://nowhere.invalid"),
}


@pytest.mark.parametrize(("interfaces", "url", "address"), LOCAL.values(), ids=LOCAL)
async def test_an_announced_address_of_the_local_network_is_called_at_that_address(
    browse, fetcher, interfaces, url, address
):
    await announce(browse(*interfaces), url)
    assert fetcher.fetched == [(url, address)]


@pytest.mark.parametrize(("interfaces", "url"), FOREIGN.values(), ids=FOREIGN)
async def test_an_announced_address_outside_the_local_network_is_not_called(browse, fetcher, interfaces, url):
    with capture_logs() as logs:
        await announce(browse(*interfaces), url)
    assert fetcher.fetched == []
    assert [entry["event"] for entry in logs] == ["discovery.descriptor_rejected"]


async def test_nodes_at_loopback_find_each_other_there(browse, fetcher):
    await announce(browse(url="http://127.0.0.1:8080"), "http://127.0.0.1:8081")
    assert fetcher.fetched == [("http://127.0.0.1:8081", "127.0.0.1:8081")]


async def test_an_address_is_called_once_a_minute_however_it_is_announced(browse, fetcher, clock):
    found = browse()
    for url in ("http://192.168.7.9:1", "http://192.168.7.9:1/other", "http://192.168.7.8:1", "http://192.168.7.9:1"):
        await announce(found, url)
    assert [address for _, address in fetcher.fetched] == ["192.168.7.9:1", "192.168.7.8:1"]
    clock.now += 61
    await announce(found, "http://192.168.7.9:1")
    assert len(fetcher.fetched) == 3


async def test_many_announced_addresses_are_not_all_called(browse, fetcher):
    found = browse()
    for port in range(1, 400):
        await announce(found, f"http://192.168.7.9:{port}")
    assert len(fetcher.fetched) == 200
