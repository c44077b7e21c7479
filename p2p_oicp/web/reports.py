"""``GET /p2p/v1/sessions/{SessionID}``: what do you know of this session? Only for its two parties."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from p2p_oicp.errors import Unauthorized
from p2p_oicp.oicp import OperatorID, ProviderID, SessionID
from p2p_oicp.roles.context import Answer
from p2p_oicp.roles.reports import SessionReports
from p2p_oicp.web.apps import Listener
from p2p_oicp.web.gate import Gate
from p2p_oicp.web.problems import DATA_ERROR, HttpProblem

_SESSION_PATH = "/p2p/v1/sessions/{session_id}"
_MOST_BYTES = 1024


class SessionEnquiries:
    """Serves the enquiries of peers; who asks says so in the query, ``operator=`` or ``provider=``, and proves it."""

    def __init__(self, listener: Listener, *, gate: Gate, reports: SessionReports) -> None:
        self._listener = listener
        self._gate = gate
        self._reports = reports

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the route for the peer application."""
        return [web.get(_SESSION_PATH, self._listener.handler(self._serve))]

    async def _serve(self, request: web.Request) -> Answer:
        """Answer one enquiry; raises Refusal 017, 300 or 400."""
        party, ours = _asking(request)
        arrival = await self._listener.arrive(request, _MOST_BYTES)
        caller = await self._gate.admit(arrival, party)
        if caller.peer is None:
            raise Unauthorized(f"nobody answers for {party}")
        return await self._reports.report(SessionID(request.match_info["session_id"]), caller.peer, ours)


def _asking(request: web.Request) -> tuple[OperatorID | ProviderID, str]:
    """Return the asking party, and the role that this node plays towards it."""
    operator, provider = request.query.get("operator"), request.query.get("provider")
    if provider and not operator:
        return ProviderID(provider), "cpo"
    if operator and not provider:
        return OperatorID(operator), "emp"
    raise HttpProblem(400, DATA_ERROR, "say who asks: ?operator=OperatorID or ?provider=ProviderID")
