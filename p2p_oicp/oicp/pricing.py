"""Prices: the products of an operator, and which of them apply at an EVSE (OICP 2.3, eRoamingDynamicPricing)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated

from pydantic import Field
from pydantic_core import CoreSchema
from typing_extensions import override

from p2p_oicp.oicp.common import Boolean, OperatorName, ProductID
from p2p_oicp.oicp.enums import ActionType, AdditionalReferenceType, ReferenceUnit
from p2p_oicp.oicp.field_specs import Aliases, ListLimits
from p2p_oicp.oicp.field_types import CodeListField, FieldType, FindingCollector, OpenEnumField, TextField, codes
from p2p_oicp.oicp.geo import DayText, Periods
from p2p_oicp.oicp.identifiers import EvseID, OperatorID, ProviderIDOrAll
from p2p_oicp.oicp.message import Message
from p2p_oicp.oicp.numbers import DecimalField

_CURRENCIES = codes(
    """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE
    CHF CHW CLF CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF
    GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR
    LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN
    PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS
    TMT TND TOP TRY TTD TWD TZS UAH UGX USD USN UYI UYU UYW UZS VED VES VND VUV WST XAF XAG XAU XBA XBB XBC XBD
    XCD XCG XDR XOF XPD XPF XPT XSU XTS XUA YER ZAR ZMW ZWG BGN
    """
)
_WITHDRAWN_CURRENCIES = codes(
    """
    ADP ANG ATS BEF BYR CSK CUC CYP DDM DEM ECS EEK ESP FIM FRF GHC GRD HRK IEP ITL LTL LUF LVL MGF MRO MTL MZM
    NLG PTE ROL RUR SDD SIT SKK SLL SRG STD TMM TRL UAK VEB VEF XEU YUM ZMK ZWL
    """
)

Price = Annotated[Decimal, DecimalField()]
Currency = Annotated[
    # Lower case is accepted of countries only: a hub and other implementations refuse it here.
    str, CodeListField("ISO 4217", _CURRENCIES, _WITHDRAWN_CURRENCIES, accept_lower_case=False)
]
ReferenceUnitText = Annotated[str, OpenEnumField(ReferenceUnit)]


@dataclass(frozen=True)
class ProductIDField(FieldType):
    """The ID of a product; one table of the documents wraps it in an object (CONFORMANCE D14)."""

    @override
    def schema(self) -> CoreSchema:
        return TextField(50).schema()

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        if isinstance(value, dict) and value.get("ProductID") is not None:
            return TextField(50).read(value["ProductID"], f"{pointer}/ProductID", collector)
        return TextField(50).read(value, pointer, collector)


class ProductAvailabilityTime(Message):
    """Times at which a product is available (ProductAvailabilityTimesType)."""

    periods: Annotated[Periods, Aliases("Period")] = Field(alias="Periods")
    on: Annotated[DayText, Aliases("On")] = Field(alias="on")


class AdditionalReference(Message):
    """A component of a tariff beside its base price (AdditionalReferencesType)."""

    additional_reference: Annotated[str, OpenEnumField(AdditionalReferenceType)] = Field(alias="AdditionalReference")
    additional_reference_unit: ReferenceUnitText = Field(alias="AdditionalReferenceUnit")
    price_per_additional_reference_unit: Price = Field(alias="PricePerAdditionalReferenceUnit")


class PricingProductDataRecord(Message):
    """A product: a tariff (PricingProductDataRecordType); power in kW."""

    product_id: ProductID = Field(alias="ProductID")
    reference_unit: ReferenceUnitText = Field(alias="ReferenceUnit")
    product_price_currency: Currency = Field(alias="ProductPriceCurrency")
    price_per_reference_unit: Price = Field(alias="PricePerReferenceUnit")
    maximum_product_charging_power: Price = Field(alias="MaximumProductChargingPower")
    is_valid_24_hours: Boolean = Field(alias="IsValid24hours")
    product_availability_times: tuple[ProductAvailabilityTime, ...] = Field(alias="ProductAvailabilityTimes")
    additional_references: Annotated[tuple[AdditionalReference, ...], ListLimits(optional=True)] = Field(
        (), alias="AdditionalReferences"
    )


class PricingProductData(Message):
    """The products of one operator for one provider, or for all (PricingProductDataType)."""

    operator_id: OperatorID = Field(alias="OperatorID")
    operator_name: OperatorName | None = Field(None, alias="OperatorName")
    provider_id: ProviderIDOrAll = Field(alias="ProviderID")
    pricing_default_price: Price = Field(alias="PricingDefaultPrice")
    pricing_default_price_currency: Currency = Field(alias="PricingDefaultPriceCurrency")
    pricing_default_reference_unit: ReferenceUnitText = Field(alias="PricingDefaultReferenceUnit")
    pricing_product_data_records: tuple[PricingProductDataRecord, ...] = Field(alias="PricingProductDataRecords")


class PushPricingProductData(Message):
    """A CPO pushes its products (eRoamingPushPricingProductData)."""

    action_type: ActionType = Field(alias="ActionType")
    pricing_product_data: PricingProductData = Field(alias="PricingProductData")


class EvsePricing(Message):
    """The products that apply at an EVSE (EVSEPricingType)."""

    evse_id: EvseID = Field(alias="EvseID")
    provider_id: ProviderIDOrAll = Field(alias="ProviderID")
    evse_id_product_list: Annotated[tuple[Annotated[str, ProductIDField()], ...], ListLimits(1)] = Field(
        alias="EvseIDProductList"
    )


class PushEVSEPricing(Message):
    """A CPO pushes which products apply at its EVSEs (eRoamingPushEVSEPricing)."""

    # There is no OperatorID in the body; the sender's one is in the path (CONFORMANCE D67).

    action_type: ActionType = Field(alias="ActionType")
    evse_pricing: tuple[EvsePricing, ...] = Field(alias="EVSEPricing")


class OperatorEvsePricing(Message):
    """The EVSE prices of one operator (OperatorEVSEPricingType)."""

    operator_id: OperatorID = Field(alias="OperatorID")
    operator_name: OperatorName | None = Field(None, alias="OperatorName")
    evse_pricing: tuple[EvsePricing, ...] = Field(alias="EVSEPricing")
