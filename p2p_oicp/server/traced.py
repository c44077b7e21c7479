"""Records a span of each request that a listener serves; a listener without spans does not use this module."""

from __future__ import annotations

from aiohttp import web

from p2p_oicp.oicp.operations import find
from p2p_oicp.server.inbound import routed_path
from p2p_oicp.server.pipeline import OICP_PREFIX, HttpHandler
from p2p_oicp.tracing import TRACE, read_trace
from p2p_oicp.tracing.spans import SpanRecorder

# What monitoring asks again and again.
_UNRECORDED_PATHS = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})
_SERVER_ERROR, _NOT_FOUND = 500, 404
# What else strangers send must not become names, of which there would be any number.
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_PREFIXES = ("/p2p/v1/", "/admin/v1/", "/hub/v1/", "/.well-known/")
_OTHER_METHOD, _OTHER = "_OTHER", "other"


class TracedRouter:
    """The request handler of a listener, with a span around each request.

    Args:
        serve: the handler.
        spans: where the spans go.
        listener: its name, "peer" or "backend".
    """

    def __init__(self, serve: HttpHandler, spans: SpanRecorder, listener: str) -> None:
        self._serve = serve
        self._spans = spans
        self._listener = listener

    def __repr__(self) -> str:
        return f"<TracedRouter {self._listener}>"

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        path = routed_path(request.raw_path)
        if path in _UNRECORDED_PATHS:
            return await self._serve(request)
        method = request.method if request.method in _METHODS else _OTHER_METHOD
        attributes = {"http.request.method": method, "p2p_oicp.listener": self._listener}
        operation = _operation_of(path)
        # The requests of a connection are served by one task: the trace of the last one must not be this one's.
        token = TRACE.set(read_trace(request.headers))
        try:
            with self._spans.serving(operation or _name_of(method, path), attributes) as span:
                response = await self._serve(request)
                if not operation and response.status == _NOT_FOUND:
                    span.update_name(_OTHER)
                span.set_attribute("http.response.status_code", response.status)
                if response.status >= _SERVER_ERROR:
                    span.set_attribute("error.type", str(response.status))
                return response
        finally:
            TRACE.reset(token)


def _operation_of(path: str) -> str:
    """Return the name of the operation; empty for what is none of OICP."""
    position = path.find(OICP_PREFIX)
    route = find(path[position + len(OICP_PREFIX) :]) if position >= 0 else None
    return route.candidates[0].name if route is not None else ""


def _name_of(method: str, path: str) -> str:
    """Return the method and the first parts of a path that may be ours."""
    if method == _OTHER_METHOD or not path.startswith(_PREFIXES):
        return _OTHER
    return f"{method} {'/'.join(path.split('/')[:4])}"
