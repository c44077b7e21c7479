"""What our backend tells of its sessions, on its way to the EMP of each."""

from __future__ import annotations

from p2p_oicp.oicp import ChargingNotification
from p2p_oicp.roles.progress import check_progress
from p2p_oicp.roles.settlement import Settlement
from p2p_oicp.storage.sessions import Session


class CpoSettlement(Settlement):
    """The CPO side: nothing is lost on the way to the peer."""

    role = "cpo"

    def _check_notification(self, session: Session, notification: ChargingNotification) -> float | None:
        return check_progress(session, notification)
