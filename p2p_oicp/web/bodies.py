"""Reading a request's body: bounded, in any charset of JSON."""

from __future__ import annotations

import asyncio
import io
import zlib
from collections.abc import Callable

from aiohttp import web
from aiohttp.http_exceptions import ContentEncodingError

from p2p_oicp.oicp import Finding, InvalidMessage, Severity
from p2p_oicp.transport import as_utf8
from p2p_oicp.web.problems import DATA_ERROR, HttpProblem

_PLAIN = frozenset({"", "identity"})
_CODINGS = frozenset({"gzip", "x-gzip", "deflate"})
# Nearly all requests have one of these: nothing to take apart.
_USUAL_TYPES = frozenset({"application/json", "application/json; charset=utf-8"})
_JSON_TYPES = frozenset({"application/json", "text/json"})
_PATIENCE_SECONDS = 30.0


async def read_body(request: web.Request, most: int) -> bytes:
    """Return the body as UTF-8; see `read_whole`."""
    return (await read_whole(request, most))[1]


async def read_whole(
    request: web.Request, most: int, make_room: Callable[[int], None] | None = None
) -> tuple[bytes, bytes]:
    """Return the body as it was on the wire, and as UTF-8.

    ``make_room`` is told how much has come, where it is not known beforehand; it may raise HttpProblem.
    Raises HttpProblem 413 above ``most`` bytes, 415 where it is not JSON, InvalidMessage where it is no text.
    """
    if request.headers.get("Content-Type") not in _USUAL_TYPES:
        _check_type(request)
    try:
        # What came together with the head, the usual case, is taken without waiting and without a bound on the time.
        if make_room is None and request.content.is_eof():
            on_the_wire = request.content.read_nowait()
        else:
            on_the_wire = await _rest(request, most, make_room)
        if len(on_the_wire) > most:
            raise HttpProblem(413, DATA_ERROR, f"the body is larger than {most} bytes")
        decoded = _decoded(on_the_wire, request.headers.get("Content-Encoding", ""), most)
        return on_the_wire, as_utf8(decoded, request.headers.get("Content-Type", ""))
    except web.HTTPRequestEntityTooLarge as error:
        raise HttpProblem(413, DATA_ERROR, f"the body is larger than {most} bytes") from error
    except TimeoutError as error:
        raise HttpProblem(408, DATA_ERROR, f"the body did not arrive within {_PATIENCE_SECONDS:g} s") from error
    except (web.RequestPayloadError, ContentEncodingError) as error:
        info = f"the body did not come whole, or its Content-Encoding is wrong: {error}"
        raise HttpProblem(400, DATA_ERROR, info) from error
    except ValueError as error:
        info = f"the body's text cannot be decoded: {error}; send utf-8"
        raise InvalidMessage([Finding(Severity.ERROR, "", "not-text", info)]) from error


def _check_type(request: web.Request) -> None:
    media_type = request.content_type
    if "Content-Type" in request.headers and media_type not in _JSON_TYPES and not media_type.endswith("+json"):
        raise HttpProblem(415, DATA_ERROR, f"Content-Type {media_type} is not served; send application/json")


async def _rest(request: web.Request, most: int, make_room: Callable[[int], None] | None) -> bytes:
    if (request.content_length or 0) > most:
        raise HttpProblem(413, DATA_ERROR, f"the body has {request.content_length} bytes; at most {most} are read")
    # It grows where it stands and is not copied at its end: 10 ms for 18 MB, in which nobody would be answered.
    body = io.BytesIO()
    async with asyncio.timeout(_PATIENCE_SECONDS):
        async for chunk in request.content.iter_any():
            body.write(chunk)
            if body.tell() > most:
                raise HttpProblem(413, DATA_ERROR, f"the body is larger than {most} bytes")
            if make_room is not None:
                make_room(body.tell())
    return body.getvalue()


def _decoded(body: bytes, coding: str, most: int) -> bytes:
    """Return the body without its content coding, never more than ``most`` bytes of it."""
    if coding.lower() in _PLAIN:
        return body
    if coding.lower() not in _CODINGS:
        raise HttpProblem(415, DATA_ERROR, f"Content-Encoding {coding} is not served; send gzip, or none")
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        decoded = inflate.decompress(body, most + 1)
    except zlib.error as error:
        raise HttpProblem(400, DATA_ERROR, f"the compressed body is damaged: {error}") from error
    if len(decoded) > most:
        raise HttpProblem(413, DATA_ERROR, f"the body is larger than {most} bytes")
    if not inflate.eof:
        raise HttpProblem(400, DATA_ERROR, "the compressed body is damaged: it ends too early")
    return decoded
