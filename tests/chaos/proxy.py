"""What can lie between two nodes: a proxy on loopback that treats each request as its script says."""

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
_PIECE = 65536
_PATIENCE = 20.0


@dataclass(frozen=True)
class Message:
    """One HTTP request or answer as it went over the wire."""

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
    """What happens to one request: ``asks`` says whether the upstream gets it, whole or by half."""

    name: str
    asks: bool | None = True  # True: whole, None: the first half only, False: not at all
    answer: bytes | None = None  # instead of the upstream's
    keep: float = 1.0  # how much of the answer is passed on
    hang: bool = False
    wait: float = 0.0


def canned(name: str, status: str, body: bytes, *, content_type: str = "application/json", asks: bool = False) -> Fault:
    """Return a fault that answers in the upstream's place."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return Fault(name, asks=asks, answer=head.encode() + body)


_PAGE = b"<!doctype html><title>Sorry</title><h1>Something went wrong</h1>"
_HALF = b'{"Result": true, "StatusCode": {"Code": "000", "Descr'
PASS = Fault("pass")
HANG = Fault("hang", asks=False, hang=True)
HANG_AFTER = Fault("hang after the upstream answered", keep=0.0, hang=True)
RESET_MID_REQUEST = Fault("reset in the middle of the request", asks=None)
RESET_MID_ANSWER = Fault("reset in the middle of the answer", keep=0.5)
DROP_ANSWER = Fault("answer dropped after the upstream answered", keep=0.0)
HTTP_500 = canned("500", "500 Internal Server Error", b'{"message": "oops"}')
HTTP_500_AFTER = canned("500 after the upstream answered", "500 Internal Server Error", b"", asks=True)
HTTP_502_PAGE = canned("502 page", "502 Bad Gateway", _PAGE, content_type="text/html")
HTTP_404_PAGE = canned("404 page", "404 Not Found", _PAGE, content_type="text/html")
HTML = canned("200 page", "200 OK", _PAGE, content_type="text/html")
HALF_JSON = canned("half JSON", "200 OK", _HALF)
HALF_JSON_AFTER = canned("half JSON after the upstream answered", "200 OK", _HALF, asks=True)
WRONG_TYPE = canned("wrong content type", "200 OK", b"\x89PNG\r\n\x1a\n\x00\x00", content_type="image/png")
EMPTY = canned("empty answer", "200 OK", b"")
BUSY = canned("busy", "429 Too Many Requests", b"{}")
UNAUTHORIZED = canned("unauthorised", "401 Unauthorized", b'{"StatusCode": {"Code": "017"}}')

FAULTS = {
    fault.name: fault
    for fault in (
        RESET_MID_REQUEST, RESET_MID_ANSWER, DROP_ANSWER, HTTP_500, HTTP_500_AFTER, HTTP_502_PAGE, HTTP_404_PAGE, HTML,
        HALF_JSON, HALF_JSON_AFTER, WRONG_TYPE, EMPTY, BUSY, UNAUTHORIZED,
    )
}  # fmt: skip


def delay(seconds: float) -> Fault:
    """Pass, late."""
    return Fault(f"late by {seconds:g} s", wait=seconds)


@dataclass
class Proxy:
    """A proxy to ``upstream`` (a port of loopback); an async context manager.

    Each request takes the next fault of ``script``, or ``always`` when the script is at its end; ``choose`` decides by
    path, where it is set. ``taken`` is what happened, in order. Between nodes that speak TLS it is both of them: it
    ``listens`` with the certificate of the one and ``calls`` with that of the other.
    """

    upstream: int
    port: int = 0
    listens: ssl.SSLContext | None = None
    calls: ssl.SSLContext | None = None
    always: Fault = PASS
    script: deque[Fault] = field(default_factory=deque)
    choose: Callable[[str], Fault] | None = None
    taken: list[tuple[str, str]] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.refuse()

    @property
    def url(self) -> str:
        return f"{'https' if self.listens else 'http'}://{LOOPBACK}:{self.port}"

    async def open(self) -> None:
        """Accept connections."""
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port, limit=_PIECE, ssl=self.listens)
            self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Refuse connections, and break those that are there."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def until_taken(self, fault: Fault, path: str = "") -> None:
        """Wait until a request whose path holds ``path`` was treated with ``fault``."""
        await eventually(lambda: any(name == fault.name and path in each for name, each in self.taken), _PATIENCE)

    def _next(self, path: str) -> Fault:
        if self.script:
            return self.script.popleft()
        return self.choose(path) if self.choose else self.always

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
        """Treat one request; return whether the connection goes on."""
        fault = self._next(request.path)
        self.taken.append((fault.name, request.path))
        await asyncio.sleep(fault.wait)
        answer = fault.answer
        if fault.asks is not False:
            told = await self._ask(request, whole=fault.asks is True)
            if told is None:
                return False
            answer = answer if answer is not None else told
        if answer is not None and fault.keep:
            writer.write(answer[: max(1, int(len(answer) * fault.keep))])
            await writer.drain()
        if fault.hang:
            await asyncio.Event().wait()
        return fault.keep == 1.0

    async def _ask(self, request: Message, *, whole: bool) -> bytes | None:
        """Return the upstream's answer; None if it was not asked wholly, or gave none."""
        reader, writer = await asyncio.open_connection(LOOPBACK, self.upstream, limit=_PIECE, ssl=self.calls)
        try:
            if not whole:
                writer.write(request.raw[: len(request.head) + len(request.body) // 2])
                await writer.drain()
                return None
            writer.write(request.raw)
            await writer.drain()
            answer = await _read(reader)
            return answer.raw if answer else None
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
        for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
    }
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        return Message(head, await _chunks(reader))
    return Message(head, await reader.readexactly(int(headers.get(b"content-length", b"0"))))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        parts += [line, await reader.readexactly(size + 2)]
        if not size:
            return b"".join(parts)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST where something is unsent, as a crashed machine's neighbour would."""
    with contextlib.suppress(OSError):
        writer.transport.abort()
