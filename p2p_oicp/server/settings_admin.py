"""``GET /admin/v1/settings`` and ``GET /admin/v1/keys``: how the node is set up, and whose keys it knows.

``settings?table=…&source=file|environment|default`` has each setting with its source; secrets are masked.
``keys?owner=NAME`` has our own signing keys, and those of the peers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import orjson
from aiohttp import web

from p2p_oicp.clock import Clock, format_timestamp
from p2p_oicp.config import Settings
from p2p_oicp.config.sources import describe_settings
from p2p_oicp.oicp import StatusCodeValue
from p2p_oicp.peering import Peering
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.openapi import credential_endpoints, status_endpoints
from p2p_oicp.server.pipeline import RequestContext, RequestPipeline
from p2p_oicp.server.problems import HttpError

_SOURCES = ("file", "environment", "program", "default")


class SettingsAdminApi:
    """Shows settings and keys."""

    def __init__(self, settings: Settings, peering: Peering, clock: Clock) -> None:
        self._settings = settings
        self._peering = peering
        self._clock = clock

    def routes(self, pipeline: RequestPipeline) -> Sequence[web.RouteDef]:
        return [
            status_endpoints.SETTINGS.route(pipeline, self._list_settings),
            credential_endpoints.LIST_KEYS.route(pipeline, self._list_keys),
        ]

    async def _list_settings(self, context: RequestContext) -> OperationResponse:
        table, source = context.http.query.get("table"), context.http.query.get("source")
        if source is not None and source not in _SOURCES:
            raise HttpError(400, StatusCodeValue.DATA_ERROR, f"source: expected {', '.join(_SOURCES)}")
        shown = [
            each
            for each in describe_settings(self._settings, self._settings.sources)
            if table in {None, each["table"]} and source in {None, each["source"]}
        ]
        return OperationResponse(orjson.dumps({"settings": shown}))

    async def _list_keys(self, context: RequestContext) -> OperationResponse:
        owner = context.http.query.get("owner")
        shown = [each for each in (*self._own_keys(), *self._keys_of_peers()) if owner in {None, each["owner"]}]
        return OperationResponse(orjson.dumps({"keys": shown}))

    def _own_keys(self) -> Iterator[dict[str, object]]:
        identity, now = self._peering.identity, self._clock.time()
        signing = identity.signer.keys.signing_key(now).key_id
        for entry in identity.signer.keys.entries:
            yield {
                **_key(entry.public.key_id, entry.valid_from, entry.valid_until, now),
                "owner": identity.local_peer.name,
                "is_own": True,
                "signs": entry.public.key_id == signing,
            }

    def _keys_of_peers(self) -> Iterator[dict[str, object]]:
        now = self._clock.time()
        for peer in self._peering.registry.all():
            for known in () if peer.is_self else self._peering.keyring.keys_of(peer.name):
                yield {
                    **_key(known.key.key_id, known.valid_from, known.valid_until, now),
                    "owner": peer.name,
                    "is_own": False,
                    "signs": False,
                }


def _key(key_id: str, valid_from: float, valid_until: float | None, now: float) -> dict[str, object]:
    return {
        "key_id": key_id,
        "valid_from": format_timestamp(valid_from) if valid_from else None,
        "valid_until": None if valid_until is None else format_timestamp(valid_until),
        "is_valid": valid_from <= now and (valid_until is None or now <= valid_until),
    }
