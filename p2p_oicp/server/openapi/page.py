"""Serves the documents of a listener, and on the backend API a page that shows them (Swagger UI, vendored).

They hold no secrets and need no token; the requests that the page sends do. Its content security policy lets it load
what it brings, and talk to this node only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import orjson
from aiohttp import web

from p2p_oicp.concurrency import offload
from p2p_oicp.oicp import StatusCodeValue
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.ocpi.documents import ocpi_document
from p2p_oicp.server.openapi import listener_endpoints
from p2p_oicp.server.openapi.asyncapi import asyncapi_document
from p2p_oicp.server.openapi.documents import Listener, openapi_document
from p2p_oicp.server.pipeline import RequestContext, RequestPipeline
from p2p_oicp.server.problems import HttpError

_STATIC = Path(__file__).parents[1] / "static"
_PAGE, _SWAGGER_UI = _STATIC / "docs", _STATIC / "vendor" / "swagger-ui-dist"

#: Nothing from other hosts, no inline script. Swagger UI's style sheet has pictures as data.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
)
_NOT_MODIFIED = 304


class _File(NamedTuple):
    path: Path
    content_type: str


_INDEX = _File(_PAGE / "index.html", "text/html")
_FILES: Mapping[str, _File] = MappingProxyType(
    {
        "page.js": _File(_PAGE / "page.js", "text/javascript"),
        "page.css": _File(_PAGE / "page.css", "text/css"),
        "swagger-ui-bundle.js": _File(_SWAGGER_UI / "swagger-ui-bundle.js", "text/javascript"),
        "swagger-ui.css": _File(_SWAGGER_UI / "swagger-ui.css", "text/css"),
    }
)


class _Content(NamedTuple):
    body: bytes
    tag: str


class ApiDocuments:
    """Serves the documents of a listener.

    Args:
        listener: which one.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def routes(self, pipeline: RequestPipeline) -> Sequence[web.RouteDef]:
        openapi = listener_endpoints.OPENAPI.route(pipeline, partial(_serve_document, self._openapi))
        if self._listener is Listener.PEER:
            return [openapi]
        return [
            openapi,
            listener_endpoints.OCPI_OPENAPI.route(pipeline, partial(_serve_document, _ocpi)),
            listener_endpoints.ASYNCAPI.route(pipeline, partial(_serve_document, _asyncapi)),
            listener_endpoints.PAGE.route(pipeline, _serve_page),
            listener_endpoints.PAGE_FILE.route(pipeline, _serve_file),
        ]

    def _openapi(self) -> _Content:
        return _document(self._listener)


@cache
def _document(listener: Listener) -> _Content:
    return _tagged(orjson.dumps(openapi_document(listener)))


@cache
def _asyncapi() -> _Content:
    return _tagged(orjson.dumps(asyncapi_document()))


@cache
def _ocpi() -> _Content:
    return _tagged(orjson.dumps(ocpi_document()))


@cache
def _read(path: Path) -> _Content:
    return _tagged(path.read_bytes())


def _tagged(body: bytes) -> _Content:
    return _Content(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


async def _serve_document(make: Callable[[], _Content], context: RequestContext) -> OperationResponse:
    # In a thread: the first one takes some tenths of a second.
    return _response(await offload(make), "application/json", context)


async def _serve_page(context: RequestContext) -> OperationResponse:
    return _response(await offload(_read, _INDEX.path), _INDEX.content_type, context)


async def _serve_file(context: RequestContext) -> OperationResponse:
    name = context.parameter("file")
    if (file := _FILES.get(name)) is None:
        raise HttpError(404, StatusCodeValue.DATA_ERROR, f"the page has no file {name[:40]}")
    return _response(await offload(_read, file.path), file.content_type, context)


def _response(content: _Content, content_type: str, context: RequestContext) -> OperationResponse:
    """Return what was read, or nothing where the caller has it already."""
    headers = {**_HEADERS, "ETag": content.tag}
    is_known = content.tag in context.head.headers.get("If-None-Match", "")
    body, status = (b"", _NOT_MODIFIED) if is_known else (content.body, 200)
    return OperationResponse(body, status, content_type=content_type, headers=headers)
