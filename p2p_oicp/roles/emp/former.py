"""Sessions of an earlier store of this node, which was lost or restored from a backup.

What its peers still owe us of them is not refused as unknown, if three things come together: the peer has met an
earlier store of ours (``delivery.acquaintances``), the session is older than this store, and our own backend, which
authorized the driver, knows it, which it says by accepting the message.
"""

from __future__ import annotations

from datetime import datetime

import structlog

from p2p_oicp.backends import EmpBackend
from p2p_oicp.errors import PeerError, PeerRejected, Refusal
from p2p_oicp.oicp import Acknowledgement, ChargeDetailRecord, ChargingNotification
from p2p_oicp.roles.context import Incoming, RoleContext
from p2p_oicp.storage import birth

log = structlog.get_logger(__name__)

_SYSTEM_ERROR = "021"
# The clock of a charging station may be wrong by so much.
_SKEW_SECONDS = 300.0
# So long after its birth a store waits for a peer's hello before it calls that peer's session unknown.
_INTRODUCTION_SECONDS = 60.0
_TIMES = ("session_start", "charging_start", "event_occurred", "charging_end")

Told = Incoming[ChargingNotification] | Incoming[ChargeDetailRecord]


class FormerSessions:
    """Says whether a message speaks of a session of an earlier store."""

    def __init__(self, context: RoleContext, backend: EmpBackend) -> None:
        self._context = context
        self._backend = backend

    async def knows(self, incoming: Told) -> bool:
        """Ask; raises Refusal 021 where the backend does not answer, so that the peer comes again."""
        if incoming.peer is None or not await self._may_be(incoming, incoming.peer.name):
            return False
        try:
            told = await self._ask(incoming.message)
        except PeerRejected:
            return False
        except PeerError as error:
            info = f"the EMP's backend, which may know this session, did not answer: {error}"
            raise Refusal(_SYSTEM_ERROR, info) from error
        session_id = incoming.message.session_id.text
        log.warning("session.of_an_earlier_store", session_id=session_id, peer=incoming.peer.name, known=told.result)
        return told.result

    async def _may_be(self, incoming: Told, peer: str) -> bool:
        rows = await self._context.store.read(birth.FORMER, name_=peer)
        if not rows:
            return False
        if rows[0]["store_id"] is None and self._context.now() < rows[0]["born"] + _INTRODUCTION_SECONDS:
            raise Refusal(_SYSTEM_ERROR, f"{peer} and this node have not said hello yet; send it again in a moment")
        if not rows[0]["knew_another"]:
            return False
        times = [getattr(incoming.message, name, None) for name in _TIMES]
        known = [time.timestamp() for time in times if isinstance(time, datetime)]
        return bool(known) and min(known) < rows[0]["born"] + _SKEW_SECONDS

    async def _ask(self, message: ChargingNotification | ChargeDetailRecord) -> Acknowledgement:
        if isinstance(message, ChargeDetailRecord):
            return await self._backend.charge_detail_record(message)
        return await self._backend.charging_notifications(message)
