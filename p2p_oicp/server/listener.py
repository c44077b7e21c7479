"""The sockets of a listener: accept, limit the open connections, TLS, and an orderly end.

**Limits.** A connection on which nobody has proved who he is (nothing has come yet, or half a head, or what is refused)
is worth least, and one that waits costs little: three times as many as the limit may be open, TLS handshakes included.
Beyond that the oldest of the address that has most of them are aborted, so an attacker evicts his own. Of the others as
many as the limit may be open: beyond that, the address with the most loses its oldest: at once if it is idle, else
after its response. If as many as the limit are closing already, a new connection gets 503 (with TLS it is dropped: a
handshake costs more than that response is worth). New connections wait in an `AcceptQueue`; with TLS, in a
`ClientHelloWaiter` before it.

**Accepting** is done here, and not by ``loop.create_server``: what asyncio accepts becomes a transport before anything
can be decided about it, and may become one after the listener was closed.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import cast
from weakref import WeakSet

import structlog
from aiohttp import web

from p2p_oicp.concurrency import TaskSupervisor, spawn
from p2p_oicp.server.accept_queue import AcceptQueue
from p2p_oicp.server.client_hello import ClientHelloWaiter
from p2p_oicp.server.connections import Connection, oldest_of_largest
from p2p_oicp.server.limits import address_block, overloaded
from p2p_oicp.server.problems import cannot_listen

log = structlog.get_logger(__name__)

SHUTDOWN_SECONDS = 10.0
_HANDSHAKE_TIMEOUT_SECONDS = 10.0
# One costs a millisecond or two: so many at a time, for those that are ready together hold the event loop together. The
# oldest of the address that has most of them gives way to those that wait, if it has had this time.
_MAX_HANDSHAKES, _MIN_HANDSHAKE_SECONDS = 512, 0.5
# So many of them may be new: the others wait for their clients.
_MAX_NEW_HANDSHAKES, _NEW_SECONDS = 16, 0.02
# What cannot be opened now is looked at again.
_POLL_SECONDS = 0.01
_RESPONSE_TIMEOUT_SECONDS = 30.0
# For the same reason a rejected connection is read for a moment; and TLS may take so long to be closed by both sides.
_LINGER_SECONDS = 1.0
_PAUSE_AFTER_ACCEPT_ERROR_SECONDS = 1.0
# The kernel keeps so many more while the event loop is busy; whom it drops beyond that tries again after a second.
_BACKLOG = 4096
# Accepted, or opened, before requests get their turn again; with TLS, each costs a handshake.
_ACCEPTED_AT_ONCE, _OPENED_AT_ONCE, _HANDSHAKES_AT_ONCE = 256, 16, 4
# At the limit no larger part of it than this: what is opened has to get some turns before it has to go.
_MAX_OPENED_PART = 1 / 16
# Opening has half of the event loop's time: after each turn, requests have as long, and at most so long. With TLS, so
# few are opened at once that requests get enough turns: whoever waits behind a flood of handshakes waits half as long.
_MAX_PAUSE_SECONDS, _TLS_PAUSE_PART = 0.2, 0.1
# Which connections are proved is found out so often, and at a limit.
_SORT_INTERVAL_SECONDS = 0.05
# At a limit, so many are closed at once: each time, all open connections are counted.
_CLOSED_AT_ONCE = 4
# For each connection that may be open, so many on which nothing is proved, and so many that wait.
_UNPROVED_FACTOR, _WAITING_FACTOR = 3, 5
# Up to this part of these, late connections are opened.
_ROOM_FOR_LATE = 0.75


class ConnectionLimiter:
    """Accepts connections for an aiohttp server, and keeps within its limits.

    Args:
        server: what their requests are served by.
        max_connections: how many may be open of those on which something is proved; see above.
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
        self._opened_at_once = _OPENED_AT_ONCE if tls is None else _HANDSHAKES_AT_ONCE
        self._pause_part = 1.0 if tls is None else _TLS_PAUSE_PART
        self._opened_at_limit = min(self._opened_at_once, max(1, int(max_connections * _MAX_OPENED_PART)))
        self._max_unproved = _UNPROVED_FACTOR * max_connections
        self._max_waiting = _WAITING_FACTOR * max_connections
        self._queue = AcceptQueue(self._max_waiting, asyncio.get_running_loop().time, is_plain=tls is None)
        self._hellos = ClientHelloWaiter(self._enqueue)
        self._arrived = asyncio.Event()
        # The oldest first; those on which nothing is proved with the handshakes.
        self._unproved: dict[Connection, None] = {}
        self._proved: dict[Connection, None] = {}
        self._sorted_at = 0.0
        self._opening: dict[asyncio.Protocol, asyncio.Task[None]] = {}
        self._closing: dict[Connection, asyncio.Task[None]] = {}
        self._rejected: WeakSet[_RejectProtocol] = WeakSet()

    def __repr__(self) -> str:
        open_ = f"proved={len(self._proved)} unproved={len(self._unproved)}"
        return f"<ConnectionLimiter {open_} opening={len(self._opening)} closing={len(self._closing)}>"

    async def accept_forever(self, listening: socket.socket) -> None:
        """Accept the connections of one socket until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._accept(*await loop.sock_accept(listening))
                for _ in range(_ACCEPTED_AT_ONCE):
                    self._accept(*listening.accept())
            except (ConnectionAbortedError, BlockingIOError):  # the client has gone meanwhile; no more are there
                continue
            except OSError as error:  # usually out of file descriptors: what is open has to be closed first
                log.warning("listener.accept_failed", error=str(error))
                is_shed = self._shed()
                await asyncio.sleep(_POLL_SECONDS if is_shed else _PAUSE_AFTER_ACCEPT_ERROR_SECONDS)

    def _accept(self, accepted: socket.socket, peer_address: tuple[str, int]) -> None:
        accepted.setblocking(False)  # noqa: FBT003 - the standard library's own form
        address = address_block(peer_address[0])
        if self._tls is None:
            self._enqueue(accepted, address)
            return
        if len(self._hellos) + len(self._queue) >= self._max_waiting:
            self._close_oldest_waiting()
        self._hellos.add(accepted, address)

    def _enqueue(self, accepted: socket.socket, address: str) -> None:
        self._queue.add(accepted, address)
        self._arrived.set()

    def _close_oldest_waiting(self) -> bool:
        return self._hellos.close_oldest() or self._queue.close_oldest()

    def _shed(self) -> bool:
        """Close some of what nobody is served by; return False if there is nothing."""
        closed = sum(self._close_oldest_waiting() for _ in range(_OPENED_AT_ONCE))
        if closed:
            return True
        self._sort_open()
        if self._unproved:
            self._abort_oldest()
        return bool(self._unproved)

    async def open_forever(self) -> None:
        """Open what was accepted until cancelled."""
        loop_time = asyncio.get_running_loop().time
        while True:
            await self._arrived.wait()
            started = loop_time()
            self._sort_open(at_once=False)
            with_late = self._has_room_for_late()
            has_room = len(self._proved) + len(self._unproved) < self._max_unproved
            at_once = self._opened_at_once if has_room else self._opened_at_limit
            opened = sum(self._open_next(with_late=with_late) for _ in range(at_once))
            if not self._queue:
                self._arrived.clear()
            await asyncio.sleep(0)  # what was opened begins, and requests get their turn
            pause = self._pause_part * min(loop_time() - started, _MAX_PAUSE_SECONDS)
            await asyncio.sleep(pause if opened else _POLL_SECONDS)

    def _open_next(self, *, with_late: bool) -> bool:
        """Open one connection that waits; return False if none can be opened now."""
        if not self._has_room_for_handshake():
            return False
        taken = self._queue.take(with_late=with_late)
        if taken is not None:
            self._open_connection(*taken)
        return taken is not None

    def _has_room_for_handshake(self) -> bool:
        if self._tls is None or len(self._opening) < _MAX_NEW_HANDSHAKES:
            return True
        now = asyncio.get_running_loop().time()
        handshakes = [each for each in self._opening if isinstance(each, Connection)]
        if now - handshakes[-_MAX_NEW_HANDSHAKES].opened_at < _NEW_SECONDS:
            return False
        if len(handshakes) < _MAX_HANDSHAKES:
            return True
        (oldest,) = oldest_of_largest(handshakes)
        if now - oldest.opened_at > _MIN_HANDSHAKE_SECONDS:
            self._abort(oldest)
        return False

    def _has_room_for_late(self) -> bool:
        return len(self._unproved) < _ROOM_FOR_LATE * self._max_unproved

    async def close(self) -> None:
        """Cancel handshakes, and stop waiting for connections that are closing."""
        self._hellos.close()
        self._queue.close()
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
        self._unproved.pop(connection, None)
        self._proved.pop(connection, None)

    def _sort_open(self, *, at_once: bool = True) -> None:
        """Find out on which connections something was proved meanwhile, or is no more (those of a proxy)."""
        now = asyncio.get_running_loop().time()
        if not at_once and now - self._sorted_at < _SORT_INTERVAL_SECONDS:
            return
        self._sorted_at = now
        proved = [each for each in self._unproved if each.is_proved]
        unproved = [each for each in self._proved if not each.is_proved]
        for changed, before, after in (
            (proved, self._unproved, self._proved),
            (unproved, self._proved, self._unproved),
        ):
            for connection in changed:
                del before[connection]
                after[connection] = None
        for connection in proved:
            self._queue.mark_proved(connection.accepted_from)

    def _open_connection(self, accepted: socket.socket, address: str) -> None:
        if self._make_room():
            connection = Connection(self, self._server, address, self._now)
            self._unproved[connection] = None
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
        if len(self._proved) + len(self._unproved) < self._max_connections:
            return True
        self._sort_open()
        if len(self._unproved) >= self._max_unproved:
            self._abort_oldest()
        # What is opened proves nothing yet: only what was proved meanwhile can be too many.
        for _ in range(min(len(self._proved) - self._max_connections, _CLOSED_AT_ONCE)):
            if len(self._closing) >= self._max_connections:
                return False
            self.end(*oldest_of_largest(self._proved))
        return True

    def _abort_oldest(self) -> None:
        for connection in oldest_of_largest(self._unproved, min(_CLOSED_AT_ONCE, self._opened_at_limit)):
            self._abort(connection)

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
        raise cannot_listen(settings_section, host, port, error) from error
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
