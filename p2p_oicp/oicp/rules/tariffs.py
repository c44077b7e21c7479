"""Tariffs (RULES M13)."""

from __future__ import annotations

from p2p_oicp.oicp.enumerations import AdditionalReferenceType
from p2p_oicp.oicp.pricing import PricingProductData, PricingProductDataRecord
from p2p_oicp.oicp.rules.here import Here

_NEGATIVE = "{} is less than 0, so the driver would be paid"


def no_negative_price(record: PricingProductDataRecord, here: Here) -> None:
    """Report negative prices; no document forbids them."""
    if record.price_per_reference_unit < 0:
        here.warn("negative-price", _NEGATIVE.format(record.price_per_reference_unit), "price_per_reference_unit")
    for position, extra in enumerate(record.additional_references):
        price = extra.price_per_additional_reference_unit
        if price < 0:
            way = ("additional_references", position, "price_per_additional_reference_unit")
            here.warn("negative-price", _NEGATIVE.format(price), *way)


def no_negative_default(data: PricingProductData, here: Here) -> None:
    """Report a negative default price."""
    if data.pricing_default_price < 0:
        here.warn("negative-price", _NEGATIVE.format(data.pricing_default_price), "pricing_default_price")


def availability(record: PricingProductDataRecord, here: Here) -> None:
    """Expect times of a product that is not valid around the clock, and none of one that is."""
    times = len(record.product_availability_times)
    if record.is_valid_24_hours == bool(times):
        valid = str(record.is_valid_24_hours).lower()
        said = f"IsValid24hours is {valid}, but there are {times} ProductAvailabilityTimes"
        here.warn("contradictory-availability", said, "product_availability_times")


def fees(record: PricingProductDataRecord, here: Here) -> None:
    """Expect no base price beside a fixed fee, and no minimum above the maximum (AdditionalReferenceType)."""
    prices = {
        extra.additional_reference: extra.price_per_additional_reference_unit for extra in record.additional_references
    }
    if AdditionalReferenceType.FIXED_FEE in prices and record.price_per_reference_unit != 0:
        said = f"is {record.price_per_reference_unit}; beside a FIXED FEE it should be 0"
        here.warn("price-beside-fixed-fee", said, "price_per_reference_unit")
    least = prices.get(AdditionalReferenceType.MINIMUM_FEE)
    most = prices.get(AdditionalReferenceType.MAXIMUM_FEE)
    if least is not None and most is not None and least > most:
        said = f"the MINIMUM FEE {least} is more than the MAXIMUM FEE {most}"
        here.warn("minimum-above-maximum", said, "additional_references")
