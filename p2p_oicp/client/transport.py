"""The HTTP transport: one request out, one bounded response in, within one deadline.

It knows nothing of OICP, identities or keys, so everything that authenticates can be built on top of it. It is the only
module of the client that knows aiohttp: what aiohttp raises becomes one of our errors here, once.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import lru_cache
from types import MappingProxyType, TracebackType
from typing import NamedTuple, Self

import aiohttp
import msgspec
from aiohttp import Payload
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import HttpProcessingError

from p2p_oicp.client.bodies import ACCEPTED_CONTENT_CODINGS, BoundedBody
from p2p_oicp.client.exchanges import Connector, ExchangePool, Progress, ReceivedResponse, parse_url, read_bounded
from p2p_oicp.client.replies import HttpResponse
from p2p_oicp.clock import SystemClock
from p2p_oicp.crypto import JSON_UTF8
from p2p_oicp.crypto.tls import Certificate, client_context
from p2p_oicp.errors import FailureCause, PeerError, PeerProtocolError, PeerTimeout, PeerUnreachable
from p2p_oicp.tracing import TRACE
from p2p_oicp.tracing.spans import SpanRecorder

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

    @property
    def has_body(self) -> bool:
        """Whether a body is sent, if only an empty one."""
        return self.method == "POST" or bool(self.body)


class TrackedBody(Payload):
    """A request body that records in ``progress`` that the first byte of the request was written.

    aiohttp holds the headers back until the body is written, so this costs nothing; its tracing would cost more.
    """

    def __init__(self, body: bytes, progress: Progress) -> None:
        super().__init__(body, content_type=JSON_UTF8)
        self._size = len(body)
        self._body = body
        self._progress = progress

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self._body.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        self._progress.start()
        view = memoryview(self._body)
        for start in range(0, len(view), _WRITE_CHUNK_SIZE):
            await writer.write(view[start : start + _WRITE_CHUNK_SIZE])


class _Pool(NamedTuple):
    """The connections to send by, in both ways: aiohttp's session knows all kinds of requests."""

    session: aiohttp.ClientSession
    exchanges: ExchangePool


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
        self._pool: _Pool | None = None
        self._slow_pool: _Pool | None = None
        self._spans = spans

    def __repr__(self) -> str:
        return f"<HttpTransport {'closed' if self._pool is None or self._pool.session.closed else 'open'}>"

    async def __aenter__(self) -> Self:
        self._pool = self._open_pool(_MAX_CONNECTIONS, _MAX_CONNECTIONS_PER_HOST)
        # Nearly all of its requests go to one host: the CSMS of a CPO's node.
        self._slow_pool = self._open_pool(_MAX_SLOW_CONNECTIONS, per_host=0)
        return self

    def _open_pool(self, limit: int, per_host: int) -> _Pool:
        connector = Connector(self._now, limit=limit, limit_per_host=per_host)
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            # The signature of a response covers its bytes as they are on the wire, so both forms are needed.
            auto_decompress=False,
            headers=self._default_headers,
        )
        return _Pool(session, ExchangePool(connector, self._default_headers, self._max_body))

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for pool in (self._pool, self._slow_pool):
            if pool is not None:
                await pool.session.close()

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
        pool = self._slow_pool if request.is_slow else self._pool
        if pool is None:
            raise RuntimeError("the transport is used outside of its async with block")
        trace = TRACE.get()
        headers = request.headers if trace is None else {**request.headers, **trace.headers()}
        progress = Progress()
        try:
            response = await self._exchange(pool, request, headers, progress)
        except TRANSPORT_EXCEPTIONS as exc:
            is_sent = progress.is_started or (not request.has_body and not isinstance(exc, _PRE_SEND_EXCEPTIONS))
            error = map_exception(request.target, exc, is_sent=is_sent)
            if not is_sent and isinstance(exc, _TLS_EXCEPTIONS):
                raise UnknownServerCertificate(error.peer, error.reason).because_of(error.cause) from exc
            raise error from exc
        return HttpResponse(request.target, response.status, response.headers, response.body, response.raw_body)

    def _exchange(
        self, pool: _Pool, request: OutboundRequest, headers: Mapping[str, str], progress: Progress
    ) -> Awaitable[ReceivedResponse]:
        if request.method == "POST" and len(request.body) <= _WRITE_CHUNK_SIZE:
            target = pool.exchanges.target(request.url, request.tls)
            if target is not None:
                return pool.exchanges.post(
                    target, headers, request.body, progress, name=request.target, seconds=request.timeout
                )
        return self._exchange_by_session(pool.session, request, headers, progress)

    async def _exchange_by_session(
        self, session: aiohttp.ClientSession, request: OutboundRequest, headers: Mapping[str, str], progress: Progress
    ) -> ReceivedResponse:
        async with session.request(
            request.method,
            parse_url(request.url),
            data=TrackedBody(request.body, progress) if request.has_body else None,
            headers=headers,
            allow_redirects=False,
            timeout=_total_timeout(request.timeout),
            ssl=request.tls or True,
        ) as response:
            coding = response.headers.get("Content-Encoding", "")
            if not coding and response.content_length is not None and response.content_length <= self._max_body:
                raw_body = body = await response.read()
            else:
                bounded_body = BoundedBody(request.target, limit=self._max_body, coding=coding)
                raw_body, body = await read_bounded(response.content, bounded_body)
            return ReceivedResponse(response.status, response.headers, raw_body, body)


async def check_connection(url: str, target: str, tls: ssl.SSLContext | None, seconds: float) -> float | None:
    """Open a connection to the server of ``url``, and close it again.

    Returns:
        When the certificate of the server ends, in seconds since the epoch; None without TLS.

    Raises:
        PeerUnreachable: it cannot be opened; its cause says why.
    """
    parsed = parse_url(url)
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
