"""GetChargeDetailRecords: what the store has, as it came; delivered records are delivered again."""

from __future__ import annotations

from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import GetChargeDetailRecords
from p2p_oicp.roles.context import Answer, Incoming, RoleContext
from p2p_oicp.roles.paging import PageWanted
from p2p_oicp.storage import cdrs
from p2p_oicp.storage.cdrs import Wanted

_DATA_ERROR = "022"


class Records:
    """Serves our own backend at an EMP's node, and EMP peers at a CPO's node."""

    def __init__(self, role: str, context: RoleContext) -> None:
        self._role = role
        self._context = context

    async def get_charge_detail_records(self, incoming: Incoming[GetChargeDetailRecords]) -> Answer:
        """Return one page of the records whose SessionEnd is from ``From`` to ``To`` (EMP-02)."""
        request, page = incoming.message, PageWanted.of(incoming.query)
        if request.to < request.from_:
            raise Refusal(_DATA_ERROR, "From is after To")
        peer = incoming.peer
        wanted = Wanted(
            role=self._role,
            provider_key=request.provider_id.key,
            since=request.from_.timestamp(),
            until=request.to.timestamp(),
            # A peer gets the records of sessions with it, whatever ProviderID it names.
            peer=peer.name if peer is not None and self._role == "cpo" else "",
            session_keys=tuple(session_id.key for session_id in request.session_id),
            operator_keys=tuple(operator.key for operator in request.operator_id),
            forwarded=request.cdr_forwarded,
        ).parameters()
        total = (await self._context.store.read(cdrs.COUNT, **wanted))[0]["records"]
        rows = await self._context.store.read(cdrs.PAGE, **wanted, size_=page.size, offset_=page.offset)
        return page.answer([row["body"] for row in rows], total)
