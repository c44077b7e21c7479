"""Closing a listener."""

import asyncio
import ssl
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web

from p2p_oicp.crypto.tls import self_signed
from p2p_oicp.server.listener import OICP_HANDLER, start_listener


@pytest.fixture
def certificate(tmp_path) -> Path:
    """A private key and its certificate, in one file."""
    private, shown = self_signed("node", ["DE*ABC"], ["127.0.0.1"], now=time.time(), days=1)
    file = tmp_path / "node.pem"
    file.write_bytes(private + shown)
    return file


async def test_a_silent_connection_that_comes_in_while_the_listener_closes_does_not_hold_it_up(certificate):
    served, asking = (ssl.SSLContext(side) for side in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT))
    served.load_cert_chain(certificate)
    asking.check_hostname, asking.verify_mode = False, ssl.CERT_NONE
    app = web.Application()
    app[OICP_HANDLER] = lambda _: None
    come_in = asyncio.Event()

    async def while_it_closes(_app: web.Application) -> None:
        await writer.start_tls(asking)
        come_in.set()

    app.on_shutdown.append(while_it_closes)
    async with asyncio.timeout(5), AsyncExitStack() as stack:
        url = await start_listener(stack, app, "127.0.0.1", 0, "peer_api", max_connections=10, tls=served)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    assert come_in.is_set()
    assert await reader.read() == b""
    writer.transport.abort()
