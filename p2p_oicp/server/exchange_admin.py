"""``GET /admin/v1/exchanges``: what was said to whom, as far as `[exchanges]` of the settings lets it be recorded.

``?peer=NAME&operation=…&session=…&limit=…`` has the newest; with ``after=NUMBER``, those with higher numbers, the
oldest first. The answer has the exchanges, the number to go on ``after``, and the numbers of the oldest and the newest
that are kept: where the newest is lower than before, the node has begun to count again.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from p2p_oicp.client.recording import ExchangeLog
from p2p_oicp.oicp import StatusCodeValue
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.openapi import log_endpoints
from p2p_oicp.server.pipeline import RequestContext, RequestPipeline
from p2p_oicp.server.problems import HttpError, parse_whole_number
from p2p_oicp.storage.exchanges import ExchangeFilter, ExchangePage, encode, encode_page

_DEFAULT_LIMIT, _MAX_LIMIT = 100, 1000


class ExchangeAdminApi:
    """Shows recorded exchanges.

    Args:
        exchanges: records them; None if nothing does.
        record: the setting.
    """

    def __init__(self, exchanges: ExchangeLog | None, record: str) -> None:
        self._exchanges = exchanges
        self._record = record

    def routes(self, pipeline: RequestPipeline) -> Sequence[web.RouteDef]:
        return [
            log_endpoints.LIST_EXCHANGES.route(pipeline, self._list),
            log_endpoints.SHOW_EXCHANGE.route(pipeline, self._show),
        ]

    async def _list(self, context: RequestContext) -> OperationResponse:
        query = context.http.query
        if (operation := query.get("operation", "")) and operation not in OPERATION_BY_NAME:
            info = f"operation={operation[:40]}: there is none of this name; see p2p-oicp endpoints"
            raise HttpError(400, StatusCodeValue.DATA_ERROR, info)
        limit = parse_whole_number(query.get("limit", str(_DEFAULT_LIMIT)))
        after = parse_whole_number(query["after"]) if "after" in query else None
        selected = ExchangeFilter(
            after, min(limit, _MAX_LIMIT), query.get("peer", ""), operation, query.get("session", "")
        )
        page = ExchangePage([], 1, 0) if self._exchanges is None else await self._exchanges.read(selected)
        return OperationResponse(encode_page(page, selected, self._record))

    async def _show(self, context: RequestContext) -> OperationResponse:
        number = parse_whole_number(context.parameter("number"))
        if self._exchanges is not None and number:
            page = await self._exchanges.read(ExchangeFilter(number - 1, 1))
            if page.exchanges and page.exchanges[0].number == number:
                return OperationResponse(encode({"exchange": page.exchanges[0]}))
        info = f"there is no exchange {number}: it was never recorded, or there were too many since"
        raise HttpError(404, StatusCodeValue.DATA_ERROR, info)
