"""The HTTP transport: one request out, one bounded response in, within one deadline.

It knows nothing of OICP, identities or keys, so everything that authenticates can be built on top of it. It is the only
module of the client that knows aiohttp: what aiohttp raises becomes one of our errors here, once.
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
import ssl
from collections.abc import Callable, Coroutine, Mapping
from functools import lru_cache, partial
from types import MappingProxyType, TracebackType
from typing import Self, cast

import aiohttp
import msgspec
from aiohttp import Payload
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from p2p_oicp.client.bodies import ACCEPTED_CONTENT_CODINGS, BoundedBody
from p2p_oicp.client.replies import HttpResponse
from p2p_oicp.clock import SystemClock
from p2p_oicp.crypto import JSON_UTF8
from p2p_oicp.crypto.tls import Certificate, client_context, connection_ends_at
from p2p_oicp.errors import FailureCause, PeerError, PeerProtocolError, PeerTimeout, PeerUnreachable
from p2p_oicp.tracing import TRACE
from p2p_oicp.tracing.spans import SpanRecorder

# Below the 60 s and 75 s after which common servers close an idle connection: it is rarely closed while we write.
_KEEP_ALIVE_SECONDS = 45.0
_READ_CHUNK_SIZE = 64 * 1024
# A larger write would hold the event loop; after each chunk the connection says when it has room again.
_WRITE_CHUNK_SIZE = 256 * 1024
_MAX_CONNECTIONS = 1024
_MAX_CONNECTIONS_PER_HOST = 256
# What a node may wait for at once: the slots of both listeners' remote lanes, and late answers of a CSMS that are read.
_MAX_SLOW_CONNECTIONS = 1024

# OSError: name resolution and sockets below aiohttp's own wrapping. ValueError: a URL that no request can be made of.
TRANSPORT_EXCEPTIONS = (
    aiohttp.ClientError,
    aiohttp.WSMessageTypeError,
    HttpProcessingError,
    TimeoutError,
    OSError,
    ValueError,
)
# Can only happen before anything is sent: decides it for requests without a body, which leave no trace in TrackedBody.
_PRE_SEND_EXCEPTIONS = (aiohttp.ClientConnectorError, ValueError)
# What OpenSSL says of an answer that is no TLS.
_REASONS_OF_PLAIN_HTTP = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})
_UNKNOWN_NAMES = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
_TLS_EXCEPTIONS = (aiohttp.ClientSSLError, ssl.SSLError)
# OpenSSL's codes of verification (x509_vfy.h); any other one means that nobody vouches for the certificate.
_CERTIFICATE_CAUSES: Mapping[object, FailureCause] = MappingProxyType(
    {
        9: FailureCause.CERTIFICATE_NOT_YET_VALID,
        10: FailureCause.EXPIRED_CERTIFICATE,
        62: FailureCause.WRONG_HOST_NAME,
        64: FailureCause.WRONG_HOST_NAME,  # an IP address
    }
)

# There are few different URLs, and parsing one costs 4 µs.
_parse_url = lru_cache(maxsize=1024)(partial(URL, encoded=True))
# There are few different timeouts, and aiohttp's object for one costs 2 µs.
_total_timeout = lru_cache(maxsize=64)(lambda seconds: aiohttp.ClientTimeout(total=seconds))


class UnknownServerCertificate(PeerUnreachable):
    """The TLS handshake failed, so nothing was sent; refreshing the peer's certificates may help."""


class OutboundRequest(msgspec.Struct, frozen=True):
    """One HTTP request.

    Attributes:
        method: a ``POST`` has a body, other methods have one if it is not empty.
        url: the absolute URL, percent-encoded as it goes on the wire.
        body: the bytes to send.
        timeout: seconds for the whole exchange, until the last byte of the response.
        target: who is called, for errors.
        headers: in addition to those of every request.
        tls: the context for ``https``; None accepts the servers that the system's CAs vouch for.
        is_slow: the response may take a minute or more: such requests have connections of their own.
        operation: the name of the OICP operation; empty: another request to a node; None: never recorded.
    """

    method: str
    url: str
    body: bytes
    timeout: float
    target: str
    headers: Mapping[str, str] = MappingProxyType({})
    tls: ssl.SSLContext | None = None
    is_slow: bool = False
    operation: str | None = None


class TrackedBody(Payload):
    """A request body that records in ``started`` whether any byte of the request was written.

    aiohttp holds the headers back until the body is written, so this costs nothing; its tracing would cost more.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__(body, content_type=JSON_UTF8)
        self._size = len(body)
        self._body = body
        self.started = False

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self._body.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        self.started = True
        if len(self._body) <= _WRITE_CHUNK_SIZE:
            await writer.write(self._body)
            return
        view = memoryview(self._body)
        for start in range(0, len(view), _WRITE_CHUNK_SIZE):
            await writer.write(view[start : start + _WRITE_CHUNK_SIZE])


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

    def _has_ended(self) -> bool:
        return self._ends_at != math.inf and self._now() >= self._ends_at


class _Connector(aiohttp.TCPConnector):
    def __init__(self, now: Callable[[], float], *, limit: int, limit_per_host: int) -> None:
        super().__init__(limit=limit, limit_per_host=limit_per_host, keepalive_timeout=_KEEP_ALIVE_SECONDS)
        # aiohttp has no other way to say what a connection is.
        self._factory = cast("partial[ResponseHandler]", partial(_Connection, self._loop, now))


class HttpTransport:
    """Sends HTTP requests over kept-alive connections; an async context manager.

    Two pools of connections: requests whose responses take long (``is_slow``) use up none of the others'.

    Redirects are not followed and cookies are not kept. aiohttp itself repeats a request without a body (never a POST)
    if a kept-alive connection was closed before any byte of the response.

    Args:
        user_agent: the value of the ``User-Agent`` header.
        max_body: the most bytes of a response's body, also after decompression.
        now: seconds since the epoch, for certificates; by default the time of the machine.
        spans: records a span of each request; None: none are recorded.
    """

    def __init__(
        self,
        *,
        user_agent: str,
        max_body: int,
        now: Callable[[], float] | None = None,
        spans: SpanRecorder | None = None,
    ) -> None:
        self._max_body = max_body
        self._now = now or SystemClock().time
        self._default_headers = {
            "Content-Type": JSON_UTF8,
            "Accept": JSON_UTF8,
            "Accept-Encoding": ACCEPTED_CONTENT_CODINGS,
            "User-Agent": user_agent,
        }
        self._session: aiohttp.ClientSession | None = None
        self._slow_session: aiohttp.ClientSession | None = None
        self._spans = spans

    def __repr__(self) -> str:
        return f"<HttpTransport {'closed' if self._session is None or self._session.closed else 'open'}>"

    async def __aenter__(self) -> Self:
        self._session = self._open_session(_MAX_CONNECTIONS, _MAX_CONNECTIONS_PER_HOST)
        # Nearly all of its requests go to one host: the CSMS of a CPO's node.
        self._slow_session = self._open_session(_MAX_SLOW_CONNECTIONS, per_host=0)
        return self

    def _open_session(self, limit: int, per_host: int) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=_Connector(self._now, limit=limit, limit_per_host=per_host),
            cookie_jar=aiohttp.DummyCookieJar(),
            # The signature of a response covers its bytes as they are on the wire, so both forms are needed.
            auto_decompress=False,
            headers=self._default_headers,
        )

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for session in (self._session, self._slow_session):
            if session is not None:
                await session.close()

    def send(self, request: OutboundRequest) -> Coroutine[object, object, HttpResponse]:
        """Send one request and return the response, whatever its status.

        Raises:
            PeerUnreachable: nothing was sent (UnknownServerCertificate: because of TLS).
            PeerTimeout: the request was sent, and no whole response came in time.
            PeerProtocolError: what came is no HTTP, or is too large.
        """
        # Not a coroutine: one frame less for each request.
        return self._send(request) if self._spans is None else self._send_in_span(self._spans, request)

    async def _send_in_span(self, spans: SpanRecorder, request: OutboundRequest) -> HttpResponse:
        name = request.operation or f"{request.method} /p2p"
        attributes = {"http.request.method": request.method, "p2p_oicp.target": request.target}
        with spans.sending(name, attributes) as span:
            response = await self._send(request)
            span.set_attribute("http.response.status_code", response.status)
            return response

    async def _send(self, request: OutboundRequest) -> HttpResponse:
        session = self._slow_session if request.is_slow else self._session
        if session is None:
            raise RuntimeError("the transport is used outside of its async with block")
        trace = TRACE.get()
        body = TrackedBody(request.body)
        has_body = request.method == "POST" or bool(request.body)
        try:
            async with session.request(
                request.method,
                _parse_url(request.url),
                data=body if has_body else None,
                headers=request.headers if trace is None else {**request.headers, **trace.headers()},
                allow_redirects=False,
                timeout=_total_timeout(request.timeout),
                ssl=request.tls or True,
            ) as response:
                raw_body, decoded_body = await self._read_body(request.target, response)
                return HttpResponse(request.target, response.status, response.headers, decoded_body, raw_body)
        except TRANSPORT_EXCEPTIONS as exc:
            is_sent = body.started or (not has_body and not isinstance(exc, _PRE_SEND_EXCEPTIONS))
            error = map_exception(request.target, exc, is_sent=is_sent)
            if not is_sent and isinstance(exc, _TLS_EXCEPTIONS):
                raise UnknownServerCertificate(error.peer, error.reason).because_of(error.cause) from exc
            raise error from exc

    async def _read_body(self, target: str, response: aiohttp.ClientResponse) -> tuple[bytes, bytes]:
        """Return the body as it was on the wire, and decoded."""
        coding = response.headers.get("Content-Encoding", "")
        if not coding and response.content_length is not None and response.content_length <= self._max_body:
            body = await response.read()
            return body, body
        bounded_body = BoundedBody(target, limit=self._max_body, coding=coding)
        raw_chunks = []
        async for chunk in response.content.iter_chunked(_READ_CHUNK_SIZE):
            bounded_body.add(chunk)
            raw_chunks.append(chunk)
        return b"".join(raw_chunks), bounded_body.finish()


async def check_connection(url: str, target: str, tls: ssl.SSLContext | None, seconds: float) -> float | None:
    """Open a connection to the server of ``url``, and close it again.

    Returns:
        When the certificate of the server ends, in seconds since the epoch; None without TLS.

    Raises:
        PeerUnreachable: it cannot be opened; its cause says why.
    """
    parsed = _parse_url(url)
    context = (tls or client_context()) if parsed.scheme == "https" else None
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(parsed.host, parsed.port, ssl=context)
    except (OSError, ValueError) as exc:
        reason = _certificate_error_text(exc) if isinstance(exc, ssl.SSLCertVerificationError) else None
        if reason is None and isinstance(exc, OSError) and not isinstance(exc, TimeoutError):
            reason = _os_error_text(exc)
        reason = reason or _error_reason(exc, timeout_reason=f"no connection within {seconds:g} s")
        raise PeerUnreachable(target, reason).because_of(_connection_cause(exc)) from exc
    opened = writer.get_extra_info("ssl_object")
    shown = opened.getpeercert(binary_form=True) if opened is not None else None
    writer.close()
    return Certificate(shown).expires_at if shown is not None else None


def map_exception(target: str, exc: Exception, *, is_sent: bool) -> PeerError:
    """Return our error for ``exc``, one of TRANSPORT_EXCEPTIONS.

    (1) Nothing was sent: unreachable, whatever the reason. (2) The response is no HTTP: a protocol error.
    (3) Any other failure after sending, such as a broken connection or a passed deadline: a timeout.
    """
    if not is_sent:  # (1)
        reason = _error_reason(exc, timeout_reason="no connection within the deadline")
        return PeerUnreachable(target, reason).because_of(_connection_cause(exc))
    if isinstance(exc, (aiohttp.ClientResponseError, HttpProcessingError, aiohttp.WSMessageTypeError)):  # (2)
        return PeerProtocolError(target, f"the response is not HTTP: {_exception_text(exc)}")
    error = PeerTimeout(target, _error_reason(exc, timeout_reason="no response within the deadline"))  # (3)
    # TLS 1.3: a client certificate that is refused breaks the connection only when the response is read.
    return error.because_of(FailureCause.TLS_FAILED) if isinstance(exc, _TLS_EXCEPTIONS) else error


def _connection_cause(exc: Exception) -> FailureCause:
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        code = getattr(exc.certificate_error, "verify_code", None)
        return _CERTIFICATE_CAUSES.get(code, FailureCause.UNTRUSTED_CERTIFICATE)
    if isinstance(exc, ssl.SSLCertVerificationError):
        return _CERTIFICATE_CAUSES.get(exc.verify_code, FailureCause.UNTRUSTED_CERTIFICATE)
    if isinstance(exc, _TLS_EXCEPTIONS):
        return FailureCause.TLS_FAILED
    if isinstance(exc, (aiohttp.ClientConnectorDNSError, socket.gaierror)):
        return FailureCause.UNKNOWN_HOST
    return FailureCause.CANNOT_CONNECT


def _error_reason(exc: Exception, *, timeout_reason: str) -> str:
    if isinstance(exc, TimeoutError):
        return timeout_reason
    if isinstance(exc, (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)):
        return f"not a usable http or https URL: {_exception_text(exc)}"
    if isinstance(exc, aiohttp.ServerDisconnectedError):
        return "closed the connection without a response (is http expected there, or https?)"
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not accepted: {_certificate_error_text(exc.certificate_error)}"
    if isinstance(exc, aiohttp.ClientConnectorError):
        return f"no connection to {exc.host}:{exc.port}: {_os_error_text(exc.os_error)}"
    return _exception_text(exc)


def _os_error_text(exc: OSError) -> str:
    # Errors of TLS and of name resolution have numbers of their own: 1 would read as "Operation not permitted".
    if isinstance(exc, ssl.SSLError):
        return _tls_error_text(exc)
    if isinstance(exc, socket.gaierror):
        return "host name not found" if exc.errno in _UNKNOWN_NAMES else f"host name not resolved: {exc.strerror}"
    if exc.errno is None:
        return exc.strerror or _exception_text(exc)
    # asyncio puts the address where the system's words for the error were.
    return os.strerror(exc.errno)


def _certificate_error_text(exc: Exception) -> str:
    # The whole text has the library's names of error, file and line around these words.
    return getattr(exc, "verify_message", "") or getattr(exc, "strerror", "") or _exception_text(exc)


def _tls_error_text(exc: Exception) -> str:
    """Return OpenSSL's reason in words: ``TLS failed: wrong version number; is it http?``."""
    reason = getattr(exc, "reason", None)
    if not reason:
        return f"TLS failed: {getattr(exc, 'strerror', None) or _exception_text(exc)}"
    hint = "; is it http?" if reason in _REASONS_OF_PLAIN_HTTP else ""
    return f"TLS failed: {reason.lower().replace('_', ' ')}{hint}"


def _exception_text(exc: Exception) -> str:
    return str(exc) or type(exc).__name__
