"""What came in over HTTP: the head of a request, and its body, bounded and in any charset of JSON.

A body passes four steps, which `RequestContext` calls at their places in the order of admission: `check_head` (before
anything is read), `receive_body` (bytes as they were on the wire, which is what signatures cover), `decompress`
(without Content-Encoding), `decode_text` (as UTF-8).
"""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NoReturn, TypeAlias

from aiohttp import web
from aiohttp.http_exceptions import ContentEncodingError

from p2p_oicp.client import BodyError, BodyProblem, BoundedDecompressor
from p2p_oicp.crypto import RequestHead, split_target
from p2p_oicp.crypto.signature_base import field_value
from p2p_oicp.oicp import Finding, InvalidMessage, Severity, StatusCodeValue
from p2p_oicp.oicp.message import as_utf8
from p2p_oicp.oicp.operations import api_root
from p2p_oicp.peers.models import IpNetwork
from p2p_oicp.server.limits import SMALL_BODY_BYTES
from p2p_oicp.server.problems import HttpError

# Nearly all requests have one of these: nothing to parse.
_COMMON_CONTENT_TYPES = frozenset({"application/json", "application/json; charset=utf-8"})
#: What pages send.
FORM_TYPE = "application/x-www-form-urlencoded"
_JSON_TYPES = frozenset({"application/json", "text/json"})
# Within this, a small body is whole, and of a larger one as much as a small one has come; again and again, and then the
# whole.
_SMALL_BODY_TIMEOUT_SECONDS = 5.0
_BODY_TIMEOUT_SECONDS = 30.0
_MAX_PROCESS_ID_LENGTH = 100
_MAX_STEP_LENGTH = 40

#: Called with the size so far of a body that grows; raises HttpError where there is no room.
BytesReservation: TypeAlias = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class PublicAddress:
    """How other companies reach a listener.

    Attributes:
        url: the base URL that they know, also behind a proxy: signatures cover its authority and path.
        trusted_proxies: whose word on the client's address counts.
    """

    url: str
    trusted_proxies: Collection[IpNetwork] = ()


_ABSOLUTE_FORM_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_SLASHES = re.compile("//+")
_FORWARDED_PAIR = re.compile(r'\s*([\w!#$%&\'*+.^`|~-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s";,]*))\s*(;|,|$)', re.ASCII)


class InboundRequest(RequestHead, frozen=True):
    """The head of a request, as it was received.

    Attributes:
        content_length: bytes of the body as announced; None where it comes in chunks.
        client_address: IP address of the client: of the connection's other end, or behind trusted proxies as they say.
        certificate: the connection's client certificate (DER).
    """

    content_length: int | None = None
    client_address: str | None = None
    certificate: bytes | None = None


class HttpConnection(web.RequestHandler):
    """One connection, and what its requests have established about the client; the listener makes it.

    Attributes:
        address: where it comes from, see `address_block`; through a proxy, the client of the last request.
        certificate: the client's (DER); None if it has shown none.
        is_proved: a request was authenticated, or was complete where nothing has to be proved. A certificate alone is
            not enough: thousands of silent connections with one would push out those that are used.
        dropped_because: why it was ended without a response; empty: it was not.
    """

    address = ""
    certificate: bytes | None = None
    is_proved = False
    dropped_because = ""
    _waiter: asyncio.Future[None] | None = None
    _on_lost: Callable[[], None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether somebody may still read a response."""
        return self.transport is not None and not self.transport.is_closing()

    def drop(self, reason: str) -> NoReturn:
        """End the connection without a response to the request that is being served."""
        self.dropped_because = reason
        if self.transport is not None:
            self.transport.abort()
        raise asyncio.CancelledError

    def prove(self) -> None:
        """Count as the connection of a proved client from now on."""
        self.is_proved = True

    def begin_request_of(self, address: str) -> None:
        """Count as a connection of ``address``, unproved if that is new: a proxy sends the requests of many clients."""
        if address != self.address:
            self.address, self.is_proved = address, False

    async def wait(self, seconds: float) -> None:
        """Return after so many seconds, or when the connection is lost."""
        if not seconds or self.transport is None:
            return
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        timer = loop.call_later(seconds, _end_wait, waiter)
        try:
            await waiter
        finally:
            timer.cancel()

    def when_lost(self, on_lost: Callable[[], None]) -> None:
        """Call ``on_lost`` when the connection is lost, or at once if it is lost already."""
        self._on_lost = on_lost
        if self.transport is None:
            on_lost()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 - aiohttp's own form
        # aiohttp resumes after each body that was read, which parses nothing once more where reading was not paused.
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self._on_lost is not None:
            self._on_lost()
        if self._waiter is not None:
            _end_wait(self._waiter)


def _end_wait(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def origin_form(target: str) -> str:
    """Return path and query of a request target, which may be in absolute form (RFC 9112, 3.2.2)."""
    if target.startswith("/") or (match := _ABSOLUTE_FORM_PREFIX.match(target)) is None:
        return target
    path = target[match.end() :]
    return path if path.startswith("/") else f"/{path}"


def routed_path(target: str) -> str:
    """Return the path of a request target by which it is served."""
    return collapse_slashes(origin_form(target).partition("?")[0])


def collapse_slashes(path: str) -> str:
    """Return a path in which several slashes are one (RULES L22); a signature covers the path as it was sent."""
    return _SLASHES.sub("/", path) if "//" in path else path


def client_address(remote: str | None, headers: Mapping[str, str], proxies: Collection[IpNetwork]) -> str | None:
    """Return the address of the client, which trusted proxies tell in X-Forwarded-For or Forwarded (RFC 7239).

    It is the last one that no trusted proxy has. What cannot be read, and two headers that contradict each other, count
    as not told: clients can send both, and a proxy overwrites or extends only the one that it knows.

    Args:
        remote: the address of the connection's other end.
        headers: of the request.
        proxies: the networks of the trusted proxies.
    """
    if remote is None or not _is_in(remote, proxies):
        return remote
    addresses = {
        _last_untrusted([*hops(value), remote], proxies)
        for name, hops in (("X-Forwarded-For", _list_hops), ("Forwarded", _forwarded_hops))
        if (value := field_value(headers, name)) is not None
    }
    return addresses.pop() if len(addresses) == 1 else remote


def _last_untrusted(hops: list[str], proxies: Collection[IpNetwork]) -> str:
    address = hops.pop()
    while hops and _is_in(address, proxies):
        try:
            address = str(ip_address(_without_port(hops.pop())))
        except ValueError:
            break
    return address


def _list_hops(value: str) -> list[str]:
    return [hop.strip() for hop in value.split(",")]


def _forwarded_hops(value: str) -> list[str]:
    hops, position = [""], 0
    while position < len(value):
        pair = _FORWARDED_PAIR.match(value, position)
        # Read strictly: a quote that a client has left open would hide what the proxy has added.
        if pair is None:
            return []
        name, quoted, token, separator = pair.groups()
        if name.lower() == "for":
            hops[-1] = quoted or token or ""
        hops += [""] if separator == "," else []
        position = pair.end()
    return hops


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _is_in(address: str, networks: Collection[IpNetwork]) -> bool:
    return any(ip_address(address) in network for network in networks)


def check_head(head: InboundRequest, request: web.BaseRequest, max_bytes: int, *, is_form: bool = False) -> None:
    """Raise HttpError 415 or 413 for a body that need not be read to be refused; ``is_form``: a form, not JSON."""
    if is_form or head.headers.get("Content-Type") not in _COMMON_CONTENT_TYPES:
        media_type = request.content_type
        is_right = media_type == FORM_TYPE if is_form else media_type in _JSON_TYPES or media_type.endswith("+json")
        if "Content-Type" in head.headers and not is_right:
            info = f"Content-Type {media_type} is not served; send {FORM_TYPE if is_form else 'application/json'}"
            raise HttpError(415, StatusCodeValue.DATA_ERROR, info)
    if (head.content_length or 0) > max_bytes:
        info = f"the body has {head.content_length} bytes; at most {max_bytes} are read"
        raise HttpError(413, StatusCodeValue.DATA_ERROR, info)


def check_encoding(head: InboundRequest, *, is_known: bool) -> None:
    """Raise HttpError 415 for a compressed body where neither path nor proof says who sends it (RULES L19)."""
    if not is_known and head.headers.get("Content-Encoding"):
        raise HttpError(415, StatusCodeValue.DATA_ERROR, "the body is compressed, and nothing proves who sends it")


async def receive_body(
    request: web.BaseRequest, max_bytes: int, reserve_bytes: BytesReservation | None = None, *, is_urgent: bool = False
) -> bytes:
    """Return the body as it was on the wire.

    Args:
        request: whose head was checked by `check_head`.
        max_bytes: the largest body that is read.
        reserve_bytes: reserves room for what has come.
        is_urgent: the whole body must be there as early as a small one.

    Raises:
        HttpError: 413, 408 after 5 s (30 s for a large body that keeps coming), 417, 400 where it breaks off.
    """
    try:
        # The usual case: it came together with the head, and neither waits nor needs a timeout.
        if request.content.is_eof():
            body = request.content.read_nowait()
            if reserve_bytes is not None:
                reserve_bytes(len(body))
        else:
            await _send_continue(request)
            body = await _read_chunks(request, max_bytes, reserve_bytes, is_urgent=is_urgent)
    except TimeoutError as error:
        info = f"the body did not arrive in time: in {_SMALL_BODY_TIMEOUT_SECONDS:g} s all, or {SMALL_BODY_BYTES} bytes"
        raise HttpError(408, StatusCodeValue.DATA_ERROR, info) from error
    # ConnectionError: the client has hung up; nobody reads the answer.
    except (web.RequestPayloadError, ContentEncodingError, ConnectionError) as error:
        info = f"the body did not come whole, or its Content-Encoding is wrong: {error}"
        raise HttpError(400, StatusCodeValue.DATA_ERROR, info) from error
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    return body


async def _send_continue(request: web.BaseRequest) -> None:
    """Ask for a body that the client holds back until its credentials are accepted (RFC 9110, 10.1.1)."""
    if "Expect" not in request.headers:
        return
    if request.headers["Expect"].lower() != "100-continue":
        raise HttpError(417, StatusCodeValue.DATA_ERROR, "only Expect: 100-continue is served")
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # as aiohttp does: the response has not begun


async def _read_chunks(
    request: web.BaseRequest, max_bytes: int, reserve_bytes: BytesReservation | None, *, is_urgent: bool
) -> bytes:
    # BytesIO grows in place and hands out its buffer: joining chunks copies, which for 18 MB blocks the event loop for
    # 10 ms.
    body, next_mark = io.BytesIO(), SMALL_BODY_BYTES
    loop_time = asyncio.get_running_loop().time
    end = loop_time() + _BODY_TIMEOUT_SECONDS
    async with asyncio.timeout(_SMALL_BODY_TIMEOUT_SECONDS) as timeout:
        async for chunk in request.content.iter_any():
            body.write(chunk)
            size = body.tell()
            if size > max_bytes:
                raise _too_large(max_bytes)
            if reserve_bytes is not None:
                reserve_bytes(size)
            if size >= next_mark and not is_urgent:
                next_mark = size + SMALL_BODY_BYTES
                timeout.reschedule(min(end, loop_time() + _SMALL_BODY_TIMEOUT_SECONDS))
    return body.getvalue()


async def decompress(
    request: web.BaseRequest, body: bytes, max_bytes: int, reserve_bytes: BytesReservation, one_by_one: asyncio.Lock
) -> bytes:
    """Return a received body without its Content-Encoding.

    Args:
        request: it has a Content-Encoding.
        body: as it was on the wire.
        max_bytes: the largest body.
        reserve_bytes: reserves room for the body in both forms, as it grows.
        one_by_one: is held while more than a small body is decompressed, in steps between which others are served.

    Raises:
        HttpError: 415 for an unknown coding, 413 if it grows above ``max_bytes`` or is a bomb, 400 if it is damaged.
    """
    coding = request.headers["Content-Encoding"]
    try:
        decompressor = BoundedDecompressor(coding, max_bytes)
        steps = decompressor.steps(body)
        decoded = next(steps)
        if len(decoded) >= SMALL_BODY_BYTES:
            async with one_by_one:
                decoded = await _join_steps(decoded, steps, lambda size: reserve_bytes(len(body) + size))
        decompressor.finish()
    except BodyError as error:
        raise _undecodable(error, coding, max_bytes) from error
    return decoded


async def _join_steps(first: bytes, steps: Iterator[bytes], reserve_bytes: BytesReservation) -> bytes:
    decoded = io.BytesIO()
    decoded.write(first)
    for step in steps:
        decoded.write(step)
        reserve_bytes(decoded.tell())
        await asyncio.sleep(0)
    return decoded.getvalue()


def decode_text(request: web.BaseRequest, body: bytes) -> bytes:
    """Return a body without Content-Encoding as UTF-8; raise InvalidMessage if it is no text."""
    try:
        return as_utf8(body, request.headers.get("Content-Type", ""))
    except ValueError as error:
        info = f"the body's text cannot be decoded: {error}; send utf-8"
        raise InvalidMessage([Finding(Severity.ERROR, "", "not-text", info)]) from error


def _undecodable(error: BodyError, coding: str, max_bytes: int) -> HttpError:
    match error.problem:
        case BodyProblem.TOO_LARGE:
            return _too_large(max_bytes)
        case BodyProblem.BOMB:
            return HttpError(413, StatusCodeValue.DATA_ERROR, f"the compressed body is refused: {error}")
        case BodyProblem.UNKNOWN_CODING:
            info = f"Content-Encoding {coding} is not served; send gzip, or none"
            return HttpError(415, StatusCodeValue.DATA_ERROR, info)
        case BodyProblem.DAMAGED:
            info = f"the compressed body is damaged: {error}"
        case BodyProblem.INCOMPLETE:
            info = "the compressed body is damaged: it ends too early"
    return HttpError(400, StatusCodeValue.DATA_ERROR, info)


def _too_large(max_bytes: int) -> HttpError:
    return HttpError(413, StatusCodeValue.DATA_ERROR, f"the body is larger than {max_bytes} bytes")


def split_public_url(url: str) -> tuple[str, str]:
    """Return the authority of a base URL, and what its path has before the paths of a node."""
    authority, path, _ = split_target(url)
    return authority, api_root(path)


def process_id_of(request: web.BaseRequest) -> str | None:
    """Return the client's Process-ID, if it can be echoed."""
    text = request.headers.get("Process-ID", "")
    return text if text.isascii() and text.isprintable() and len(text) <= _MAX_PROCESS_ID_LENGTH else None


def node_operation(path: str) -> str:
    """Return what a request below ``/p2p/v1/`` is about: its first step, such as ``sessions``."""
    return path.partition("/p2p/v1/")[2].partition("/")[0][:_MAX_STEP_LENGTH]
