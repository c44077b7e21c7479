"""How many connections a listener keeps open, so that nobody can use up the file descriptors by opening many.

Where there are too many, those that were opened first have to go: at once if nothing is asked on them, or else after
the answer. So whoever opens connections and says nothing pushes out his own, and the others come in. Only if those that
have to go do not go, because they are being answered, is a newcomer sent away with 503.

With TLS, a connection counts from its first moment as well, and not only when TLS has begun. Those on which it has not
begun yet push out about half of the others; beyond that, the first of them has to go. Where there is no room for
a newcomer, he is cut off: beginning TLS would cost more than what he is told.

Opening a listener, and closing it in order.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from types import TracebackType
from typing import Self, cast
from weakref import WeakSet

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from p2p_oicp.errors import ConfigurationError
from p2p_oicp.server.limits import overloaded
from p2p_oicp.server.pipeline import OICP_PREFIX

# So long a newcomer who is sent away is heard out: whoever is cut off while he speaks does not read the answer. And so
# long TLS may take to end.
_LINGER_SECONDS = 1.0
_RESPONSE_TIMEOUT_SECONDS = 30.0
# So long TLS may take to begin.
_HANDSHAKE_TIMEOUT_SECONDS = 10.0


class ConnectionLimiter:
    """Makes the protocol of each new connection of ``server``; keeps ``most`` open, and as many that are leaving.

    It is called for plain connections, and begins ``tls`` on them itself, if there is any. An async context manager:
    who is still leaving at its end, or beginning, is left to whoever ends the server.
    """

    def __init__(self, server: web.Server, max_connections: int, tls: ssl.SSLContext | None = None) -> None:
        self._server = server
        self._max_connections = max_connections
        self._tls = tls
        self._is_closed = False
        self._pending_handshakes: dict[socket.socket, None] = {}  # in the order in which they were opened
        self._handshake_tasks: set[asyncio.Task[None]] = set()
        self._closing: dict[web.RequestHandler, asyncio.Task[None]] = {}
        self._rejected: WeakSet[_RejectProtocol] = WeakSet()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        closing_tasks = list(self._closing.values())
        for task in closing_tasks:
            task.cancel()
        await asyncio.gather(*closing_tasks, return_exceptions=True)

    async def abort_handshakes(self) -> None:
        """Cut off everybody with whom TLS has not begun; it begins with nobody any more."""
        self._is_closed = True
        for connection in self._pending_handshakes:
            _shutdown_socket(connection)
        await asyncio.gather(*self._handshake_tasks, return_exceptions=True)

    def __call__(self) -> asyncio.Protocol:
        """Return what takes the next connection, until it is open: only then it counts."""
        return _AcceptProtocol(self._accept)

    def _accept(self, transport: asyncio.Transport) -> None:
        """Decide what becomes of a connection that was opened this moment."""
        has_capacity = self._evict_oldest()
        if self._tls is None:
            protocol = self._server() if has_capacity else self._reject()
            transport.set_protocol(protocol)
            protocol.connection_made(transport)
        elif has_capacity and not self._is_closed and (connection := _duplicate_socket(transport)) is not None:
            self._pending_handshakes[connection] = None
            self._handshake_tasks.add(task := asyncio.create_task(self._start_tls(connection, self._tls)))
            task.add_done_callback(self._handshake_tasks.discard)
        else:
            transport.abort()

    def _evict_oldest(self) -> bool:
        """Make room for one more, where too many are here; return False where nobody can be made to go."""
        connections = self._server.connections  # in the order in which they were opened
        if len(connections) + len(self._pending_handshakes) < self._max_connections:
            return True
        open_connections = [connection for connection in connections if connection not in self._closing]
        if len(open_connections) + len(self._pending_handshakes) < self._max_connections:
            return True
        if len(self._pending_handshakes) > self._max_connections // 2:
            oldest = next(iter(self._pending_handshakes))
            del self._pending_handshakes[oldest]
            _shutdown_socket(oldest)
            return True
        if len(connections) - len(open_connections) >= self._max_connections:
            return False
        self._closing[open_connections[0]] = task = asyncio.create_task(_close_gracefully(open_connections[0]))
        task.add_done_callback(partial(self._on_closed, open_connections[0]))
        return True

    async def _start_tls(self, connection: socket.socket, tls: ssl.SSLContext) -> None:
        """Serve a connection as soon as TLS has begun; end it if that fails, or takes too long."""
        loop = asyncio.get_running_loop()
        try:
            # OSError: so are the errors of TLS and of time.
            with suppress(OSError):
                await loop.connect_accepted_socket(
                    self._server, connection, ssl=tls, ssl_handshake_timeout=_HANDSHAKE_TIMEOUT_SECONDS
                )
        finally:
            self._pending_handshakes.pop(connection, None)

    def _on_closed(self, connection: web.RequestHandler, _: asyncio.Task[None]) -> None:
        del self._closing[connection]

    def _reject(self) -> asyncio.Protocol:
        timeout = _LINGER_SECONDS if len(self._rejected) < self._max_connections else 0.0
        protocol = _RejectProtocol(timeout)
        self._rejected.add(protocol)
        return protocol


class _AcceptProtocol(asyncio.Protocol):
    """Hands over its connection as soon as it is open."""

    def __init__(self, accept: Callable[[asyncio.Transport], None]) -> None:
        self._accept = accept

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hand it over."""
        self._accept(cast("asyncio.Transport", transport))


def _duplicate_socket(transport: asyncio.Transport) -> socket.socket | None:
    """Return the connection of a transport that has read nothing yet, and end that; None where too much is open."""
    try:
        connection = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
    except OSError:
        return None
    connection.setblocking(False)  # noqa: FBT003 - the standard library's own form
    transport.abort()
    return connection


def _shutdown_socket(connection: socket.socket) -> None:
    """End a connection under whoever waits for it to say something."""
    with suppress(OSError):  # it has ended by itself
        connection.shutdown(socket.SHUT_RDWR)


async def _close_gracefully(connection: web.RequestHandler) -> None:
    """End a connection: at once if it is silent, or else after the answer."""
    transport = connection.transport
    connection.close()
    await connection.shutdown(_RESPONSE_TIMEOUT_SECONDS)
    if transport is not None:
        await _abort_after_drain(transport)


async def _abort_after_drain(transport: asyncio.Transport) -> None:
    """Wait until a closed connection is gone, while its answer is taken in; then cut it off.

    Otherwise it would be here until the other side says farewell as well, as TLS wants it.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _RESPONSE_TIMEOUT_SECONDS
    await asyncio.sleep(_LINGER_SECONDS)
    while transport.get_write_buffer_size() and loop.time() < deadline:  # noqa: ASYNC110 - a transport tells nobody
        await asyncio.sleep(_LINGER_SECONDS)
    transport.abort()


class _RejectProtocol(asyncio.Protocol):
    """Answers the first that is said with 503, whatever it is; ends the connection soon, if the caller does not."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._has_responded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait a little for a question."""
        self._transport = cast("asyncio.Transport", transport)
        self._abort_timer = asyncio.get_running_loop().call_later(self._timeout, self._transport.abort)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - nothing of it is read
        """Answer 503, once."""
        if self._has_responded:
            return
        self._has_responded = True
        error = overloaded("too many connections are open")
        body = error.to_response().body
        head = ["HTTP/1.1 503 Service Unavailable", "Content-Type: application/json; charset=utf-8"]
        head += [f"{name}: {value}" for name, value in error.headers.items()]
        head += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
        self._transport.write("\r\n".join(head).encode() + body)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - however it ended
        """Take note of the end."""
        self._abort_timer.cancel()


log = structlog.get_logger(__name__)

#: What serves the requests below ``OICP_PREFIX``.
OICP_HANDLER: web.AppKey[Callable[[web.Request], Awaitable[web.StreamResponse]]] = web.AppKey("OICP")
SHUTDOWN_SECONDS = 10.0
# A connection on which no request comes to its head's end is cut off; a peer's client keeps its idle ones for 45 s.
KEEPALIVE_TIMEOUT_SECONDS = 60.0
# So long the rest of a refused body is read, so that its sender comes to read the answer.
BODY_LINGER_SECONDS = 2.0
# The event loop takes fewer turns than this from accepting a connection to telling its server.
_ACCEPT_LOOP_ITERATIONS = 10
_IDLE_CLOSE_INTERVAL_SECONDS = 0.05
_MAX_REASON_LENGTH = 100


async def start_listener(
    stack: AsyncExitStack,
    app: web.Application,
    host: str,
    port: int,
    settings_section: str,
    *,
    max_connections: int,
    tls: ssl.SSLContext | None = None,
) -> str:
    """Listen; return the base URL with the port that was bound. At most about so many ``connections`` are kept open.

    A body stays as it was on the wire, since that is what is signed.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=_ServerLogAdapter(logging.getLogger("aiohttp.server"), {}),
        auto_decompress=False,
        shutdown_timeout=SHUTDOWN_SECONDS,
        keepalive_timeout=KEEPALIVE_TIMEOUT_SECONDS,
        lingering_time=BODY_LINGER_SECONDS,
    )
    await runner.setup()
    server = cast("web.Server", runner.server)
    limiter = ConnectionLimiter(server, max_connections, tls)
    stack.push_async_callback(_shutdown, runner, FastDispatch(server, app), limiter)
    await stack.enter_async_context(limiter)
    try:
        asyncio_server = await asyncio.get_running_loop().create_server(limiter, host, port)
    except OSError as error:
        raise ConfigurationError(
            f"[{settings_section}] cannot listen on {host}:{port}: {error.strerror}; choose another port"
        ) from error
    stack.callback(asyncio_server.close)
    bound_port = asyncio_server.sockets[0].getsockname()[1]
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{bound_port}"


class _ServerLogAdapter(logging.LoggerAdapter[logging.Logger]):
    """What aiohttp's server logs, but one short line where it would log the stack of what any stranger can send."""

    def exception(self, msg: object, *args: object, exc_info: object = True, **kwargs: object) -> None:
        """Log a bug with its stack, a request that is not HTTP without."""
        if isinstance(exc_info, HttpProcessingError):
            reason = exc_info.message.partition("\n")[0][:_MAX_REASON_LENGTH]
            log.info("http.malformed", address=args[0] if args else None, reason=reason)
            return
        self.error(msg, *args, exc_info=exc_info, **kwargs)  # type: ignore[arg-type]


class FastDispatch:
    """Lets OICP requests pass by aiohttp's router, which tries shorter and shorter paths: a tenth of a request.

    Once ``is_closed``, only what was begun is answered: a connection whose TLS handshake was under way when we closed
    asks when nobody waits for its answer any more, and the parts that would give it are gone.
    """

    def __init__(self, server: web.Server, app: web.Application) -> None:
        self.is_closed = False
        self._oicp_handler, self._default_handler = app[OICP_HANDLER], server.request_handler
        server.request_handler = self

    def __call__(self, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        if self.is_closed:
            return _shutting_down_response()
        if request.method == "POST" and "Expect" not in request.headers and request.raw_path.startswith(OICP_PREFIX):
            return self._oicp_handler(cast("web.Request", request))
        return self._default_handler(request)


async def _shutting_down_response() -> web.StreamResponse:
    error = overloaded("this node is shutting down")
    headers = {"Content-Type": "application/json; charset=utf-8", **error.headers}
    return web.Response(body=error.to_response().body, status=error.http_status, headers=headers)


async def _shutdown(runner: web.AppRunner, dispatch: FastDispatch, limiter: ConnectionLimiter) -> None:
    """Close in order, and whoever was let in at the very moment of closing as well."""
    server = cast("web.Server", runner.server)
    dispatch.is_closed = True
    idle_closer = asyncio.create_task(_close_idle_connections(server))
    try:
        await runner.cleanup()
        for _ in range(_ACCEPT_LOOP_ITERATIONS):
            await asyncio.sleep(0)
        await limiter.abort_handshakes()
        await server.shutdown(SHUTDOWN_SECONDS)
    finally:
        idle_closer.cancel()


async def _close_idle_connections(server: web.Server) -> None:
    """Close silent connections again and again: aiohttp does so once, and waits for those that come in after that."""
    while True:
        server.pre_shutdown()
        await asyncio.sleep(_IDLE_CLOSE_INTERVAL_SECONDS)
