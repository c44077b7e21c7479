"""``/admin/v1/ocpi``: what came of a partner and what became of it, and what a person does about held CDRs."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import orjson
from aiohttp import web

from p2p_oicp.errors import ConfigurationError, PeerError
from p2p_oicp.ocpi.base import encode_json, parse_time
from p2p_oicp.ocpi_gateway.cpo import CpoGateway, CpoPartners
from p2p_oicp.ocpi_gateway.describing import describe_finding, describe_held, describe_object
from p2p_oicp.ocpi_gateway.partners import NotRegistered
from p2p_oicp.ocpi_gateway.requests import OcpiProblem
from p2p_oicp.oicp import StatusCodeValue
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.openapi import ocpi_object_endpoints as endpoints
from p2p_oicp.server.pipeline import RequestContext, RequestPipeline
from p2p_oicp.server.problems import HttpError
from p2p_oicp.storage import Store
from p2p_oicp.storage.ocpi import findings, objects
from p2p_oicp.storage.ocpi.objects import ObjectKind, ObjectState, StoredObject

_MAX_BODY_BYTES = 64 * 1024
_DEFAULT_LIMIT, _MAX_LIMIT = 200, 10_000
ResultT = TypeVar("ResultT")


class OcpiObjectApi:
    """Shows objects of partners with charging stations, and carries or drops their held CDRs."""

    def __init__(self, partners: CpoPartners | None, store: Store) -> None:
        self._partners = partners
        self._store = store

    def routes(self, pipeline: RequestPipeline) -> Sequence[web.RouteDef]:
        return [
            endpoints.PULL_FROM_OCPI_PARTNER.route(pipeline, self._pull),
            endpoints.PUSH_TO_OCPI_PARTNER.route(pipeline, self._push),
            endpoints.SHOW_OCPI_OBJECT.route(pipeline, self._show),
            endpoints.LIST_OCPI_LOSSES.route(pipeline, self._losses),
            endpoints.LIST_HELD_OCPI_CDRS.route(pipeline, self._held),
            endpoints.ASSIGN_OCPI_CDR.route(pipeline, self._assign),
            endpoints.DROP_OCPI_CDR.route(pipeline, self._drop),
        ]

    async def _pull(self, context: RequestContext) -> OperationResponse:
        partner, members = self._registered(context), await _read_members(context)
        module, since = members.get("module"), _time_of(members.get("since"))
        if module is None:
            pulled = await _attempt(partner.puller.pull_all())
        else:
            pulled = [await _attempt(partner.puller.pull(str(module), since))]
        partner.jobs.wakeup.set()
        rows = [
            {"module": each.module, "objects": each.objects, "refused": each.refused, "removed": each.removed}
            for each in pulled
        ]
        return _json({"pulled": rows})

    async def _push(self, context: RequestContext) -> OperationResponse:
        partner, members = self._registered(context), await _read_members(context)
        if members.get("module") not in {None, "tokens"}:
            raise _bad_request("module: a partner with charging stations gets tokens only")
        await partner.tokens.send_again()
        return _json({"sent": await _attempt(partner.tokens.send_outstanding())})

    async def _show(self, context: RequestContext) -> OperationResponse:
        name, object_id = self._find(context).context.name, context.parameter("id")
        try:
            kind = ObjectKind(context.parameter("kind").lower().removesuffix("s"))
        except ValueError:
            raise _not_there(f"there is no such kind; expected {', '.join(ObjectKind)}") from None
        found = await objects.find_now(self._store, name, kind, object_id)
        if not found:
            raise _not_there(f"{name} has sent no {kind} {object_id[:64]}")
        lost = await findings.list_of_object(self._store, name, kind, object_id)
        described = [describe_object(each) | {"findings": [describe_finding(loss) for loss in lost]} for each in found]
        return _json({"objects": described})

    async def _losses(self, context: RequestContext) -> OperationResponse:
        name, text = self._find(context).context.name, context.http.query.get("limit", str(_DEFAULT_LIMIT))
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MAX_LIMIT:
            raise _bad_request(f"limit: expected a number from 1 to {_MAX_LIMIT}")
        found = await findings.list_latest(self._store, name, int(text))
        return _json({"losses": [describe_finding(each) for each in found]})

    async def _held(self, context: RequestContext) -> OperationResponse:
        name = self._find(context).context.name
        held = await objects.list_in_state(self._store, name, ObjectKind.CDR, ObjectState.HELD)
        return _json({"held": [describe_held(each) for each in held]})

    async def _assign(self, context: RequestContext) -> OperationResponse:
        partner, members = self._find(context), await _read_members(context)
        session_id = members.get("session_id")
        if not isinstance(session_id, str) or not session_id.strip():
            raise _bad_request("session_id: expected the SessionID of the session that the CDR belongs to")
        assigned: StoredObject = await _attempt(partner.cdrs.assign(context.parameter("id"), session_id.strip()))
        return _json(describe_object(assigned))

    async def _drop(self, context: RequestContext) -> OperationResponse:
        partner = self._find(context)
        dropped: StoredObject = await _attempt(partner.cdrs.drop(context.parameter("id")))
        return _json(describe_object(dropped))

    def _registered(self, context: RequestContext) -> CpoGateway:
        """Return a partner that can be called."""
        partner = self._find(context).context
        try:
            partner.partners.connection(partner.name)
        except NotRegistered as error:
            raise HttpError(409, StatusCodeValue.DATA_ERROR, str(error)) from error
        return self._find(context)

    def _find(self, context: RequestContext) -> CpoGateway:
        name = context.parameter("name")
        if self._partners is None:
            raise _not_there("this node has no OCPI partners")
        try:
            return self._partners.get(name)
        except ConfigurationError as error:
            raise _not_there(str(error)) from error


async def _attempt(action: Awaitable[ResultT]) -> ResultT:
    """Return what an action leads to; its failures become refusals with a text for people."""
    try:
        return await action
    except OcpiProblem as problem:
        raise _not_there(problem.message) from problem
    except ConfigurationError as error:
        raise HttpError(409, StatusCodeValue.DATA_ERROR, str(error)) from error
    except PeerError as error:
        raise HttpError(502, StatusCodeValue.SYSTEM_ERROR, str(error)) from error


async def _read_members(context: RequestContext) -> dict[str, Any]:
    body = await context.read_body(_MAX_BODY_BYTES)
    try:
        members = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise _bad_request(f"the body is no JSON: {error}") from error
    if not isinstance(members, dict):
        raise _bad_request("expected an object")
    return members


def _time_of(value: object) -> datetime | None:
    if value is None:
        return None
    time = parse_time(value) if isinstance(value, str) else None
    if time is None:
        raise _bad_request("since: expected a time such as 2026-11-10T09:00:00Z")
    return time


def _json(value: object) -> OperationResponse:
    # Energy and money are decimals.
    return OperationResponse(encode_json(value))


def _not_there(reason: str) -> HttpError:
    return HttpError(404, StatusCodeValue.DATA_ERROR, reason)


def _bad_request(reason: str) -> HttpError:
    return HttpError(400, StatusCodeValue.DATA_ERROR, reason)
