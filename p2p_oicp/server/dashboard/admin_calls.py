"""Calls the administration API without HTTP: what a page shows is what ``/admin/v1`` answers, and no second query."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple, cast

import orjson
from aiohttp import web
from multidict import MultiDict

from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.pipeline import Handler, HttpHandler, RequestContext, RequestPipeline

_PREFIX = "/admin/v1"
Json = dict[str, Any]


class _Http(NamedTuple):
    """The part of an HTTP request that a handler of the administration reads."""

    method: str
    path: str
    query: MultiDict[str]


class _Call:
    """A call, in the place of a `RequestContext`: what handlers of the administration use of one."""

    may_see_details = True

    def __init__(self, http: _Http, parameters: Mapping[str, str], body: bytes) -> None:
        self.http = http
        self._parameters = parameters
        self._body = body

    def parameter(self, name: str) -> str:
        return self._parameters[name]

    async def read_body(self, max_bytes: int) -> bytes:
        return self._body[:max_bytes]


class AdminCalls:
    """The handlers of the administration by method and path."""

    def __init__(self) -> None:
        self._handlers: dict[tuple[str, str], Handler] = {}

    def __repr__(self) -> str:
        return f"<AdminCalls {len(self._handlers)} paths>"

    def as_pipeline(self) -> RequestPipeline:
        """Return what the classes of the administration wrap their handlers with."""
        return cast("RequestPipeline", self)

    def wrap(self, handler: Handler, *, needs_token: bool = True) -> HttpHandler:
        """Return the handler itself: whoever calls it here has been let in already."""
        del needs_token
        return cast("HttpHandler", handler)

    def add(self, routes: Iterable[web.RouteDef]) -> None:
        """Add handlers, which this object has wrapped."""
        for route in routes:
            self._handlers[route.method, route.path] = cast("Handler", route.handler)

    async def get(self, path: str, query: Mapping[str, str] | None = None, **parameters: str) -> Json:
        """Return what ``GET /admin/v1<path>`` answers; ``parameters`` are those of the path.

        Raises:
            HttpError: as it would be answered.
        """
        return await self.call("GET", path, query=query, parameters=parameters)

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> Json:
        """Return what a call answers; raise HttpError."""
        http = _Http(method, _PREFIX + path, MultiDict(query or {}))
        call = _Call(http, parameters or {}, orjson.dumps(body) if body is not None else b"")
        response: OperationResponse = await self._handlers[method, _PREFIX + path](cast("RequestContext", call))
        # Not orjson: an energy of 1.10 kWh is shown as it was written.
        return cast("Json", json.loads(response.body, parse_float=Decimal))
