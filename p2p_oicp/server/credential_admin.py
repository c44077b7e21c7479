"""``POST /admin/v1/tokens``, ``DELETE …/{token}`` and ``POST /admin/v1/keys/rotate``: what commands change in files.

The same as ``p2p-oicp tokens`` and ``keys rotate``, for who has no shell on the machine of the node.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import structlog
from aiohttp import web

from p2p_oicp.clock import Clock, format_timestamp
from p2p_oicp.concurrency import offload
from p2p_oicp.crypto import keystore
from p2p_oicp.crypto.pins import hash_pin
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.oicp import StatusCodeValue
from p2p_oicp.peering import Peering
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.openapi import credential_endpoints
from p2p_oicp.server.pipeline import RequestContext, RequestPipeline
from p2p_oicp.server.problems import HttpError
from p2p_oicp.storage import Store, tokens
from p2p_oicp.storage.event_log import Event, EventType, emit
from p2p_oicp.storage.job_keys import ANY_ORDER
from p2p_oicp.storage.tokens import Token

log = structlog.get_logger(__name__)

_MAX_BODY_BYTES = 64 * 1024
# As `p2p-oicp keys rotate` has it: peers fetch the new key at their next request; queued messages carry the old one.
_OVERLAP_SECONDS = 7 * 86_400.0


class CredentialAdminApi:
    """Changes the token list and our signing keys.

    Args:
        store: of the token list and the events.
        peering: reads the keys again.
        keys: the folder of our signing keys.
        clock: the time.
    """

    def __init__(self, store: Store, peering: Peering, keys: Path, clock: Clock) -> None:
        self._store = store
        self._peering = peering
        self._keys = keys
        self._clock = clock

    def routes(self, pipeline: RequestPipeline) -> Sequence[web.RouteDef]:
        return [
            credential_endpoints.ADD_TOKEN.route(pipeline, self._add_token),
            credential_endpoints.REMOVE_TOKEN.route(pipeline, self._remove_token),
            credential_endpoints.ROTATE_KEY.route(pipeline, self._rotate),
        ]

    async def _add_token(self, context: RequestContext) -> OperationResponse:
        """``{"token": "04A1B2C3D4E5F6"}``, of an EvcoID with ``"pin"``; one that is listed already is replaced."""
        payload = await _read_texts(context)
        text, pin = payload.get("token", "").strip(), payload.get("pin", "")
        key = _key_of(text, has_pin=bool(pin))
        token = Token(key, text, await offload(hash_pin, pin) if pin else None)
        await self._store.write(partial(tokens.upsert_token, token=token, now=self._clock.time()), about=ANY_ORDER)
        return OperationResponse(orjson.dumps({"added": 1}))

    async def _remove_token(self, context: RequestContext) -> OperationResponse:
        key = _key_of(context.parameter("token"), has_pin=False)
        if not await self._store.write(partial(tokens.delete_token, key=key), about=ANY_ORDER):
            raise HttpError(404, StatusCodeValue.DATA_ERROR, "this token is not on the list")
        return OperationResponse(orjson.dumps({"revoked": 1}))

    async def _rotate(self, _context: RequestContext) -> OperationResponse:
        now = self._clock.time()
        try:
            keys = await offload(
                partial(keystore.rotate, self._keys, now=now, activation_delay=0.0, overlap=_OVERLAP_SECONDS)
            )
        except ConfigurationError as error:
            raise HttpError(409, StatusCodeValue.DATA_ERROR, str(error)) from error
        new_key = keys.entries[-1]
        event = Event(EventType.KEY, "rotated", now, new_key.public.key_id, text=f"active from {format_timestamp(now)}")
        await self._store.write(lambda tx: emit(tx, event), about=ANY_ORDER)
        if reasons := await self._peering.reload():
            raise HttpError(409, StatusCodeValue.DATA_ERROR, f"the key is made, and not used yet: {'; '.join(reasons)}")
        log.info("keys.rotated", key_id=new_key.public.key_id)
        return OperationResponse(orjson.dumps({"key_id": new_key.public.key_id}))


def _key_of(text: str, *, has_pin: bool) -> str:
    try:
        return tokens.key_of(text, has_pin=has_pin)
    except ConfigurationError as error:
        raise HttpError(400, StatusCodeValue.DATA_ERROR, str(error)) from error


async def _read_texts(context: RequestContext) -> dict[str, str]:
    try:
        payload: Any = orjson.loads(await context.read_body(_MAX_BODY_BYTES))
    except orjson.JSONDecodeError as error:
        raise HttpError(400, StatusCodeValue.DATA_ERROR, f"expected a JSON object: {error}") from error
    if not isinstance(payload, dict) or not all(isinstance(each, str) for each in payload.values()):
        raise HttpError(400, StatusCodeValue.DATA_ERROR, "expected a JSON object of texts")
    return payload
