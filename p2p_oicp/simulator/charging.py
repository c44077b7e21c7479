"""What a CSMS knows of its charging points and their sessions, and the OICP messages that say it."""

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
    NotificationType,
    OperatorID,
    SessionID,
)


@dataclass
class ChargingPoint:
    """One EVSE; ``meter`` is in kWh, ``status`` one of EVSEStatusType (OICP 2.3, CPO data types)."""

    evse_id: EvseID
    meter: Decimal = Decimal(0)
    status: str = "Available"


@dataclass
class ChargingSession:
    """One session in the CSMS's books; ``readings`` are those of the meter, in kWh, from the first to the latest."""

    session_id: SessionID
    partner_session_id: str
    operator: OperatorID
    point: ChargingPoint
    identification: Identification
    session_start: datetime
    readings: list[Decimal] = field(init=False)
    charging_start: datetime = field(init=False)
    charging_end: datetime = field(init=False)
    session_end: datetime = field(init=False)
    has_ceased: bool = field(init=False, default=False)
    cdr: ChargeDetailRecord | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        # What has not happened yet has the time of the start: a session without charging has a CDR, too.
        self.charging_start = self.charging_end = self.session_end = self.session_start
        self.readings = [self.point.meter]

    @property
    def consumed(self) -> Decimal:
        """Energy so far, in kWh."""
        return self.readings[-1] - self.readings[0]

    def start_notification(self) -> ChargingNotificationStart:
        """Say that energy flows now."""
        return ChargingNotificationStart(
            type=NotificationType.START,
            session_id=self.session_id,
            cpo_partner_session_id=self.partner_session_id,
            identification=self.identification,
            evse_id=self.point.evse_id,
            charging_start=self.charging_start,
            session_start=self.session_start,
            meter_value_start=self.readings[0],
            operator_id=self.operator,
        )

    def progress_notification(self, now: datetime) -> ChargingNotificationProgress:
        """Say how far charging has come."""
        return ChargingNotificationProgress(
            type=NotificationType.PROGRESS,
            session_id=self.session_id,
            cpo_partner_session_id=self.partner_session_id,
            identification=self.identification,
            evse_id=self.point.evse_id,
            charging_start=self.charging_start,
            event_occurred=now,
            session_start=self.session_start,
            consumed_energy_progress=self.consumed,
            operator_id=self.operator,
        )

    def end_notification(self) -> ChargingNotificationEnd:
        """Say that energy has ceased to flow."""
        return ChargingNotificationEnd(
            type=NotificationType.END,
            session_id=self.session_id,
            cpo_partner_session_id=self.partner_session_id,
            identification=self.identification,
            evse_id=self.point.evse_id,
            charging_start=self.charging_start,
            charging_end=self.charging_end,
            session_start=self.session_start,
            session_end=self.session_end,
            consumed_energy=self.consumed,
            meter_value_start=self.readings[0],
            meter_value_end=self.readings[-1],
            operator_id=self.operator,
        )

    def charge_detail_record(self) -> ChargeDetailRecord:
        """Say what is to be paid for."""
        return ChargeDetailRecord(
            session_id=self.session_id,
            cpo_partner_session_id=self.partner_session_id,
            partner_product_id="AC1",
            evse_id=self.point.evse_id,
            identification=self.identification,
            charging_start=self.charging_start,
            charging_end=self.charging_end,
            session_start=self.session_start,
            session_end=self.session_end,
            meter_value_start=self.readings[0],
            meter_value_end=self.readings[-1],
            consumed_energy=self.consumed,
        )
