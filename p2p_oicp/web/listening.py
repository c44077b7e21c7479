"""Opening a listener, and closing it in order."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import cast

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from p2p_oicp.errors import ConfigurationError
from p2p_oicp.web.entrance import Entrance
from p2p_oicp.web.limits import busy

log = structlog.get_logger(__name__)

OICP_PREFIX = "/api/oicp/"
#: What serves the requests below ``OICP_PREFIX``.
OICP: web.AppKey[Callable[[web.Request], Awaitable[web.StreamResponse]]] = web.AppKey("OICP")
SHUTDOWN_SECONDS = 10.0
# A connection on which no request comes to its head's end is cut off; a peer's client keeps its idle ones for 45 s.
SILENT_CONNECTION_SECONDS = 60.0
# So long the rest of a refused body is read, so that its sender comes to read the answer.
LINGERING_SECONDS = 2.0
# The event loop takes fewer turns than this from accepting a connection to telling its server.
_TURNS_OF_AN_ACCEPT = 10
_BETWEEN_LOOKS_SECONDS = 0.05
_LONGEST_REASON = 100


async def listen(
    stack: AsyncExitStack,
    app: web.Application,
    host: str,
    port: int,
    table: str,
    *,
    connections: int,
    tls: ssl.SSLContext | None = None,
) -> str:
    """Listen; return the base URL with the port that was bound. At most about so many ``connections`` are kept open.

    A body stays as it was on the wire, since that is what is signed.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=_ServerLog(logging.getLogger("aiohttp.server"), {}),
        auto_decompress=False,
        shutdown_timeout=SHUTDOWN_SECONDS,
        keepalive_timeout=SILENT_CONNECTION_SECONDS,
        lingering_time=LINGERING_SECONDS,
    )
    await runner.setup()
    server = cast("web.Server", runner.server)
    entrance = Entrance(server, connections, tls)
    stack.push_async_callback(_close, runner, _Handler(server, app), entrance)
    await stack.enter_async_context(entrance)
    try:
        accepting = await asyncio.get_running_loop().create_server(entrance, host, port)
    except OSError as error:
        raise ConfigurationError(
            f"[{table}] cannot listen on {host}:{port}: {error.strerror}; choose another port"
        ) from error
    stack.callback(accepting.close)
    bound = accepting.sockets[0].getsockname()[1]
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{bound}"


class _ServerLog(logging.LoggerAdapter[logging.Logger]):
    """What aiohttp's server logs, but one short line where it would log the stack of what any stranger can send."""

    def exception(self, msg: object, *args: object, exc_info: object = True, **kwargs: object) -> None:
        """Log a bug with its stack, a request that is not HTTP without."""
        if isinstance(exc_info, HttpProcessingError):
            reason = exc_info.message.partition("\n")[0][:_LONGEST_REASON]
            log.info("http.malformed", address=args[0] if args else None, reason=reason)
            return
        self.error(msg, *args, exc_info=exc_info, **kwargs)  # type: ignore[arg-type]


class _Handler:
    """Lets OICP requests pass by aiohttp's router, which tries shorter and shorter paths: a tenth of a request.

    Once ``is_closed``, only what was begun is answered: a connection whose TLS handshake was under way when we closed
    asks when nobody waits for its answer any more, and the parts that would give it are gone.
    """

    def __init__(self, server: web.Server, app: web.Application) -> None:
        self.is_closed = False
        self._oicp, self._anything = app[OICP], server.request_handler
        server.request_handler = self

    def __call__(self, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        if self.is_closed:
            return _come_back()
        if request.method == "POST" and "Expect" not in request.headers and request.raw_path.startswith(OICP_PREFIX):
            return self._oicp(cast("web.Request", request))
        return self._anything(request)


async def _come_back() -> web.StreamResponse:
    problem = busy("this node is shutting down")
    headers = {"Content-Type": "application/json; charset=utf-8", **problem.headers}
    return web.Response(body=problem.answer().body, status=problem.http_status, headers=headers)


async def _close(runner: web.AppRunner, handler: _Handler, entrance: Entrance) -> None:
    """Close in order, and whoever was let in at the very moment of closing as well."""
    server = cast("web.Server", runner.server)
    handler.is_closed = True
    showing_out = asyncio.create_task(_show_out(server))
    try:
        await runner.cleanup()
        for _ in range(_TURNS_OF_AN_ACCEPT):
            await asyncio.sleep(0)
        await entrance.end_handshakes()
        await server.shutdown(SHUTDOWN_SECONDS)
    finally:
        showing_out.cancel()


async def _show_out(server: web.Server) -> None:
    """Close silent connections again and again: aiohttp does so once, and waits for those that come in after that."""
    while True:
        server.pre_shutdown()
        await asyncio.sleep(_BETWEEN_LOOKS_SECONDS)
