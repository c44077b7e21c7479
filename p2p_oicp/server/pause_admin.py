"""Pausing deliveries to a peer over HTTP: ``POST /admin/v1/peers/{name}/pause`` and ``…/resume``."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from aiohttp import web

from p2p_oicp.clock import format_timestamp
from p2p_oicp.config.webhooks import WEBHOOK_PREFIX
from p2p_oicp.delivery.pauses import DeliveryPauses
from p2p_oicp.oicp import StatusCodeValue
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.openapi import peer_endpoints
from p2p_oicp.server.pipeline import RequestContext, RequestPipeline
from p2p_oicp.server.problems import HttpError
from p2p_oicp.storage.outbox import OWN_PREFIXES

_MAX_BODY_BYTES = 64 * 1024
_MAX_REASON_LENGTH = 300


class PauseAdminApi:
    """Pauses and resumes deliveries, for the command line and the dashboard.

    Args:
        pauses: does it.
        registry: the peers.
    """

    def __init__(self, pauses: DeliveryPauses, registry: PeerRegistry) -> None:
        self._pauses = pauses
        self._registry = registry

    def routes(self, pipeline: RequestPipeline) -> Sequence[web.RouteDef]:
        return [
            peer_endpoints.PAUSE_PEER.route(pipeline, self._pause),
            peer_endpoints.RESUME_PEER.route(pipeline, self._resume),
        ]

    async def _pause(self, context: RequestContext) -> OperationResponse:
        peer, reason = self._find(context.parameter("name")), await _read_reason(context)
        pause = await self._pauses.pause(peer, reason)
        content = {"paused": peer.name, "since": format_timestamp(pause.since), "reason": pause.reason}
        return OperationResponse(orjson.dumps(content))

    async def _resume(self, context: RequestContext) -> OperationResponse:
        peer, reason = self._find(context.parameter("name")), await _read_reason(context)
        was_paused = await self._pauses.resume(peer, reason)
        return OperationResponse(orjson.dumps({"resumed": peer.name, "was_paused": was_paused}))

    def _find(self, name: str) -> Peer:
        peer = self._registry.by_name(name)
        if peer is not None and not peer.is_self:
            return peer
        info = f"there is no peer {name}; p2p-oicp peers list shows them"
        if name.startswith((*OWN_PREFIXES, WEBHOOK_PREFIX)):
            info = f"{name} is a system of our own: only deliveries to peers are paused; what it refuses waits anyway"
        raise HttpError(404, StatusCodeValue.DATA_ERROR, info)


async def _read_reason(context: RequestContext) -> str:
    """Return the reason of a body, which may be absent; raise HttpError 400."""
    try:
        options = orjson.loads(await context.read_body(_MAX_BODY_BYTES) or b"{}")
    except orjson.JSONDecodeError:
        options = None
    reason = options.get("reason", "") if isinstance(options, dict) else None
    if not isinstance(reason, str):
        raise HttpError(400, StatusCodeValue.DATA_ERROR, 'expected {"reason": "…"}, or nothing')
    return reason.strip()[:_MAX_REASON_LENGTH]
