"""What a CSMS knows of its charging points and of the sessions at them, and the OICP messages that follow from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from p2p_oicp.oicp import (
    ChargeDetailRecord,
    ChargingNotificationEnd,
    ChargingNotificationProgress,
    ChargingNotificationStart,
    EvseID,
    Identification,
    OperatorID,
    SessionID,
)


@dataclass
class ChargingPoint:
    """One EVSE; ``meter`` is in kWh."""

    evse_id: EvseID
    meter: Decimal = Decimal(0)
    status: str = "Available"


@dataclass
class ChargingSession:
    """One session in the CSMS's books; the meter's readings are in kWh, ``readings`` starts with the first."""

    session_id: SessionID
    partner_session_id: str
    point: ChargingPoint
    identification: Identification
    started: datetime
    readings: list[Decimal] = field(default_factory=list)
    charging_started: datetime | None = None
    charging_ended: datetime | None = None
    ended: datetime | None = None
    cdr: ChargeDetailRecord | None = None

    @property
    def consumed(self) -> Decimal:
        """Energy so far, in kWh."""
        return self.readings[-1] - self.readings[0] if self.readings else Decimal(0)
