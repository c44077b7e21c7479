"""A proxy on loopback between two nodes that applies scripted faults to requests."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tests.support.waiting import eventually

LOOPBACK = "127.0.0.1"
_CHUNK_BYTES = 65536
_TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True)
class Message:
    """One HTTP request or response as it went over the wire."""

    head: bytes
    body: bytes

    @property
    def raw(self) -> bytes:
        return self.head + self.body

    @property
    def path(self) -> str:
        return self.head.split(b" ", 2)[1].decode("latin-1")


@dataclass(frozen=True)
class Fault:
    """What happens to one request: ``forwards`` says whether the upstream gets it, whole or by half."""

    name: str
    forwards: bool | None = True  # True: whole, None: the first half only, False: not at all
    reply: bytes | None = None  # instead of the upstream's response
    passed_part: float = 1.0  # the part of the response that is passed on
    hang: bool = False
    wait: float = 0.0


def fixed_response(
    name: str, status: str, body: bytes, *, content_type: str = "application/json", forwards: bool = False
) -> Fault:
    """Return a fault that responds in the upstream's place."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return Fault(name, forwards=forwards, reply=head.encode() + body)


_PAGE = b"<!doctype html><title>Sorry</title><h1>Something went wrong</h1>"
_HALF = b'{"Result": true, "StatusCode": {"Code": "000", "Descr'
PASS = Fault("pass")
HANG = Fault("hang", forwards=False, hang=True)
HANG_AFTER = Fault("hang after the upstream answered", passed_part=0.0, hang=True)
RESET_MID_REQUEST = Fault("reset in the middle of the request", forwards=None)
RESET_MID_ANSWER = Fault("reset in the middle of the response", passed_part=0.5)
DROP_ANSWER = Fault("response dropped after the upstream answered", passed_part=0.0)
HTTP_500 = fixed_response("500", "500 Internal Server Error", b'{"message": "oops"}')
HTTP_500_AFTER = fixed_response("500 after the upstream answered", "500 Internal Server Error", b"", forwards=True)
HTTP_502_PAGE = fixed_response("502 page", "502 Bad Gateway", _PAGE, content_type="text/html")
HTTP_404_PAGE = fixed_response("404 page", "404 Not Found", _PAGE, content_type="text/html")
HTML = fixed_response("200 page", "200 OK", _PAGE, content_type="text/html")
HALF_JSON = fixed_response("half JSON", "200 OK", _HALF)
HALF_JSON_AFTER = fixed_response("half JSON after the upstream answered", "200 OK", _HALF, forwards=True)
WRONG_TYPE = fixed_response("wrong content type", "200 OK", b"\x89PNG\r\n\x1a\n\x00\x00", content_type="image/png")
EMPTY = fixed_response("empty response", "200 OK", b"")
BUSY = fixed_response("busy", "429 Too Many Requests", b"{}")
UNAUTHORIZED = fixed_response("unauthorised", "401 Unauthorized", b'{"StatusCode": {"Code": "017"}}')

FAULTS = {
    fault.name: fault
    for fault in (
        RESET_MID_REQUEST, RESET_MID_ANSWER, DROP_ANSWER, HTTP_500, HTTP_500_AFTER, HTTP_502_PAGE, HTTP_404_PAGE, HTML,
        HALF_JSON, HALF_JSON_AFTER, WRONG_TYPE, EMPTY, BUSY, UNAUTHORIZED,
    )
}  # fmt: skip


def delay(seconds: float) -> Fault:
    """Return a fault that forwards a request after some seconds."""
    return Fault(f"late by {seconds:g} s", wait=seconds)


@dataclass
class Proxy:
    """A proxy to ``upstream`` (a port of loopback); an async context manager.

    Each request gets the next fault of ``script``; after its end what ``choose`` returns for its path, if that is set,
    or else ``default``. ``applied`` lists (fault, path) in order. ``server_tls`` and ``client_tls`` are the contexts
    for nodes that speak TLS.
    """

    upstream: int
    port: int = 0
    server_tls: ssl.SSLContext | None = None
    client_tls: ssl.SSLContext | None = None
    default: Fault = PASS
    script: deque[Fault] = field(default_factory=deque)
    choose: Callable[[str], Fault] | None = None
    applied: list[tuple[str, str]] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def url(self) -> str:
        return f"{'https' if self.server_tls else 'http'}://{LOOPBACK}:{self.port}"

    async def open(self) -> None:
        """Accept connections."""
        if self._server is None:
            self._server = await asyncio.start_server(
                self._accept, LOOPBACK, self.port, limit=_CHUNK_BYTES, ssl=self.server_tls
            )
            self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Refuse connections, and reset the open ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def wait_for_fault(self, fault: Fault, path: str = "") -> None:
        """Wait until ``fault`` was applied to a request whose path contains ``path``."""
        await eventually(
            lambda: any(name == fault.name and path in each for name, each in self.applied), _TIMEOUT_SECONDS
        )

    def _next(self, path: str) -> Fault:
        if self.script:
            return self.script.popleft()
        return self.choose(path) if self.choose else self.default

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while request := await _read(reader):
                if not await self._serve(request, writer):
                    break
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            _reset(writer)

    async def _serve(self, request: Message, writer: asyncio.StreamWriter) -> bool:
        """Serve one request; return whether the connection stays open."""
        fault = self._next(request.path)
        self.applied.append((fault.name, request.path))
        await asyncio.sleep(fault.wait)
        reply = fault.reply
        if fault.forwards is not False:
            response = await self._forward(request, whole=fault.forwards is True)
            if response is None:
                return False
            reply = reply if reply is not None else response
        if reply is not None and fault.passed_part:
            writer.write(reply[: max(1, int(len(reply) * fault.passed_part))])
            await writer.drain()
        if fault.hang:
            await asyncio.Event().wait()
        return fault.passed_part == 1.0

    async def _forward(self, request: Message, *, whole: bool) -> bytes | None:
        """Return the upstream's response; None if it got only a half of the request, or gave none."""
        reader, writer = await asyncio.open_connection(LOOPBACK, self.upstream, limit=_CHUNK_BYTES, ssl=self.client_tls)
        try:
            if not whole:
                writer.write(request.raw[: len(request.head) + len(request.body) // 2])
                await writer.drain()
                return None
            writer.write(request.raw)
            await writer.drain()
            reply = await _read(reader)
            return reply.raw if reply else None
        finally:
            _reset(writer)


async def _read(reader: asyncio.StreamReader) -> Message | None:
    """Return the next message of a connection, None at its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (proxy.partition(b":") for proxy in head.split(b"\r\n")[1:])
    }
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        return Message(head, await _chunks(reader))
    return Message(head, await reader.readexactly(int(headers.get(b"content-length", b"0"))))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while True:
        proxy = await reader.readuntil(b"\r\n")
        size = int(proxy.split(b";")[0], 16)
        parts += [proxy, await reader.readexactly(size + 2)]
        if not size:
            return b"".join(parts)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close at once, with RST if something is unsent."""
    with contextlib.suppress(OSError):
        writer.transport.abort()
