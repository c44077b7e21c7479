"""`doctor` tries everything, and says of what fails what is wrong and what to do."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import pytest

from p2p_oicp.cli.doctor import ask_node, check_machine, check_start, format_result
from p2p_oicp.config import load_settings
from p2p_oicp.crypto import PrivateKey
from p2p_oicp.delivery.connection_checks import CheckResult, Outcome
from p2p_oicp.simulator.node_files import free_ports
from tests.support.faulty_proxy import HTML
from tests.support.nodes import configured
from tests.support.operating import World, world_of
from tests.support.signed_nodes import SignedPair

HOUR = 3600.0
LARGE = 100_000


async def examine(world: World, name: str = "a") -> list[CheckResult]:
    config = world.folder / name / "node.toml"
    settings = await asyncio.to_thread(load_settings, config)
    results, process = await asyncio.to_thread(ask_node, config, settings)
    return [*check_machine(config, settings, process), *results]


async def test_where_all_is_well_every_check_says_so(tmp_path):
    async with world_of(tmp_path) as world:
        await world.start("b")
        await world.start("a")
        found = {(each.check, each.name): each for each in await examine(world)}
    expected = {"connection", "hello to the peer", "hello from the peer", "clock", "body size"}
    assert {check for check, name in found if name == "node b"} == expected
    assert {each.outcome for each in found.values()} == {Outcome.OK}
    assert "authenticated by signature" in found["hello to the peer", "node b"].text
    assert f"reaches this node at http://127.0.0.1:{world.ports['a']}" in found["hello from the peer", "node b"].text


@dataclass
class Fault:
    """How a fault is made, before or after the nodes have started, and what is read of it."""

    check: str
    words: str
    cure: str
    before: Callable[[World], None] = lambda _world: None
    make: Callable[[World], Awaitable[None]] | None = None
    name: str = "node b"
    outcome: Outcome = Outcome.FAILED


def certificate(name: str) -> Callable[[World], Awaitable[None]]:
    async def show(world: World) -> None:
        world.proxy.show(world.folder / "certificates" / name)

    return show


def proxy(status: int) -> Callable[[World], Awaitable[None]]:
    async def answer(world: World) -> None:
        world.proxy.answer = lambda _path, body: (status, "text/html", HTML) if len(body) > LARGE else None

    return answer


def peers_url_of_a(url: str) -> Callable[[World], None]:
    return lambda world: world.replace("b/peers.toml", f"http://127.0.0.1:{world.ports['a']}", url)


def key_of_a_is_another(world: World) -> None:
    world.replace("b/peers.toml", world.key("a").public.der_base64, PrivateKey.generate().public.der_base64)


def key_of_b_is_another(world: World) -> None:
    world.replace("a/peers.toml", world.key("b").public.der_base64, PrivateKey.generate().public.der_base64)


async def an_hour_off(world: World) -> None:
    world.clocks["b"].offset = HOUR


def csms_is_absent(world: World) -> None:
    (port,) = free_ports(1)
    world.own_csms = False
    file = world.folder / "a" / "node.toml"
    file.write_text(file.read_text() + f'[[backends]]\nname = "csms"\nrole = "cpo"\nurl = "http://127.0.0.1:{port}"\n')


async def open_to_all(world: World) -> None:
    (world.folder / "a" / "keys" / "node.key").chmod(0o644)


def public_url_is_of_b(world: World) -> None:
    world.replace("a/node.toml", "[peer_api]\n", f'[peer_api]\nurl = "http://127.0.0.1:{world.ports["b"]}"\n')


CLOCK = Fault("hello to the peer", "clocks", "chronyc", make=an_hour_off)
FAULTS = {
    "untrusted certificate": Fault("connection", "not trusted here", "[tls] ca", make=certificate("untrusted")),
    "wrong host name": Fault("connection", "another host name", "Correct the url", make=certificate("other host")),
    "expired certificate": Fault("connection", "has expired", "renew it", make=certificate("expired")),
    "proxy takes no large bodies": Fault("body size", "does not take bodies", "client_max_body_size", make=proxy(413)),
    "proxy forbids large bodies": Fault("body size", "forbids our requests", "let our address", make=proxy(403)),
    "clock is an hour off": CLOCK,
    "the peer does not know our key": Fault(
        "hello to the peer", "signing key is unknown", "Compare the fingerprints", key_of_a_is_another
    ),
    "we do not know its key": Fault(
        "hello to the peer", "signing key is unknown", "Compare the fingerprints", key_of_b_is_another
    ),
    "the peer has a dead address of us": Fault(
        "hello from the peer",
        "nothing answers at http://127.0.0.1:1.",
        "firewall",
        peers_url_of_a("http://127.0.0.1:1"),
    ),
    "our backend is absent": Fault("backend", "is absent", "Start it", csms_is_absent, name="backend:csms"),
    "our key can be read": Fault("files", "node.key", "chmod go-rwx", make=open_to_all, name="this node"),
    "our url is another node's": Fault(
        "public URL", "Another node answers", "Correct [peer_api] url", public_url_is_of_b, name="this node"
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_fault_is_found_with_its_cure(fault, tmp_path):
    async with world_of(tmp_path) as world:
        fault.before(world)
        await world.start("b")
        await world.start("a")
        if fault.make is not None:
            await fault.make(world)
        found = {(each.check, each.name): each for each in await examine(world)}
    result = found[fault.check, fault.name]
    assert (result.outcome, fault.words in result.text, fault.cure in result.cure) == (fault.outcome, True, True), (
        result
    )
    assert all(len(line) <= 80 or " " not in line.strip() for line in format_result(result, 80))


async def test_a_second_probe_within_the_minute_is_left_out(tmp_path):
    async with world_of(tmp_path) as world:
        await world.start("b")
        await world.start("a")
        await examine(world)
        (result,) = [each for each in await examine(world) if each.check == "body size"]
    assert (result.outcome, result.cure) == (Outcome.SKIPPED, "Try again in a minute.")


async def test_a_node_that_does_not_run_is_a_failure_and_what_keeps_it_from_starting_is_found(tmp_path):
    async with configured(partial(SignedPair), tmp_path) as pair:
        config = pair.folder / "a" / "node.toml"
        async with await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", pair.ports["a"]):
            settings = load_settings(config)
            results, _ = await asyncio.to_thread(ask_node, config, settings)
    assert [(each.check, each.outcome) for each in results] == [("node", "failed"), ("ports", "failed")]
    assert f"port {pair.ports['a']}" in results[1].cure


def test_keys_that_cannot_be_read_keep_a_node_from_starting(p2p_oicp, tmp_path):
    p2p_oicp("init", tmp_path / "alpha", "--name", "Alpha", "--operator", "DE*ALF")
    (tmp_path / "alpha" / "keys" / "node.key").unlink()
    results = list(check_start(load_settings(tmp_path / "alpha" / "node.toml")))
    assert "keys" in next(each for each in results if each.check == "settings").error


def test_the_command_exits_with_1_and_prints_what_fails(p2p_oicp, tmp_path):
    p2p_oicp("init", tmp_path / "alpha", "--name", "Alpha", "--operator", "DE*ALF")
    started = time.monotonic()
    outcome = p2p_oicp("doctor", "--config", tmp_path / "alpha" / "node.toml")
    assert outcome.code == 1
    assert "FAIL  this node, node: The node does not run." in outcome.out
    assert "To do: Start it: p2p-oicp run" in outcome.out
    assert time.monotonic() - started < 10
