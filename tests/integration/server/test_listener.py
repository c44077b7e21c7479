"""Opening and closing a listener."""

import asyncio
import json
import socket
import ssl
import time
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from p2p_oicp.crypto.tls import Certificate, self_signed, unverified_context
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.server import listener
from p2p_oicp.server.listener import start_listener
from tests.support.messages import START, authorize_start


@pytest.fixture
def certificate(tmp_path) -> Path:
    """A private key and its certificate, in one file."""
    private, shown = self_signed("node", ["DE*ABC"], ["127.0.0.1"], now=time.time(), days=1)
    file = tmp_path / "node.pem"
    file.write_bytes(private + shown)
    return file


async def respond(_request: web.BaseRequest) -> web.Response:
    return web.Response(text="ok")


async def test_a_handshake_that_never_ends_does_not_delay_the_end(certificate):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    async with asyncio.timeout(5), AsyncExitStack() as stack:
        url = await start_listener(
            stack, respond, "127.0.0.1", 0, "peer_api", max_connections=10, now=time.time, tls=tls
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    with suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.transport.abort()


async def test_a_silent_connection_does_not_delay_the_end():
    async with asyncio.timeout(5), AsyncExitStack() as stack:
        url = await start_listener(stack, respond, "127.0.0.1", 0, "peer_api", max_connections=10, now=time.time)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        await asyncio.sleep(0.05)  # until it is accepted
    assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize("lifetime", [0.3, -1.0], ids=["later", "before the handshake"])
async def test_a_connection_ends_with_the_validity_of_its_certificate(certificate, lifetime):
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), unverified_context()
    for context in (server, client):
        context.load_cert_chain(certificate)
    server.load_verify_locations(certificate)
    server.verify_mode, server.verify_flags = ssl.CERT_OPTIONAL, ssl.VERIFY_X509_PARTIAL_CHAIN
    expires_at = Certificate.from_pem(certificate.read_bytes()).expires_at
    async with asyncio.timeout(5), AsyncExitStack() as stack:
        listen = partial(start_listener, stack, respond, "127.0.0.1", 0, "peer_api", max_connections=10, tls=server)
        url = await listen(now=lambda: expires_at - lifetime)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]), ssl=client)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await reader.read()  # to its end
        writer.close()
    assert answer.startswith(b"HTTP/1.1 200") == (lifetime > 0)


async def test_a_request_that_was_begun_is_answered_before_the_end():
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def respond_late(_request: web.BaseRequest) -> web.Response:
        begun.set()
        await goes_on.wait()
        return web.Response(text="late")

    async with aiohttp.ClientSession() as client:
        async with AsyncExitStack() as stack:
            url = await start_listener(
                stack, respond_late, "127.0.0.1", 0, "peer_api", max_connections=10, now=time.time
            )
            response = asyncio.create_task(client.get(url))
            await begun.wait()
            asyncio.get_running_loop().call_later(0.1, goes_on.set)
        assert await (await response).text() == "late"
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.get(url)


async def test_all_addresses_of_a_name_are_bound(monkeypatch):
    async def getaddrinfo(*_args, **_kwargs):
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (f"127.0.0.{number}", 0)) for number in (1, 2, 2)]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    bound = await listener._bind("both", 0)
    assert [one.getsockname()[0] for one in bound] == ["127.0.0.1", "127.0.0.2"]
    for one in bound:
        one.close()


async def test_a_taken_port_is_reported_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with AsyncExitStack() as stack:
            with pytest.raises(ConfigurationError, match=rf"\[peer_api\] cannot listen on 127.0.0.1:{port}: .* choose"):
                await start_listener(stack, respond, "127.0.0.1", port, "peer_api", max_connections=10, now=time.time)


async def test_a_body_that_waits_for_100_continue_is_requested_after_the_credentials(pair):
    head = f"POST /api/oicp/{START} HTTP/1.1\r\nHost: b\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
    body = json.dumps(authorize_start()).encode()
    for node, first_line in (("b", b"HTTP/1.1 100 Continue"), ("a", b"HTTP/1.1 401 Unauthorized")):
        reader, writer = await asyncio.open_connection("127.0.0.1", pair.ports[node])
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
        assert (await reader.readline()).strip() == first_line
        if node == "b":
            writer.write(body)
            assert b"Authorized" in await asyncio.wait_for(reader.readuntil(b"}"), 5)
        writer.close()
