"""Each fault is seen by `status --json` within one try, in plain words with the cure, and gone within one try."""

import asyncio
import json
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import pytest
from aiohttp import web

from p2p_oicp.cli.status import format_problem
from p2p_oicp.crypto import keystore
from p2p_oicp.simulator.node_files import free_ports
from tests.support.faulty_proxy import HTML
from tests.support.messages import A_CPO, CDR, REMOTE_START, cdr, remote_start
from tests.support.nodes import query, restore, start_session
from tests.support.operating import World, world_of
from tests.support.waiting import eventually

HOUR = 3600.0


@dataclass
class Fault:
    """How a fault is made and mended; what is read of it; and what has it tried."""

    cause: str
    words: str
    make: Callable[[World], Awaitable[None]]
    mend: Callable[[World], Awaitable[None]]
    attempt: Callable[[World], Awaitable[None]] = World.try_something
    before: Callable[[World], None] = lambda _world: None
    name: str = "node b"
    is_notice: bool = False


def certificate(name: str, cause: str, words: str) -> Fault:
    async def show(world: World, folder: str) -> None:
        world.proxy.show(world.folder / "certificates" / folder)

    return Fault(cause, words, partial(show, folder=name), partial(show, folder="good"))


def proxy_answers(status: int, cause: str, words: str, content: tuple[str, bytes] = ("text/html", HTML)) -> Fault:
    async def answer(world: World) -> None:
        world.proxy.answer = lambda _path, _body: (status, *content)

    return Fault(cause, words, answer, passes)


async def passes(world: World) -> None:
    world.proxy.release()


def clock_off(name: str, seconds: float) -> Fault:
    async def move(world: World, offset: float) -> None:
        world.clocks[name].offset = offset

    return Fault("clock off", "clocks", partial(move, offset=seconds), partial(move, offset=0.0))


async def nothing(_world: World) -> None: ...


def unsigned(world: World) -> None:
    for file in ("a/peers.toml", "b/peers.toml"):
        world.replace(file, "public_keys", "security = []\npublic_keys")


def refuses_one_record() -> Fault:
    refusal = {"Result": False, "StatusCode": {"Code": "022", "AdditionalInfo": "EVSE DE*GEF*EX: plug unknown"}}

    async def refuse(world: World) -> None:
        answer = (200, "application/json", json.dumps(refusal).encode())
        world.proxy.answer = lambda path, body: answer if "status-records" in path and b"EX" in body else None

    return Fault("message refused", "plug unknown", refuse, passes, before=unsigned)


def refuses_new_party() -> Fault:
    def add_party(world: World) -> None:
        world.replace("a/node.toml", f'operators = ["{A_CPO}"]', f'operators = ["{A_CPO}", "DE*NEW"]')

    async def learn(world: World) -> None:
        world.replace("b/peers.toml", f'operators = ["{A_CPO}"]', f'operators = ["{A_CPO}", "DE*NEW"]')
        await world.nodes["b"].reload()

    return Fault("party refused", "DE*NEW", nothing, learn, before=add_party)


def restored() -> Fault:
    async def lose(world: World) -> None:
        await world.stop("b")
        restore(world, "b", None)
        world.proxy.holds = lambda path: "status-records" in path
        await world.start("b")

    return Fault("restored", "another one", lose, passes, is_notice=True)


def pull_fails(setting: str) -> Fault:
    def pulling(world: World) -> None:
        world.replace("a/peers.toml", "public_keys", f"{setting} = 1\npublic_keys")

    async def fail(world: World) -> None:
        world.proxy.answer = lambda path, _body: (502, "text/html", HTML) if "pull-request" in path else None

    return Fault("bad gateway", "does not reach its node", fail, passes, before=pulling)


def csms_fault(cause: str, words: str, mode: str) -> Fault:
    """The own CSMS at node A, called by a remote start of node B's driver."""

    def configure(world: World) -> None:
        (port,) = free_ports(1)
        world.own_csms = False
        file = world.folder / "a" / "node.toml"
        lines = f'[[backends]]\nname = "csms"\nrole = "cpo"\nurl = "http://127.0.0.1:{port}"\nremote_timeout = 0.5\n'
        file.write_text(file.read_text() + lines)
        world.stub = SimpleNamespace(port=port, mode="ok", runner=None)

    async def switch(world: World, to: str) -> None:
        world.stub.mode = to
        if to == "absent" or world.stub.runner is None:
            await (close_stub(world) if to == "absent" else open_stub(world))

    async def start(world: World) -> None:
        await world.b.post(REMOTE_START, remote_start())

    return Fault(
        cause, words, partial(switch, to=mode), partial(switch, to="ok"), start, configure, name="backend:csms"
    )


async def open_stub(world: World) -> None:
    async def handle(_request: web.Request) -> web.Response:
        if world.stub.mode == "hangs":
            await asyncio.sleep(1.5)
        if world.stub.mode == "refuses":
            return web.Response(status=401, text="no")
        return web.json_response({"Result": True, "StatusCode": {"Code": "000"}})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    world.stub.runner = web.AppRunner(app)
    await world.stub.runner.setup()
    await web.TCPSite(world.stub.runner, "127.0.0.1", world.stub.port, reuse_address=True).start()


async def close_stub(world: World) -> None:
    if world.stub.runner is not None:
        await world.stub.runner.cleanup()
        world.stub.runner = None


def key_unknown() -> Fault:
    async def change_key(world: World) -> None:
        await world.stop("b")
        world.old_key = world.key("b")
        shutil.rmtree(world.folder / "b" / "keys")
        keystore.generate(world.folder / "b" / "keys")
        await world.start("b")

    async def learn(world: World) -> None:
        world.replace("a/peers.toml", world.old_key.public.der_base64, world.key("b").public.der_base64)
        await world.nodes["a"].reload()

    return Fault("unknown key", "fingerprints", change_key, learn)


def disk_nearly_full(patches: dict) -> Fault:
    usage = SimpleNamespace(total=100_000_000_000, used=99_700_000_000, free=300_000_000)

    async def fill(_world: World) -> None:
        patches["disk"].setattr("p2p_oicp.server.status.shutil.disk_usage", lambda _path: usage)

    async def free(_world: World) -> None:
        patches["disk"].undo()

    return Fault("disk nearly full", "Make room", fill, free, attempt=nothing, name="this node")


def queue_grows() -> Fault:
    async def slow_down(world: World) -> None:
        session = await start_session(world)
        world.proxy.holds = lambda _path: True
        assert (await world.a.post(CDR, cdr(session))).code == "000"
        query(world, "a", "UPDATE outbox SET created_at = created_at - 1000")

    return Fault("queue growing", "more slowly", slow_down, passes, attempt=nothing)


PATCHES: dict = {}
FAULTS = {
    "untrusted certificate": certificate("untrusted", "untrusted certificate", "[tls] ca"),
    "wrong host name": certificate("other host", "wrong host name", "another host name"),
    "expired certificate": certificate("expired", "expired certificate", "has expired"),
    "our clock is an hour ahead": clock_off("a", HOUR),
    "their clock is an hour behind": clock_off("b", -HOUR),
    "the proxy answers 413": proxy_answers(413, "body too large", "client_max_body_size"),
    "the proxy answers 403": proxy_answers(403, "forbidden by a proxy", "not its node"),
    "the proxy answers 502": proxy_answers(502, "bad gateway", "does not reach its node"),
    "the proxy answers HTML": proxy_answers(200, "not OICP", "web page"),
    "the peer refuses one record": refuses_one_record(),
    "the peer refuses our new party": refuses_new_party(),
    "the peer was restored": restored(),
    "a pull fails": pull_fails("pull_interval"),
    "a pull that only one dataset has fails": pull_fails("pull.AuthenticationData.interval"),
    "our backend refuses": csms_fault("forbidden by a proxy", "refuses our credentials", "refuses"),
    "our backend hangs": csms_fault("timeout", "hangs", "hangs"),
    "our backend is absent": csms_fault("cannot connect", "is absent", "absent"),
    "the disk is nearly full": disk_nearly_full(PATCHES),
    "a key is unknown": key_unknown(),
    "the queue grows": queue_grows(),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_fault_is_seen_within_one_try_and_gone_within_one_try(fault, tmp_path, monkeypatch):
    PATCHES["disk"] = monkeypatch
    async with world_of(tmp_path) as world:
        fault.before(world)
        await world.start("b")
        await world.start("a")
        if hasattr(world, "stub"):
            await open_stub(world)
        if fault.make is not nothing:
            await world.try_something()
            await eventually(partial(is_well, world))
        await fault.make(world)
        await fault.attempt(world)
        problem = await eventually(partial(find, world, fault))
        check(problem, fault)
        await fault.mend(world)
        await fault.attempt(world)
        await eventually(partial(is_mended, world, fault), timeout=15)
        if hasattr(world, "stub"):
            await close_stub(world)


async def is_well(world: World) -> bool:
    report = await world.status()
    return report["ok"] and not any(channel["behind"] for peer in report["peers"] for channel in peer["channels"])


async def find(world: World, fault: Fault) -> dict | None:
    problems = (await world.status())["problems"]
    expected = (fault.cause, fault.name, "notice" if fault.is_notice else "error")
    return next((each for each in problems if (each["cause"], each["name"], each["severity"]) == expected), None)


async def is_mended(world: World, fault: Fault) -> bool:
    return await find(world, fault) is None and await is_well(world)


def check(problem: dict, fault: Fault) -> None:
    lines = list(format_problem(problem, time.time(), 80))
    assert all(len(line) <= 80 or " " not in line.strip() for line in lines)
    assert fault.words in " ".join(" ".join(lines).split())
    assert problem["text"]
    assert problem["cure"]
