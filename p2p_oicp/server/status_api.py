"""``/admin/v1/status``, ``/admin/v1/peers`` and ``…/retry``: how the node, its peers and its backends are doing.

With ``NodeStatusReporter`` (`status`), which reads it, and ``PeerLiveness`` (`delivery.wakeup`), which has workers try
again. A backend has its destination (``backend:NAME``) in place of a peer's name.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from aiohttp import web

from p2p_oicp.config.webhooks import WEBHOOK_PREFIX
from p2p_oicp.delivery import PeerLiveness
from p2p_oicp.oicp import StatusCodeValue
from p2p_oicp.peering import Peering
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.openapi import peer_endpoints, status_endpoints
from p2p_oicp.server.pipeline import RequestContext, RequestPipeline
from p2p_oicp.server.problems import HttpError
from p2p_oicp.server.status import NodeStatusReporter
from p2p_oicp.storage.outbox import OWN_PREFIXES

_OUTBOX = "outbox"
# Of what is no peer.
_OWN_PREFIXES = (*OWN_PREFIXES, WEBHOOK_PREFIX)


class StatusAdminApi:
    """The status of the node, of its peers and of its backends; trying again now."""

    def __init__(self, reporter: NodeStatusReporter, peering: Peering, liveness: PeerLiveness) -> None:
        self._reporter = reporter
        self._peering = peering
        self._liveness = liveness

    def routes(self, pipeline: RequestPipeline) -> Sequence[web.RouteDef]:
        return [
            status_endpoints.STATUS.route(pipeline, self._status),
            peer_endpoints.LIST_PEERS.route(pipeline, self._list),
            peer_endpoints.SHOW_PEER.route(pipeline, self._show),
            peer_endpoints.RETRY_PEER.route(pipeline, self._retry),
        ]

    async def _status(self, _context: RequestContext) -> OperationResponse:
        return OperationResponse(orjson.dumps(await self._reporter.report()))

    async def _list(self, _context: RequestContext) -> OperationResponse:
        """All peers with their entries, trust and channels; the candidates; and the backends."""
        report, health = await self._peering.status_reporter.report(), await self._reporter.peers()
        peers = [{**_summary(health.get(str(entry["name"]), {})), **entry} for entry in report.peers]
        backends = [each for name, each in health.items() if name.startswith(_OWN_PREFIXES)]
        content = {"peers": peers, "candidates": report.candidates, "backends": backends}
        return OperationResponse(orjson.dumps(content))

    async def _show(self, context: RequestContext) -> OperationResponse:
        name, health = context.parameter("name"), await self._reporter.peers()
        if name not in health:
            raise _unknown_peer(name)
        entries = {str(entry["name"]): entry for entry in (await self._peering.status_reporter.report()).peers}
        return OperationResponse(orjson.dumps({**_summary(health[name]), **entries.get(name, {})}))

    async def _retry(self, context: RequestContext) -> OperationResponse:
        """``?channel=outbox`` (a dataset, hello, pull); without it, all channels."""
        name, channel = context.parameter("name"), context.http.query.get("channel")
        peer = self._peering.registry.by_name(name)
        if peer is None and not name.startswith(_OWN_PREFIXES):
            raise _unknown_peer(name)
        retried = await self._liveness.retry(peer.id if peer else name, "" if channel == _OUTBOX else channel)
        if not retried:
            what = f"no channel {channel!r}" if channel else "no channel that something is sent by"
            raise HttpError(404, StatusCodeValue.DATA_ERROR, f"{name} has {what}")
        return OperationResponse(orjson.dumps({"retried": [each or _OUTBOX for each in retried]}))


def _summary(health: dict[str, object]) -> dict[str, object]:
    """Return the health of a peer, with what a list of peers shows of it."""
    channels = health.get("channels")
    failing = [
        trouble
        for channel in (channels if isinstance(channels, list) else [])
        for trouble in channel["troubles"]
        if trouble["severity"] == "error" and channel["channel"] != "inbound"
    ]
    worst = max(failing, key=lambda trouble: trouble["tries"], default=None)
    return {
        **health,
        "failures": worst["tries"] if worst else 0,
        "last_error": worst["error"] if worst else None,
        "problem": worst["text"] if worst else None,
    }


def _unknown_peer(name: str) -> HttpError:
    return HttpError(404, StatusCodeValue.DATA_ERROR, f"there is no peer {name}; p2p-oicp peers list shows them")
