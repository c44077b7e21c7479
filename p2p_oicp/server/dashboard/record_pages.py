"""Pages about one record: a session, a charge detail record, a message of the outbox."""

from __future__ import annotations

from typing import Any

from p2p_oicp.oicp import StatusCodeValue
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.dashboard.admin_calls import AdminCalls, Json
from p2p_oicp.server.dashboard.node_pages import as_json
from p2p_oicp.server.dashboard.rendering import masked_json
from p2p_oicp.server.dashboard.requests import PageRequest, PageServer
from p2p_oicp.server.dashboard.sequence import draw_session
from p2p_oicp.server.problems import HttpError

_MAX_EXCHANGES = 200


# What an exchange leaves out where it has none.
_WITHOUT: Json = dict.fromkeys(
    ("peer", "backend", "operation", "session_id", "evse_id", "http_status", "code", "error", "process_id", "address",
     "request", "response"), ""
)  # fmt: skip


class RecordPages:
    """Shows single records.

    Args:
        admin: has them.
        pages: the frame of a page.
        node: the name of this node, for diagrams.
    """

    def __init__(self, admin: AdminCalls, pages: PageServer, node: str) -> None:
        self._admin = admin
        self._pages = pages
        self._node = node

    async def session(self, request: PageRequest) -> OperationResponse:
        """Show a session: a diagram of what was said, its record, what waits, every event with its message."""
        session_id = request.parameter("id")
        sessions = await self._records_of(request, "session")
        exchanges = await self._exchanges(session_id)
        content = {"sessions": sessions, "exchanges": exchanges}
        if (answer := as_json(request, content)) is not None:
            return answer
        return self._pages.page(
            request,
            "session.html",
            title=f"Session {session_id}",
            session_id=session_id,
            sessions=sessions,
            exchanges=exchanges,
            diagram=draw_session(self._node, sessions, exchanges),
        )

    async def cdr(self, request: PageRequest) -> OperationResponse:
        """Show a charge detail record: what became of it, what speaks against it, and itself."""
        records = await self._records_of(request, "cdr")
        if (answer := as_json(request, {"cdrs": records})) is not None:
            return answer
        return self._pages.page(
            request, "cdr.html", title=f"Charge detail record {request.parameter('id')}", records=records
        )

    async def message(self, request: PageRequest) -> OperationResponse:
        """Show a message of the outbox with its body."""
        message = await self._admin.get("/outbox/{id}", id=request.parameter("id"))
        shown = message if request.reveals else masked_json(message)
        if (answer := as_json(request, shown)) is not None:
            return answer
        return self._pages.page(request, "message.html", title=f"Message {message['id']}", message=message)

    async def exchange(self, request: PageRequest) -> OperationResponse:
        """Show a recorded exchange with its bodies."""
        answer = await self._admin.get("/exchanges/{number}", number=request.parameter("number"))
        shown = answer["exchange"]
        if (response := as_json(request, shown)) is not None:
            return response
        title = shown.get("operation") or shown["path"]
        return self._pages.page(request, "exchange.html", title=title, exchange=_WITHOUT | shown)

    async def _records_of(self, request: PageRequest, kind: str) -> list[Json]:
        """Return the records of an id, masked unless they are revealed; raise HttpError 404."""
        answer = await self._admin.get(f"/{kind}s/{{session_id}}", session_id=request.parameter("id"))
        records = answer[f"{kind}s"]
        shown: Any = records if request.reveals else masked_json(records)
        if shown is None:
            raise HttpError(502, StatusCodeValue.DATA_ERROR, "this record cannot be shown without what it hides")
        return list(shown)

    async def _exchanges(self, session_id: str) -> list[Json]:
        query = {"session": session_id, "limit": str(_MAX_EXCHANGES)}
        return list((await self._admin.get("/exchanges", query))["exchanges"])
