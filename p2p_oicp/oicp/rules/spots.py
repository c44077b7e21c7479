"""Charging spots: each record in itself, and the records of a push beside each other (RULES M4, M7, M9, M11)."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from p2p_oicp.oicp.enumerations import PaymentOption
from p2p_oicp.oicp.evse import EvseDataRecord, EvseStatusRecord, PullEvseDataRecord, PushEvseData, PushEvseStatus
from p2p_oicp.oicp.kinds import Notes
from p2p_oicp.oicp.places import GeoCoordinates
from p2p_oicp.oicp.pricing import EvsePricing
from p2p_oicp.oicp.pulls import GetChargeDetailRecords, PullEvseData
from p2p_oicp.oicp.rules.scope import Scope

_NOTATIONS = tuple(GeoCoordinates.model_fields)
#: What LastCall cannot be combined with (EMP-02, D43).
_FILTERS = ("search_center", "country_codes", "operator_ids")


def one_notation(place: GeoCoordinates, at: str, notes: Notes, _: Scope) -> None:
    """Require exactly one of the three notations (GeoCoordinatesType, D40)."""
    given = [notation for notation in _NOTATIONS if place.__dict__[notation] is not None]
    if len(given) != 1:
        named = ", ".join(place.token(notation)[1:] for notation in given) or "none"
        notes.error(at, "not-one-notation", f"exactly one of three notations is needed, not {len(given)} ({named})")


def payment_alone(record: EvseDataRecord, at: str, notes: Notes, _: Scope) -> None:
    """Require 'No Payment' to stand alone (PaymentOptionType, D46)."""
    options = record.payment_options
    if len(options) > 1 and PaymentOption.NO_PAYMENT in options:
        said = f"'No Payment' cannot be combined, but is one of {', '.join(options)}"
        notes.error(at + record.token("payment_options"), "no-payment-combined", said)


def opening_times(record: EvseDataRecord, at: str, notes: Notes, _: Scope) -> None:
    """Require OpeningTimes of what is not always open; older data that is pulled may lack them (D44)."""
    if record.is_open_24_hours is False and not record.opening_times:
        note = notes.warn if isinstance(record, PullEvseDataRecord) else notes.error
        said = "IsOpen24Hours is false, but OpeningTimes is absent"
        note(at + record.token("opening_times"), "opening-times-missing", said)


def evse_data_push(push: PushEvseData, at: str, notes: Notes, scope: Scope) -> None:
    """Refuse a spot that is there twice, or another operator's (018, D54)."""
    data = push.operator_evse_data
    below = at + push.token("operator_evse_data") + data.token("evse_data_record")
    _own_and_once(data.evse_data_record, below, notes, scope)


def evse_status_push(push: PushEvseStatus, at: str, notes: Notes, scope: Scope) -> None:
    """Refuse a spot that is there twice, or another operator's (018, D54)."""
    data = push.operator_evse_status
    below = at + push.token("operator_evse_status") + data.token("evse_status_records")
    _own_and_once(data.evse_status_records, below, notes, scope)


def _own_and_once(records: Sequence[EvseDataRecord | EvseStatusRecord], at: str, notes: Notes, scope: Scope) -> None:
    first: dict[str, int] = {}
    for position, record in enumerate(records):
        earlier = first.setdefault(record.evse_id.key, position)
        if earlier != position:
            said = f"{record.evse_id} is in the records {earlier} and {position} of one push"
            notes.error(f"{at}/{position}{record.token('evse_id')}", "duplicate-evse-id", said)
        foreign_evse(record, f"{at}/{position}", notes, scope)


def foreign_evse(record: EvseDataRecord | EvseStatusRecord | EvsePricing, at: str, notes: Notes, scope: Scope) -> None:
    """Report a spot of another operator than those the sender speaks for (018, D54)."""
    if scope.operators is None or record.evse_id.operator in scope.operators:
        return
    spoken = ", ".join(sorted(map(str, scope.operators)))
    said = f"{record.evse_id} belongs to {record.evse_id.operator}, not to {spoken}"
    notes.error(at + record.token("evse_id"), "foreign-evse-id", said)


def filters_beside_last_call(pull: PullEvseData, at: str, notes: Notes, _: Scope) -> None:
    """Refuse the filters that would make a delta wrong (D43)."""
    if pull.last_call is None:
        return
    for attribute in _FILTERS:
        if getattr(pull, attribute):
            said = f"cannot be combined with LastCall ({pull.last_call.isoformat()})"
            notes.error(at + pull.token(attribute), "filter-beside-last-call", f"{pull.token(attribute)[1:]} {said}")


def span_of_time(pull: GetChargeDetailRecords, at: str, notes: Notes, _: Scope) -> None:
    """Require From not to be after To (M11)."""
    start, end = attrgetter("from_", "to")(pull)
    if start > end:
        notes.error(at, "reversed-span", f"From ({start.isoformat()}) is after To ({end.isoformat()})")
