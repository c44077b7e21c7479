"""Pulls with their responses, and authentication data (OICP 2.3, EMP-02).

eRoamingEvseData, eRoamingEvseStatus, eRoamingDynamicPricing, eRoamingGetChargeDetailRecords,
eRoamingAuthenticationData.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from p2p_oicp.oicp.charging import ChargeDetailRecord
from p2p_oicp.oicp.common import Boolean, Identification, StatusCode
from p2p_oicp.oicp.enums import ActionType, GeoFormat
from p2p_oicp.oicp.evse import (
    AccessibilityText,
    AuthenticationModeText,
    CalibrationText,
    EvseStatusRecord,
    EvseStatusText,
    OperatorEvseStatus,
    PullEvseDataRecord,
)
from p2p_oicp.oicp.field_specs import REQUIRED_OR_EMPTY, REQUIRED_OR_NONE, Aliases, ListLimits, OptionalWrapper
from p2p_oicp.oicp.field_types import OpenEnumField
from p2p_oicp.oicp.geo import CountryCode, SearchCenter
from p2p_oicp.oicp.identifiers import EvseID, OperatorID, ProviderID, SessionID
from p2p_oicp.oicp.message import Message
from p2p_oicp.oicp.numbers import Instant, IntegerField
from p2p_oicp.oicp.pricing import OperatorEvsePricing, PricingProductData

#: A filter: an empty list, or null, filters nothing.
FilterList = ListLimits(optional=True)
#: The requested elements: an empty list requests nothing, and is reported (CONFORMANCE D66).
RequestedList = ListLimits(1, empty_severity="warning")
Count = Annotated[Annotated[int, IntegerField(minimum=0)] | None, REQUIRED_OR_NONE]

GeoFormatText = Annotated[str, OpenEnumField(GeoFormat)]


class PullEvseData(Message):
    """Request for EVSE data (eRoamingPullEVSEData); ``last_call`` requests the changes since then."""

    provider_id: ProviderID = Field(alias="ProviderID")
    search_center: SearchCenter | None = Field(None, alias="SearchCenter")
    last_call: Instant | None = Field(None, alias="LastCall")
    geo_coordinates_response_format: GeoFormatText = Field(alias="GeoCoordinatesResponseFormat")
    country_codes: Annotated[tuple[CountryCode, ...], FilterList] = Field((), alias="CountryCodes")
    operator_ids: Annotated[tuple[OperatorID, ...], FilterList, Aliases("OperatorIDs")] = Field((), alias="OperatorIds")
    authentication_modes: Annotated[tuple[AuthenticationModeText, ...], FilterList] = Field(
        (), alias="AuthenticationModes"
    )
    accessibility: Annotated[tuple[AccessibilityText, ...], FilterList] = Field((), alias="Accessibility")
    calibration_law_data_availability: Annotated[tuple[CalibrationText, ...], FilterList] = Field(
        (), alias="CalibrationLawDataAvailability"
    )
    renewable_energy: Boolean | None = Field(None, alias="RenewableEnergy")
    is_hubject_compatible: Boolean | None = Field(None, alias="IsHubjectCompatible")
    is_open_24_hours: Boolean | None = Field(None, alias="IsOpen24Hours")


class Page(Message):
    """Base of paged responses; peers without paging leave its members out."""

    number: Count = Field(alias="number")
    size: Annotated[Annotated[int, IntegerField(minimum=0, documented_maximum=2000)] | None, REQUIRED_OR_NONE] = Field(
        alias="size"
    )
    total_elements: Count = Field(alias="totalElements")
    last: Annotated[Boolean | None, REQUIRED_OR_NONE] = Field(alias="last")
    total_pages: Count = Field(alias="totalPages")
    first: Annotated[Boolean | None, REQUIRED_OR_NONE] = Field(alias="first")
    number_of_elements: Count = Field(alias="numberOfElements")

    @property
    def is_last(self) -> bool:
        """Whether no page follows; a page without ``last`` is the last one (RULES P3)."""
        # Otherwise a peer that never sends ``last`` would be pulled for ever.
        return self.last is not False


class EvseDataPage(Page):
    """A page of EVSE data (eRoamingEVSEData)."""

    content: Annotated[tuple[PullEvseDataRecord, ...], ListLimits(pulled=True, skip_nulls=True), REQUIRED_OR_EMPTY] = (
        Field(alias="content")
    )
    status_code: Annotated[StatusCode | None, REQUIRED_OR_NONE] = Field(alias="StatusCode")


class ChargeDetailRecordPage(Page):
    """A page of charge detail records (eRoamingChargeDetailRecords)."""

    content: Annotated[tuple[ChargeDetailRecord, ...], ListLimits(pulled=True), REQUIRED_OR_EMPTY] = Field(
        alias="content"
    )
    status_code: StatusCode | None = Field(None, alias="StatusCode")


class PullEvseStatus(Message):
    """Request for EVSE statuses (eRoamingPullEVSEStatus)."""

    provider_id: ProviderID = Field(alias="ProviderID")
    search_center: SearchCenter | None = Field(None, alias="SearchCenter")
    evse_status: Annotated[EvseStatusText | None, Aliases("EvseStatus")] = Field(None, alias="EVSEStatus")


class PullEvseStatusById(Message):
    """Request for the statuses of up to 100 EVSEs (eRoamingPullEVSEStatusByID)."""

    provider_id: ProviderID = Field(alias="ProviderID")
    evse_id: Annotated[tuple[EvseID, ...], ListLimits(1, 100, empty_severity="warning")] = Field(alias="EvseID")


class PullEvseStatusByOperatorId(Message):
    """Request for the EVSE statuses of some operators (eRoamingPullEVSEStatusByOperatorID)."""

    provider_id: ProviderID = Field(alias="ProviderID")
    operator_id: Annotated[tuple[OperatorID, ...], RequestedList] = Field(alias="OperatorID")


class OperatorEvseStatuses(Message):
    """The object around the statuses of the operators."""

    operator_evse_status: Annotated[tuple[OperatorEvseStatus, ...], Aliases("OperatorEVSEStatus")] = Field(
        alias="OperatorEvseStatus"
    )


class EvseStatuses(Message):
    """EVSE statuses by operator (eRoamingEVSEStatus)."""

    evse_statuses: Annotated[OperatorEvseStatuses, OptionalWrapper("OperatorEvseStatus"), Aliases("EVSEStatuses")] = (
        Field(alias="EvseStatuses")
    )
    status_code: StatusCode | None = Field(None, alias="StatusCode")


class EvseStatusRecords(Message):
    """The object around single EVSE statuses."""

    evse_status_record: Annotated[tuple[EvseStatusRecord, ...], Aliases("EVSEStatusRecord")] = Field(
        alias="EvseStatusRecord"
    )


class EvseStatusesById(Message):
    """The statuses of the requested EVSEs (eRoamingEVSEStatusByID)."""

    evse_status_records: Annotated[
        EvseStatusRecords, OptionalWrapper("EvseStatusRecord"), Aliases("EvseStatusRecords")
    ] = Field(alias="EVSEStatusRecords")
    status_code: StatusCode | None = Field(None, alias="StatusCode")


class PullPricingProductData(Message):
    """Request for the products of some operators (eRoamingPullPricingProductData)."""

    last_call: Instant | None = Field(None, alias="LastCall")
    operator_ids: Annotated[tuple[OperatorID, ...], RequestedList, Aliases("OperatorIds")] = Field(alias="OperatorIDs")


class PricingProducts(Message):
    """The products of operators (eRoamingPricingProductData)."""

    pricing_product_data: Annotated[
        tuple[PricingProductData, ...], Aliases("OperatorPricingProducts", write_aliases=True)
    ] = Field(alias="PricingProductData")
    status_code: StatusCode | None = Field(None, alias="StatusCode")


class PullEVSEPricing(Message):
    """Request for the EVSE prices of some operators (eRoamingPullEVSEPricing)."""

    provider_id: ProviderID = Field(alias="ProviderID")
    last_call: Instant | None = Field(None, alias="LastCall")
    operator_ids: Annotated[tuple[OperatorID, ...], RequestedList, Aliases("OperatorIds")] = Field(alias="OperatorIDs")


class EvsePricings(Message):
    """EVSE prices by operator (eRoamingEVSEPricing)."""

    evse_pricing: Annotated[tuple[OperatorEvsePricing, ...], Aliases("OperatorEVSEPricing", write_aliases=True)] = (
        Field(alias="EVSEPricing")
    )
    status_code: StatusCode | None = Field(None, alias="StatusCode")


class GetChargeDetailRecords(Message):
    """Request for the CDRs of a span of time (eRoamingGetChargeDetailRecords)."""

    provider_id: ProviderID = Field(alias="ProviderID")
    from_: Instant = Field(alias="From")
    to: Instant = Field(alias="To")
    session_id: Annotated[tuple[SessionID, ...], FilterList] = Field((), alias="SessionID")
    # One operator in the tables, a list in an example and from C# peers (CONFORMANCE D19).
    operator_id: Annotated[tuple[OperatorID, ...], ListLimits(optional=True, allow_single=True, write_single=True)] = (
        Field((), alias="OperatorID")
    )
    cdr_forwarded: Annotated[Boolean | None, Aliases("CDRForwarder")] = Field(None, alias="CDRForwarded")


class AuthenticationDataRecord(Message):
    """The identification of one driver (AuthenticationDataRecordType)."""

    identification: Identification = Field(alias="Identification")


class ProviderAuthenticationData(Message):
    """The authentication data of one provider (ProviderAuthenticationDataType)."""

    provider_id: ProviderID = Field(alias="ProviderID")
    authentication_data_record: tuple[AuthenticationDataRecord, ...] = Field(alias="AuthenticationDataRecord")


class PushAuthenticationData(Message):
    """An EMP pushes authentication data (eRoamingPushAuthenticationData)."""

    action_type: ActionType = Field(alias="ActionType")
    provider_authentication_data: ProviderAuthenticationData = Field(alias="ProviderAuthenticationData")


class PullAuthenticationData(Message):
    """Request for authentication data (not in Hubject's documents; WWCP's authdata pull-request, D60)."""

    operator_id: OperatorID = Field(alias="OperatorID")


class AuthenticationData(Message):
    """The response to PullAuthenticationData: authentication data by provider."""

    provider_authentication_data: Annotated[tuple[ProviderAuthenticationData, ...], ListLimits(allow_single=True)] = (
        Field(alias="ProviderAuthenticationData")
    )
    status_code: StatusCode | None = Field(None, alias="StatusCode")
