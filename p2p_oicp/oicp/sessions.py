"""The life of a charging session: authorization, remote control, notifications, the charge detail record.

OICP 2.3, CPO-02 and EMP-02: eRoamingAuthorization, eRoamingReservation, eRoamingChargingNotifications,
eRoamingChargeDetailRecord.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from p2p_oicp.oicp.base import Message
from p2p_oicp.oicp.common import (
    Identification,
    MayNameSession,
    NamesSession,
    PartnerSessionID,
    ProductID,
    StatusCode,
)
from p2p_oicp.oicp.enumerations import AuthorizationStatus, MeteringStatus
from p2p_oicp.oicp.identifiers import EvseID, OperatorID, ProviderID
from p2p_oicp.oicp.kinds import OneOf, Text
from p2p_oicp.oicp.members import AlsoRead, Several, Wrapped
from p2p_oicp.oicp.quantities import Energy, Instant, MeterValue, Whole

#: The prose of SignedMeteringValuesType numbers the values in between (CONFORMANCE D35).
MeteringStatusText = Annotated[str, OneOf(MeteringStatus, inexact=tuple(f"Progress{number}" for number in range(1, 9)))]
#: Both OpenAPI documents write the last two letters small in reservations (CONFORMANCE D04).
ReservationPartnerSessionID = Annotated[PartnerSessionID | None, AlsoRead("EMPPartnerSessionId")]


class AuthorizeStart(MayNameSession):
    """A driver at a charging station asks to charge (eRoamingAuthorizeStart)."""

    operator_id: OperatorID = Field(alias="OperatorID")
    evse_id: EvseID | None = Field(None, alias="EvseID")
    identification: Identification = Field(alias="Identification")
    partner_product_id: ProductID | None = Field(None, alias="PartnerProductID")


class Authorization(MayNameSession):
    """Base of the answers to an authorization."""

    provider_id: ProviderID | None = Field(None, alias="ProviderID")
    authorization_status: AuthorizationStatus = Field(alias="AuthorizationStatus")
    status_code: StatusCode = Field(alias="StatusCode")


class AuthorizationStart(Authorization):
    """Whether a driver may charge (eRoamingAuthorizationStart)."""

    authorization_stop_identifications: Annotated[tuple[Identification, ...], Several(optional=True)] = Field(
        (), alias="AuthorizationStopIdentifications"
    )


class AuthorizeStop(NamesSession):
    """A driver at a charging station asks to stop (eRoamingAuthorizeStop)."""

    operator_id: OperatorID = Field(alias="OperatorID")
    evse_id: EvseID | None = Field(None, alias="EvseID")
    identification: Identification = Field(alias="Identification")


class AuthorizationStop(Authorization):
    """Whether a driver may stop (eRoamingAuthorizationStop)."""


class AuthorizeRemoteStart(MayNameSession):
    """A provider starts a session for its driver (eRoamingAuthorizeRemoteStart); the SessionID is optional (E8)."""

    provider_id: ProviderID = Field(alias="ProviderID")
    evse_id: EvseID = Field(alias="EvseID")
    identification: Identification = Field(alias="Identification")
    partner_product_id: ProductID | None = Field(None, alias="PartnerProductID")


class AuthorizeRemoteStop(NamesSession):
    """A provider stops a session (eRoamingAuthorizeRemoteStop)."""

    provider_id: ProviderID = Field(alias="ProviderID")
    evse_id: EvseID = Field(alias="EvseID")


class AuthorizeRemoteReservationStart(MayNameSession):
    """A provider reserves a charging spot (eRoamingAuthorizeRemoteReservationStart); duration in minutes."""

    emp_partner_session_id: ReservationPartnerSessionID = Field(None, alias="EMPPartnerSessionID")
    provider_id: ProviderID = Field(alias="ProviderID")
    evse_id: EvseID = Field(alias="EvseID")
    identification: Identification = Field(alias="Identification")
    partner_product_id: ProductID | None = Field(None, alias="PartnerProductID")
    duration: Annotated[int, Whole(minimum=1, maximum=99)] | None = Field(None, alias="Duration")


class AuthorizeRemoteReservationStop(NamesSession):
    """A provider ends a reservation (eRoamingAuthorizeRemoteReservationStop); a charge detail record follows."""

    emp_partner_session_id: ReservationPartnerSessionID = Field(None, alias="EMPPartnerSessionID")
    provider_id: ProviderID = Field(alias="ProviderID")
    evse_id: EvseID = Field(alias="EvseID")


class MeterValues(Message):
    """Meter values taken on the way, in kWh (MeterValueInBetween)."""

    meter_values: Annotated[tuple[MeterValue, ...], Several(optional=True)] = Field((), alias="meterValues")


#: The documents' tables show the bare list, their examples the object (CONFORMANCE D10).
MeterValuesInBetween = Annotated[MeterValues | None, Wrapped("meterValues")]


class SignedMeteringValue(Message):
    """A meter value with its signature, in the format of the transparency software (SignedMeteringValuesType)."""

    signed_metering_value: Annotated[str, Text(3000, narrow=True)] | None = Field(None, alias="SignedMeteringValue")
    metering_status: MeteringStatusText | None = Field(None, alias="MeteringStatus")


class CalibrationLawVerification(Message):
    """How signed meter values can be verified (CalibrationLawVerificationType)."""

    calibration_law_certificate_id: Annotated[str, Text(100)] | None = Field(None, alias="CalibrationLawCertificateID")
    public_key: Annotated[str, Text(1000)] | None = Field(None, alias="PublicKey")
    metering_signature_url: Annotated[str, Text(200)] | None = Field(None, alias="MeteringSignatureUrl")
    metering_signature_encoding_format: Annotated[str, Text(50)] | None = Field(
        None, alias="MeteringSignatureEncodingFormat"
    )
    signed_metering_values_verification_instruction: Annotated[str, Text(400)] | None = Field(
        None, alias="SignedMeteringValuesVerificationInstruction"
    )


class ChargeDetailRecord(NamesSession):
    """What was charged (eRoamingChargeDetailRecord); energy in kWh."""

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
    signed_metering_values: Annotated[
        tuple[SignedMeteringValue, ...], Several(maximum=10, optional=True, narrow=True)
    ] = Field((), alias="SignedMeteringValues")
    calibration_law_verification_info: CalibrationLawVerification | None = Field(
        None, alias="CalibrationLawVerificationInfo"
    )
    hub_operator_id: OperatorID | None = Field(None, alias="HubOperatorID")
    hub_provider_id: Annotated[ProviderID | None, AlsoRead("HubProviderId")] = Field(None, alias="HubProviderID")

    @property
    def meter_values(self) -> tuple[Decimal, ...]:
        """All meter values that were told, in order of time."""
        between = self.meter_value_in_between.meter_values if self.meter_value_in_between else ()
        return tuple(value for value in (self.meter_value_start, *between, self.meter_value_end) if value is not None)
