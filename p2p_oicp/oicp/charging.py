"""Messages of a charging session: authorization, remote control, notifications and the charge detail record.

OICP 2.3, CPO-02 and EMP-02: eRoamingAuthorization, eRoamingReservation, eRoamingChargingNotifications,
eRoamingChargeDetailRecord.

The four charging notifications share one endpoint: ``ChargingNotification.from_json`` returns the class that ``Type``
names.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field

from p2p_oicp.oicp.common import (
    Identification,
    PartnerSessionID,
    ProductID,
    StatusCode,
    WithOptionalSessionID,
    WithSessionID,
)
from p2p_oicp.oicp.enums import AuthorizationStatus, ErrorType, MeteringStatus
from p2p_oicp.oicp.field_specs import Aliases, ListLimits, OptionalWrapper
from p2p_oicp.oicp.field_types import LiteralField, OpenEnumField, TextField, format_value
from p2p_oicp.oicp.findings import Finding, InvalidMessage, Severity
from p2p_oicp.oicp.identifiers import EvseID, OperatorID, ProviderID
from p2p_oicp.oicp.message import Message
from p2p_oicp.oicp.numbers import Energy, Instant, IntegerField, MeterValue

#: The prose of SignedMeteringValuesType numbers the values in between (CONFORMANCE D35).
MeteringStatusText = Annotated[
    str, OpenEnumField(MeteringStatus, accepted_with_warning=tuple(f"Progress{number}" for number in range(1, 9)))
]
#: Both OpenAPI documents write "Id" instead of "ID" in reservations (CONFORMANCE D04).
ReservationPartnerSessionID = Annotated[PartnerSessionID | None, Aliases("EMPPartnerSessionId")]


class AuthorizeStart(WithOptionalSessionID):
    """A driver requests to charge at a station (eRoamingAuthorizeStart, CPO-02)."""

    operator_id: OperatorID = Field(alias="OperatorID")
    evse_id: EvseID | None = Field(None, alias="EvseID")
    identification: Identification = Field(alias="Identification")
    partner_product_id: ProductID | None = Field(None, alias="PartnerProductID")


class AuthorizationResponse(WithOptionalSessionID):
    """Base of the responses to an authorization."""

    provider_id: ProviderID | None = Field(None, alias="ProviderID")
    authorization_status: AuthorizationStatus = Field(alias="AuthorizationStatus")
    status_code: StatusCode = Field(alias="StatusCode")


class AuthorizationStart(AuthorizationResponse):
    """The response to AuthorizeStart (eRoamingAuthorizationStart, CPO-02)."""

    authorization_stop_identifications: Annotated[tuple[Identification, ...], ListLimits(optional=True)] = Field(
        (), alias="AuthorizationStopIdentifications"
    )


class AuthorizeStop(WithSessionID):
    """A driver requests to stop charging at a station (eRoamingAuthorizeStop, CPO-02)."""

    operator_id: OperatorID = Field(alias="OperatorID")
    evse_id: EvseID | None = Field(None, alias="EvseID")
    identification: Identification = Field(alias="Identification")


class AuthorizationStop(AuthorizationResponse):
    """The response to AuthorizeStop (eRoamingAuthorizationStop, CPO-02)."""


class AuthorizeRemoteStart(WithOptionalSessionID):
    """A provider starts a session for its driver (eRoamingAuthorizeRemoteStart, EMP-02)."""

    # The SessionID is optional in the leading document, and required in the OpenAPI documents (RULES E8).

    provider_id: ProviderID = Field(alias="ProviderID")
    evse_id: EvseID = Field(alias="EvseID")
    identification: Identification = Field(alias="Identification")
    partner_product_id: ProductID | None = Field(None, alias="PartnerProductID")


class AuthorizeRemoteStop(WithSessionID):
    """A provider stops a session (eRoamingAuthorizeRemoteStop, EMP-02)."""

    provider_id: ProviderID = Field(alias="ProviderID")
    evse_id: EvseID = Field(alias="EvseID")


class AuthorizeRemoteReservationStart(WithOptionalSessionID):
    """A provider reserves an EVSE (eRoamingAuthorizeRemoteReservationStart, EMP-02); duration in minutes."""

    emp_partner_session_id: ReservationPartnerSessionID = Field(None, alias="EMPPartnerSessionID")
    provider_id: ProviderID = Field(alias="ProviderID")
    evse_id: EvseID = Field(alias="EvseID")
    identification: Identification = Field(alias="Identification")
    partner_product_id: ProductID | None = Field(None, alias="PartnerProductID")
    duration: Annotated[int, IntegerField(minimum=1, maximum=99)] | None = Field(None, alias="Duration")


class AuthorizeRemoteReservationStop(WithSessionID):
    """A provider ends a reservation (eRoamingAuthorizeRemoteReservationStop, EMP-02); a CDR follows (RULES M6)."""

    emp_partner_session_id: ReservationPartnerSessionID = Field(None, alias="EMPPartnerSessionID")
    provider_id: ProviderID = Field(alias="ProviderID")
    evse_id: EvseID = Field(alias="EvseID")


class MeterValues(Message):
    """Intermediate meter values in kWh (MeterValueInBetween)."""

    meter_values: Annotated[tuple[MeterValue, ...], ListLimits(optional=True)] = Field((), alias="meterValues")


#: The documents' tables show the bare list, their examples the object (CONFORMANCE D10).
MeterValuesInBetween = Annotated[MeterValues | None, OptionalWrapper("meterValues")]


class SignedMeteringValue(Message):
    """A meter value with its signature, in a format of the transparency software (SignedMeteringValuesType)."""

    signed_metering_value: Annotated[str, TextField(3000, soft_limit=True)] | None = Field(
        None, alias="SignedMeteringValue"
    )
    metering_status: MeteringStatusText | None = Field(None, alias="MeteringStatus")


class CalibrationLawVerification(Message):
    """How signed meter values can be verified (CalibrationLawVerificationType)."""

    calibration_law_certificate_id: Annotated[str, TextField(100)] | None = Field(
        None, alias="CalibrationLawCertificateID"
    )
    public_key: Annotated[str, TextField(1000)] | None = Field(None, alias="PublicKey")
    metering_signature_url: Annotated[str, TextField(200)] | None = Field(None, alias="MeteringSignatureUrl")
    metering_signature_encoding_format: Annotated[str, TextField(50)] | None = Field(
        None, alias="MeteringSignatureEncodingFormat"
    )
    signed_metering_values_verification_instruction: Annotated[str, TextField(400)] | None = Field(
        None, alias="SignedMeteringValuesVerificationInstruction"
    )


class ChargeDetailRecord(WithSessionID):
    """The charge detail record, CDR, of a session (eRoamingChargeDetailRecord, CPO-02); energy in kWh."""

    partner_product_id: ProductID | None = Field(None, alias="PartnerProductID")
    evse_id: EvseID = Field(alias="EvseID")
    identification: Identification = Field(alias="Identification")
    charging_start: Instant = Field(alias="ChargingStart")
    charging_end: Instant = Field(alias="ChargingEnd")
    session_start: Instant = Field(alias="SessionStart")
    session_end: Instant = Field(alias="SessionEnd")
    meter_value_start: MeterValue | None = Field(None, alias="MeterValueStart")
    meter_value_end: MeterValue | None = Field(None, alias="MeterValueEnd")
    meter_value_in_between: MeterValuesInBetween = Field(None, alias="MeterValueInBetween")
    consumed_energy: Energy = Field(alias="ConsumedEnergy")
    # Ten values of 3000 characters are documented, and real meters exceed both (RULES D3).
    signed_metering_values: Annotated[
        tuple[SignedMeteringValue, ...], ListLimits(maximum=10, optional=True, soft_limit=True)
    ] = Field((), alias="SignedMeteringValues")
    calibration_law_verification_info: CalibrationLawVerification | None = Field(
        None, alias="CalibrationLawVerificationInfo"
    )
    hub_operator_id: OperatorID | None = Field(None, alias="HubOperatorID")
    hub_provider_id: Annotated[ProviderID | None, Aliases("HubProviderId")] = Field(None, alias="HubProviderID")

    @property
    def meter_values(self) -> tuple[Decimal, ...]:
        """All meter values of the record, in order of time."""
        in_between = self.meter_value_in_between.meter_values if self.meter_value_in_between else ()
        return tuple(
            value for value in (self.meter_value_start, *in_between, self.meter_value_end) if value is not None
        )


class NotificationType(StrEnum):
    """The type of a charging notification (ChargingNotificationType)."""

    START = "Start"
    PROGRESS = "Progress"
    END = "End"
    ERROR = "Error"


def _require_type(schema: dict[str, Any]) -> None:
    # In Python ``Type`` has a default in each class, so pydantic calls it optional; on the wire it is mandatory.
    schema["required"] = ["Type", *(name for name in schema["required"] if name != "Type")]


class ChargingNotification(WithSessionID):
    """Base of the four charging notifications (eRoamingChargingNotifications, CPO-02)."""

    model_config = ConfigDict(json_schema_extra=_require_type)

    type: NotificationType = Field(alias="Type")
    identification: Identification | None = Field(None, alias="Identification")
    evse_id: EvseID = Field(alias="EvseID")
    # Mandatory in CPO-02, optional or absent in EMP-02 (CONFORMANCE D37).
    operator_id: OperatorID | None = Field(None, alias="OperatorID")

    @classmethod
    def from_value(cls, value: object, received: bytes, *, pulled: bool = False) -> Self:
        """Parse the notification that ``Type`` names; raises InvalidMessage if that is no ``cls``."""
        if not isinstance(value, dict):
            return super().from_value(value, received, pulled=pulled)
        type_name = value.get("Type")
        model = NOTIFICATION_BY_TYPE.get(type_name) if isinstance(type_name, str) else None
        if model is None or not issubclass(model, cls):
            raise InvalidMessage([cls._unknown_type_finding(type_name)])
        # Past this method, which would look ``Type`` up again.
        return super(ChargingNotification, model).from_value(value, received, pulled=pulled)

    @classmethod
    def _unknown_type_finding(cls, type_name: object) -> Finding:
        expected = ", ".join(f"'{name}'" for name, model in NOTIFICATION_BY_TYPE.items() if issubclass(model, cls))
        if type_name is None:
            return Finding(Severity.ERROR, "/Type", "missing", f"'Type' is mandatory and one of {expected}")
        code = "unknown-value" if isinstance(type_name, str) else "wrong-type"
        return Finding(Severity.ERROR, "/Type", code, f"{format_value(type_name)} is none of {expected}")


class ChargingNotificationStart(ChargingNotification):
    """Energy has begun to flow (eRoamingChargingNotifications Start)."""

    type: Annotated[NotificationType, LiteralField(NotificationType.START)] = Field(
        NotificationType.START, alias="Type"
    )
    charging_start: Instant = Field(alias="ChargingStart")
    session_start: Instant | None = Field(None, alias="SessionStart")
    meter_value_start: MeterValue | None = Field(None, alias="MeterValueStart")
    partner_product_id: ProductID | None = Field(None, alias="PartnerProductID")


class ChargingNotificationProgress(ChargingNotification):
    """Energy is flowing (eRoamingChargingNotifications Progress); duration in milliseconds since ChargingStart."""

    type: Annotated[NotificationType, LiteralField(NotificationType.PROGRESS)] = Field(
        NotificationType.PROGRESS, alias="Type"
    )
    charging_start: Instant = Field(alias="ChargingStart")
    event_occurred: Instant = Field(alias="EventOccurred")
    charging_duration: Annotated[int, IntegerField(minimum=0)] | None = Field(None, alias="ChargingDuration")
    session_start: Instant | None = Field(None, alias="SessionStart")
    consumed_energy_progress: Energy | None = Field(None, alias="ConsumedEnergyProgress")
    meter_value_start: MeterValue | None = Field(None, alias="MeterValueStart")
    meter_value_in_between: MeterValuesInBetween = Field(None, alias="MeterValueInBetween")
    partner_product_id: ProductID | None = Field(None, alias="PartnerProductID")


class ChargingNotificationEnd(ChargingNotification):
    """Energy has stopped flowing (eRoamingChargingNotifications End)."""

    type: Annotated[NotificationType, LiteralField(NotificationType.END)] = Field(NotificationType.END, alias="Type")
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
    """An error occurred at the EVSE (eRoamingChargingNotifications Error)."""

    type: Annotated[NotificationType, LiteralField(NotificationType.ERROR)] = Field(
        NotificationType.ERROR, alias="Type"
    )
    error_type: Annotated[
        str,
        # CPO-03 writes the values with a blank (CONFORMANCE D05), the prose calls the member ErrorClass (D06).
        OpenEnumField(ErrorType, alternatives=("Connector Error", "Critical Error")),
        Aliases("ErrorClass"),
    ] = Field(alias="ErrorType")
    error_additional_info: Annotated[str, TextField(250)] | None = Field(None, alias="ErrorAdditionalInfo")


NOTIFICATION_BY_TYPE: dict[str, type[ChargingNotification]] = {
    NotificationType.START: ChargingNotificationStart,
    NotificationType.PROGRESS: ChargingNotificationProgress,
    NotificationType.END: ChargingNotificationEnd,
    NotificationType.ERROR: ChargingNotificationError,
}
