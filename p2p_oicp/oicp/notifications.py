"""Charging notifications: what happens between the start and the end of a session (OICP 2.3, CPO-02 and EMP-02).

One endpoint takes all four; ``ChargingNotification.from_json`` reads ``Type`` first and returns the class it names.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field

from p2p_oicp.oicp.common import Identification, NamesSession, ProductID
from p2p_oicp.oicp.enumerations import ErrorType
from p2p_oicp.oicp.findings import Finding, InvalidMessage, Severity
from p2p_oicp.oicp.identifiers import EvseID, OperatorID
from p2p_oicp.oicp.kinds import Exactly, OneOf, Text, shown
from p2p_oicp.oicp.members import AlsoRead
from p2p_oicp.oicp.quantities import Energy, Instant, MeterValue, Whole
from p2p_oicp.oicp.sessions import MeterValuesInBetween


class NotificationType(StrEnum):
    """What a charging notification is about (ChargingNotificationType)."""

    START = "Start"
    PROGRESS = "Progress"
    END = "End"
    ERROR = "Error"


def _require_type(schema: dict[str, Any]) -> None:
    """``Type`` has a value of its own in Python, and is mandatory on the wire."""
    schema["required"] = ["Type", *(name for name in schema["required"] if name != "Type")]


class ChargingNotification(NamesSession):
    """What all four notifications tell."""

    model_config = ConfigDict(json_schema_extra=_require_type)

    type: NotificationType = Field(alias="Type")
    identification: Identification | None = Field(None, alias="Identification")
    evse_id: EvseID = Field(alias="EvseID")
    # Mandatory in CPO-02, optional or absent in EMP-02 (CONFORMANCE D37).
    operator_id: OperatorID | None = Field(None, alias="OperatorID")

    @classmethod
    def from_value(cls, value: object, received: bytes, *, pulled: bool = False) -> Self:
        """Read the notification that ``Type`` names; raises InvalidMessage if it is none of ``cls``."""
        if not isinstance(value, dict):
            return super().from_value(value, received, pulled=pulled)
        told = value.get("Type")
        named = BY_TYPE.get(told) if isinstance(told, str) else None
        if named is None or not issubclass(named, cls):
            raise InvalidMessage([cls._misnamed(told)])
        return super(ChargingNotification, named).from_value(value, received, pulled=pulled)

    @classmethod
    def _misnamed(cls, told: object) -> Finding:
        wanted = ", ".join(f"'{name}'" for name, named in BY_TYPE.items() if issubclass(named, cls))
        if told is None:
            return Finding(Severity.ERROR, "/Type", "missing", f"'Type' is mandatory and one of {wanted}")
        code = "unknown-value" if isinstance(told, str) else "wrong-type"
        return Finding(Severity.ERROR, "/Type", code, f"{shown(told)} is none of {wanted}")


class ChargingNotificationStart(ChargingNotification):
    """Energy has begun to flow (eRoamingChargingNotifications Start)."""

    type: Annotated[NotificationType, Exactly(NotificationType.START)] = Field(NotificationType.START, alias="Type")
    charging_start: Instant = Field(alias="ChargingStart")
    session_start: Instant | None = Field(None, alias="SessionStart")
    meter_value_start: MeterValue | None = Field(None, alias="MeterValueStart")
    partner_product_id: ProductID | None = Field(None, alias="PartnerProductID")


class ChargingNotificationProgress(ChargingNotification):
    """Energy is flowing (eRoamingChargingNotifications Progress); the duration in milliseconds since ChargingStart."""

    type: Annotated[NotificationType, Exactly(NotificationType.PROGRESS)] = Field(
        NotificationType.PROGRESS, alias="Type"
    )
    charging_start: Instant = Field(alias="ChargingStart")
    event_occurred: Instant = Field(alias="EventOccurred")
    charging_duration: Annotated[int, Whole(minimum=0)] | None = Field(None, alias="ChargingDuration")
    session_start: Instant | None = Field(None, alias="SessionStart")
    consumed_energy_progress: Energy | None = Field(None, alias="ConsumedEnergyProgress")
    meter_value_start: MeterValue | None = Field(None, alias="MeterValueStart")
    meter_value_in_between: MeterValuesInBetween = Field(None, alias="MeterValueInBetween")
    partner_product_id: ProductID | None = Field(None, alias="PartnerProductID")


class ChargingNotificationEnd(ChargingNotification):
    """Energy has ceased to flow (eRoamingChargingNotifications End)."""

    type: Annotated[NotificationType, Exactly(NotificationType.END)] = Field(NotificationType.END, alias="Type")
    charging_start: Instant | None = Field(None, alias="ChargingStart")
    charging_end: Instant = Field(alias="ChargingEnd")
    session_start: Instant | None = Field(None, alias="SessionStart")
    session_end: Instant | None = Field(None, alias="SessionEnd")
    consumed_energy: Energy | None = Field(None, alias="ConsumedEnergy")
    meter_value_start: MeterValue | None = Field(None, alias="MeterValueStart")
    meter_value_end: MeterValue | None = Field(None, alias="MeterValueEnd")
    meter_value_in_between: MeterValuesInBetween = Field(None, alias="MeterValueInBetween")
    partner_product_id: ProductID | None = Field(None, alias="PartnerProductID")
    penalty_time_start: Instant | None = Field(None, alias="PenaltyTimeStart")


class ChargingNotificationError(ChargingNotification):
    """Something went wrong (eRoamingChargingNotifications Error)."""

    type: Annotated[NotificationType, Exactly(NotificationType.ERROR)] = Field(NotificationType.ERROR, alias="Type")
    error_type: Annotated[
        str,
        # CPO-03 writes the values with a blank (CONFORMANCE D05), the prose calls the member ErrorClass (D06).
        OneOf(ErrorType, also_read=("Connector Error", "Critical Error")),
        AlsoRead("ErrorClass"),
    ] = Field(alias="ErrorType")
    error_additional_info: Annotated[str, Text(250)] | None = Field(None, alias="ErrorAdditionalInfo")


BY_TYPE: dict[str, type[ChargingNotification]] = {
    NotificationType.START: ChargingNotificationStart,
    NotificationType.PROGRESS: ChargingNotificationProgress,
    NotificationType.END: ChargingNotificationEnd,
    NotificationType.ERROR: ChargingNotificationError,
}
