"""The body of an outgoing request, which knows whether any of it went out.

What aiohttp raises, typed once: which of our errors a failed exchange is.

Answers with a maximum size, before and after decompression.

One exchange as plain data: where to send, what is sent, and what came back.

The thin I/O part: one request out, one bounded answer in, within one deadline.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from types import MappingProxyType, TracebackType
from typing import Self
from urllib.parse import urlencode

import aiohttp
import msgspec
import structlog
from aiohttp import Payload
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from p2p_oicp.client.replies import HttpResponse, OicpReply, raise_for_status, read_reply
from p2p_oicp.clock import Clock, IdGenerator, SystemClock
from p2p_oicp.crypto import JSON_UTF8, NoOpSigner, RequestSigner, SignedRequestParts, SignedResponseParts, split_target
from p2p_oicp.errors import (
    PeerError,
    PeerProtocolError,
    PeerRejected,
    PeerTimeout,
    PeerUnauthorized,
    PeerUnreachable,
    PeerVerificationError,
    StoreError,
    UnknownKey,
    VerificationError,
)
from p2p_oicp.logs import PROCESS_ID
from p2p_oicp.oicp import Operation
from p2p_oicp.oicp.operations import OPERATION_BY_NAME

# Larger writes would hold the event loop; each one waits until the connection has taken enough of the last.
_WRITE_CHUNK_SIZE = 256 * 1024


class TrackedBody(Payload):
    """Bytes to send. ``begun`` turns true before the first byte of the request, headers included, is written.

    aiohttp holds the headers back until the body is written, so this tells, at no cost, what its tracing would tell.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__(body, content_type=JSON_UTF8)
        self._size = len(body)
        self._body = body
        self.started = False

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the body as text."""
        return self._body.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the whole body."""
        self.started = True
        if len(self._body) <= _WRITE_CHUNK_SIZE:
            await writer.write(self._body)
            return
        view = memoryview(self._body)
        for start in range(0, len(view), _WRITE_CHUNK_SIZE):
            await writer.write(view[start : start + _WRITE_CHUNK_SIZE])


# OSError: name resolution and sockets below aiohttp's own wrapping. ValueError: a URL that no request can be made of.
TRANSPORT_EXCEPTIONS = (
    aiohttp.ClientError,
    aiohttp.WSMessageTypeError,
    HttpProcessingError,
    TimeoutError,
    OSError,
    ValueError,
)
# What can only fail before anything is sent: an address, a connection. It tells so where there is no body to ask.
PRE_SEND_EXCEPTIONS = (aiohttp.ClientConnectorError, ValueError)


def map_exception(peer: str, exc: Exception, *, is_sent: bool) -> PeerError:
    """Return our error for ``exc``, one of FOREIGN; ``sent`` tells whether the request began to go out.

    (1) Nothing was sent: unreachable, whatever the reason. (2) An answer came that is not HTTP: broken.
    (3) All else after sending, a broken connection or a passed deadline: silent.
    """
    if not is_sent:
        return PeerUnreachable(peer, _error_reason(exc, timeout_reason="no connection within the deadline"))  # (1)
    if isinstance(exc, (aiohttp.ClientResponseError, HttpProcessingError, aiohttp.WSMessageTypeError)):
        return PeerProtocolError(peer, f"answered something that is not HTTP: {_exception_text(exc)}")  # (2)
    return PeerTimeout(peer, _error_reason(exc, timeout_reason="no answer within the deadline"))  # (3)


def _error_reason(exc: Exception, *, timeout_reason: str) -> str:
    if isinstance(exc, TimeoutError):
        return timeout_reason
    if isinstance(exc, (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)):
        return f"not a usable http or https URL: {_exception_text(exc)}"
    if isinstance(exc, aiohttp.ServerDisconnectedError):
        return "closed the connection without an answer"
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not accepted: {exc.certificate_error}"
    if isinstance(exc, aiohttp.ClientConnectorError):
        return f"no connection to {exc.host}:{exc.port}: {_os_error_text(exc.os_error)}"
    return _exception_text(exc)


def _os_error_text(exc: OSError) -> str:
    # asyncio puts the address where the system's words for the error were.
    if exc.errno is None or isinstance(exc, socket.gaierror):
        return exc.strerror or _exception_text(exc)
    return os.strerror(exc.errno)


def _exception_text(exc: Exception) -> str:
    return str(exc) or type(exc).__name__


ACCEPTED_CONTENT_CODINGS = "gzip, deflate"

_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


class BoundedBody:
    """Collects the chunks of one answer, decompressed, and never holds more than ``limit`` bytes of it."""

    def __init__(self, peer: str, *, limit: int, coding: str = "") -> None:
        self._peer = peer
        self._limit = limit
        self._received_size = 0
        self._decoded_size = 0
        self._chunks: list[bytes] = []
        self._decompressor = self._create_decompressor(coding)

    def add(self, chunk: bytes) -> None:
        """Take the next chunk from the wire; raise PeerBroken when it is too much, or damaged."""
        self._received_size += len(chunk)
        if self._decompressor is not None:
            chunk = self._decompress(self._decompressor, chunk)
        self._decoded_size += len(chunk)
        # What was received counts too: an endless stream may decompress to nothing.
        if max(self._decoded_size, self._received_size) > self._limit:
            self._chunks.clear()
            raise PeerProtocolError(self._peer, f"the answer is larger than {self._limit} bytes")
        self._chunks.append(chunk)

    def finish(self) -> bytes:
        """Return the whole answer; raise PeerBroken if its compressed form was cut off."""
        if self._decompressor is not None and self._chunks and not self._decompressor.eof:
            raise PeerProtocolError(self._peer, "the compressed answer is cut off")
        return b"".join(self._chunks)

    def _decompress(self, decompressor: zlib._Decompress, chunk: bytes) -> bytes:
        try:
            # One byte more than allowed is enough to know that it is too much.
            return decompressor.decompress(chunk, self._limit - self._decoded_size + 1)
        except zlib.error as exc:
            raise PeerProtocolError(self._peer, "the compressed answer is damaged") from exc

    def _create_decompressor(self, coding: str) -> zlib._Decompress | None:
        match coding.strip().lower():
            case "" | "identity":
                return None
            case "gzip" | "x-gzip" | "deflate":
                return zlib.decompressobj(_GZIP_OR_ZLIB)
            case _:
                raise PeerProtocolError(self._peer, f"the answer is coded as {coding!r}, which was not offered")


class OutboundRequest(msgspec.Struct, frozen=True):
    """One request; ``name`` is for errors, ``to`` the peer that has to prove itself, if any; ``tls`` as asked for."""

    method: str
    url: str
    body: bytes
    deadline: float
    target_name: str
    peer: str | None
    signer: RequestSigner
    headers: Mapping[str, str] = MappingProxyType({})
    tls: ssl.SSLContext | None = None


class HttpExchange(msgspec.Struct, frozen=True):
    """A request and its answer; ``on_the_wire`` is its body without decoding, ``sent`` the headers that went out."""

    request: OutboundRequest
    response: HttpResponse
    raw_body: bytes
    sent_headers: Mapping[str, str]

    def signed_response_parts(self) -> SignedResponseParts:
        """Return what proves who answered."""
        return SignedResponseParts(self.response.status, self.response.headers, self.raw_body)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to send: ``name`` is for people, ``url`` the base, ``profile`` how the other side speaks.

    ``recipient`` names parties, separated by commas: a node that answers for none of them, because it has taken over
    the address, refuses with 421. ``is_peer`` is false for our own systems, which sign nothing: over https, a
    certificate of the system's CAs says who they are.
    """

    name: str
    url: str
    profile: str = "oicp"
    recipient: str | None = None
    is_peer: bool = True


log = structlog.get_logger(__name__)

# Below the 60 s and 75 s after which common servers close an idle connection: we rarely write into a closed one.
_KEEP_ALIVE_SECONDS = 45.0
_READ_CHUNK_SIZE = 64 * 1024
_MAX_CONNECTIONS = 1024
_MAX_CONNECTIONS_PER_PEER = 256
_MIN_DEADLINE_SECONDS = 0.01  # 0 would be none to aiohttp

# Nobody's answer to our question, but what stands in its way: it decides nothing, so nobody has to prove it.
_UNSIGNED_ERROR_STATUSES = frozenset({401, 403, 408, 421, 429, *range(500, 600)})

# A node says with this header that it knows who we are: its 401 then is about what we say, not about who we are.
IDENTITY_CONFIRMED_HEADER = "P2P-Identity"
RECIPIENT_HEADER = "P2P-Recipient"
_UNAUTHORIZED_STATUSES = frozenset({401, 403})
_UNAUTHORIZED_ACCESS = "017"

RecordCallback = Callable[[str, str, SignedRequestParts, SignedResponseParts, bytes], Awaitable[None]]
TlsContextProvider = Callable[[str | None], ssl.SSLContext | None]
KeyRefreshCallback = Callable[[str], Awaitable[bool]]


# There are few different addresses, and an address is taken apart in 4 µs.
_parse_url = lru_cache(maxsize=1024)(partial(URL, encoded=True))


@lru_cache(maxsize=4096)
def _operation_url(operation_name: str, base: str, party: str | None) -> str:
    # By name: the hash of an operation, a row of 12 columns, costs as much as its URL.
    return OPERATION_BY_NAME[operation_name].url(base, party)


# There are a few deadlines; aiohttp's way to say one costs 2 µs.
_total_timeout = lru_cache(maxsize=64)(lambda seconds: aiohttp.ClientTimeout(total=seconds))


class UnknownSigningKey(PeerVerificationError):
    """Fresh keys may help."""


class UnknownServerCertificate(PeerUnreachable):
    """Nothing was sent: the server has shown another certificate. Fresh keys may help."""


class HttpTransport:
    """Calls other OICP systems over kept-alive connections; an async context manager.

    Raises only PeerError and its subclasses. Redirects are not followed, cookies not kept. A message is sent a second
    time only where keys were the trouble, so that it was not accepted or did not go out, and fresh ones were fetched;
    a request without a body also where a kept connection was closed under it. ``max_body`` bounds every answer, in
    bytes after decompression.
    """

    def __init__(
        self,
        *,
        ids: IdGenerator,
        signer: RequestSigner | None = None,
        user_agent: str,
        max_body: int,
        clock: Clock | None = None,
    ) -> None:
        self._ids = ids
        #: Returns the TLS context to call a peer with (https only), by its name; None: whom the system's CAs vouch for.
        self.tls_context_for: TlsContextProvider | None = None
        #: Keeps signed exchanges: operation, peer, request, answer, and the answer's text. Never raises.
        self.record_exchange: RecordCallback | None = None
        #: Fetches a peer's keys anew, by its name, and says whether it may help to try again.
        self.refresh_peer_keys: KeyRefreshCallback | None = None
        self._clock = clock or SystemClock()
        self._signer = signer or NoOpSigner()
        self._max_body = max_body
        self._default_headers = {
            "Content-Type": JSON_UTF8,
            "Accept": JSON_UTF8,
            "Accept-Encoding": ACCEPTED_CONTENT_CODINGS,
            "User-Agent": user_agent,
        }
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=_MAX_CONNECTIONS, limit_per_host=_MAX_CONNECTIONS_PER_PEER, keepalive_timeout=_KEEP_ALIVE_SECONDS
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers=self._default_headers,
        )
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(
        self,
        endpoint: Endpoint,
        operation: Operation,
        party: str | None,
        body: bytes,
        *,
        deadline: float,
        query: Mapping[str, str] | None = None,
        process_id: str | None = None,
    ) -> OicpReply:
        """Send one OICP request; ``deadline`` is in seconds, for the whole exchange, fresh keys included.

        ``party`` is the sender's id for the path. Without a Process-ID, that of the request being served goes along, so
        that the logs of both nodes can be read together; else one is minted. An answer with ``Result: false`` or
        ``NotAuthorized`` is a Reply, not an error.
        """
        url = _operation_url(operation.name, endpoint.url, party)
        if query:
            url = f"{url}?{urlencode(query)}"
        headers = {"Process-ID": process_id or PROCESS_ID.get() or self._ids.process_id()}
        if endpoint.recipient:
            headers[RECIPIENT_HEADER] = endpoint.recipient
        peer = endpoint.name if endpoint.is_peer else None
        request = OutboundRequest("POST", url, body, deadline, endpoint.name, peer, self._signer, headers)
        exchange = await self._send_authenticated(request)
        if self.record_exchange is not None and "Signature" in exchange.sent_headers:
            parts = SignedRequestParts("POST", *split_target(url), headers=exchange.sent_headers, body=body)
            await self.record_exchange(
                operation.name, endpoint.name, parts, exchange.signed_response_parts(), exchange.response.body
            )
        return read_reply(exchange.response, operation, now=self._clock.time())

    async def post_json(
        self, url: str, payload: bytes, *, deadline: float, peer: str | None = None
    ) -> tuple[int, bytes]:
        """Send JSON that is not OICP; return the 2xx status and the body as UTF-8; any other status raises."""
        return await self.request_json("POST", url, payload, deadline=deadline, peer=peer)

    async def get_json(self, url: str, *, deadline: float, peer: str | None = None) -> tuple[int, bytes]:
        """Ask for JSON that is not OICP; as ``post_json``."""
        return await self.request_json("GET", url, deadline=deadline, peer=peer)

    async def request_json(
        self,
        method: str,
        url: str,
        payload: bytes = b"",
        *,
        deadline: float,
        peer: str | None = None,
        signer: RequestSigner | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> tuple[int, bytes]:
        """As ``post_json``, with any method; ``signer`` and ``tls`` are for this once; no ``peer``: nobody signs."""
        request = OutboundRequest(method, url, payload, deadline, peer or url, peer, signer or self._signer, tls=tls)
        response = (await self._send_authenticated(request)).response
        raise_for_status(response, now=self._clock.time(), is_oicp=False)
        return response.status, response.body_as_utf8()

    async def _send_authenticated(self, request: OutboundRequest) -> HttpExchange:
        """Exchange one request for one answer that is proven, where somebody has to prove himself.

        Once, if keys are the trouble, fresh keys are fetched: (1) an answer by an unknown key is looked at again, (2) a
        request that was not accepted, or did not go out to a server with another certificate, is sent again. All of it
        within the deadline.
        """
        exchange, loop_time = None, asyncio.get_running_loop().time
        deadline = loop_time() + request.deadline
        try:
            exchange = await self._send_once(request)
            return self._verify_response(exchange)
        except (UnknownSigningKey, UnknownServerCertificate, PeerUnauthorized) as error:
            if request.peer is None or not await self._refresh_keys(request.peer, deadline):
                raise
            if exchange is None or isinstance(error, PeerUnauthorized):
                remaining = max(deadline - loop_time(), _MIN_DEADLINE_SECONDS)
                exchange = await self._send_once(msgspec.structs.replace(request, deadline=remaining))  # (2)
            return self._verify_response(exchange)  # (1)

    async def _refresh_keys(self, peer: str, deadline: float) -> bool:
        """Fetch a peer's keys anew; say whether that was done in time, and whether it may help to try again."""
        if self.refresh_peer_keys is None:
            return False
        try:
            async with asyncio.timeout_at(deadline):
                return await self.refresh_peer_keys(peer)
        except (TimeoutError, StoreError) as error:
            log.warning("peer.key_refresh_failed", peer=peer, reason=str(error) or "not within the deadline")
            return False

    def _verify_response(self, exchange: HttpExchange) -> HttpExchange:
        """Return the answer; raise PeerUnproven, or what its status stands for.

        Trouble on the way (a proxy's 502, an overload, our own identity refused) need not be proven: it is no answer.
        A proven refusal of our identity is one: the peer knows who we are, and that this is not ours to say.
        """
        response, request = exchange.response, exchange.request
        try:
            request.signer.verify_response(
                to=request.peer, request_headers=exchange.sent_headers, response=exchange.signed_response_parts()
            )
        except VerificationError as exc:
            if response.status in _UNSIGNED_ERROR_STATUSES:
                raise_for_status(response, now=self._clock.time())
            error_class = UnknownSigningKey if isinstance(exc, UnknownKey) else PeerVerificationError
            raise error_class(response.peer, f"its answer (HTTP {response.status}) is not proven: {exc}") from exc
        if response.status in _UNAUTHORIZED_STATUSES and response.headers.get(IDENTITY_CONFIRMED_HEADER) == "proven":
            reason = f"HTTP {response.status}: {response.error_text()}"
            raise PeerRejected(response.peer, reason, http_status=response.status, code=_UNAUTHORIZED_ACCESS)
        return exchange

    async def _send_once(self, request: OutboundRequest) -> HttpExchange:
        """Exchange one request for one answer; the only place where aiohttp's exceptions are met."""
        if self._session is None:
            raise RuntimeError("OicpClient is used outside its async with block")
        signature_headers = request.signer.sign(
            to=request.peer, method=request.method, url=request.url, body=request.body
        )
        sent_headers, tracked_body = {**request.headers, **signature_headers}, TrackedBody(request.body)
        try:
            async with self._session.request(
                request.method,
                _parse_url(request.url),
                data=tracked_body if request.method == "POST" else None,
                headers=sent_headers,
                allow_redirects=False,
                timeout=_total_timeout(request.deadline),
                ssl=self._tls_context(request),
            ) as response:
                raw_body, decoded_body = await self._read_body(request.target_name, response)
                return HttpExchange(
                    request,
                    HttpResponse(request.target_name, response.status, response.headers, decoded_body),
                    raw_body,
                    sent_headers,
                )
        except TRANSPORT_EXCEPTIONS as exc:
            is_sent = tracked_body.started or (request.method != "POST" and not isinstance(exc, PRE_SEND_EXCEPTIONS))
            error = map_exception(request.target_name, exc, is_sent=is_sent)
            if isinstance(exc, (aiohttp.ClientSSLError, ssl.SSLError)) and not is_sent:
                raise UnknownServerCertificate(error.peer, error.reason) from exc
            raise error from exc

    def _tls_context(self, request: OutboundRequest) -> ssl.SSLContext | bool:
        if not request.url.startswith("https:"):
            return True
        return request.tls or (self.tls_context_for(request.peer) if self.tls_context_for is not None else None) or True

    async def _read_body(self, peer: str, response: aiohttp.ClientResponse) -> tuple[bytes, bytes]:
        """Return the body as it was on the wire, and decoded."""
        coding = response.headers.get("Content-Encoding", "")
        if not coding and response.content_length is not None and response.content_length <= self._max_body:
            body = await response.read()
            return body, body
        bounded_body = BoundedBody(peer, limit=self._max_body, coding=coding)
        raw_chunks = []
        async for chunk in response.content.iter_chunked(_READ_CHUNK_SIZE):
            bounded_body.add(chunk)
            raw_chunks.append(chunk)
        return b"".join(raw_chunks), bounded_body.finish()
