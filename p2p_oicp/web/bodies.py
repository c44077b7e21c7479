"""Reading a request's body: bounded, in any charset of JSON."""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.http_exceptions import ContentEncodingError

from p2p_oicp.oicp import Finding, InvalidMessage, Severity
from p2p_oicp.transport import as_utf8
from p2p_oicp.web.problems import DATA_ERROR, HttpProblem

_JSON_TYPES = frozenset({"application/json", "text/json"})
_PATIENCE_SECONDS = 30.0


async def read_body(request: web.Request, most: int) -> bytes:
    """Return the body as UTF-8.

    Raises HttpProblem 413 above ``most`` bytes, 415 where it is not JSON, InvalidMessage where it is no text.
    """
    media_type = request.content_type
    if "Content-Type" in request.headers and media_type not in _JSON_TYPES and not media_type.endswith("+json"):
        raise HttpProblem(415, DATA_ERROR, f"Content-Type {media_type} is not served; send application/json")
    if (request.content_length or 0) > most:
        raise HttpProblem(413, DATA_ERROR, f"the body has {request.content_length} bytes; at most {most} are read")
    try:
        body = await _whole(request)
        if len(body) > most:
            raise HttpProblem(413, DATA_ERROR, f"the body is larger than {most} bytes")
        return as_utf8(body, request.headers.get("Content-Type", ""))
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


async def _whole(request: web.Request) -> bytes:
    if request.content.is_eof():  # the usual case: it came together with the head
        return await request.read()
    async with asyncio.timeout(_PATIENCE_SECONDS):
        return await request.read()
