"""Requests that take up connections, room and time: they cost their sender, and nobody else."""

import asyncio
import gzip
import json
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import aiohttp
import pytest

from p2p_oicp.crypto.tls import unverified_context
from p2p_oicp.server import inbound
from tests.support.clients import SigningTestClient
from tests.support.messages import NOTIFY, PUSH_STATUS, START, authorize_start
from tests.support.waiting import eventually

MODES = {"insecure": (), "signed": ("signature",), "mutual TLS": ("mtls",)}
MEBIBYTE = 1024 * 1024
INVENTED_PARTY = START.replace("GEF", "ZZZ")
ANOTHER_ADDRESS = "127.0.0.2"
STATUSES = {"ActionType": "fullLoad", "OperatorEvseStatus": {"OperatorID": "DE*GEF", "EvseStatusRecord": []}}
LARGE_PUSH = json.dumps(STATUSES).encode() + b" " * (MEBIBYTE - 1024)


def head(path: str, length: int, headers: str = "") -> bytes:
    content = f"Content-Type: application/json\r\nContent-Length: {length}\r\n"
    return f"POST /api/oicp/{path} HTTP/1.1\r\nHost: b\r\n{content}{headers}\r\n".encode()


def limit(pair, section: str, line: str, name: str = "b") -> None:
    """Add a line to the configuration of a node."""
    file = pair.folder / name / "node.toml"
    text = file.read_text()
    table = f"[{section}]\n"
    file.write_text(text.replace(table, f"{table}{line}\n") if table in text else f"{text}{table}{line}\n")


@asynccontextmanager
async def silent(pair, count: int, *starts: bytes, address: str = "127.0.0.1"):
    """Keep ``count`` connections open that send the beginning of a request, and nothing more."""
    tls = unverified_context() if "mtls" in pair.require else None

    async def hold(start: bytes) -> None:
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", pair.ports["b"], ssl=tls, local_addr=(address, 0)
                )
                opened.append(start)
                try:
                    writer.write(start)
                    await reader.read()
                finally:
                    writer.transport.abort()
            await asyncio.sleep(0.05)

    opened: list[bytes] = []
    holding = [asyncio.create_task(hold(starts[number % len(starts)])) for number in range(count)]
    try:
        await eventually(lambda: len(opened) >= count, timeout=20)
        yield
    finally:
        for task in holding:
            task.cancel()
        await asyncio.gather(*holding, return_exceptions=True)
        await asyncio.sleep(0)  # until the connections are closed


@asynccontextmanager
async def client_at(pair, address: str):
    """Call node B as node A, from another address, with a connection of its own."""
    async with AsyncExitStack() as stack:
        connector = aiohttp.TCPConnector(local_addr=(address, 0))
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        known = pair.b_peer
        yield SigningTestClient(session, known.base, known.key, known.tls, signs=known.signs)


@pytest.mark.parametrize("require", MODES.values(), ids=MODES)
async def test_connections_with_silent_bodies_evict_each_other_and_others_are_served(stopped):
    limit(stopped, "limits", "connections = 16")
    async with stopped.running("b"), client_at(stopped, "127.0.0.1") as proved:
        assert (await proved.post(START, authorize_start())).status == 200
        async with silent(stopped, 60, head(START, 10), head(INVENTED_PARTY, 10), head(NOTIFY, 10), b""):
            for number in range(10):
                for address in (ANOTHER_ADDRESS, "127.0.0.1"):
                    async with client_at(stopped, address) as other, asyncio.timeout(2):
                        assert (await other.post(START, authorize_start(f"{number:08}"))).status == 200
                assert (await proved.post(START, authorize_start(f"A{number:07}"))).status == 200


@pytest.mark.parametrize("require", MODES.values(), ids=MODES)
async def test_connections_that_announce_much_and_send_nothing_hold_up_no_push(stopped):
    limit(stopped, "peer_api", f"max_body = {MEBIBYTE}")
    async with stopped.running("b"), silent(stopped, 20, head(PUSH_STATUS, MEBIBYTE)):
        assert (await stopped.b_peer.post(PUSH_STATUS, LARGE_PUSH)).status == 200


@pytest.mark.parametrize("require", [()], ids=["insecure"])
async def test_unproved_bodies_that_break_off_leave_room_for_proved_ones(stopped):
    """Node B demands nothing by itself, but of node A a signature; others may act for another company."""
    limit(stopped, "peer_api", f"max_body = {MEBIBYTE}")
    file = stopped.folder / "b" / "peers.toml"
    other = '[[peer]]\nname = "c"\nurl = "http://127.0.0.1:9"\noperators = ["DE*CCC"]\n'
    file.write_text(file.read_text() + 'security = ["signature"]\n' + other)
    unproved = PUSH_STATUS.replace("GEF", "CCC")
    async with stopped.running("b"), silent(stopped, 20, head(unproved, MEBIBYTE) + b" " * (MEBIBYTE - 10)):
        proved = stopped.b_peer
        proved.signs = True
        assert (await proved.post(PUSH_STATUS, LARGE_PUSH)).status == 200


async def slowly(pair, path: str, drops: int) -> int:
    """Send a body in ``drops`` of a small body each, with pauses; return the status, 408 also if it was cut off."""

    async def body():
        for _ in range(drops):
            yield b" " * inbound.SMALL_BODY_BYTES
            await asyncio.sleep(0.15)

    async with pair.http.post(
        f"http://127.0.0.1:{pair.ports['b']}/api/oicp/{path}", data=body(), headers={"Content-Type": "application/json"}
    ) as answer:
        return answer.status


@pytest.mark.parametrize("require", [()], ids=["insecure"])
async def test_a_large_body_may_take_its_time_as_long_as_it_comes_and_a_drivers_may_not(stopped, monkeypatch):
    monkeypatch.setattr(inbound, "_SMALL_BODY_TIMEOUT_SECONDS", 0.4)
    async with stopped.running("b"):
        assert await slowly(stopped, PUSH_STATUS, drops=6) == 400  # read to its end: blanks are no JSON
        assert await slowly(stopped, START, drops=6) == 408
        monkeypatch.setattr(inbound, "_BODY_TIMEOUT_SECONDS", 0.4)
        assert await slowly(stopped, PUSH_STATUS, drops=6) == 408


BOMBS = {
    "thousandfold": gzip.compress(bytes(8 * MEBIBYTE)),
    "thousandfold, behind a small message": gzip.compress(json.dumps(STATUSES).encode() + b" " * 8 * MEBIBYTE),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("require", [()], ids=["insecure"])
async def test_a_bomb_is_refused_when_it_has_grown_a_hundredfold(stopped, bomb):
    async with stopped.running("b"):
        for path in (START, PUSH_STATUS):
            answer = await stopped.b_peer.post(path, bomb, headers={"Content-Encoding": "gzip"})
            assert (answer.status, answer.code) == (413, "022")
            assert "grows more than 100 times" in answer.json["StatusCode"]["AdditionalInfo"]


@pytest.mark.parametrize("path", ["api/oicp/" + START, "api/oicp/" + NOTIFY, "p2p/v1/hello", "p2p/v1/pairings"])
async def test_where_proof_is_needed_nothing_is_decompressed_before_it(stopped, monkeypatch, path):
    monkeypatch.setattr(inbound, "BoundedDecompressor", None)
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    async with (
        stopped.running("b"),
        stopped.http.post(f"{stopped.b_peer.base}/{path}", data=gzip.compress(b"{}"), headers=headers) as answer,
    ):
        assert answer.status in {401, 415}


async def test_a_compressed_message_of_a_proved_peer_is_served(stopped):
    records = [{"EvseID": f"DE*GEF*E{n:06}", "EvseStatus": "Available"} for n in range(5000)]
    group = {"OperatorID": "DE*GEF", "OperatorName": "GEF", "EvseStatusRecord": records}
    body = gzip.compress(json.dumps({"ActionType": "fullLoad", "OperatorEvseStatus": group}).encode())
    async with stopped.running("b"):
        answer = await stopped.b_peer.post(PUSH_STATUS, body, headers={"Content-Encoding": "gzip"})
        assert (answer.status, answer.json["Result"]) == (200, True)
