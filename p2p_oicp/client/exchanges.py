"""One request over a kept-alive connection: what aiohttp's session does for it, without what no node needs.

A session makes for each request a URL, headers, a body, a task that writes it, two timers, and a response that knows of
cookies, redirects, proxies and hooks. Here, what the requests to one URL share is made once (`_Target`), and request
and response pass the parts of aiohttp that do the work: its pool of connections (names, TLS, limits, keep-alive), its
writer, which refuses headers with line breaks, and its parser.

Measured (docs/performance.md): 0.45 of the CPU of a request by a session, sockets included.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import NamedTuple, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http_writer import StreamWriter
from multidict import CIMultiDict
from yarl import URL

from p2p_oicp.client.bodies import BoundedBody
from p2p_oicp.crypto.tls import connection_ends_at

# Below the 60 s and 75 s after which common servers close an idle connection: it is rarely closed while we write.
_KEEP_ALIVE_SECONDS = 45.0
_READ_CHUNK_SIZE = 64 * 1024
_MAX_TARGETS = 1024
_SWITCHING_PROTOCOLS, _FIRST_FINAL_STATUS = 101, 200
_SCHEMES = frozenset({"http", "https"})
_NO_LIMITS = aiohttp.ClientTimeout()

# There are few different URLs, and parsing one costs 4 µs.
parse_url = lru_cache(maxsize=1024)(partial(URL, encoded=True))


class Progress:
    """Whether the first byte of a request may have been sent."""

    __slots__ = ("is_started",)

    def __init__(self) -> None:
        self.is_started = False

    def start(self) -> None:
        """Record that bytes leave this machine from now on."""
        self.is_started = True


class ReceivedResponse(NamedTuple):
    """A response: its body as it was on the wire, and decoded."""

    status: int
    headers: Mapping[str, str]
    raw_body: bytes
    body: bytes


class _Connection(ResponseHandler):
    """A connection that ends with the first of the certificates by which it was opened, the server's and ours."""

    def __init__(self, loop: asyncio.AbstractEventLoop, now: Callable[[], float]) -> None:
        super().__init__(loop)
        self._now = now
        self._ends_at = math.inf

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self._ends_at = connection_ends_at(tls)

    def is_connected(self) -> bool:
        return super().is_connected() and not self._has_ended()

    @property
    def should_close(self) -> bool:
        return super().should_close or self._has_ended()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 - aiohttp's own form
        # aiohttp resumes after each body that was read, which parses nothing once more where reading was not paused.
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def _has_ended(self) -> bool:
        return self._ends_at != math.inf and self._now() >= self._ends_at


class Connector(aiohttp.TCPConnector):
    """The pool of connections; ``now``: seconds since the epoch, for certificates."""

    def __init__(self, now: Callable[[], float], *, limit: int, limit_per_host: int) -> None:
        super().__init__(limit=limit, limit_per_host=limit_per_host, keepalive_timeout=_KEEP_ALIVE_SECONDS)
        # aiohttp has no other way to say what a connection is.
        self._factory = cast("partial[ResponseHandler]", partial(_Connection, self._loop, now))


class _Target(aiohttp.ClientRequest):
    """What all POST requests to one URL have in common; the pool knows it as the request to connect for."""

    def __init__(self, url: URL, headers: Mapping[str, str], tls: ssl.SSLContext | None) -> None:
        super().__init__("POST", url, headers=headers, loop=asyncio.get_running_loop(), ssl=tls or True)
        self._key = super().connection_key
        self.request_line = f"POST {self.url.raw_path_qs} HTTP/1.1"

    @property
    def connection_key(self) -> ConnectionKey:
        return self._key


class ExchangePool:
    """Sends POST requests whose bodies are written at once, over the connections of one pool.

    Args:
        connector: the connections.
        headers: those of every request.
        max_body: the most bytes of a response's body, also after decompression.
    """

    def __init__(self, connector: Connector, headers: Mapping[str, str], max_body: int) -> None:
        self._connector = connector
        self._headers = headers
        self._max_body = max_body
        self._target = lru_cache(maxsize=_MAX_TARGETS)(self._make_target)

    def __repr__(self) -> str:
        return f"<ExchangePool targets={self._target.cache_info().currsize}>"

    def target(self, url: str, tls: ssl.SSLContext | None) -> _Target | None:
        """Return what requests to a URL have in common; None for one that only a session understands."""
        return self._target(url, tls)

    def _make_target(self, url: str, tls: ssl.SSLContext | None) -> _Target | None:
        parsed = parse_url(url)
        is_plain = parsed.scheme in _SCHEMES and parsed.raw_host and parsed.raw_user is None
        return _Target(parsed, self._headers, tls) if is_plain else None

    async def post(
        self, target: _Target, headers: Mapping[str, str], body: bytes, progress: Progress, *, name: str, seconds: float
    ) -> ReceivedResponse:
        """Send a request and return its response; raise what aiohttp raises, and TimeoutError.

        Args:
            target: where to, of `target`.
            headers: in addition to those of every request.
            body: of some kilobytes: it is written at once.
            progress: learns when the first byte may have been sent.
            name: who responds, for errors.
            seconds: for the whole exchange.
        """
        async with asyncio.timeout(seconds):
            connection = await self._connector.connect(target, traces=[], timeout=_NO_LIMITS)
            try:
                protocol = cast("ResponseHandler", connection.protocol)
                protocol.set_response_params(auto_decompress=False, read_until_eof=True)
                writer = StreamWriter(protocol, target.loop)
                await writer.write_headers(target.request_line, _joined(target.headers, headers, len(body)))
                # What one turn of the event loop sends is written in the next one, together: what the peer receives
                # together shares a commit there. At 32 in flight, written one by one, it cost the peer a fifth more.
                await asyncio.sleep(0)
                progress.start()
                await writer.write_eof(body)
                response = await self._receive(protocol, name)
            except BaseException:
                # What was not read to its end would be taken for the beginning of the next response.
                connection.close()
                raise
            connection.release()
            return response

    async def _receive(self, protocol: ResponseHandler, name: str) -> ReceivedResponse:
        message, payload = await protocol.read()
        while message.code < _FIRST_FINAL_STATUS and message.code != _SWITCHING_PROTOCOLS:
            message, payload = await protocol.read()
        headers = message.headers
        coding, length = headers.get("Content-Encoding", ""), headers.get("Content-Length")
        if not coding and length is not None and int(length) <= self._max_body:
            # Nearly always all of it has come with its head.
            body = payload.read_nowait() if payload.is_eof() else await payload.read()
            return ReceivedResponse(message.code, headers, body, body)
        raw_body, decoded_body = await read_bounded(payload, BoundedBody(name, limit=self._max_body, coding=coding))
        return ReceivedResponse(message.code, headers, raw_body, decoded_body)


async def read_bounded(content: aiohttp.StreamReader, bounded_body: BoundedBody) -> tuple[bytes, bytes]:
    """Return the body of a response as it was on the wire, and decoded."""
    raw_chunks = []
    async for chunk in content.iter_chunked(_READ_CHUNK_SIZE):
        bounded_body.add(chunk)
        raw_chunks.append(chunk)
    return b"".join(raw_chunks), bounded_body.finish()


def _joined(common: CIMultiDict[str], own: Mapping[str, str], length: int) -> CIMultiDict[str]:
    headers = common.copy()
    headers.update(own)
    headers["Content-Length"] = str(length)
    return headers
