"""An open-loop load generator: requests are due at a fixed rate, whether or not earlier ones were answered.

A client that waits for each response (a closed loop) offers no more than is served. Here each request is due at its
time, and takes a free connection or waits for one. Requests are bytes, so that the generator takes little of the
machine that it shares with the nodes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

_TICK_SECONDS = 0.005
_DRAIN_SECONDS = 15.0
_HEAD_END = b"\r\n\r\n"
NO_RESPONSE = 0

#: Called with the HTTP status (0: no response), the seconds since sending, and the head in lower case.
OnResponse = Callable[[int, float, bytes], None]


def encode_request(path: str, body: bytes) -> bytes:
    """Return a request to a backend API as bytes."""
    head = f"POST /api/oicp/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


class OpenLoop:
    """``due`` counts the requests that should have been sent so far, ``sent`` those that were."""

    def __init__(self, request: bytes, note: OnResponse) -> None:
        self.due = self.sent = 0
        self.note = note
        self._request = request
        self._free: deque[_Connection] = deque()
        self._connections: list[_Connection] = []
        self._is_over = False

    async def run_overload(self, port: int, *, rate: float, seconds: float, connections: int) -> None:
        """Send at ``rate`` a second for a while, and wait for the last responses."""
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            self._connections.append((await loop.create_connection(lambda: _Connection(self), "127.0.0.1", port))[1])
        self._free.extend(self._connections)
        began = loop.time()
        while (passed := loop.time() - began) < seconds:
            self.due = int(rate * passed)
            self._send_what_is_due()
            await asyncio.sleep(_TICK_SECONDS)
        self._is_over = True
        await self._end(loop.time() + _DRAIN_SECONDS)

    def free(self, connection: _Connection) -> None:
        """Return a connection to the free ones; the longest free one is used first."""
        self._free.append(connection)
        self._send_what_is_due()

    def _send_what_is_due(self) -> None:
        while self._free and self.sent < self.due and not self._is_over:
            self._free.popleft().send(self._request)
            self.sent += 1

    async def _end(self, until: float) -> None:
        while any(each.is_waiting for each in self._connections) and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(_TICK_SECONDS)
        for each in self._connections:
            each.close()


class _Connection(asyncio.Protocol):
    """One connection with one request in flight at most."""

    def __init__(self, open_loop: OpenLoop) -> None:
        self._flood = open_loop
        self._received = b""
        self._sent_at = 0.0
        self.is_waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes) -> None:
        self.is_waiting, self._received = True, b""
        self._sent_at = asyncio.get_running_loop().time()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(_HEAD_END)
        head = head.lower()
        if end and len(body) >= int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]):
            self._note(int(head.split(b" ", 2)[1]), head)
            self._flood.free(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        if self.is_waiting:
            self._note(NO_RESPONSE, b"")

    def close(self) -> None:
        self._transport.abort()

    def _note(self, status: int, head: bytes) -> None:
        self.is_waiting = False
        self._flood.note(status, asyncio.get_running_loop().time() - self._sent_at, head)
