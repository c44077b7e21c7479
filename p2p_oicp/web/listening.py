"""Sockets: where an application listens."""

from __future__ import annotations

import ssl
from contextlib import AsyncExitStack

from aiohttp import web

from p2p_oicp.errors import ConfigurationError

SHUTDOWN_SECONDS = 10.0


async def listen(
    stack: AsyncExitStack,
    app: web.Application,
    host: str,
    port: int,
    table: str,
    *,
    tls: ssl.SSLContext | None = None,
) -> str:
    """Listen until ``stack`` ends; return the base URL with the port that was bound.

    ``table`` is named where that is impossible. A body stays as it was on the wire, since that is what is signed.
    """
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, host, port, ssl_context=tls)
    try:
        await site.start()
    except OSError as error:
        raise ConfigurationError(
            f"[{table}] cannot listen on {host}:{port}: {error.strerror}; choose another port"
        ) from error
    bound = runner.addresses[0][1]
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{bound}"
