"""EVSE data and EVSE status: the records and their pushes (OICP 2.3, CPO-02 and 03 Data Types)."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from p2p_oicp.oicp.common import Boolean, OperatorName
from p2p_oicp.oicp.enums import (
    Accessibility,
    AccessibilityLocation,
    ActionType,
    AuthenticationMode,
    CalibrationLawDataAvailability,
    ChargingMode,
    DeltaType,
    DynamicInfo,
    EnergyType,
    EvseStatus,
    PaymentOption,
    Plug,
    PowerType,
    ValueAddedService,
)
from p2p_oicp.oicp.field_specs import REQUIRED_OR_EMPTY, REQUIRED_OR_NONE, Aliases, ListLimits
from p2p_oicp.oicp.field_types import OpenEnumField, PatternField, TextField
from p2p_oicp.oicp.geo import Address, GeoCoordinates, LanguageCode, OpeningTime
from p2p_oicp.oicp.identifiers import ChargingPoolID, EvseID, OperatorID
from p2p_oicp.oicp.message import Message
from p2p_oicp.oicp.numbers import DecimalField, Instant, IntegerField

#: The status texts; the C# implementation also writes EVSENotFound (WIRE.md).
EvseStatusText = Annotated[str, OpenEnumField(EvseStatus, alternatives=("EVSENotFound",))]
AuthenticationModeText = Annotated[
    # The release notes misspell this value (CONFORMANCE D65).
    str,
    OpenEnumField(AuthenticationMode, alternatives=("No Authentication Requires",)),
]
# One document's table prints "No payment" (CONFORMANCE D46).
PaymentOptionText = Annotated[str, OpenEnumField(PaymentOption, accepted_with_warning=("No payment",))]
AccessibilityText = Annotated[str, OpenEnumField(Accessibility)]
CalibrationText = Annotated[str, OpenEnumField(CalibrationLawDataAvailability)]
PhoneNumber = Annotated[str, PatternField(r"\+[0-9]{5,15}", "a phone number is a + and 5 to 15 digits")]


class InfoText(Message):
    """A text in one language (InfoTextType)."""

    lang: Annotated[LanguageCode | None, REQUIRED_OR_NONE] = Field(alias="lang")
    value: Annotated[str, TextField(150)] = Field(alias="value")


InfoTexts = Annotated[tuple[InfoText, ...], ListLimits(optional=True)]


class ChargingFacility(Message):
    """What an EVSE can deliver (ChargingFacilityType); power in kW, voltage in V, amperage in A."""

    # Larger values are known defects of the protocol: charging parks exceed 99 A, 999 V and 999 kW (RULES D1, D2, E3).
    power_type: Annotated[Annotated[str, OpenEnumField(PowerType)] | None, REQUIRED_OR_NONE] = Field(alias="PowerType")
    voltage: Annotated[int, IntegerField(minimum=0, documented_maximum=999)] | None = Field(None, alias="Voltage")
    amperage: Annotated[int, IntegerField(minimum=0, documented_maximum=99)] | None = Field(None, alias="Amperage")
    power: Annotated[
        Annotated[Decimal, DecimalField(minimum=0, documented_maximum=999, integer=True, accept_strings=False)] | None,
        REQUIRED_OR_NONE,
    ] = Field(alias="Power")
    charging_modes: Annotated[
        tuple[Annotated[str, OpenEnumField(ChargingMode)], ...], ListLimits(optional=True), Aliases("Charging Modes")
    ] = Field((), alias="ChargingModes")


class EnergySource(Message):
    """A source of a station's energy (EnergySourceType); percentage 0 to 100."""

    # Two digits are documented, and 100 % is what most sources have (CONFORMANCE D30).

    energy: Annotated[str, OpenEnumField(EnergyType)] | None = Field(None, alias="Energy")
    percentage: Annotated[int, IntegerField(minimum=0, maximum=100, documented_maximum=99)] | None = Field(
        None, alias="Percentage"
    )


class EnvironmentalImpact(Message):
    """The emissions of a station's energy, in g/kWh (EnvironmentalImpactType)."""

    co2_emission: Annotated[Decimal, DecimalField(documented_maximum=99999)] | None = Field(None, alias="CO2Emission")
    nuclear_waste: Annotated[Decimal, DecimalField(documented_maximum=99999)] | None = Field(None, alias="NuclearWaste")


class EvseDataRecord(Message):
    """The data of an EVSE (EvseDataRecordType)."""

    # A mandatory member is None only in data of OICP 2.1 and 2.2 that was pulled (CONFORMANCE D38).
    delta_type: Annotated[str, OpenEnumField(DeltaType)] | None = Field(None, alias="deltaType")
    last_update: Instant | None = Field(None, alias="lastUpdate")
    evse_id: EvseID = Field(alias="EvseID")
    charging_pool_id: ChargingPoolID | None = Field(None, alias="ChargingPoolID")
    charging_station_id: Annotated[Annotated[str, TextField(50)] | None, Aliases("ChargingStationId")] = Field(
        None, alias="ChargingStationID"
    )
    charging_station_names: Annotated[tuple[InfoText, ...], ListLimits(1), REQUIRED_OR_EMPTY] = Field(
        alias="ChargingStationNames"
    )
    hardware_manufacturer: Annotated[str, TextField(50)] | None = Field(None, alias="HardwareManufacturer")
    charging_station_image: Annotated[str, TextField(200)] | None = Field(None, alias="ChargingStationImage")
    sub_operator_name: Annotated[str, TextField(100)] | None = Field(None, alias="SubOperatorName")
    address: Address = Field(alias="Address")
    geo_coordinates: GeoCoordinates = Field(alias="GeoCoordinates")
    plugs: Annotated[
        tuple[Annotated[str, OpenEnumField(Plug, extensible=True)], ...], ListLimits(1), REQUIRED_OR_EMPTY
    ] = Field(alias="Plugs")
    dynamic_power_level: Boolean | None = Field(None, alias="DynamicPowerLevel")
    charging_facilities: Annotated[tuple[ChargingFacility, ...], ListLimits(1), REQUIRED_OR_EMPTY] = Field(
        alias="ChargingFacilities"
    )
    renewable_energy: Annotated[Boolean | None, REQUIRED_OR_NONE] = Field(alias="RenewableEnergy")
    energy_source: Annotated[tuple[EnergySource, ...], ListLimits(optional=True)] = Field((), alias="EnergySource")
    environmental_impact: EnvironmentalImpact | None = Field(None, alias="EnvironmentalImpact")
    calibration_law_data_availability: Annotated[CalibrationText | None, REQUIRED_OR_NONE] = Field(
        alias="CalibrationLawDataAvailability"
    )
    authentication_modes: Annotated[tuple[AuthenticationModeText, ...], ListLimits(1), REQUIRED_OR_EMPTY] = Field(
        alias="AuthenticationModes"
    )
    max_capacity: Annotated[int, IntegerField(minimum=0)] | None = Field(None, alias="MaxCapacity")
    payment_options: Annotated[tuple[PaymentOptionText, ...], ListLimits(1), REQUIRED_OR_EMPTY] = Field(
        alias="PaymentOptions"
    )
    value_added_services: Annotated[
        tuple[Annotated[str, OpenEnumField(ValueAddedService)], ...], ListLimits(), REQUIRED_OR_EMPTY
    ] = Field(alias="ValueAddedServices")
    accessibility: Annotated[AccessibilityText | None, REQUIRED_OR_NONE] = Field(alias="Accessibility")
    accessibility_location: Annotated[str, OpenEnumField(AccessibilityLocation)] | None = Field(
        None, alias="AccessibilityLocation"
    )
    hotline_phone_number: Annotated[PhoneNumber | None, REQUIRED_OR_NONE] = Field(alias="HotlinePhoneNumber")
    additional_info: InfoTexts = Field((), alias="AdditionalInfo")
    charging_station_location_reference: InfoTexts = Field((), alias="ChargingStationLocationReference")
    geo_charging_point_entrance: GeoCoordinates | None = Field(None, alias="GeoChargingPointEntrance")
    is_open_24_hours: Annotated[Boolean | None, REQUIRED_OR_NONE] = Field(alias="IsOpen24Hours")
    opening_times: Annotated[tuple[OpeningTime, ...], ListLimits(optional=True)] = Field((), alias="OpeningTimes")
    hub_operator_id: OperatorID | None = Field(None, alias="HubOperatorID")
    clearinghouse_id: Annotated[str, TextField(20)] | None = Field(None, alias="ClearinghouseID")
    is_hubject_compatible: Annotated[Boolean | None, REQUIRED_OR_NONE] = Field(alias="IsHubjectCompatible")
    dynamic_info_available: Annotated[
        Annotated[str, OpenEnumField(DynamicInfo, accept_booleans=True)] | None, REQUIRED_OR_NONE
    ] = Field(alias="DynamicInfoAvailable")


class PullEvseDataRecord(EvseDataRecord):
    """The data of an EVSE in a pull, with its operator (PullEvseDataRecordType)."""

    operator_id: Annotated[OperatorID | None, Aliases("OperatorId"), REQUIRED_OR_NONE] = Field(alias="OperatorID")
    operator_name: Annotated[OperatorName | None, REQUIRED_OR_NONE] = Field(alias="OperatorName")


class OperatorEvseData(Message):
    """The EVSE data of one operator (OperatorEvseDataType)."""

    operator_id: OperatorID = Field(alias="OperatorID")
    operator_name: OperatorName = Field(alias="OperatorName")
    evse_data_record: tuple[EvseDataRecord, ...] = Field(alias="EvseDataRecord")


class PushEvseData(Message):
    """A CPO pushes EVSE data (eRoamingPushEvseData); a fullLoad without records deletes all (RULES M8)."""

    action_type: ActionType = Field(alias="ActionType")
    operator_evse_data: Annotated[OperatorEvseData, Aliases("OperatorEVSEData")] = Field(alias="OperatorEvseData")


class EvseStatusRecord(Message):
    """The status of an EVSE (EvseStatusRecordType)."""

    evse_id: EvseID = Field(alias="EvseID")
    evse_status: Annotated[EvseStatusText, Aliases("EVSEStatus")] = Field(alias="EvseStatus")


class OperatorEvseStatus(Message):
    """The EVSE statuses of one operator (OperatorEvseStatusType)."""

    operator_id: OperatorID = Field(alias="OperatorID")
    operator_name: OperatorName | None = Field(None, alias="OperatorName")
    evse_status_records: Annotated[tuple[EvseStatusRecord, ...], Aliases("EVSEStatusRecord")] = Field(
        alias="EvseStatusRecord"
    )


class PushEvseStatus(Message):
    """A CPO pushes EVSE statuses (eRoamingPushEvseStatus)."""

    action_type: ActionType = Field(alias="ActionType")
    operator_evse_status: Annotated[OperatorEvseStatus, Aliases("OperatorEVSEStatus")] = Field(
        alias="OperatorEvseStatus"
    )
