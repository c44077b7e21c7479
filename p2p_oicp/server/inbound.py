"""What came in over HTTP: the head of a request, and its body, bounded and in any charset of JSON.

A body passes three steps, which `RequestContext` calls at their places in the order of admission: `check_head` (before
anything is read), `receive_body` (bytes as they were on the wire, which is what signatures cover), `decode_body`
(without Content-Encoding, as UTF-8).
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable

from aiohttp import web
from aiohttp.http_exceptions import ContentEncodingError

from p2p_oicp.client import BodyError, BodyProblem, BoundedDecompressor
from p2p_oicp.crypto import RequestHead
from p2p_oicp.oicp import Finding, InvalidMessage, Severity, StatusCodeValue
from p2p_oicp.oicp.message import as_utf8
from p2p_oicp.server.problems import HttpError

# Nearly all requests have one of these: nothing to parse.
_COMMON_CONTENT_TYPES = frozenset({"application/json", "application/json; charset=utf-8"})
_JSON_TYPES = frozenset({"application/json", "text/json"})
_BODY_TIMEOUT_SECONDS = 30.0


class InboundRequest(RequestHead, frozen=True):
    """The head of a request, as it was received.

    Attributes:
        content_length: bytes of the body as announced; None where it comes in chunks.
        client_address: IP address of the connection's other end.
        certificate: the connection's client certificate (DER).
    """

    content_length: int | None = None
    client_address: str | None = None
    certificate: bytes | None = None


def check_head(head: InboundRequest, request: web.BaseRequest, max_bytes: int) -> None:
    """Raise HttpError 415 or 413 for a body that need not be read to be refused."""
    if head.headers.get("Content-Type") not in _COMMON_CONTENT_TYPES:
        media_type = request.content_type
        is_json = media_type in _JSON_TYPES or media_type.endswith("+json")
        if "Content-Type" in head.headers and not is_json:
            info = f"Content-Type {media_type} is not served; send application/json"
            raise HttpError(415, StatusCodeValue.DATA_ERROR, info)
    if (head.content_length or 0) > max_bytes:
        info = f"the body has {head.content_length} bytes; at most {max_bytes} are read"
        raise HttpError(413, StatusCodeValue.DATA_ERROR, info)


async def receive_body(
    request: web.BaseRequest, max_bytes: int, reserve_bytes: Callable[[int], None] | None = None
) -> bytes:
    """Return the body as it was on the wire.

    Args:
        request: whose head was checked by `check_head`.
        max_bytes: the largest body that is read.
        reserve_bytes: called with the size so far of a body that comes in chunks; it may raise HttpError.

    Raises:
        HttpError: 413, 408 after 30 s, 417, 400 where it does not arrive whole.
    """
    try:
        # The usual case: it came together with the head, and neither waits nor needs a timeout.
        if request.content.is_eof():
            body = request.content.read_nowait()
            if reserve_bytes is not None:
                reserve_bytes(len(body))
        else:
            await _send_continue(request)
            body = await _read_chunks(request, max_bytes, reserve_bytes)
    except TimeoutError as error:
        info = f"the body did not arrive within {_BODY_TIMEOUT_SECONDS:g} s"
        raise HttpError(408, StatusCodeValue.DATA_ERROR, info) from error
    except (web.RequestPayloadError, ContentEncodingError) as error:
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


async def _read_chunks(request: web.BaseRequest, max_bytes: int, reserve_bytes: Callable[[int], None] | None) -> bytes:
    # BytesIO grows in place and hands out its buffer: joining chunks copies, which for 18 MB blocks the event loop for
    # 10 ms.
    body = io.BytesIO()
    async with asyncio.timeout(_BODY_TIMEOUT_SECONDS):
        async for chunk in request.content.iter_any():
            body.write(chunk)
            if body.tell() > max_bytes:
                raise _too_large(max_bytes)
            if reserve_bytes is not None:
                reserve_bytes(body.tell())
    return body.getvalue()


def decode_body(request: web.BaseRequest, body: bytes, max_bytes: int) -> bytes:
    """Return a received body without its Content-Encoding, as UTF-8.

    Raises:
        HttpError: 415 for an unknown coding, 413 if it grows above ``max_bytes``, 400 if it is damaged.
        InvalidMessage: it is no text.
    """
    decoded = _decompress(body, request.headers.get("Content-Encoding", ""), max_bytes)
    try:
        return as_utf8(decoded, request.headers.get("Content-Type", ""))
    except ValueError as error:
        info = f"the body's text cannot be decoded: {error}; send utf-8"
        raise InvalidMessage([Finding(Severity.ERROR, "", "not-text", info)]) from error


def _decompress(body: bytes, coding: str, max_bytes: int) -> bytes:
    if not coding:
        return body
    try:
        decompressor = BoundedDecompressor(coding, max_bytes)
        decoded = decompressor.add(body)
        decompressor.finish()
    except BodyError as error:
        raise _undecodable(error, coding, max_bytes) from error
    return decoded


def _undecodable(error: BodyError, coding: str, max_bytes: int) -> HttpError:
    match error.problem:
        case BodyProblem.TOO_LARGE:
            return _too_large(max_bytes)
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
