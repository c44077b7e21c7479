"""The life of a charging session: authorization, remote control, notifications, the charge detail record.

OICP 2.3, CPO-02 and EMP-02: eRoamingAuthorization, eRoamingReservation, eRoamingChargingNotifications,
eRoamingChargeDetailRecord.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from p2p_oicp.oicp.base import Message
from p2p_oicp.oicp.common import Identification, PartnerSessionID, ProductID, StatusCode
from p2p_oicp.oicp.enumerations import AuthorizationStatus, MeteringStatus
from p2p_oicp.oicp.identifiers import EvseID, OperatorID, ProviderID, SessionID
from p2p_oicp.oicp.kinds import OneOf, Text
from p2p_oicp.oicp.members import AlsoRead, Several, Wrapped
from p2p_oicp.oicp.quantities import Energy, Instant, MeterValue, Whole

#: The prose of SignedMeteringValuesType numbers the values in between (CONFORMANCE D35).
MeteringStatusText = Annotated[str, OneOf(MeteringStatus, inexact=tuple(f"Progress{number}" for number in range(1, 9)))]
#: Both OpenAPI documents write the last two letters small in reservations (CONFORMANCE D04).
ReservationPartnerSessionID = Annotated[PartnerSessionID | None, AlsoRead("EMPPartnerSessionId")]


class AuthorizeStart(Message):
    """A driver at a charging station asks to charge (eRoamingAuthorizeStart)."""

    session_id: SessionID | None = Field(None, alias="SessionID")
    cpo_partner_session_id: PartnerSessionID | None = Field(None, alias="CPOPartnerSessionID")
    emp_partner_session_id: PartnerSessionID | None = Field(None, alias="EMPPartnerSessionID")
    operator_id: OperatorID = Field(alias="OperatorID")
    evse_id: EvseID | None = Field(None, alias="EvseID")
    identification: Identification = Field(alias="Identification")
    partner_product_id: ProductID | None = Field(None, alias="PartnerProductID")


class AuthorizationStart(Message):
    """Whether a driver may charge (eRoamingAuthorizationStart)."""

    session_id: SessionID | None = Field(None, alias="SessionID")
    cpo_partner_session_id: PartnerSessionID | None = Field(None, alias="CPOPartnerSessionID")
    emp_partner_session_id: PartnerSessionID | None = Field(None, alias="EMPPartnerSessionID")
    provider_id: ProviderID | None = Field(None, alias="ProviderID")
    authorization_status: AuthorizationStatus = Field(alias="AuthorizationStatus")
    status_code: StatusCode = Field(alias="StatusCode")
    authorization_stop_identifications: Annotated[tuple[Identification, ...], Several(optional=True)] = Field(
        (), alias="AuthorizationStopIdentifications"
    )


class AuthorizeStop(Message):
    """A driver at a charging station asks to stop (eRoamingAuthorizeStop)."""

    session_id: SessionID = Field(alias="SessionID")
    cpo_partner_session_id: PartnerSessionID | None = Field(None, alias="CPOPartnerSessionID")
    emp_partner_session_id: PartnerSessionID | None = Field(None, alias="EMPPartnerSessionID")
    operator_id: OperatorID = Field(alias="OperatorID")
    evse_id: EvseID | None = Field(None, alias="EvseID")
    identification: Identification = Field(alias="Identification")


class AuthorizationStop(Message):
    """Whether a driver may stop (eRoamingAuthorizationStop)."""

    session_id: SessionID | None = Field(None, alias="SessionID")
    cpo_partner_session_id: PartnerSessionID | None = Field(None, alias="CPOPartnerSessionID")
    emp_partner_session_id: PartnerSessionID | None = Field(None, alias="EMPPartnerSessionID")
    provider_id: ProviderID | None = Field(None, alias="ProviderID")
    authorization_status: AuthorizationStatus = Field(alias="AuthorizationStatus")
    status_code: StatusCode = Field(alias="StatusCode")


class AuthorizeRemoteStart(Message):
    """A provider starts a session for its driver (eRoamingAuthorizeRemoteStart); the SessionID is optional (E8)."""

    session_id: SessionID | None = Field(None, alias="SessionID")
    cpo_partner_session_id: PartnerSessionID | None = Field(None, alias="CPOPartnerSessionID")
    emp_partner_session_id: PartnerSessionID | None = Field(None, alias="EMPPartnerSessionID")
    provider_id: ProviderID = Field(alias="ProviderID")
    evse_id: EvseID = Field(alias="EvseID")
    identification: Identification = Field(alias="Identification")
    partner_product_id: ProductID | None = Field(None, alias="PartnerProductID")


class AuthorizeRemoteStop(Message):
    """A provider stops a session (eRoamingAuthorizeRemoteStop)."""

    session_id: SessionID = Field(alias="SessionID")
    cpo_partner_session_id: PartnerSessionID | None = Field(None, alias="CPOPartnerSessionID")
    emp_partner_session_id: PartnerSessionID | None = Field(None, alias="EMPPartnerSessionID")
    provider_id: ProviderID = Field(alias="ProviderID")
    evse_id: EvseID = Field(alias="EvseID")


class AuthorizeRemoteReservationStart(Message):
    """A provider reserves a charging spot (eRoamingAuthorizeRemoteReservationStart); duration in minutes."""

    session_id: SessionID | None = Field(None, alias="SessionID")
    cpo_partner_session_id: PartnerSessionID | None = Field(None, alias="CPOPartnerSessionID")
    emp_partner_session_id: ReservationPartnerSessionID = Field(None, alias="EMPPartnerSessionID")
    provider_id: ProviderID = Field(alias="ProviderID")
    evse_id: EvseID = Field(alias="EvseID")
    identification: Identification = Field(alias="Identification")
    partner_product_id: ProductID | None = Field(None, alias="PartnerProductID")
    duration: Annotated[int, Whole(minimum=1, maximum=99)] | None = Field(None, alias="Duration")


class AuthorizeRemoteReservationStop(Message):
    """A provider ends a reservation (eRoamingAuthorizeRemoteReservationStop); a charge detail record follows."""

    session_id: SessionID = Field(alias="SessionID")
    cpo_partner_session_id: PartnerSessionID | None = Field(None, alias="CPOPartnerSessionID")
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


class ChargeDetailRecord(Message):
    """What was charged (eRoamingChargeDetailRecord); energy in kWh."""

    session_id: SessionID = Field(alias="SessionID")
    cpo_partner_session_id: PartnerSessionID | None = Field(None, alias="CPOPartnerSessionID")
    emp_partner_session_id: PartnerSessionID | None = Field(None, alias="EMPPartnerSessionID")
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
