"""The sockets of a listener: accept, limit the open connections, TLS, and an orderly end.

**Limit.** At the limit, room is made for a new connection. One on which nobody has proved who he is (nothing has come
yet, or half a head, or what is refused) is worth least: where these hold more than half of the limit, TLS handshakes
included, the oldest of the address that has most of them are aborted. So an attacker evicts his own. Otherwise the
address with the most connections loses its oldest: at once if it is idle, else after its response. If as many as the
limit are closing already, a new connection gets 503 (with TLS it is dropped: a handshake costs more than that response
is worth).

**Time.** The first head must be whole 10 s after the accept. A connection with a client certificate ends with its
validity.

**Accepting** is done here, and not by ``loop.create_server``: what asyncio accepts becomes a transport before anything
can be decided about it, and may become one after the listener was closed.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import cast
from weakref import WeakSet

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from p2p_oicp.concurrency import TaskSupervisor, spawn
from p2p_oicp.crypto.tls import Certificate
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.server.inbound import HttpConnection
from p2p_oicp.server.limits import address_block, overloaded

log = structlog.get_logger(__name__)

SHUTDOWN_SECONDS = 10.0
# After the accept, the handshake included.
FIRST_HEAD_TIMEOUT_SECONDS = 10.0
# A connection on which no further request comes to its head's end is closed; a peer's client keeps idle ones for 45 s.
KEEPALIVE_TIMEOUT_SECONDS = 60.0
# The rest of a refused body is read for so long: a client that is cut off while it sends does not read the response.
BODY_LINGER_SECONDS = 2.0
_HANDSHAKE_TIMEOUT_SECONDS = 10.0
# One costs a millisecond or two: so many at a time, for those that are ready together hold the event loop together. The
# oldest of the address that has most of them gives way to those that wait, if it has had this time.
_MAX_HANDSHAKES, _MIN_HANDSHAKE_SECONDS, _HANDSHAKE_POLL_SECONDS = 256, 0.5, 0.01
_RESPONSE_TIMEOUT_SECONDS = 30.0
# For the same reason a rejected connection is read for a moment; and TLS may take so long to be closed by both sides.
_LINGER_SECONDS = 1.0
_PAUSE_AFTER_ACCEPT_ERROR_SECONDS = 1.0
# The kernel keeps so many more while the event loop is busy; whom it drops beyond that tries again after a second.
_BACKLOG = 1024
# Accepted, or opened (one of each address), before requests get their turn again.
_ACCEPTED_AT_ONCE, _OPENED_AT_ONCE = 64, 8
# At the limit, this part of it is aborted at once: each time, all open connections are counted.
_ABORTED_AT_ONCE = 16
_MAX_REASON_LENGTH = 100


class Connection(HttpConnection):
    """One connection, from its accept on.

    Attributes:
        address: where it comes from, see `address_block`.
        opened_at: by the event loop's clock.
    """

    def __init__(self, limiter: ConnectionLimiter, server: web.Server, address: str, now: Callable[[], float]) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]
            logger=_ServerLogAdapter(logging.getLogger("aiohttp.server"), {}),  # type: ignore[arg-type]
            auto_decompress=False,  # a body stays as it was on the wire, since that is what is signed
            keepalive_timeout=KEEPALIVE_TIMEOUT_SECONDS,
            lingering_time=BODY_LINGER_SECONDS,
        )
        self.address = address
        self.opened_at = asyncio.get_running_loop().time()
        self._limiter = limiter
        self._now = now
        self._timers: list[asyncio.TimerHandle] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        call_later = asyncio.get_running_loop().call_later
        self._timers = [call_later(FIRST_HEAD_TIMEOUT_SECONDS, self._abort_without_head)]
        tls = transport.get_extra_info("ssl_object")
        self.certificate = der = tls.getpeercert(binary_form=True) if tls is not None else None
        if der is not None:
            self.prove()
            remaining = Certificate(der).expires_at - self._now()
            if remaining <= 0:  # a resumed session: its handshake does not look at the certificate again
                self.abort()
            self._timers.append(call_later(remaining, self._limiter.end, self))

    def connection_lost(self, exc: BaseException | None) -> None:
        for timer in self._timers:
            timer.cancel()
        self._limiter.forget(self)
        super().connection_lost(exc)

    def _abort_without_head(self) -> None:
        if not self._request_count:
            self.abort()

    def abort(self) -> None:
        """Close at once, whatever is going on."""
        if self.transport is not None:
            self.transport.abort()


class ConnectionLimiter:
    """Accepts connections for an aiohttp server; keeps ``max_connections`` open, and as many that are closing.

    Args:
        server: what their requests are served by.
        max_connections: the limit.
        now: seconds since the epoch, for certificates.
        tls: None: plain HTTP.
    """

    def __init__(
        self, server: web.Server, max_connections: int, now: Callable[[], float], tls: ssl.SSLContext | None = None
    ) -> None:
        self._server = server
        self._max_connections = max_connections
        self._now = now
        self._tls = tls
        self._queue: dict[str, deque[socket.socket]] = {}  # what is accepted and not open yet, by address
        self._queued = 0
        self._arrived = asyncio.Event()
        self._open: dict[Connection, None] = {}  # the oldest first, handshakes included
        self._opening: dict[asyncio.Protocol, asyncio.Task[None]] = {}
        self._closing: dict[Connection, asyncio.Task[None]] = {}
        self._rejected: WeakSet[_RejectProtocol] = WeakSet()

    def __repr__(self) -> str:
        return f"<ConnectionLimiter open={len(self._open)} opening={len(self._opening)} closing={len(self._closing)}>"

    async def accept_forever(self, listening: socket.socket) -> None:
        """Accept the connections of one socket until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._enqueue(*await loop.sock_accept(listening))
                for _ in range(_ACCEPTED_AT_ONCE):
                    self._enqueue(*listening.accept())
            except (ConnectionAbortedError, BlockingIOError):  # the client has gone meanwhile; no more are there
                continue
            except OSError as error:  # usually out of file descriptors: what is open has to be closed first
                log.warning("listener.accept_failed", error=str(error))
                await asyncio.sleep(_PAUSE_AFTER_ACCEPT_ERROR_SECONDS)

    def _enqueue(self, accepted: socket.socket, address: tuple[str, int]) -> None:
        accepted.setblocking(False)  # noqa: FBT003 - the standard library's own form
        self._queue.setdefault(address_block(address[0]), deque()).append(accepted)
        self._queued += 1
        if self._queued > self._max_connections:
            self._dequeue(max(self._queue, key=lambda address: len(self._queue[address])), newest=True).close()
        self._arrived.set()

    async def open_forever(self) -> None:
        """Open what was accepted, of each address in turn, until cancelled."""
        while True:
            await self._arrived.wait()
            has_room = self._has_room_for_handshake()
            for address in list(self._queue)[: _OPENED_AT_ONCE if has_room else 0]:
                self._open_connection(self._dequeue(address), address)
            if not self._queue:
                self._arrived.clear()
            # Requests get their turn here.
            await asyncio.sleep(0 if has_room else _HANDSHAKE_POLL_SECONDS)

    def _has_room_for_handshake(self) -> bool:
        if self._tls is None or len(self._opening) < _MAX_HANDSHAKES:
            return True
        (oldest,) = _oldest_of_largest([protocol for protocol in self._opening if isinstance(protocol, Connection)], 1)
        if asyncio.get_running_loop().time() - oldest.opened_at > _MIN_HANDSHAKE_SECONDS:
            self._abort(oldest)
        return False

    def _dequeue(self, address: str, *, newest: bool = False) -> socket.socket:
        # The address goes to the end of the line.
        sockets = self._queue.pop(address)
        accepted = sockets.pop() if newest else sockets.popleft()
        if sockets:
            self._queue[address] = sockets
        self._queued -= 1
        return accepted

    async def close(self) -> None:
        """Cancel handshakes, and stop waiting for connections that are closing."""
        while self._queue:
            self._dequeue(next(iter(self._queue))).close()
        tasks = [*self._opening.values(), *self._closing.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def end(self, connection: Connection) -> None:
        """Close a connection: at once if it is idle, otherwise after its response."""
        self.forget(connection)
        self._closing[connection] = task = spawn(_close_gracefully(connection), name="close connection")
        task.add_done_callback(lambda _: self._closing.pop(connection, None))

    def forget(self, connection: Connection) -> None:
        """Count a connection no more."""
        self._open.pop(connection, None)

    def _open_connection(self, accepted: socket.socket, address: str) -> None:
        if self._make_room():
            connection = Connection(self, self._server, address, self._now)
            self._open[connection] = None
            protocol: asyncio.Protocol = connection
        elif self._tls is None:
            protocol = self._reject()
        else:
            accepted.close()
            return
        self._opening[protocol] = task = spawn(self._start(accepted, protocol), name="open connection")
        task.add_done_callback(lambda _: self._opening.pop(protocol, None))

    async def _start(self, accepted: socket.socket, protocol: asyncio.Protocol) -> None:
        timeout = _HANDSHAKE_TIMEOUT_SECONDS if self._tls is not None else None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol, accepted, ssl=self._tls, ssl_handshake_timeout=timeout
            )
        except OSError:  # errors and timeouts of TLS are OSErrors, too
            pass
        finally:
            if isinstance(protocol, Connection) and protocol.transport is None:
                self.forget(protocol)

    def _make_room(self) -> bool:
        """Make room for one more connection; return False where as many as the limit are closing already."""
        if len(self._open) < self._max_connections:
            return True
        unproved = [connection for connection in self._open if not connection.is_proved]
        if len(unproved) > self._max_connections // 2:
            for connection in _oldest_of_largest(unproved, max(1, self._max_connections // _ABORTED_AT_ONCE)):
                self._abort(connection)
            return True
        if len(self._closing) >= self._max_connections:
            return False
        self.end(*_oldest_of_largest([connection for connection in self._open if connection.is_proved], 1))
        return True

    def _abort(self, connection: Connection) -> None:
        self.forget(connection)
        if (handshake := self._opening.get(connection)) is not None:
            handshake.cancel()
        else:
            connection.abort()

    def _reject(self) -> _RejectProtocol:
        # Beyond the limit, rejected connections are not waited for: they hold file descriptors as well.
        timeout = _LINGER_SECONDS if len(self._rejected) < self._max_connections else 0.0
        protocol = _RejectProtocol(timeout)
        self._rejected.add(protocol)
        return protocol


def _oldest_of_largest(connections: list[Connection], count: int) -> list[Connection]:
    """Return the first ``count`` connections of the address that has most of them."""
    ((address, _),) = Counter(connection.address for connection in connections).most_common(1)
    return [connection for connection in connections if connection.address == address][:count]


async def _close_gracefully(connection: Connection) -> None:
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
    now: Callable[[], float],
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
        now: seconds since the epoch.
        tls: None: plain HTTP.

    Raises:
        ConfigurationError: it cannot listen there.
    """
    server = web.Server(handler)
    limiter = ConnectionLimiter(server, max_connections, now, tls)
    try:
        sockets = await _bind(host, port)
    except OSError as error:
        info = f"[{settings_section}] cannot listen on {host}:{port}: {error.strerror}; choose another port"
        raise ConfigurationError(info) from error
    stack.push_async_callback(_shutdown, server, limiter, sockets)
    accepting = await stack.enter_async_context(TaskSupervisor())
    accepting.start_service("open connections", limiter.open_forever)
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
    # aiohttp waits for so long twice: for the response, then for the end of its task.
    await server.shutdown(SHUTDOWN_SECONDS / 2)


class _ServerLogAdapter(logging.LoggerAdapter[logging.Logger]):
    """The log of aiohttp's server, with one short line instead of a stack for what any client can cause."""

    def exception(self, msg: object, *args: object, exc_info: object = True, **kwargs: object) -> None:
        """Log a bug with its stack, a request that is not HTTP without."""
        if isinstance(exc_info, HttpProcessingError):
            reason = exc_info.message.partition("\n")[0][:_MAX_REASON_LENGTH]
            log.info("http.malformed", address=args[0] if args else None, reason=reason)
            return
        self.error(msg, *args, exc_info=exc_info, **kwargs)  # type: ignore[arg-type]
