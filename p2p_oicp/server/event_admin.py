"""``GET /admin/v1/events``: what happened, from a number on.

``?after=NUMBER&limit=…&type=session&type=cdr``. The answer has the events, the number to go on ``after``, and that of
the oldest event that is kept: whoever goes on after an earlier one has missed some.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from aiohttp import web

from p2p_oicp.oicp import StatusCodeValue
from p2p_oicp.peers import PeerRegistry
from p2p_oicp.peers.models import OWN_PEER_ID
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.openapi import log_endpoints
from p2p_oicp.server.pipeline import RequestContext, RequestPipeline
from p2p_oicp.server.problems import HttpError, parse_whole_number
from p2p_oicp.storage import Store, event_queries, sessions
from p2p_oicp.storage.event_log import EventType
from p2p_oicp.storage.event_queries import NumberedEvent

_DEFAULT_LIMIT, _MAX_LIMIT = 100, 1000


class EventAdminApi:
    """Shows the event log; each event with the session, EVSE and peer that it is about, as they are now."""

    def __init__(self, store: Store, registry: PeerRegistry) -> None:
        self._store = store
        self._registry = registry

    def routes(self, pipeline: RequestPipeline) -> Sequence[web.RouteDef]:
        return [log_endpoints.LIST_EVENTS.route(pipeline, self._list)]

    async def _list(self, context: RequestContext) -> OperationResponse:
        query = context.http.query
        after = parse_whole_number(query.get("after", "0"))
        limit = parse_whole_number(query.get("limit", str(_DEFAULT_LIMIT)))
        types = query.getall("type", [])
        if unknown := set(types) - {*EventType}:
            info = f"type={unknown.pop()[:40]}: expected {', '.join(EventType)}"
            raise HttpError(400, StatusCodeValue.DATA_ERROR, info)
        found = await event_queries.events_after(self._store, after, min(limit, _MAX_LIMIT), types)
        members = {
            "events": [event_queries.to_members(event, **self._subject_of(event)) for event in found],
            "next": found[-1].number if found else after,
            "oldest": event_queries.first_number(self._store),
        }
        return OperationResponse(orjson.dumps(members))

    def _subject_of(self, numbered: NumberedEvent) -> dict[str, Any]:
        event = numbered.event
        peer = self._registry.by_id(event.peer)
        if event.role:
            session = sessions.get_now(self._store, event.role, event.subject)
            if session is None:
                return {"session_id": event.subject, "peer": peer and peer.name}
            other = self._registry.by_id(session.peer)
            return {
                "session_id": session.session_id,
                "evse_id": session.evse_id,
                "operator_id": session.operator_id,
                "provider_id": session.provider_id,
                "peer": other and other.name,
            }
        if event.type in {EventType.REFUSAL, EventType.FINDING}:
            sender = {"listener": "backend"} if event.peer == OWN_PEER_ID else {"peer": peer and peer.name}
            return {"operation": event.subject, **sender}
        name = {EventType.EVSE_STATUS: "evse", EventType.PEER: "peer_id"}.get(EventType(event.type), event.type)
        return {name: event.subject, "peer": peer and peer.name}
