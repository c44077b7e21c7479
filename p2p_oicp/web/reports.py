"""``GET /p2p/v1/sessions/{SessionID}``: what do you know of this session? Only for its two parties."""

from __future__ import annotations

from aiohttp import web

from p2p_oicp.oicp import OperatorID, ProviderID, SessionID
from p2p_oicp.roles.context import Answer
from p2p_oicp.roles.reports import SessionReports
from p2p_oicp.web.gate import Arrival
from p2p_oicp.web.problems import DATA_ERROR, HttpProblem
from p2p_oicp.web.service import Api

SESSION_PATH = "/p2p/v1/sessions/{session_id}"


class SessionEnquiries:
    """Serves the enquiries of peers; who asks says so in the query, ``operator=`` or ``provider=``, and proves it."""

    def __init__(self, api: Api, reports: SessionReports) -> None:
        self._api = api
        self._reports = reports

    async def serve(self, request: web.Request, arrival: Arrival) -> Answer:
        """Answer one enquiry; raises Refusal 017, 300 or 400."""
        party, ours = _asking(request)
        peer = await self._api.who_asks(party, arrival)
        return await self._reports.report(SessionID(request.match_info["session_id"]), peer, ours)


def _asking(request: web.Request) -> tuple[OperatorID | ProviderID, str]:
    """Return the asking party, and the role that this node plays towards it."""
    operator, provider = request.query.get("operator"), request.query.get("provider")
    if provider and not operator:
        return ProviderID(provider), "cpo"
    if operator and not provider:
        return OperatorID(operator), "emp"
    raise HttpProblem(400, DATA_ERROR, "say who asks: ?operator=OperatorID or ?provider=ProviderID")
