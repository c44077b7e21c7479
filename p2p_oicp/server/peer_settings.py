"""``/admin/v1/peers/{name}/publish`` and ``…/pull``: what a paired peer may see, and how it is pulled.

A POST sets, a DELETE clears; both take effect at once, as a change of the peers file does. The keys are those of the
peers file (``peers.example.toml``); ``GET /admin/v1/peers/{name}`` shows them. A peer of that file is changed there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson
import structlog
from aiohttp import web

from p2p_oicp.config.peers_file import peer_from_entry, peer_to_entry
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.oicp import StatusCodeValue
from p2p_oicp.peering.directory import PeerDirectory
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.openapi import peer_endpoints
from p2p_oicp.server.pipeline import RequestContext, RequestPipeline
from p2p_oicp.server.problems import HttpError

log = structlog.get_logger(__name__)

_MAX_BODY_BYTES = 64 * 1024
_PUBLISH, _PULL, _PULL_INTERVAL = "publish", "pull", "pull_interval"


class PeerSettingsApi:
    """Changes the settings of paired peers."""

    def __init__(self, directory: PeerDirectory) -> None:
        self._directory = directory

    def routes(self, pipeline: RequestPipeline) -> Sequence[web.RouteDef]:
        return [
            peer_endpoints.SET_PUBLISH.route(pipeline, self._set_publish),
            peer_endpoints.CLEAR_PUBLISH.route(pipeline, self._clear_publish),
            peer_endpoints.SET_PULL.route(pipeline, self._set_pull),
            peer_endpoints.CLEAR_PULL.route(pipeline, self._clear_pull),
        ]

    async def _set_publish(self, context: RequestContext) -> OperationResponse:
        """``{"include": {"operators": ["DE*ABC"]}, "exclude": {…}}``."""
        publish = await _read_object(context)
        return await self._change(context, lambda entry: {**entry, _PUBLISH: publish}, _PUBLISH)

    async def _clear_publish(self, context: RequestContext) -> OperationResponse:
        return await self._change(context, lambda entry: {**entry, _PUBLISH: None}, _PUBLISH)

    async def _set_pull(self, context: RequestContext) -> OperationResponse:
        """``{"pull_interval": 300}``, or ``{"EvseData": {"interval": 3600, "countries": ["DEU"]}}``, or both."""
        pull = await _read_object(context)

        def change(entry: dict[str, Any]) -> dict[str, Any]:
            datasets = {name: settings for name, settings in pull.items() if name != _PULL_INTERVAL}
            interval = pull.get(_PULL_INTERVAL, entry[_PULL_INTERVAL])
            return {**entry, _PULL: {**entry[_PULL], **datasets}, _PULL_INTERVAL: interval}

        return await self._change(context, change, _PULL)

    async def _clear_pull(self, context: RequestContext) -> OperationResponse:
        """``?dataset=EvseData``, or all: then the peer is not pulled any more."""
        dataset = context.http.query.get("dataset")

        def change(entry: dict[str, Any]) -> dict[str, Any]:
            if dataset is None:
                return {**entry, _PULL: {}, _PULL_INTERVAL: None}
            return {**entry, _PULL: {name: each for name, each in entry[_PULL].items() if name != dataset}}

        return await self._change(context, change, _PULL)

    async def _change(
        self, context: RequestContext, change: Callable[[dict[str, Any]], dict[str, Any]], what: str
    ) -> OperationResponse:
        name = context.parameter("name")

        def changed(peer: Peer) -> Peer:
            # As it stands in the peers file: the same checks, with the same words.
            entry = peer_from_entry(change(peer_to_entry(peer)), peer.source)
            return peer.with_settings_of(entry)

        try:
            peer = await self._directory.change_settings(name, changed, what)
        except ConfigurationError as error:
            raise HttpError(409, StatusCodeValue.DATA_ERROR, str(error)) from error
        log.info("peer.settings_changed", peer=name, what=what)
        entry = peer_to_entry(peer)
        return OperationResponse(orjson.dumps({key: entry[key] for key in ("name", _PUBLISH, _PULL, _PULL_INTERVAL)}))


async def _read_object(context: RequestContext) -> dict[str, Any]:
    try:
        payload = orjson.loads(await context.read_body(_MAX_BODY_BYTES))
    except orjson.JSONDecodeError as error:
        raise HttpError(400, StatusCodeValue.DATA_ERROR, f"expected a JSON object: {error}") from error
    if not isinstance(payload, dict):
        raise HttpError(400, StatusCodeValue.DATA_ERROR, "expected a JSON object")
    return payload
