"""Tariffs (RULES M13) and which of them apply where."""

from __future__ import annotations

from p2p_oicp.oicp.enumerations import AdditionalReferenceType
from p2p_oicp.oicp.kinds import Notes
from p2p_oicp.oicp.pricing import PricingProductData, PricingProductDataRecord, PushEVSEPricing
from p2p_oicp.oicp.rules.scope import Scope
from p2p_oicp.oicp.rules.spots import foreign_evse


def no_negative_price(record: PricingProductDataRecord, at: str, notes: Notes, _: Scope) -> None:
    """Report negative prices; no document forbids them."""
    if record.price_per_reference_unit < 0:
        _negative(record.price_per_reference_unit, at + record.token("price_per_reference_unit"), notes)
    below = at + record.token("additional_references")
    for position, extra in enumerate(record.additional_references):
        if extra.price_per_additional_reference_unit < 0:
            pointer = f"{below}/{position}{extra.token('price_per_additional_reference_unit')}"
            _negative(extra.price_per_additional_reference_unit, pointer, notes)


def no_negative_default(data: PricingProductData, at: str, notes: Notes, _: Scope) -> None:
    """Report a negative default price."""
    if data.pricing_default_price < 0:
        _negative(data.pricing_default_price, at + data.token("pricing_default_price"), notes)


def _negative(price: object, at: str, notes: Notes) -> None:
    notes.warn(at, "negative-price", f"{price} is less than 0, so the driver would be paid")


def availability(record: PricingProductDataRecord, at: str, notes: Notes, _: Scope) -> None:
    """Expect times of a product that is not valid around the clock, and none of one that is."""
    times = len(record.product_availability_times)
    if record.is_valid_24_hours == bool(times):
        said = (
            f"IsValid24hours is {str(record.is_valid_24_hours).lower()}, but there are {times} ProductAvailabilityTimes"
        )
        notes.warn(at + record.token("product_availability_times"), "contradictory-availability", said)


def fees(record: PricingProductDataRecord, at: str, notes: Notes, _: Scope) -> None:
    """Expect no base price beside a fixed fee, and no minimum above the maximum (AdditionalReferenceType)."""
    prices = {
        extra.additional_reference: extra.price_per_additional_reference_unit for extra in record.additional_references
    }
    if AdditionalReferenceType.FIXED_FEE in prices and record.price_per_reference_unit != 0:
        said = f"is {record.price_per_reference_unit}; beside a FIXED FEE it should be 0"
        notes.warn(at + record.token("price_per_reference_unit"), "price-beside-fixed-fee", said)
    least, most = (
        prices.get(fee) for fee in (AdditionalReferenceType.MINIMUM_FEE, AdditionalReferenceType.MAXIMUM_FEE)
    )
    if least is not None and most is not None and least > most:
        said = f"the MINIMUM FEE {least} is more than the MAXIMUM FEE {most}"
        notes.warn(at + record.token("additional_references"), "minimum-above-maximum", said)


def unique_products(data: PricingProductData, at: str, notes: Notes, _: Scope) -> None:
    """Require names of products to be unique (PricingProductDataRecordType)."""
    first: dict[str, int] = {}
    below = at + data.token("pricing_product_data_records")
    for position, record in enumerate(data.pricing_product_data_records):
        earlier = first.setdefault(record.product_id, position)
        if earlier != position:
            said = f"'{record.product_id}' names the products {earlier} and {position}, but must be unique"
            notes.error(f"{below}/{position}{record.token('product_id')}", "duplicate-product", said)


def evse_pricing_push(push: PushEVSEPricing, at: str, notes: Notes, scope: Scope) -> None:
    """Refuse a spot that is there twice for the same providers, or another operator's (018, D67)."""
    first: dict[tuple[str, str], int] = {}
    below = at + push.token("evse_pricing")
    for position, record in enumerate(push.evse_pricing):
        earlier = first.setdefault((record.evse_id.key, record.provider_id.key), position)
        if earlier != position:
            said = f"{record.evse_id} for {record.provider_id} is in the records {earlier} and {position} of one push"
            notes.error(f"{below}/{position}{record.token('evse_id')}", "duplicate-evse-id", said)
        foreign_evse(record, f"{below}/{position}", notes, scope)
