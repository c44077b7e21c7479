"""What both roles hold a session to while it goes on."""

from __future__ import annotations

from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import ChargeDetailRecord, ChargingNotification, ChargingNotificationProgress
from p2p_oicp.storage.sessions import Session

_DATA_ERROR = "022"
# "at least 5 minutes between two progress notifications" (CPO-02, BPD; the code by CONFORMANCE section 4).
_BETWEEN_PROGRESS_SECONDS = 300.0


def check_evse(session: Session, record: ChargeDetailRecord | ChargingNotification) -> None:
    """Refuse what speaks of another EVSE than the session's (box C8); a start may have come without an EvseID."""
    if session.evse_key and record.evse_id.key != session.evse_key:
        raise Refusal(
            _DATA_ERROR, f"EvseID {record.evse_id} is not the EVSE of session {session.session_id}, {session.evse_key}"
        )


def check_progress(session: Session, notification: ChargingNotification) -> float | None:
    """Return when progress was made, None for another notification; refuse one too soon after the last (022)."""
    if not isinstance(notification, ChargingNotificationProgress):
        return session.progress_at
    at = notification.event_occurred.timestamp()
    last = session.progress_at
    if last is not None and abs(at - last) < _BETWEEN_PROGRESS_SECONDS:
        raise Refusal(
            _DATA_ERROR,
            f"EventOccurred is {at - last:.0f} s after the last progress of this session; at least 300 s are asked for",
        )
    return at
