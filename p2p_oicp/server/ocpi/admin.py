"""``/admin/v1/ocpi``: partners are listed, invited, registered with, refreshed and unregistered.

On the backend listener, with its token. A token of a partner is shown once, where it is made, and never again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

import orjson
from aiohttp import web

from p2p_oicp.clock import format_timestamp
from p2p_oicp.errors import PeerError
from p2p_oicp.ocpi.registration import RegistrationProblem
from p2p_oicp.ocpi_gateway.gateway import OcpiGateway
from p2p_oicp.ocpi_gateway.listing import describe_all
from p2p_oicp.ocpi_gateway.partners import NotRegistered
from p2p_oicp.ocpi_gateway.registration import Registered, RegistrationRefused
from p2p_oicp.oicp import StatusCodeValue
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.openapi import ocpi_endpoints
from p2p_oicp.server.pipeline import RequestContext, RequestPipeline
from p2p_oicp.server.problems import HttpError
from p2p_oicp.storage import Store

_MAX_BODY_BYTES = 64 * 1024
_MAX_TTL_SECONDS = 366 * 86_400
ResultT = TypeVar("ResultT")


class OcpiAdminApi:
    """Shows and changes the registrations of partners; without a gateway there are none."""

    def __init__(self, gateway: OcpiGateway | None, store: Store) -> None:
        self._gateway = gateway
        self._store = store

    def routes(self, pipeline: RequestPipeline) -> Sequence[web.RouteDef]:
        return [
            ocpi_endpoints.LIST_OCPI_PARTNERS.route(pipeline, self._list),
            ocpi_endpoints.INVITE_OCPI_PARTNER.route(pipeline, self._invite),
            ocpi_endpoints.REGISTER_WITH_OCPI_PARTNER.route(pipeline, self._register),
            ocpi_endpoints.REFRESH_OCPI_PARTNER.route(pipeline, self._refresh),
            ocpi_endpoints.UNREGISTER_OCPI_PARTNER.route(pipeline, self._unregister),
        ]

    async def _list(self, _context: RequestContext) -> OperationResponse:
        if self._gateway is None:
            return _json({"partners": []})
        return _json({"partners": await describe_all(self._gateway.partners, self._store)})

    async def _invite(self, context: RequestContext) -> OperationResponse:
        gateway, name = self._find(context)
        ttl = (await _read_members(context)).get("ttl")
        if ttl is not None and (isinstance(ttl, bool) or not isinstance(ttl, int | float)):
            raise _bad_request("ttl: expected a number of seconds")
        if ttl is not None and not 0 < ttl <= _MAX_TTL_SECONDS:
            raise _bad_request("ttl: expected seconds, more than 0 and at most those of a year")
        invitation = await _attempt(gateway.registrar.invite(name, ttl))
        shown = {"token": invitation.token, "versions_url": invitation.versions_url}
        return _json({**shown, "expires": format_timestamp(invitation.ends_at)})

    async def _register(self, context: RequestContext) -> OperationResponse:
        gateway, name = self._find(context)
        members = await _read_members(context)
        token, url, own_token = (_text(members, key) for key in ("token", "url", "own_token"))
        if token is None:
            raise _bad_request("token: expected the one that the partner has given us")
        if members.get("provisioned") is True:
            registered, shown = await _attempt(gateway.registrar.adopt(name, token, own_token, url))
            return _json({**_to_json(registered), **({"token": shown} if own_token is None else {})})
        return _json(_to_json(await _attempt(gateway.registrar.register(name, token, url))))

    async def _refresh(self, context: RequestContext) -> OperationResponse:
        gateway, name = self._find(context)
        return _json(_to_json(await _attempt(gateway.registrar.refresh(name))))

    async def _unregister(self, context: RequestContext) -> OperationResponse:
        gateway, name = self._find(context)
        is_forgotten = context.http.query.get("forget", "false") == "true"
        error = await _attempt(gateway.registrar.unregister(name, forget=is_forgotten))
        return _json({"unregistered": name, **({} if error is None else {"error": error})})

    def _find(self, context: RequestContext) -> tuple[OcpiGateway, str]:
        name = context.parameter("name")
        if self._gateway is None or self._gateway.partners.find(name) is None:
            known = ", ".join(each.name for each in self._gateway.partners.all) if self._gateway is not None else ""
            info = f"{name[:64]}: no [[ocpi.partners]] has this name; there is {known or 'none'}"
            raise HttpError(404, StatusCodeValue.DATA_ERROR, info)
        return self._gateway, name


async def _attempt(action: Awaitable[ResultT]) -> ResultT:
    """Return what an action leads to; its failures become refusals with a text for people."""
    try:
        return await action
    except (RegistrationRefused, NotRegistered) as error:
        raise HttpError(409, StatusCodeValue.DATA_ERROR, str(error)) from error
    except (RegistrationProblem, PeerError) as error:
        raise HttpError(502, StatusCodeValue.SYSTEM_ERROR, str(error)) from error


def _to_json(registered: Registered) -> dict[str, Any]:
    return {"version": registered.version, "missing": list(registered.missing)}


def _json(value: object) -> OperationResponse:
    return OperationResponse(orjson.dumps(value))


async def _read_members(context: RequestContext) -> dict[str, Any]:
    body = await context.read_body(_MAX_BODY_BYTES)
    try:
        members = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise _bad_request(f"the body is no JSON: {error}") from error
    if not isinstance(members, dict):
        raise _bad_request("expected an object")
    return members


def _text(members: dict[str, Any], name: str) -> str | None:
    value = members.get(name)
    if value is not None and (not isinstance(value, str) or not value.strip() or not value.isascii()):
        raise _bad_request(f"{name}: expected a text")
    return None if value is None else value.strip()


def _bad_request(reason: str) -> HttpError:
    return HttpError(400, StatusCodeValue.DATA_ERROR, reason)
