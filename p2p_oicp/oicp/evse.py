"""EVSE data and status: the records, their pushes and their pulls (OICP 2.3, CPO-02 and EMP-02)."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from p2p_oicp.oicp.base import Message
from p2p_oicp.oicp.common import Boolean, OperatorName
from p2p_oicp.oicp.enumerations import (
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
from p2p_oicp.oicp.identifiers import ChargingPoolID, EvseID, OperatorID
from p2p_oicp.oicp.kinds import Matching, OneOf, Text
from p2p_oicp.oicp.members import NO_ELEMENTS, OWED, AlsoRead, Several
from p2p_oicp.oicp.places import Address, GeoCoordinates, LanguageCode, OpeningTime
from p2p_oicp.oicp.quantities import Instant, Number, Whole

#: The status texts; the C# implementation also writes EVSENotFound (WIRE.md).
EvseStatusText = Annotated[str, OneOf(EvseStatus, also_read=("EVSENotFound",))]
AuthenticationModeText = Annotated[
    # The release notes misspell this value (CONFORMANCE D65).
    str,
    OneOf(AuthenticationMode, also_read=("No Authentication Requires",)),
]
AccessibilityText = Annotated[str, OneOf(Accessibility)]
CalibrationText = Annotated[str, OneOf(CalibrationLawDataAvailability)]
PhoneNumber = Annotated[str, Matching(r"\+[0-9]{5,15}", "a phone number is a + and 5 to 15 digits")]


class InfoText(Message):
    """A text in one language (InfoTextType)."""

    lang: Annotated[LanguageCode | None, OWED] = Field(alias="lang")
    value: Annotated[str, Text(150)] = Field(alias="value")


InfoTexts = Annotated[tuple[InfoText, ...], Several(optional=True)]


class ChargingFacility(Message):
    """What an EVSE can deliver (ChargingFacilityType); power in kW."""

    power_type: Annotated[Annotated[str, OneOf(PowerType)] | None, OWED] = Field(alias="PowerType")
    voltage: Annotated[int, Whole(minimum=0, usual=999)] | None = Field(None, alias="Voltage")
    amperage: Annotated[int, Whole(minimum=0, usual=99)] | None = Field(None, alias="Amperage")
    power: Annotated[Annotated[Decimal, Number(minimum=0, usual=999, whole=True, texts=False)] | None, OWED] = Field(
        alias="Power"
    )
    charging_modes: Annotated[
        tuple[Annotated[str, OneOf(ChargingMode)], ...], Several(optional=True), AlsoRead("Charging Modes")
    ] = Field((), alias="ChargingModes")


class EnergySource(Message):
    """One source of a station's energy (EnergySourceType); percentage 0 to 100."""

    energy: Annotated[str, OneOf(EnergyType)] | None = Field(None, alias="Energy")
    percentage: Annotated[int, Whole(minimum=0, maximum=100, usual=99)] | None = Field(None, alias="Percentage")


class EnvironmentalImpact(Message):
    """What a station's energy emits, in g/kWh (EnvironmentalImpactType)."""

    co2_emission: Annotated[Decimal, Number(usual=99999)] | None = Field(None, alias="CO2Emission")
    nuclear_waste: Annotated[Decimal, Number(usual=99999)] | None = Field(None, alias="NuclearWaste")


class EvseDataRecord(Message):
    """A charging spot (EvseDataRecordType); a mandatory member is None only in older data that was pulled."""

    delta_type: Annotated[str, OneOf(DeltaType)] | None = Field(None, alias="deltaType")
    last_update: Instant | None = Field(None, alias="lastUpdate")
    evse_id: EvseID = Field(alias="EvseID")
    charging_pool_id: ChargingPoolID | None = Field(None, alias="ChargingPoolID")
    charging_station_id: Annotated[Annotated[str, Text(50)] | None, AlsoRead("ChargingStationId")] = Field(
        None, alias="ChargingStationID"
    )
    charging_station_names: Annotated[tuple[InfoText, ...], Several(1), NO_ELEMENTS] = Field(
        alias="ChargingStationNames"
    )
    hardware_manufacturer: Annotated[str, Text(50)] | None = Field(None, alias="HardwareManufacturer")
    charging_station_image: Annotated[str, Text(200)] | None = Field(None, alias="ChargingStationImage")
    sub_operator_name: Annotated[str, Text(100)] | None = Field(None, alias="SubOperatorName")
    address: Address = Field(alias="Address")
    geo_coordinates: GeoCoordinates = Field(alias="GeoCoordinates")
    plugs: Annotated[tuple[Annotated[str, OneOf(Plug, growing=True)], ...], Several(1), NO_ELEMENTS] = Field(
        alias="Plugs"
    )
    dynamic_power_level: Boolean | None = Field(None, alias="DynamicPowerLevel")
    charging_facilities: Annotated[tuple[ChargingFacility, ...], Several(1), NO_ELEMENTS] = Field(
        alias="ChargingFacilities"
    )
    renewable_energy: Annotated[Boolean | None, OWED] = Field(alias="RenewableEnergy")
    energy_source: Annotated[tuple[EnergySource, ...], Several(optional=True)] = Field((), alias="EnergySource")
    environmental_impact: EnvironmentalImpact | None = Field(None, alias="EnvironmentalImpact")
    calibration_law_data_availability: Annotated[CalibrationText | None, OWED] = Field(
        alias="CalibrationLawDataAvailability"
    )
    authentication_modes: Annotated[tuple[AuthenticationModeText, ...], Several(1), NO_ELEMENTS] = Field(
        alias="AuthenticationModes"
    )
    max_capacity: Annotated[int, Whole(minimum=0)] | None = Field(None, alias="MaxCapacity")
    payment_options: Annotated[tuple[Annotated[str, OneOf(PaymentOption)], ...], Several(1), NO_ELEMENTS] = Field(
        alias="PaymentOptions"
    )
    value_added_services: Annotated[tuple[Annotated[str, OneOf(ValueAddedService)], ...], Several(), NO_ELEMENTS] = (
        Field(alias="ValueAddedServices")
    )
    accessibility: Annotated[AccessibilityText | None, OWED] = Field(alias="Accessibility")
    accessibility_location: Annotated[str, OneOf(AccessibilityLocation)] | None = Field(
        None, alias="AccessibilityLocation"
    )
    hotline_phone_number: Annotated[PhoneNumber | None, OWED] = Field(alias="HotlinePhoneNumber")
    additional_info: InfoTexts = Field((), alias="AdditionalInfo")
    charging_station_location_reference: InfoTexts = Field((), alias="ChargingStationLocationReference")
    geo_charging_point_entrance: GeoCoordinates | None = Field(None, alias="GeoChargingPointEntrance")
    is_open_24_hours: Annotated[Boolean | None, OWED] = Field(alias="IsOpen24Hours")
    opening_times: Annotated[tuple[OpeningTime, ...], Several(optional=True)] = Field((), alias="OpeningTimes")
    hub_operator_id: OperatorID | None = Field(None, alias="HubOperatorID")
    clearinghouse_id: Annotated[str, Text(20)] | None = Field(None, alias="ClearinghouseID")
    is_hubject_compatible: Annotated[Boolean | None, OWED] = Field(alias="IsHubjectCompatible")
    dynamic_info_available: Annotated[Annotated[str, OneOf(DynamicInfo, booleans=True)] | None, OWED] = Field(
        alias="DynamicInfoAvailable"
    )


class PullEvseDataRecord(EvseDataRecord):
    """A charging spot as a pull returns it (PullEvseDataRecordType): it names its operator."""

    operator_id: Annotated[OperatorID | None, AlsoRead("OperatorId"), OWED] = Field(alias="OperatorID")
    operator_name: Annotated[OperatorName | None, OWED] = Field(alias="OperatorName")


class OperatorEvseData(Message):
    """The charging spots of one operator (OperatorEvseDataType)."""

    operator_id: OperatorID = Field(alias="OperatorID")
    operator_name: OperatorName = Field(alias="OperatorName")
    evse_data_record: tuple[EvseDataRecord, ...] = Field(alias="EvseDataRecord")


class PushEvseData(Message):
    """A CPO tells its charging spots (eRoamingPushEvseData); a fullLoad without records deletes all."""

    action_type: ActionType = Field(alias="ActionType")
    operator_evse_data: Annotated[OperatorEvseData, AlsoRead("OperatorEVSEData")] = Field(alias="OperatorEvseData")


class EvseStatusRecord(Message):
    """The state of one charging spot (EvseStatusRecordType)."""

    evse_id: EvseID = Field(alias="EvseID")
    evse_status: Annotated[EvseStatusText, AlsoRead("EVSEStatus")] = Field(alias="EvseStatus")


class OperatorEvseStatus(Message):
    """The states of one operator's charging spots (OperatorEvseStatusType)."""

    operator_id: OperatorID = Field(alias="OperatorID")
    operator_name: OperatorName | None = Field(None, alias="OperatorName")
    evse_status_records: Annotated[tuple[EvseStatusRecord, ...], AlsoRead("EVSEStatusRecord")] = Field(
        alias="EvseStatusRecord"
    )


class PushEvseStatus(Message):
    """A CPO tells the states of its charging spots (eRoamingPushEvseStatus)."""

    action_type: ActionType = Field(alias="ActionType")
    operator_evse_status: Annotated[OperatorEvseStatus, AlsoRead("OperatorEVSEStatus")] = Field(
        alias="OperatorEvseStatus"
    )
