"""Charging spots and what is asked of them (RULES T7, M4, M7, M9, M11)."""

from __future__ import annotations

from p2p_oicp.oicp.enumerations import PaymentOption
from p2p_oicp.oicp.evse import EvseDataRecord, EvseStatusRecord, PullEvseDataRecord
from p2p_oicp.oicp.places import GeoCoordinates
from p2p_oicp.oicp.pricing import EvsePricing
from p2p_oicp.oicp.pulls import GetChargeDetailRecords, PullEvseData
from p2p_oicp.oicp.rules.here import Here

_NOTATIONS = tuple(GeoCoordinates.model_fields)
#: What LastCall cannot be combined with (EMP-02, D43).
_FILTERS = ("search_center", "country_codes", "operator_ids")


def one_notation(place: GeoCoordinates, here: Here) -> None:
    """Require exactly one of the three notations (GeoCoordinatesType, D40)."""
    others = (place.decimal_degree, place.degree_minute_seconds)
    if place.google is not None and others == (None, None):  # nearly all places
        return
    given = [notation for notation in _NOTATIONS if getattr(place, notation) is not None]
    if len(given) != 1:
        named = ", ".join(place.token(notation)[1:] for notation in given) or "none"
        here.error("not-one-notation", f"exactly one of three notations is needed, not {len(given)} ({named})")


def payment_alone(record: EvseDataRecord, here: Here) -> None:
    """Require 'No Payment' to stand alone (PaymentOptionType, D46)."""
    options = record.payment_options
    if len(options) > 1 and PaymentOption.NO_PAYMENT in options:
        said = f"'No Payment' cannot be combined, but is one of {', '.join(options)}"
        here.error("no-payment-combined", said, "payment_options")


def opening_times(record: EvseDataRecord, here: Here) -> None:
    """Require OpeningTimes of what is not always open; older data that is pulled may lack them (D44)."""
    if record.is_open_24_hours is False and not record.opening_times:
        note = here.warn if isinstance(record, PullEvseDataRecord) else here.error
        note("opening-times-missing", "IsOpen24Hours is false, but OpeningTimes is absent", "opening_times")


def foreign_evse(record: EvseDataRecord | EvseStatusRecord | EvsePricing, here: Here) -> None:
    """Refuse a spot of another operator than those the sender speaks for (018, D54)."""
    spoken = here.scope.operators
    if spoken is None or record.evse_id.operator in spoken:
        return
    said = f"{record.evse_id} belongs to {record.evse_id.operator}, not to {', '.join(sorted(map(str, spoken)))}"
    here.error("foreign-evse-id", said, "evse_id")


def filters_beside_last_call(pull: PullEvseData, here: Here) -> None:
    """Refuse the filters that would make a delta wrong (D43)."""
    if pull.last_call is None:
        return
    for attribute in _FILTERS:
        if getattr(pull, attribute):
            said = f"{pull.token(attribute)[1:]} cannot be combined with LastCall ({pull.last_call.isoformat()})"
            here.error("filter-beside-last-call", said, attribute)


def span_of_time(pull: GetChargeDetailRecords, here: Here) -> None:
    """Require From not to be after To (M11)."""
    if pull.from_ > pull.to:
        here.error("reversed-span", f"From ({pull.from_.isoformat()}) is after To ({pull.to.isoformat()})")
