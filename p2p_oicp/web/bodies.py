"""Reading a request's body: bounded, in any charset of JSON."""

from __future__ import annotations

from aiohttp import web

from p2p_oicp.web.problems import HttpProblem

_UTF8 = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_JSON_TYPES = frozenset({"application/json", "text/json"})


async def read_body(request: web.Request, most: int) -> bytes:
    """Return the body as UTF-8; raises HttpProblem 413 above ``most`` bytes, 415 where it is not JSON."""
    media_type = request.content_type
    if "Content-Type" in request.headers and media_type not in _JSON_TYPES and not media_type.endswith("+json"):
        raise HttpProblem(415, "022", f"Content-Type {media_type} is not served; send application/json")
    if (request.content_length or 0) > most:
        raise HttpProblem(413, "022", f"the body has {request.content_length} bytes; at most {most} are read")
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise HttpProblem(413, "022", f"the body is larger than {most} bytes") from error
    charset = (request.charset or "utf-8").lower()
    return body if charset in _UTF8 else _as_utf8(body, charset)


def _as_utf8(body: bytes, charset: str) -> bytes:
    try:
        return body.decode(charset).encode()
    except LookupError as error:
        raise HttpProblem(415, "022", f"charset {charset} is not known; send utf-8") from error
    except UnicodeDecodeError as error:
        raise HttpProblem(400, "022", f"the body is not {charset}: {error.reason} at byte {error.start}") from error
