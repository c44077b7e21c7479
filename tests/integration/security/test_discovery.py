"""Discovery by multicast DNS, on the loopback interface: it finds addresses, and trusts nothing."""

import asyncio
import json
import string
from contextlib import AsyncExitStack

import aiohttp
import pytest

from p2p_oicp.config import load_settings
from p2p_oicp.crypto import keystore
from p2p_oicp.delivery.wakeup import PeerLiveness
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.node import Node
from p2p_oicp.simulator.node_files import free_ports
from tests.support.messages import A_CPO, START, authorize_start
from tests.support.nodes import FakeContracts, FakeCsms

NOT_OURS = {
    "an address of another machine": "192.0.2.7",
    "the same, IPv6": "2001:db8::7",
    "the name of an interface": "eth0",
}
NODES = {"one": "operators", "two": "providers", "three": "providers"}


def _party(table: str, port: int) -> str:
    digits = string.digits + string.ascii_uppercase
    code = "".join(digits[port // 36**place % 36] for place in (2, 1, 0))
    return f"DE{'*' if table == 'operators' else '-'}{code}"


class Lan:
    """Three nodes without peers files."""

    def __init__(self, folder, http, ports, **security) -> None:
        self.folder, self.http, self.ports = folder, http, ports
        # Other tests may be on the same network: their nodes have other names and other parties.
        self.prefix = f"t{ports[0]}"
        self.parties = dict(zip(NODES, map(_party, NODES.values(), ports), strict=False))
        for number, (name, table) in enumerate(NODES.items()):
            home = folder / name
            home.mkdir()
            keystore.generate(home / "keys")
            (home / "node.toml").write_text(
                f'[node]\nname = "{self.prefix} {name}"\n{table} = ["{self.parties[name]}"]\n'
                f"[peer_api]\nport = {ports[2 * number]}\n[backend_api]\nport = {ports[2 * number + 1]}\n"
                f"[security]\nrequire = {json.dumps(security.get('require', []))}\n"
                f'[discovery]\nmdns = true\ninterfaces = ["127.0.0.1"]\n'
                f"auto_accept = {json.dumps(security.get('auto_accept', False))}\n"
            )

    def node(self, name: str) -> Node:
        backends = {"cpo": FakeCsms()} if name == "one" else {"emp": FakeContracts()}
        return Node(load_settings(self.folder / name / "node.toml"), **backends)

    async def start(self) -> dict:
        """Send AuthorizeStart to node one and return its response."""
        path, body = (text.replace(A_CPO, self.parties["one"]) for text in (START, json.dumps(authorize_start())))
        url = f"http://127.0.0.1:{self.ports[1]}/api/oicp/{path}"
        async with self.http.post(url, json=json.loads(body)) as answer:
            return await answer.json()

    async def admin(self, number: int, method: str, path: str, status: int = 200, **payload) -> dict:
        url = f"http://127.0.0.1:{self.ports[2 * number + 1]}/admin/v1{path}"
        async with self.http.request(method, url, json=payload) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json(content_type=None)

    async def found(self, number: int, kind: str) -> dict[str, dict]:
        listed = (await self.admin(number, "GET", "/peers"))[kind]
        return {
            one["name"].removeprefix(f"{self.prefix} "): one for one in listed if one["name"].startswith(self.prefix)
        }

    async def until_found(self, number: int, kind: str, names: set[str]) -> dict[str, dict]:
        async with asyncio.timeout(20):
            while (found := await self.found(number, kind)).keys() != names:
                await asyncio.sleep(0.05)
        return found


@pytest.fixture
async def lan(tmp_path, request):
    ports = free_ports(6)
    async with aiohttp.ClientSession() as http:
        yield Lan(tmp_path, http, ports, **request.param)


@pytest.mark.parametrize("lan", [{"require": [], "auto_accept": True}], indirect=True, ids=["insecure"])
async def test_three_nodes_without_a_peers_file_discover_each_other(lan):
    async with AsyncExitStack() as stack:
        for name in NODES:
            await stack.enter_async_context(lan.node(name))
        for number, name in enumerate(NODES):
            peers = await lan.until_found(number, "peers", NODES.keys() - {name})
            assert {peer["trust"] for peer in peers.values()} == {"INSECURE: not authenticated"}
        assert (await lan.start())["AuthorizationStatus"] == "Authorized"


@pytest.mark.parametrize("lan", [{"require": [], "auto_accept": True}], indirect=True, ids=["insecure"])
async def test_a_node_that_was_removed_is_a_candidate_when_it_is_discovered_again(lan):
    async with lan.node("one"), lan.node("two"):
        await lan.until_found(0, "peers", {"two"})
        await lan.admin(0, "DELETE", f"/peers/{lan.prefix}%20two")
    async with lan.node("one"), lan.node("two"):
        await lan.until_found(0, "candidates", {"two"})
        assert await lan.found(0, "peers") == {}
        await lan.admin(0, "POST", f"/peers/{lan.prefix}%20two/accept")
        assert (await lan.found(0, "peers")).keys() == {"two"}


@pytest.mark.parametrize("lan", [{"require": ["signature"]}], indirect=True, ids=["signed"])
async def test_a_discovered_node_is_a_candidate_until_a_person_accepts_it(lan):
    async with lan.node("one"), lan.node("two"):
        (candidate,) = (await lan.until_found(0, "candidates", {"two"})).values()
        assert candidate["trust"] == "candidate: found, not accepted"
        assert await lan.found(0, "peers") == {}
        for number, other in ((0, "two"), (1, "one")):
            fingerprint = (await lan.until_found(number, "candidates", {other}))[other]["fingerprint"]
            path, parties = f"/peers/{lan.prefix}%20{other}/accept", [lan.parties[other]]
            refused = await lan.admin(number, "POST", path, 409, fingerprint=fingerprint, parties=["DE*OLD"])
            assert f"names other parties now: {parties[0]}" in refused["StatusCode"]["AdditionalInfo"]
            await lan.admin(number, "POST", path, fingerprint=fingerprint, parties=parties)
        assert (await lan.found(0, "peers"))["two"]["trust"] == "authenticated by signature (discovered)"
        assert (await lan.start())["AuthorizationStatus"] == "Authorized"


@pytest.mark.parametrize("lan", [{"require": ["signature"]}], indirect=True, ids=["signed"])
async def test_an_announced_peer_is_marked_alive(lan, monkeypatch):
    line = keystore.read_public_key(lan.folder / "two" / "keys" / "node.pub").der_base64
    (lan.folder / "one" / "peers.toml").write_text(
        f'[[peer]]\nname = "two"\nurl = "http://127.0.0.1:{lan.ports[2]}"\nproviders = ["{lan.parties["two"]}"]\n'
        f'public_keys = ["{line}"]\n'
    )
    alive: asyncio.Queue[str] = asyncio.Queue()  # node "two" has no peers, and so sends no hello
    monkeypatch.setattr(PeerLiveness, "mark_alive", lambda _self, peer_id: alive.put(peer_id))
    async with lan.node("one") as node:
        async with lan.node("two"), asyncio.timeout(20):
            assert await alive.get() == node.registry.by_name("two").id
        assert await lan.found(0, "candidates") == {}


@pytest.mark.parametrize("lan", [{"require": ["signature"], "auto_accept": True}], indirect=True, ids=["signed"])
async def test_auto_accept_is_refused_where_credentials_are_required(lan):
    with pytest.raises(ConfigurationError, match="auto_accept: only in a node that requires no credentials"):
        async with lan.node("one"):
            pass


@pytest.mark.parametrize("lan", [{"require": ["signature"]}], indirect=True, ids=["signed"])
@pytest.mark.parametrize("interface", NOT_OURS.values(), ids=NOT_OURS)
async def test_an_interface_that_is_no_address_of_this_machine_is_a_configuration_error(lan, interface):
    file = lan.folder / "one" / "node.toml"
    file.write_text(file.read_text().replace('["127.0.0.1"]', f'["{interface}"]'))
    with pytest.raises(ConfigurationError, match=rf"\[discovery\] interfaces: .*{interface}"):
        async with lan.node("one"):
            pass
