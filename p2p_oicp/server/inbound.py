"""Reading a request's body: bounded, in any charset of JSON."""

from __future__ import annotations

import asyncio
import io
import zlib
from collections.abc import Callable

from aiohttp import web
from aiohttp.http_exceptions import ContentEncodingError

from p2p_oicp.client import as_utf8
from p2p_oicp.oicp import Finding, InvalidMessage, Severity
from p2p_oicp.server.problems import DATA_ERROR, HttpError

_IDENTITY_CODINGS = frozenset({"", "identity"})
_COMPRESSED_CODINGS = frozenset({"gzip", "x-gzip", "deflate"})
# Nearly all requests have one of these: nothing to take apart.
_COMMON_CONTENT_TYPES = frozenset({"application/json", "application/json; charset=utf-8"})
_JSON_TYPES = frozenset({"application/json", "text/json"})
_BODY_TIMEOUT_SECONDS = 30.0


async def read_body(request: web.Request, max_bytes: int) -> bytes:
    """Return the body as UTF-8; see `read_whole`."""
    return (await read_and_decode(request, max_bytes))[1]


async def read_and_decode(
    request: web.Request, max_bytes: int, reserve_bytes: Callable[[int], None] | None = None
) -> tuple[bytes, bytes]:
    """Return the body as it was on the wire, and as UTF-8.

    ``make_room`` is told how much has come, where it is not known beforehand; it may raise HttpProblem.
    Raises HttpProblem 413 above ``most`` bytes, 415 where it is not JSON, InvalidMessage where it is no text.
    """
    if request.headers.get("Content-Type") not in _COMMON_CONTENT_TYPES:
        _check_type(request)
    try:
        # What came together with the head, the usual case, is taken without waiting and without a bound on the time.
        if reserve_bytes is None and request.content.is_eof():
            wire_body = request.content.read_nowait()
        else:
            wire_body = await _read_chunks(request, max_bytes, reserve_bytes)
        if len(wire_body) > max_bytes:
            raise HttpError(413, DATA_ERROR, f"the body is larger than {max_bytes} bytes")
        decoded = _decompress(wire_body, request.headers.get("Content-Encoding", ""), max_bytes)
        return wire_body, as_utf8(decoded, request.headers.get("Content-Type", ""))
    except web.HTTPRequestEntityTooLarge as error:
        raise HttpError(413, DATA_ERROR, f"the body is larger than {max_bytes} bytes") from error
    except TimeoutError as error:
        raise HttpError(408, DATA_ERROR, f"the body did not arrive within {_BODY_TIMEOUT_SECONDS:g} s") from error
    except (web.RequestPayloadError, ContentEncodingError) as error:
        info = f"the body did not come whole, or its Content-Encoding is wrong: {error}"
        raise HttpError(400, DATA_ERROR, info) from error
    except ValueError as error:
        info = f"the body's text cannot be decoded: {error}; send utf-8"
        raise InvalidMessage([Finding(Severity.ERROR, "", "not-text", info)]) from error


def _check_type(request: web.Request) -> None:
    media_type = request.content_type
    if "Content-Type" in request.headers and media_type not in _JSON_TYPES and not media_type.endswith("+json"):
        raise HttpError(415, DATA_ERROR, f"Content-Type {media_type} is not served; send application/json")


async def _read_chunks(request: web.Request, max_bytes: int, reserve_bytes: Callable[[int], None] | None) -> bytes:
    if (request.content_length or 0) > max_bytes:
        raise HttpError(413, DATA_ERROR, f"the body has {request.content_length} bytes; at most {max_bytes} are read")
    # It grows where it stands and is not copied at its end: 10 ms for 18 MB, in which nobody would be answered.
    body = io.BytesIO()
    async with asyncio.timeout(_BODY_TIMEOUT_SECONDS):
        async for chunk in request.content.iter_any():
            body.write(chunk)
            if body.tell() > max_bytes:
                raise HttpError(413, DATA_ERROR, f"the body is larger than {max_bytes} bytes")
            if reserve_bytes is not None:
                reserve_bytes(body.tell())
    return body.getvalue()


def _decompress(body: bytes, coding: str, max_bytes: int) -> bytes:
    """Return the body without its content coding, never more than ``most`` bytes of it."""
    if coding.lower() in _IDENTITY_CODINGS:
        return body
    if coding.lower() not in _COMPRESSED_CODINGS:
        raise HttpError(415, DATA_ERROR, f"Content-Encoding {coding} is not served; send gzip, or none")
    decompressor = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        decoded = decompressor.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise HttpError(400, DATA_ERROR, f"the compressed body is damaged: {error}") from error
    if len(decoded) > max_bytes:
        raise HttpError(413, DATA_ERROR, f"the body is larger than {max_bytes} bytes")
    if not decompressor.eof:
        raise HttpError(400, DATA_ERROR, "the compressed body is damaged: it ends too early")
    return decoded
