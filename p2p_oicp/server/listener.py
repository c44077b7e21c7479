"""The sockets of a listener: accept, limit the open connections, TLS, and an orderly end.

**Limit.** At the limit, the oldest connection is closed: at once if it is idle, otherwise after its response. So an
attacker who opens silent connections evicts his own. TLS handshakes count from the moment of their accept and may hold
half of the limit; beyond that, the oldest of them is cancelled. If as many as the limit are closing already, a new
connection gets 503 (with TLS it is dropped: a handshake costs more than that response is worth).

**Accepting** is done here, and not by ``loop.create_server``: what asyncio accepts becomes a transport before anything
can be decided about it, and may become one after the listener was closed.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import cast
from weakref import WeakSet

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from p2p_oicp.concurrency import TaskSupervisor, spawn
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.server.limits import overloaded

log = structlog.get_logger(__name__)

SHUTDOWN_SECONDS = 10.0
# A connection on which no request comes to its head's end is closed; a peer's client keeps its idle ones for 45 s.
KEEPALIVE_TIMEOUT_SECONDS = 60.0
# The rest of a refused body is read for so long: a client that is cut off while it sends does not read the response.
BODY_LINGER_SECONDS = 2.0
_HANDSHAKE_TIMEOUT_SECONDS = 10.0
_RESPONSE_TIMEOUT_SECONDS = 30.0
# For the same reason a rejected connection is read for a moment; and TLS may take so long to be closed by both sides.
_LINGER_SECONDS = 1.0
_PAUSE_AFTER_ACCEPT_ERROR_SECONDS = 1.0
# What asyncio uses; the kernel keeps so many more while the event loop is busy.
_BACKLOG = 100
_MAX_REASON_LENGTH = 100


class ConnectionLimiter:
    """Accepts connections for an aiohttp server; keeps ``max_connections`` open, and as many that are closing.

    Args:
        server: makes the protocol of an accepted connection, and lists the open ones, the oldest first.
        max_connections: the limit.
        tls: None: plain HTTP.
    """

    def __init__(self, server: web.Server, max_connections: int, tls: ssl.SSLContext | None = None) -> None:
        self._server = server
        self._max_connections = max_connections
        self._tls = tls
        self._opening: dict[asyncio.Task[None], None] = {}  # the oldest first
        self._closing: dict[web.RequestHandler, asyncio.Task[None]] = {}
        self._rejected: WeakSet[_RejectProtocol] = WeakSet()

    def __repr__(self) -> str:
        is_open = len(self._server.connections)
        return f"<ConnectionLimiter open={is_open} opening={len(self._opening)} closing={len(self._closing)}>"

    async def accept_forever(self, listening: socket.socket) -> None:
        """Accept the connections of one socket until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except ConnectionAbortedError:  # the client has gone meanwhile
                continue
            except OSError as error:  # usually out of file descriptors: what is open has to be closed first
                log.warning("listener.accept_failed", error=str(error))
                await asyncio.sleep(_PAUSE_AFTER_ACCEPT_ERROR_SECONDS)
                continue
            self._accept(connection)

    async def close(self) -> None:
        """Cancel handshakes, and stop waiting for connections that are closing."""
        tasks = [*self._opening, *self._closing.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, connection: socket.socket) -> None:
        if self._evict_oldest():
            factory: Callable[[], asyncio.Protocol] = self._server
        elif self._tls is None:
            factory = self._reject
        else:
            connection.close()
            return
        task = spawn(self._open(connection, factory), name="open connection")
        self._opening[task] = None
        task.add_done_callback(self._on_opened)

    async def _open(self, connection: socket.socket, factory: Callable[[], asyncio.Protocol]) -> None:
        timeout = _HANDSHAKE_TIMEOUT_SECONDS if self._tls is not None else None
        with suppress(OSError):  # errors and timeouts of TLS are OSErrors, too
            await asyncio.get_running_loop().connect_accepted_socket(
                factory, connection, ssl=self._tls, ssl_handshake_timeout=timeout
            )

    def _on_opened(self, task: asyncio.Task[None]) -> None:
        self._opening.pop(task, None)

    def _evict_oldest(self) -> bool:
        """Make room for one more connection; return False where as many as the limit are closing already."""
        connections, opening = self._server.connections, len(self._opening)
        if len(connections) + opening < self._max_connections:
            return True
        staying = [connection for connection in connections if connection not in self._closing]
        if len(staying) + opening < self._max_connections:
            return True
        if opening > self._max_connections // 2:
            oldest_task = next(iter(self._opening))
            del self._opening[oldest_task]
            oldest_task.cancel()
            return True
        if len(connections) - len(staying) >= self._max_connections:
            return False
        oldest = staying[0]
        self._closing[oldest] = task = spawn(_close_gracefully(oldest), name="close connection")
        task.add_done_callback(lambda _: self._closing.pop(oldest, None))
        return True

    def _reject(self) -> asyncio.Protocol:
        # Beyond the limit, rejected connections are not waited for: they hold file descriptors as well.
        timeout = _LINGER_SECONDS if len(self._rejected) < self._max_connections else 0.0
        protocol = _RejectProtocol(timeout)
        self._rejected.add(protocol)
        return protocol


async def _close_gracefully(connection: web.RequestHandler) -> None:
    """Close when idle, or after the response; abort a client that does not read it."""
    transport = connection.transport
    connection.close()
    await connection.shutdown(_RESPONSE_TIMEOUT_SECONDS)
    if transport is None:
        return
    # A closed TLS transport stays open until the other side has closed it as well; a plain one until all is written.
    with suppress(TimeoutError):
        async with asyncio.timeout(_RESPONSE_TIMEOUT_SECONDS):
            await asyncio.sleep(_LINGER_SECONDS)
            while transport.get_write_buffer_size():  # noqa: ASYNC110 - a transport has no event for it
                await asyncio.sleep(_LINGER_SECONDS)
    transport.abort()


class _RejectProtocol(asyncio.Protocol):
    """Answers the first bytes with 503, whatever they are, and aborts the connection soon."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._transport: asyncio.Transport | None = None
        self._abort_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._abort_timer = asyncio.get_running_loop().call_later(self._timeout, self._transport.abort)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - nothing of it is read
        transport, self._transport = self._transport, None
        if transport is None:  # answered already
            return
        error = overloaded("too many connections are open")
        body = error.to_response().body
        head = ["HTTP/1.1 503 Service Unavailable", "Content-Type: application/json; charset=utf-8"]
        head += [f"{name}: {value}" for name, value in error.headers.items()]
        head += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
        transport.write("\r\n".join(head).encode() + body)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._abort_timer is not None:
            self._abort_timer.cancel()


async def start_listener(
    stack: AsyncExitStack,
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    host: str,
    port: int,
    settings_section: str,
    *,
    max_connections: int,
    tls: ssl.SSLContext | None = None,
) -> str:
    """Listen at every address that ``host`` stands for; return the base URL, with the port that was bound.

    Args:
        stack: ends the listener: what was begun is finished within 10 s.
        handler: serves a request.
        host: name or address.
        port: 0: any free one.
        settings_section: named in the error.
        max_connections: see `ConnectionLimiter`.
        tls: None: plain HTTP.

    Raises:
        ConfigurationError: it cannot listen there.
    """
    server = web.Server(
        handler,
        access_log=None,
        logger=_ServerLogAdapter(logging.getLogger("aiohttp.server"), {}),
        auto_decompress=False,  # a body stays as it was on the wire, since that is what is signed
        keepalive_timeout=KEEPALIVE_TIMEOUT_SECONDS,
        lingering_time=BODY_LINGER_SECONDS,
    )
    limiter = ConnectionLimiter(server, max_connections, tls)
    try:
        sockets = await _bind(host, port)
    except OSError as error:
        info = f"[{settings_section}] cannot listen on {host}:{port}: {error.strerror}; choose another port"
        raise ConfigurationError(info) from error
    stack.push_async_callback(_shutdown, server, limiter, sockets)
    accepting = await stack.enter_async_context(TaskSupervisor())
    for listening in sockets:
        accepting.start_service(f"accept {listening.getsockname()}", partial(limiter.accept_forever, listening))
    bound_port = sockets[0].getsockname()[1]
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{bound_port}"


async def _bind(host: str, port: int) -> list[socket.socket]:
    """Return a listening socket for each address of ``host``; for ``localhost``, these are often two."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
            sockets.append(socket.create_server(address, family=family, backlog=_BACKLOG))
            sockets[-1].setblocking(False)  # noqa: FBT003 - the standard library's own form
    except OSError:
        for listening in sockets:
            listening.close()
        raise
    return sockets


async def _shutdown(server: web.Server, limiter: ConnectionLimiter, sockets: list[socket.socket]) -> None:
    # Order: accepting was cancelled before (by the stack), then the sockets are closed and the handshakes cancelled.
    # So no connection can come in any more while the requests that were begun are finished.
    for listening in sockets:
        listening.close()
    await limiter.close()
    await asyncio.sleep(0)  # requests that have arrived begin
    server.pre_shutdown()
    await server.shutdown(SHUTDOWN_SECONDS)


class _ServerLogAdapter(logging.LoggerAdapter[logging.Logger]):
    """The log of aiohttp's server, with one short line instead of a stack for what any client can cause."""

    def exception(self, msg: object, *args: object, exc_info: object = True, **kwargs: object) -> None:
        """Log a bug with its stack, a request that is not HTTP without."""
        if isinstance(exc_info, HttpProcessingError):
            reason = exc_info.message.partition("\n")[0][:_MAX_REASON_LENGTH]
            log.info("http.malformed", address=args[0] if args else None, reason=reason)
            return
        self.error(msg, *args, exc_info=exc_info, **kwargs)  # type: ignore[arg-type]
