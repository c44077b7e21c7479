"""How many connections a listener keeps open, so that nobody can use up the file descriptors by opening many.

Where there are too many, those that were opened first have to go: at once if nothing is asked on them, or else after
the answer. So whoever opens connections and says nothing pushes out his own, and the others come in. Only if those that
have to go do not go, because they are being answered, is a newcomer sent away with 503.

With TLS, a connection counts from its first moment as well, and not only when TLS has begun. Those on which it has not
begun yet push out about half of the others; beyond that, the first of them has to go. Where there is no room for
a newcomer, he is cut off: beginning TLS would cost more than what he is told.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self, cast
from weakref import WeakSet

from aiohttp import web

from p2p_oicp.web.limits import busy

# So long a newcomer who is sent away is heard out: whoever is cut off while he speaks does not read the answer. And so
# long TLS may take to end.
_PATIENCE_SECONDS = 1.0
_LAST_ANSWER_SECONDS = 30.0
# So long TLS may take to begin.
_HANDSHAKE_SECONDS = 10.0


class Entrance:
    """Makes the protocol of each new connection of ``server``; keeps ``most`` open, and as many that are leaving.

    It is called for plain connections, and begins ``tls`` on them itself, if there is any. An async context manager:
    who is still leaving at its end, or beginning, is left to whoever ends the server.
    """

    def __init__(self, server: web.Server, most: int, tls: ssl.SSLContext | None = None) -> None:
        self._server = server
        self._most = most
        self._tls = tls
        self._is_closed = False
        self._beginning: dict[socket.socket, None] = {}  # in the order in which they were opened
        self._handshakes: set[asyncio.Task[None]] = set()
        self._leaving: dict[web.RequestHandler, asyncio.Task[None]] = {}
        self._sent_away: WeakSet[_SentAway] = WeakSet()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        leaving = list(self._leaving.values())
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)

    async def end_handshakes(self) -> None:
        """Cut off everybody with whom TLS has not begun; it begins with nobody any more."""
        self._is_closed = True
        for connection in self._beginning:
            _cut_off(connection)
        await asyncio.gather(*self._handshakes, return_exceptions=True)

    def __call__(self) -> asyncio.Protocol:
        """Return what takes the next connection, until it is open: only then it counts."""
        return _Newcomer(self._take)

    def _take(self, transport: asyncio.Transport) -> None:
        """Decide what becomes of a connection that was opened this moment."""
        has_room = self._make_room()
        if self._tls is None:
            protocol = self._server() if has_room else self._send_away()
            transport.set_protocol(protocol)
            protocol.connection_made(transport)
        elif has_room and not self._is_closed and (connection := _taken_over(transport)) is not None:
            self._beginning[connection] = None
            self._handshakes.add(task := asyncio.create_task(self._begin_tls(connection, self._tls)))
            task.add_done_callback(self._handshakes.discard)
        else:
            transport.abort()

    def _make_room(self) -> bool:
        """Make room for one more, where too many are here; return False where nobody can be made to go."""
        here = self._server.connections  # in the order in which they were opened
        if len(here) + len(self._beginning) < self._most:
            return True
        staying = [connection for connection in here if connection not in self._leaving]
        if len(staying) + len(self._beginning) < self._most:
            return True
        if len(self._beginning) > self._most // 2:
            first = next(iter(self._beginning))
            del self._beginning[first]
            _cut_off(first)
            return True
        if len(here) - len(staying) >= self._most:
            return False
        self._leaving[staying[0]] = task = asyncio.create_task(_end(staying[0]))
        task.add_done_callback(partial(self._gone, staying[0]))
        return True

    async def _begin_tls(self, connection: socket.socket, tls: ssl.SSLContext) -> None:
        """Serve a connection as soon as TLS has begun; end it if that fails, or takes too long."""
        loop = asyncio.get_running_loop()
        try:
            # OSError: so are the errors of TLS and of time.
            with suppress(OSError):
                await loop.connect_accepted_socket(
                    self._server, connection, ssl=tls, ssl_handshake_timeout=_HANDSHAKE_SECONDS
                )
        finally:
            self._beginning.pop(connection, None)

    def _gone(self, connection: web.RequestHandler, _: asyncio.Task[None]) -> None:
        del self._leaving[connection]

    def _send_away(self) -> asyncio.Protocol:
        patience = _PATIENCE_SECONDS if len(self._sent_away) < self._most else 0.0
        leaving = _SentAway(patience)
        self._sent_away.add(leaving)
        return leaving


class _Newcomer(asyncio.Protocol):
    """Hands over its connection as soon as it is open."""

    def __init__(self, take: Callable[[asyncio.Transport], None]) -> None:
        self._take = take

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hand it over."""
        self._take(cast("asyncio.Transport", transport))


def _taken_over(transport: asyncio.Transport) -> socket.socket | None:
    """Return the connection of a transport that has read nothing yet, and end that; None where too much is open."""
    try:
        connection = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
    except OSError:
        return None
    connection.setblocking(False)  # noqa: FBT003 - the standard library's own form
    transport.abort()
    return connection


def _cut_off(connection: socket.socket) -> None:
    """End a connection under whoever waits for it to say something."""
    with suppress(OSError):  # it has ended by itself
        connection.shutdown(socket.SHUT_RDWR)


async def _end(connection: web.RequestHandler) -> None:
    """End a connection: at once if it is silent, or else after the answer."""
    transport = connection.transport
    connection.close()
    await connection.shutdown(_LAST_ANSWER_SECONDS)
    if transport is not None:
        await _let_go(transport)


async def _let_go(transport: asyncio.Transport) -> None:
    """Wait until a closed connection is gone, while its answer is taken in; then cut it off.

    Otherwise it would be here until the other side says farewell as well, as TLS wants it.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + _LAST_ANSWER_SECONDS
    await asyncio.sleep(_PATIENCE_SECONDS)
    while transport.get_write_buffer_size() and loop.time() < end:  # noqa: ASYNC110 - a transport tells nobody
        await asyncio.sleep(_PATIENCE_SECONDS)
    transport.abort()


class _SentAway(asyncio.Protocol):
    """Answers the first that is said with 503, whatever it is; ends the connection soon, if the caller does not."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._is_answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait a little for a question."""
        self._transport = cast("asyncio.Transport", transport)
        self._end = asyncio.get_running_loop().call_later(self._patience, self._transport.abort)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - nothing of it is read
        """Answer 503, once."""
        if self._is_answered:
            return
        self._is_answered = True
        problem = busy("too many connections are open")
        body = problem.answer().body
        head = ["HTTP/1.1 503 Service Unavailable", "Content-Type: application/json; charset=utf-8"]
        head += [f"{name}: {value}" for name, value in problem.headers.items()]
        head += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
        self._transport.write("\r\n".join(head).encode() + body)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - however it ended
        """Take note of the end."""
        self._end.cancel()
