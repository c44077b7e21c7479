"""Clients that are slow on purpose are cut off, and cost the others nothing."""

import asyncio

import pytest

from p2p_oicp.server import connections, inbound
from tests.support.messages import START, authorize_start

HEAD = f"POST /api/oicp/{START} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
SLOW = {
    "nothing at all": "",
    "half a head": HEAD,
    "a head, drop by drop": HEAD[:40],
}


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(connections, "FIRST_HEAD_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(connections, "BODY_LINGER_SECONDS", 0.2)
    monkeypatch.setattr(inbound, "_SMALL_BODY_TIMEOUT_SECONDS", 0.3)


async def until_cut_off(port: int, begin: str, drop: bytes = b"") -> bytes:
    """Send ``begin``, then ``drop`` again and again; return what came before the connection was closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(begin.encode())

    async def drip() -> None:
        while drop:
            writer.write(drop)
            await asyncio.sleep(0.05)

    dripping, received = asyncio.create_task(drip()), bytearray()
    try:
        async with asyncio.timeout(5):
            # In pieces: of a connection that is reset, `read()` to the end returns nothing of what has come.
            while data := await reader.read(1 << 16):
                received += data
    except ConnectionResetError:
        pass
    finally:
        dripping.cancel()
        writer.transport.abort()
    return bytes(received)


@pytest.mark.parametrize("begin", SLOW.values(), ids=SLOW)
async def test_a_head_that_never_ends_is_cut_off(pair, begin):
    assert await until_cut_off(pair.ports["a"], begin, drop=b"X" if begin == HEAD[:40] else b"") == b""


async def test_a_body_that_never_ends_is_answered_with_408_and_cut_off(pair):
    answer = await until_cut_off(pair.ports["b"], f"{HEAD}Content-Length: 1000\r\n\r\n", drop=b" ")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"022"' in answer


async def test_a_further_head_that_never_ends_is_cut_off(pair, monkeypatch):
    monkeypatch.setattr(connections, "KEEPALIVE_TIMEOUT_SECONDS", 0.3)
    whole = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = await until_cut_off(pair.ports["a"], whole + HEAD[:40], drop=b"X")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1") == 1


async def test_slow_clients_do_not_keep_others_waiting(pair):
    slow = [asyncio.create_task(until_cut_off(pair.ports["b"], HEAD)) for _ in range(200)]
    await asyncio.sleep(0.05)
    assert (await pair.a.post(START, authorize_start())).json["AuthorizationStatus"] == "Authorized"
    assert set(await asyncio.gather(*slow)) == {b""}
