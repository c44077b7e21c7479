"""The aiohttp applications of the two listeners: which path is served by what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import orjson
from aiohttp import web

from p2p_oicp.oicp import StatusCodeValue
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.listener import OICP_HANDLER
from p2p_oicp.server.pipeline import OICP_PREFIX, RequestContext, RequestPipeline
from p2p_oicp.server.problems import HttpError

ReadinessProbe = Callable[[], dict[str, object]]


def peer_app(pipeline: RequestPipeline, routes: Sequence[web.RouteDef]) -> web.Application:
    """Return the public application: OICP from peers, and what nodes say among themselves (DESIGN section 4)."""
    return _create_app(pipeline, routes)


def backend_app(
    pipeline: RequestPipeline,
    *,
    readiness: ReadinessProbe,
    metrics: Callable[[], Awaitable[OperationResponse]],
    admin: Sequence[web.RouteDef] = (),
) -> web.Application:
    """Return the application for our own backend."""

    async def handle_readiness(_context: RequestContext) -> OperationResponse:
        return OperationResponse(orjson.dumps(readiness()))

    async def handle_metrics(_context: RequestContext) -> OperationResponse:
        return await metrics()

    routes = [web.get("/readyz", pipeline.wrap(handle_readiness)), web.get("/metrics", pipeline.wrap(handle_metrics))]
    return _create_app(pipeline, [*routes, *admin])


def _create_app(pipeline: RequestPipeline, routes: Sequence[web.RouteDef]) -> web.Application:
    app = web.Application()
    app[OICP_HANDLER] = pipeline.serve_oicp
    app.router.add_routes(
        [
            web.route("*", OICP_PREFIX + "{path:.*}", pipeline.serve_oicp),
            web.get("/healthz", _handle_liveness),
            *routes,
            web.route("*", "/{path:.*}", pipeline.wrap(_handle_not_found)),
        ]
    )
    return app


async def _handle_liveness(_request: web.BaseRequest) -> web.Response:
    return web.json_response({"status": "ok"})


async def _handle_not_found(context: RequestContext) -> OperationResponse:
    info = f"{context.http.path} is not served here; OICP is below {OICP_PREFIX}"
    raise HttpError(404, StatusCodeValue.SERVICE_NOT_AVAILABLE, info)
