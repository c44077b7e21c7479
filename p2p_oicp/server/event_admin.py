"""``GET /admin/v1/events``: what happened, from a number on.

``?after=NUMBER&limit=…&type=session&type=cdr.disputed&peer=…&party=…&evse=…&session=…``. ``after`` may be an id, too.
The answer has the events, the number to go on ``after``, the number and id of the newest event, and the number of the
oldest that is kept: whoever goes on after an earlier one has missed some. At most some thousand events are looked
through for one answer, so it may have none before the newest is reached.
``events/newest`` goes backwards, in pages.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from aiohttp import web
from multidict import MultiMapping

from p2p_oicp.events.types import EventData, parse_id
from p2p_oicp.events.view import EventFilter, EventView
from p2p_oicp.oicp import StatusCodeValue
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.openapi import log_endpoints
from p2p_oicp.server.pipeline import RequestContext, RequestPipeline
from p2p_oicp.server.problems import HttpError, parse_whole_number
from p2p_oicp.storage import Store, event_queries
from p2p_oicp.storage.event_queries import NumberedEvent

_DEFAULT_LIMIT, _MAX_LIMIT = 100, 1000
# Looked through for one answer, and at a time: each takes the event loop some microseconds.
_MAX_SCANNED, _SCANNED_AT_ONCE = 5000, 100


def event_filter_of(query: MultiMapping[str]) -> EventFilter:
    """Return the filter of a query; raise HttpError 400."""
    try:
        return EventFilter.of(
            types=query.getall("type", []),
            peers=query.getall("peer", []),
            parties=query.getall("party", []),
            evses=query.getall("evse", []),
            sessions=query.getall("session", []),
        )
    except ValueError as error:
        raise HttpError(400, StatusCodeValue.DATA_ERROR, str(error)) from error


class EventAdminApi:
    """Shows the event log; each event with the session, EVSE and peer that it is about, as they are now."""

    def __init__(self, store: Store, view: EventView) -> None:
        self._store = store
        self._view = view

    def routes(self, pipeline: RequestPipeline) -> Sequence[web.RouteDef]:
        return [
            log_endpoints.LIST_EVENTS.route(pipeline, self._list),
            log_endpoints.LIST_NEWEST_EVENTS.route(pipeline, self._list_newest),
        ]

    async def _list(self, context: RequestContext) -> OperationResponse:
        query = context.http.query
        newest = await event_queries.last_number(self._store)
        after = self._position(query.get("after", "0"), newest)
        limit = parse_whole_number(query.get("limit", str(_DEFAULT_LIMIT)))
        until = min(parse_whole_number(query.get("until", str(newest))), newest)
        events, position = await self._select(event_filter_of(query), after, until, min(limit, _MAX_LIMIT))
        members = {
            "events": events,
            "next": position,
            "oldest": await event_queries.first_number(self._store),
            "newest": newest,
            "newest_id": self._view.id_of(newest),
        }
        return OperationResponse(msgspec.json.encode(members))

    async def _select(
        self, event_filter: EventFilter, after: int, until: int, limit: int
    ) -> tuple[list[EventData], int]:
        """Return the events up to ``until`` that are selected, and the number up to which was looked."""
        found: list[EventData] = []
        position, end = after, after + _MAX_SCANNED
        while len(found) < limit and position < min(until, end):
            events = await event_queries.events_after(self._store, position, _SCANNED_AT_ONCE)
            for numbered in events:
                if len(found) == limit:
                    return found, position
                if numbered.number > until:
                    return found, until
                position = numbered.number
                if event_filter.selects_type(numbered.event.type, numbered.event.what):
                    viewed = await self._view.view(numbered)
                    found += [viewed.data] if event_filter.selects(viewed) else []
            if not events:  # what is left up to there cannot be read
                return found, until
        return found, position

    def _position(self, after: str, newest: int) -> int:
        try:
            epoch_id, number = parse_id(after)
        except ValueError as error:
            raise HttpError(400, StatusCodeValue.DATA_ERROR, str(error)) from error
        return number if epoch_id is None else self._view.epochs.position_after(epoch_id, number, newest)[0]

    async def _list_newest(self, context: RequestContext) -> OperationResponse:
        """Return the newest first, as the other lists: ``cursor`` is that of the page before."""
        query = context.http.query
        event_filter = event_filter_of(query)
        newest = await event_queries.last_number(self._store)
        before = parse_whole_number(query["cursor"]) if "cursor" in query else newest + 1
        limit = min(parse_whole_number(query.get("limit", str(_DEFAULT_LIMIT))), _MAX_LIMIT)

        async def selected(numbered: NumberedEvent) -> EventData | None:
            if not event_filter.selects_type(numbered.event.type, numbered.event.what):
                return None
            viewed = await self._view.view(numbered)
            return viewed.data if event_filter.selects(viewed) else None

        events, cursor = await event_queries.events_before(self._store, before, limit, selected)
        members = {"events": events, "cursor": cursor and str(cursor), "newest_id": self._view.id_of(newest)}
        return OperationResponse(msgspec.json.encode(members))
