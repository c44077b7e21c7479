"""Rules of EVSE data and of its pulls (RULES T7, M4, M7, M9, M11), and of tariffs (RULES M13).

A rule that *requires* reports errors, one that *expects* reports warnings. Numbers D… are those of ``errata``. Rules of
records also run on record views (see ``record_view``): they read attributes only.
"""

from __future__ import annotations

from p2p_oicp.oicp.enums import AdditionalReferenceType, PaymentOption
from p2p_oicp.oicp.evse import EvseDataRecord, EvseStatusRecord, PullEvseDataRecord
from p2p_oicp.oicp.geo import GeoCoordinates
from p2p_oicp.oicp.pricing import EvsePricing, PricingProductData, PricingProductDataRecord, PushEVSEPricing
from p2p_oicp.oicp.pulls import GetChargeDetailRecords, PullEvseData
from p2p_oicp.oicp.rules.context import RuleContext

_NOTATIONS = tuple(GeoCoordinates.model_fields)
#: What LastCall cannot be combined with (EMP-02, D43).
_FILTERS_NOT_WITH_LAST_CALL = ("search_center", "country_codes", "operator_ids")


def exactly_one_notation(geo_coordinates: GeoCoordinates, context: RuleContext) -> None:
    """Require exactly one of the three notations (GeoCoordinatesType, D40)."""
    other_notations = (geo_coordinates.decimal_degree, geo_coordinates.degree_minute_seconds)
    if geo_coordinates.google is not None and other_notations == (None, None):  # fast path: nearly all records
        return
    present = [notation for notation in _NOTATIONS if getattr(geo_coordinates, notation) is not None]
    if len(present) != 1:
        names = ", ".join(geo_coordinates.reference_token(notation)[1:] for notation in present) or "none"
        context.error("not-one-notation", f"exactly one of three notations is needed, not {len(present)} ({names})")


def no_payment_is_exclusive(record: EvseDataRecord, context: RuleContext) -> None:
    """Require 'No Payment' to stand alone (PaymentOptionType, D46)."""
    options = record.payment_options
    if len(options) > 1 and any(option.casefold() == PaymentOption.NO_PAYMENT.casefold() for option in options):
        text = f"'No Payment' cannot be combined, but is one of {', '.join(options)}"
        context.error("no-payment-combined", text, "payment_options")


def opening_times_present(record: EvseDataRecord, context: RuleContext) -> None:
    """Require OpeningTimes of an EVSE that is not always open; pulled older data may lack them (D44)."""
    if record.is_open_24_hours is False and not record.opening_times:
        report = context.warn if isinstance(record, PullEvseDataRecord) else context.error
        report("opening-times-missing", "IsOpen24Hours is false, but OpeningTimes is absent", "opening_times")


def foreign_evse(record: EvseDataRecord | EvseStatusRecord | EvsePricing, context: RuleContext) -> None:
    """Require the EVSE to be of an operator that the sender is authorized for (M4; 018, D54)."""
    authorized_operators = context.scope.operators
    if authorized_operators is None or record.evse_id.operator in authorized_operators:
        return
    expected = ", ".join(sorted(map(str, authorized_operators)))
    text = f"{record.evse_id} belongs to {record.evse_id.operator}, not to {expected}"
    context.error("foreign-evse-id", text, "evse_id")


def no_filters_with_last_call(pull: PullEvseData, context: RuleContext) -> None:
    """Require LastCall without filters: records that leave the filter would be missing in a delta (M9, D43)."""
    if pull.last_call is None:
        return
    for attribute in _FILTERS_NOT_WITH_LAST_CALL:
        if getattr(pull, attribute):
            text = (
                f"{pull.reference_token(attribute)[1:]} cannot be combined with LastCall ({pull.last_call.isoformat()})"
            )
            context.error("filter-beside-last-call", text, attribute)


def time_range(pull: GetChargeDetailRecords, context: RuleContext) -> None:
    """Require From to be no later than To (M11)."""
    if pull.from_ > pull.to:
        context.error("reversed-span", f"From ({pull.from_.isoformat()}) is after To ({pull.to.isoformat()})")


_NEGATIVE_PRICE_TEXT = "{} is less than 0, so the driver would be paid"


def no_negative_price(record: PricingProductDataRecord, context: RuleContext) -> None:
    """Expect prices of at least 0; no document forbids negative ones."""
    if record.price_per_reference_unit < 0:
        context.warn(
            "negative-price", _NEGATIVE_PRICE_TEXT.format(record.price_per_reference_unit), "price_per_reference_unit"
        )
    for position, reference in enumerate(record.additional_references):
        price = reference.price_per_additional_reference_unit
        if price < 0:
            path = ("additional_references", position, "price_per_additional_reference_unit")
            context.warn("negative-price", _NEGATIVE_PRICE_TEXT.format(price), *path)


def no_negative_default_price(data: PricingProductData, context: RuleContext) -> None:
    """Expect a default price of at least 0."""
    if data.pricing_default_price < 0:
        context.warn("negative-price", _NEGATIVE_PRICE_TEXT.format(data.pricing_default_price), "pricing_default_price")


def at_least_one_price(push: PushEVSEPricing, context: RuleContext) -> None:
    """Require a record: of all pushes, this one alone must have some (eRoamingPushEVSEPricing, 1…n)."""
    count = context.scope.record_count
    if not (len(push.evse_pricing) if count is None else count):
        context.error("empty-list", "is empty; at least 1 element is needed, also to delete", "evse_pricing")


def availability_times(record: PricingProductDataRecord, context: RuleContext) -> None:
    """Expect availability times exactly if the product is not valid around the clock."""
    times = len(record.product_availability_times)
    if record.is_valid_24_hours == bool(times):
        valid = str(record.is_valid_24_hours).lower()
        text = f"IsValid24hours is {valid}, but there are {times} ProductAvailabilityTimes"
        context.warn("contradictory-availability", text, "product_availability_times")


def fee_limits(record: PricingProductDataRecord, context: RuleContext) -> None:
    """Expect a base price of 0 beside a fixed fee, and a minimum of at most the maximum (AdditionalReferenceType)."""
    prices = {
        reference.additional_reference: reference.price_per_additional_reference_unit
        for reference in record.additional_references
    }
    if AdditionalReferenceType.FIXED_FEE in prices and record.price_per_reference_unit != 0:
        text = f"is {record.price_per_reference_unit}; beside a FIXED FEE it should be 0"
        context.warn("price-beside-fixed-fee", text, "price_per_reference_unit")
    minimum_fee = prices.get(AdditionalReferenceType.MINIMUM_FEE)
    maximum_fee = prices.get(AdditionalReferenceType.MAXIMUM_FEE)
    if minimum_fee is not None and maximum_fee is not None and minimum_fee > maximum_fee:
        text = f"the MINIMUM FEE {minimum_fee} is more than the MAXIMUM FEE {maximum_fee}"
        context.warn("minimum-above-maximum", text, "additional_references")
