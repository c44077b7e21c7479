"""What our backend tells of its sessions, on its way to the EMP of each."""

from __future__ import annotations

import orjson
import structlog

from p2p_oicp.oicp import ChargeDetailRecord, ChargingNotification, EvseDataRecord
from p2p_oicp.oicp.preflight import implausible
from p2p_oicp.roles.context import Incoming
from p2p_oicp.roles.progress import check_progress
from p2p_oicp.roles.settlement import Settlement
from p2p_oicp.storage.cdrs import Kept
from p2p_oicp.storage.sessions import Session
from p2p_oicp.storage.state import queries
from p2p_oicp.storage.state.model import EVERYONE, OWN, Kind

log = structlog.get_logger(__name__)


class CpoSettlement(Settlement):
    """The CPO side: nothing is lost on the way to the peer."""

    role = "cpo"

    def _check_notification(self, session: Session, notification: ChargingNotification) -> float | None:
        return check_progress(session, notification)

    async def keep(self, incoming: Incoming[ChargeDetailRecord]) -> tuple[Session, Kept]:
        """Store a record as it is, and report what our own EVSE data and products speak against."""
        session, kept = await super().keep(incoming)
        if kept is Kept.NEW:
            record = incoming.message
            doubts = implausible(record, self._spot(record), self._products(session))
            if doubts:
                log.warning("cdr.doubtful", session_id=session.session_id, findings=[str(doubt) for doubt in doubts])
        return session, kept

    def _spot(self, record: ChargeDetailRecord) -> EvseDataRecord | None:
        keys = orjson.dumps([record.evse_id.key]).decode()
        rows = self._context.store.look_up(queries.BY_KEY, kind_=Kind.EVSE_DATA, keys=keys, source_=OWN, gone=None)
        return EvseDataRecord.from_json(rows[0]["raw"]) if rows else None

    def _products(self, session: Session) -> list[str] | None:
        """Return the ProductIDs that the session's EMP may be charged for, None where we have told none."""
        groups = [f"{session.operator_key}|{audience}" for audience in (EVERYONE, session.provider_key)]
        rows = self._context.store.look_up(
            queries.KEYS_OF_GROUPS, kind_=Kind.PRICING_PRODUCT, source_=OWN, groups=orjson.dumps(groups).decode()
        )
        return [row["key"].removeprefix(f"{row['group_key']}|") for row in rows] or None
