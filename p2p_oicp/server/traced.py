"""Records a span of each request that a listener serves; a listener without spans does not use this module."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from p2p_oicp.oicp.operations import find
from p2p_oicp.server.inbound import routed_path
from p2p_oicp.server.pipeline import OICP_PREFIX
from p2p_oicp.tracing import TRACE, read_trace
from p2p_oicp.tracing.spans import SpanRecorder

HttpHandler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

# What monitoring asks again and again.
_UNRECORDED_PATHS = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})
_SERVER_ERROR = 500


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
        attributes = {"http.request.method": request.method, "p2p_oicp.listener": self._listener}
        # The requests of a connection are served by one task: the trace of the last one must not be this one's.
        token = TRACE.set(read_trace(request.headers))
        try:
            with self._spans.serving(_name_of(request.method, path), attributes) as span:
                response = await self._serve(request)
                span.set_attribute("http.response.status_code", response.status)
                if response.status >= _SERVER_ERROR:
                    span.set_attribute("error.type", str(response.status))
                return response
        finally:
            TRACE.reset(token)


def _name_of(method: str, path: str) -> str:
    """Return the operation; of other requests the first parts of their path, of which there are few."""
    position = path.find(OICP_PREFIX)
    route = find(path[position + len(OICP_PREFIX) :]) if position >= 0 else None
    if route is not None:
        return route.candidates[0].name
    return f"{method} {'/'.join(path.split('/')[:4])}"
