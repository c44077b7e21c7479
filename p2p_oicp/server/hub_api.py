"""``/hub/v1``: the partners, the script and the recorded exchanges of a hub for tests.

``GET`` and ``POST /hub/v1/partners``, ``GET``, ``PUT`` and ``DELETE /hub/v1/script``, ``GET`` and
``DELETE /hub/v1/exchanges``. Exchanges are filtered by ``partner``, ``operation``, ``direction`` (``in``, ``out``),
``session``, ``evse_id``, ``uid`` and ``code``; ``wait=SECONDS`` waits until there is one. The answer has the oldest
ones, and ``newest``: the number to go on ``after``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import orjson
from aiohttp import web

from p2p_oicp.client.recording import ExchangeLog
from p2p_oicp.config.hub import PartnerSettings, Script, parse_partner, parse_script
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.oicp import EvseID, OperatorID, StatusCodeValue
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.openapi import hub_endpoints
from p2p_oicp.server.pipeline import RequestContext, RequestPipeline
from p2p_oicp.server.problems import HttpError, parse_whole_number
from p2p_oicp.storage.exchanges import Exchange, ExchangeFilter, encode

_MAX_BODY_BYTES = 1024 * 1024
# A ring has fewer: they are selected here.
_MAX_READ = 1_000_000
_MAX_SHOWN = 1000
_MAX_WAIT_SECONDS = 60
_LOOK_SECONDS = 0.05
_PARAMETERS = ("partner", "operation", "direction", "session", "evse_id", "uid", "code", "after", "limit", "wait")


class ClearingHouse(Protocol):
    """A hub: what can be read and changed while it runs."""

    def partners(self) -> list[dict[str, Any]]:
        """Return the partners."""

    def rules(self) -> list[dict[str, Any]]:
        """Return the rules of the script."""

    def put_partner(self, entry: PartnerSettings) -> PartnerSettings:
        """Add or change a partner; raise ConfigurationError."""

    def replace_script(self, script: Script) -> None:
        """Answer by another script."""


class _Selection(NamedTuple):
    partner: str = ""
    operation: str = ""
    direction: str = ""
    session: str = ""
    evse_id: str = ""
    uid: str = ""
    code: str = ""

    def matches(self, exchange: Exchange) -> bool:
        """Whether an exchange is one of those that are asked for."""
        return (
            self._is_of_partner(exchange)
            and self.operation in {"", exchange.operation}
            and self.direction in {"", exchange.direction}
            and (not self.session or self.session.lower() == exchange.session_id.lower())
            and (not self.evse_id or EvseID(self.evse_id).key == EvseID(exchange.evse_id).key)
            and self.code in {"", exchange.code}
            and self._has_uid(exchange)
        )

    def _is_of_partner(self, exchange: Exchange) -> bool:
        # Most partners are named after a party; the keys of operators and providers are made alike.
        key = OperatorID(self.partner).key
        return not key or key in {OperatorID(exchange.backend).key, OperatorID(exchange.party).key}

    def _has_uid(self, exchange: Exchange) -> bool:
        if not self.uid:
            return True
        request = b"" if exchange.request is None else bytes(exchange.request.json)
        return f'"{self.uid.upper()}"'.encode() in request.upper()


class HubApi:
    """Shows and changes what a hub does."""

    def __init__(self, clearing_house: ClearingHouse, exchanges: ExchangeLog | None) -> None:
        self._clearing_house = clearing_house
        self._exchanges = exchanges

    def routes(self, pipeline: RequestPipeline) -> Sequence[web.RouteDef]:
        return [
            hub_endpoints.LIST_PARTNERS.route(pipeline, self._list_partners),
            hub_endpoints.PUT_PARTNER.route(pipeline, self._put_partner),
            hub_endpoints.SHOW_SCRIPT.route(pipeline, self._show_script),
            hub_endpoints.REPLACE_SCRIPT.route(pipeline, self._replace_script),
            hub_endpoints.DELETE_SCRIPT.route(pipeline, self._delete_script),
            hub_endpoints.LIST_EXCHANGES.route(pipeline, self._list_exchanges),
            hub_endpoints.DELETE_EXCHANGES.route(pipeline, self._delete_exchanges),
        ]

    async def _list_partners(self, _context: RequestContext) -> OperationResponse:
        return _json({"partners": self._clearing_house.partners()})

    async def _put_partner(self, context: RequestContext) -> OperationResponse:
        members = await _read_json(context)
        try:
            entry = self._clearing_house.put_partner(parse_partner(members))
        except ConfigurationError as error:
            raise _bad_request(error) from error
        (shown,) = [each for each in self._clearing_house.partners() if each["name"] == entry.name]
        return _json({"partner": shown})

    async def _show_script(self, _context: RequestContext) -> OperationResponse:
        return _json({"rules": self._clearing_house.rules()})

    async def _replace_script(self, context: RequestContext) -> OperationResponse:
        members = await _read_json(context)
        try:
            self._clearing_house.replace_script(parse_script(members))
        except ConfigurationError as error:
            raise _bad_request(error) from error
        return _json({"rules": self._clearing_house.rules()})

    async def _delete_script(self, _context: RequestContext) -> OperationResponse:
        self._clearing_house.replace_script(Script())
        return _json({"rules": []})

    async def _list_exchanges(self, context: RequestContext) -> OperationResponse:
        query = context.http.query
        for name in query:
            if name not in _PARAMETERS:
                raise _bad_request(f"{name[:40]}: unknown parameter; expected one of {', '.join(_PARAMETERS)}")
        if (operation := query.get("operation", "")) and operation not in OPERATION_BY_NAME:
            raise _bad_request(f"operation={operation[:40]}: there is none of this name; see p2p-oicp endpoints")
        selection = _Selection(**{name: query[name] for name in _Selection._fields if name in query})
        after = parse_whole_number(query.get("after", "0"))
        limit = min(parse_whole_number(query.get("limit", str(_MAX_SHOWN))), _MAX_SHOWN)
        wait = min(parse_whole_number(query.get("wait", "0")), _MAX_WAIT_SECONDS)
        newest, matches = await self._read(selection, after)
        try:
            async with asyncio.timeout(wait):
                while not matches and wait:
                    await asyncio.sleep(_LOOK_SECONDS)
                    newest, matches = await self._read(selection, max(after, newest))
        except TimeoutError:
            pass  # there is none
        shown = matches[:limit]
        if len(shown) < len(matches):
            newest = shown[-1].number if shown else after
        return OperationResponse(encode({"exchanges": shown, "newest": newest}))

    async def _read(self, selection: _Selection, after: int) -> tuple[int, list[Exchange]]:
        """Return the number of the newest one, and those after a number that match."""
        if self._exchanges is None:
            return 0, []
        page = await self._exchanges.read(ExchangeFilter(after, _MAX_READ))
        return page.newest, [each for each in page.exchanges if selection.matches(each)]

    async def _delete_exchanges(self, _context: RequestContext) -> OperationResponse:
        if self._exchanges is not None:
            await self._exchanges.clear()
        return _json({"exchanges": []})


def _json(value: object) -> OperationResponse:
    return OperationResponse(orjson.dumps(value))


async def _read_json(context: RequestContext) -> object:
    try:
        return orjson.loads(await context.read_body(_MAX_BODY_BYTES))
    except orjson.JSONDecodeError as error:
        raise _bad_request(f"the body is no JSON: {error}") from error


def _bad_request(reason: object) -> HttpError:
    return HttpError(400, StatusCodeValue.DATA_ERROR, str(reason))
