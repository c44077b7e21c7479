"""``/admin/v1/webhooks``: who is sent events; adding, removing and trying receivers while the node runs."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from aiohttp import web
from pydantic import ValidationError

from p2p_oicp.config.webhooks import WebhookSettings
from p2p_oicp.delivery.webhook_pool import UnknownWebhook, Webhook, WebhookPool
from p2p_oicp.errors import ConfigurationError, PeerError
from p2p_oicp.oicp import StatusCodeValue
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.openapi import webhook_endpoints
from p2p_oicp.server.pipeline import RequestContext, RequestPipeline
from p2p_oicp.server.problems import HttpError

_MAX_BODY_BYTES = 64 * 1024
# A file is what only the operator of the machine may name.
_MEMBERS_OF_FILES = frozenset({"token_file"})
_SHOWN = ("name", "url", "types", "peers", "parties", "evses", "batch", "signature", "timeout")


class WebhookAdminApi:
    """Lists, adds, removes and tries receivers of events."""

    def __init__(self, webhooks: WebhookPool) -> None:
        self._webhooks = webhooks

    def routes(self, pipeline: RequestPipeline) -> Sequence[web.RouteDef]:
        return [
            webhook_endpoints.LIST_WEBHOOKS.route(pipeline, self._list),
            webhook_endpoints.ADD_WEBHOOK.route(pipeline, self._add),
            webhook_endpoints.REMOVE_WEBHOOK.route(pipeline, self._remove),
            webhook_endpoints.TEST_WEBHOOK.route(pipeline, self._test),
        ]

    async def _list(self, _context: RequestContext) -> OperationResponse:
        return OperationResponse(orjson.dumps({"webhooks": [await _to_json(each) for each in self._webhooks.all]}))

    async def _add(self, context: RequestContext) -> OperationResponse:
        settings = _parse(await context.read_body(_MAX_BODY_BYTES))
        try:
            await self._webhooks.add(settings)
        except ConfigurationError as error:
            raise HttpError(400, StatusCodeValue.DATA_ERROR, str(error)) from error
        return OperationResponse(orjson.dumps({"added": settings.name}))

    async def _remove(self, context: RequestContext) -> OperationResponse:
        name = context.parameter("name")
        try:
            await self._webhooks.remove(name)
        except UnknownWebhook as error:
            raise HttpError(404, StatusCodeValue.DATA_ERROR, str(error)) from error
        return OperationResponse(orjson.dumps({"removed": name}))

    async def _test(self, context: RequestContext) -> OperationResponse:
        try:
            event_id = await self._webhooks.test(context.parameter("name"))
        except UnknownWebhook as error:
            raise HttpError(404, StatusCodeValue.DATA_ERROR, str(error)) from error
        except PeerError as error:
            return OperationResponse(orjson.dumps({"taken": False, "error": error.reason}))
        return OperationResponse(orjson.dumps({"taken": True, "event": event_id}))


def _parse(body: bytes) -> WebhookSettings:
    try:
        members = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise HttpError(400, StatusCodeValue.DATA_ERROR, f"the body is no JSON: {error}") from error
    if not isinstance(members, dict) or _MEMBERS_OF_FILES & members.keys():
        info = "expected an object with name and url, and a token itself in place of token_file"
        raise HttpError(400, StatusCodeValue.DATA_ERROR, info)
    try:
        return WebhookSettings.model_validate(members)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise HttpError(400, StatusCodeValue.DATA_ERROR, f"{where or 'the webhook'}: {first['msg']}") from error


async def _to_json(webhook: Webhook) -> dict[str, object]:
    settings, sender = webhook.settings, webhook.sender
    return {
        **{name: getattr(settings, name) for name in _SHOWN},
        "has_token": settings.token is not None,
        "source": "file" if webhook.is_configured else "added",
        "position": sender.position,
        "behind": await sender.behind(),
        **({} if sender.last_error is None else {"last_error": sender.last_error.reason}),
    }
