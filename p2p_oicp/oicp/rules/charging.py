"""Times, meter values and energy of a session (RULES M12, C1 to C5)."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

from p2p_oicp.oicp.enumerations import MeteringStatus
from p2p_oicp.oicp.notifications import (
    ChargingNotificationEnd,
    ChargingNotificationProgress,
    ChargingNotificationStart,
)
from p2p_oicp.oicp.quantities import EXACT
from p2p_oicp.oicp.rules.here import Here
from p2p_oicp.oicp.sessions import ChargeDetailRecord

_ORDER = ("session_start", "charging_start", "event_occurred", "charging_end", "session_end")
_MILLISECOND = timedelta(milliseconds=1)
#: Milliseconds by which a ChargingDuration may differ from its times.
_DURATION_LEEWAY = 60_000

Metered = ChargeDetailRecord | ChargingNotificationEnd
Timed = Metered | ChargingNotificationStart | ChargingNotificationProgress


def times_in_order(message: Timed, here: Here) -> None:
    """Expect SessionStart, ChargingStart, ChargingEnd, SessionEnd in this order; published examples break it (D62)."""
    told: list[tuple[str, datetime]] = [
        (attribute, time) for attribute in _ORDER if (time := message.__dict__.get(attribute)) is not None
    ]
    for (before, earlier), (after, later) in pairwise(told):
        if later < earlier:
            names = message.token(after)[1:], message.token(before)[1:]
            said = f"{names[0]} ({later.isoformat()}) is before {names[1]} ({earlier.isoformat()})"
            here.warn("times-out-of-order", said, after)


def energy_of_meter(message: Metered, here: Here) -> None:
    """Expect ConsumedEnergy to be what the meter went on, exactly (C1), and the meter to go forwards (C2)."""
    start, end, consumed = message.meter_value_start, message.meter_value_end, message.consumed_energy
    if start is None or end is None:
        return
    if end < start:
        here.warn("meter-backwards", f"MeterValueEnd ({end}) is less than MeterValueStart ({start})", "meter_value_end")
    passed = EXACT.subtract(end, start)
    if consumed is not None and passed != consumed:
        said = f"ConsumedEnergy is {consumed}, but the meter went from {start} to {end}, by {passed}"
        here.warn("energy-mismatch", said, "consumed_energy")


def values_in_between(message: Metered | ChargingNotificationProgress, here: Here) -> None:
    """Expect values on the way to rise, and to lie between start and end (C2)."""
    between = message.meter_value_in_between
    if between is None:
        return
    below, named = message.meter_value_start, "MeterValueStart"
    end = None if isinstance(message, ChargingNotificationProgress) else message.meter_value_end
    for position, value in enumerate(between.meter_values):
        way = ("meter_value_in_between", "meter_values", position)
        if below is not None and value < below:
            here.warn("meter-backwards", f"{value} is less than {named} ({below})", *way)
        if end is not None and value > end:
            here.warn("meter-backwards", f"{value} is more than MeterValueEnd ({end})", *way)
        below, named = value, "the value before"


def signed_values_in_order(record: ChargeDetailRecord, here: Here) -> None:
    """Expect signed values in the order Start, Progress, End (C5)."""
    furthest = 0
    for position, value in enumerate(record.signed_metering_values):
        rank = _rank(value.metering_status or "")
        if rank and rank < furthest:
            said = f"{value.metering_status} comes after a later one; the order is Start, Progress, End"
            here.warn("signed-values-out-of-order", said, "signed_metering_values", position, "metering_status")
        furthest = max(furthest, rank)


def _rank(status: str) -> int:
    """Return the place of a metering status in the order; 0 for what has none."""
    if status == MeteringStatus.START:
        return 1
    if status == MeteringStatus.END:
        return 99
    number = status.removeprefix(MeteringStatus.PROGRESS)
    if number == status:
        return 0
    return 2 + int(number) if number.isascii() and number.isdigit() else 2


def progress(message: ChargingNotificationProgress, here: Here) -> None:
    """Require a duration or an energy (D45); expect the duration to be that between the times (E6)."""
    told = message.charging_duration
    if told is None:
        if message.consumed_energy_progress is None:
            said = "one of ChargingDuration and ConsumedEnergyProgress is needed, both are absent"
            here.error("no-progress", said)
        return
    passed = (message.event_occurred - message.charging_start) // _MILLISECOND
    if abs(passed - told) > _DURATION_LEEWAY:
        said = f"ChargingDuration is {told} ms, but EventOccurred is {passed} ms after ChargingStart"
        here.warn("duration-mismatch", said, "charging_duration")
