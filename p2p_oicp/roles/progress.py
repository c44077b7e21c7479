"""What both roles hold a session to while it goes on."""

from __future__ import annotations

from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import ChargeDetailRecord, ChargingNotification
from p2p_oicp.storage.sessions import Session, State

_DATA_ERROR = "022"
_AFTER = {"Start": State.CHARGING, "Progress": State.CHARGING, "End": State.ENDED}
_FINAL = frozenset({State.ENDED, State.SETTLED})


def state_after(session: Session, notification: ChargingNotification) -> str:
    """Return the state that a notification leads to; a late one never takes a session back."""
    if session.state in _FINAL:
        return session.state
    return _AFTER.get(str(notification.type), session.state)


def check_evse(session: Session, record: ChargeDetailRecord) -> None:
    """Refuse the record of another EVSE than the session's (box C8); a start may have come without an EvseID."""
    if session.evse_key and record.evse_id.key != session.evse_key:
        raise Refusal(
            _DATA_ERROR, f"EvseID {record.evse_id} is not the EVSE of session {session.session_id}, {session.evse_key}"
        )
