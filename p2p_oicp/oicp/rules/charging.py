"""Times, meter values and energy of a session (RULES M12, C1 to C5)."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from p2p_oicp.oicp.enumerations import MeteringStatus
from p2p_oicp.oicp.kinds import Notes
from p2p_oicp.oicp.notifications import (
    ChargingNotificationEnd,
    ChargingNotificationProgress,
    ChargingNotificationStart,
)
from p2p_oicp.oicp.quantities import EXACT
from p2p_oicp.oicp.rules.scope import Scope
from p2p_oicp.oicp.sessions import ChargeDetailRecord

_ORDER = ("session_start", "charging_start", "event_occurred", "charging_end", "session_end")
#: Milliseconds by which a ChargingDuration may differ from its times.
_DURATION_LEEWAY = 60_000

Timed = ChargeDetailRecord | ChargingNotificationStart | ChargingNotificationProgress | ChargingNotificationEnd
Metered = ChargeDetailRecord | ChargingNotificationEnd


def times_in_order(message: Timed, at: str, notes: Notes, _: Scope) -> None:
    """Expect SessionStart, ChargingStart, ChargingEnd, SessionEnd in this order; published examples break it (D62)."""
    told: list[tuple[str, datetime]] = [
        (attribute, time) for attribute in _ORDER if (time := message.__dict__.get(attribute)) is not None
    ]
    for (before, earlier), (after, later) in pairwise(told):
        if later < earlier:
            name = message.token(after)[1:]
            said = f"{name} ({later.isoformat()}) is before {message.token(before)[1:]} ({earlier.isoformat()})"
            notes.warn(at + message.token(after), "times-out-of-order", said)


def energy_of_meter(message: Metered, at: str, notes: Notes, _: Scope) -> None:
    """Expect ConsumedEnergy to be what the meter went on, exactly (C1), and the meter to go forwards (C2)."""
    start, end, consumed = message.meter_value_start, message.meter_value_end, message.consumed_energy
    if start is None or end is None:
        return
    if end < start:
        said = f"MeterValueEnd ({end}) is less than MeterValueStart ({start})"
        notes.warn(at + message.token("meter_value_end"), "meter-backwards", said)
    if consumed is not None and EXACT.subtract(end, start) != consumed:
        said = (
            f"ConsumedEnergy is {consumed}, but the meter went from {start} to {end}, by {EXACT.subtract(end, start)}"
        )
        notes.warn(at + message.token("consumed_energy"), "energy-mismatch", said)


def values_in_between(
    message: ChargeDetailRecord | ChargingNotificationProgress | ChargingNotificationEnd,
    at: str,
    notes: Notes,
    _: Scope,
) -> None:
    """Expect values on the way to rise, and to lie between start and end (C2)."""
    between = message.meter_value_in_between
    if between is None or not between.meter_values:
        return
    below = at + message.token("meter_value_in_between") + between.token("meter_values")
    limit, named = message.meter_value_start, "MeterValueStart"
    for position, value in enumerate(between.meter_values):
        if limit is not None and value < limit:
            notes.warn(f"{below}/{position}", "meter-backwards", f"{value} is less than {named} ({limit})")
        limit, named = value, "the value before"
    _below_the_end(message.__dict__.get("meter_value_end"), between.meter_values, below, notes)


def _below_the_end(end: Decimal | None, values: tuple[Decimal, ...], at: str, notes: Notes) -> None:
    for position, value in enumerate(values):
        if end is not None and value > end:
            notes.warn(f"{at}/{position}", "meter-backwards", f"{value} is more than MeterValueEnd ({end})")


def signed_values_in_order(record: ChargeDetailRecord, at: str, notes: Notes, _: Scope) -> None:
    """Expect signed values in the order Start, Progress, End (C5)."""
    below = at + record.token("signed_metering_values")
    furthest = 0
    for position, value in enumerate(record.signed_metering_values):
        rank = _rank(value.metering_status)
        if rank < furthest:
            said = f"{value.metering_status} comes after a later one; the order is Start, Progress, End"
            notes.warn(f"{below}/{position}{value.token('metering_status')}", "signed-values-out-of-order", said)
        furthest = max(furthest, rank)


def _rank(status: str | None) -> int:
    """Return the place of a metering status in the order; 0 for what has none."""
    if status == MeteringStatus.END:
        return 99
    if status is None or not status.startswith(MeteringStatus.PROGRESS):
        return 1 if status == MeteringStatus.START else 0
    number = status.removeprefix(MeteringStatus.PROGRESS)
    return 1 + int(number) if number.isascii() and number.isdigit() else 2


def progress(message: ChargingNotificationProgress, at: str, notes: Notes, _: Scope) -> None:
    """Require a duration or an energy (D45); expect the duration to be that between the times (E6)."""
    if message.charging_duration is None:
        if message.consumed_energy_progress is None:
            said = "one of ChargingDuration and ConsumedEnergyProgress is needed, both are absent"
            notes.error(at, "no-progress", said)
        return
    passed = (message.event_occurred - message.charging_start) // timedelta(milliseconds=1)
    told = message.charging_duration
    if abs(passed - told) > _DURATION_LEEWAY:
        said = f"ChargingDuration is {told} ms, but EventOccurred is {passed} ms after ChargingStart"
        notes.warn(at + message.token("charging_duration"), "duration-mismatch", said)
