"""What speaks against a charge detail record: the clock, EVSE, products, session (RULES C4, C6, C7, L6 to L8).

The findings of this module are warnings, and so are those of the rules on times and meter values (C1 to C5): a receiver
accepts such a record and reports them, for it is the evidence of a dispute. ``DOUBT_CODES`` are the codes of both.
A sender can still correct it: `validation.preflight` makes errors of them.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from p2p_oicp.oicp.charging import ChargeDetailRecord, ChargingNotification
from p2p_oicp.oicp.common import token_key
from p2p_oicp.oicp.enums import CalibrationLawDataAvailability
from p2p_oicp.oicp.evse import EvseDataRecord
from p2p_oicp.oicp.findings import Finding, Severity
from p2p_oicp.oicp.numbers import EXACT_CONTEXT

#: The codes of findings that make a record doubtful, not unusable.
DOUBT_CODES: Final = frozenset(
    {
        "energy-mismatch",
        "implausible-energy",
        "implausible-time",
        "meter-backwards",
        "negative-price",
        "other-identification",
        "signed-values-out-of-order",
        "time-in-the-future",
        "times-out-of-order",
        "unknown-product",
        "unsigned-values",
    }
)

#: Tolerance of the plausible energy: clocks and ratings are not exact (C6).
_TOLERANCE_FACTOR = Decimal("1.2")
#: More than the largest batteries of lorries take (L7).
_MAX_ENERGY = 1000
_MAX_ENERGY_OF_MINUTES, _FEW_MINUTES = 100, timedelta(minutes=5)
_HOUR = timedelta(hours=1)
_MICROSECOND = timedelta(microseconds=1)

# L6. The times of a message in their order; a notification has some of them.
_TIMES = ("session_start", "charging_start", "event_occurred", "charging_end", "session_end")
_FIRST_CHARGING_STATIONS = datetime(2010, 1, 1, tzinfo=UTC)
_MAX_CLOCK_SKEW = timedelta(minutes=5)
_MAX_AUTHORIZATION_DELAY = timedelta(minutes=10)
_MAX_GAP = timedelta(hours=48)
_MAX_SESSION = timedelta(days=7)
_GAPS = (("session_start", "charging_start"), ("charging_end", "session_end"))


def check_times(
    message: ChargeDetailRecord | ChargingNotification, now: datetime, authorized_at: datetime | None = None
) -> list[Finding]:
    """Return what speaks against the times of a message (L6); ``authorized_at``: None if that is not known."""
    times: dict[str, datetime] = {name: time for name in _TIMES if (time := message.__dict__.get(name)) is not None}
    if not times:
        return []
    first, last = next(iter(times)), next(reversed(times))

    def name_of(attribute: str) -> str:
        return f"{message.reference_token(attribute)[1:]} ({times[attribute].isoformat()})"

    findings = []
    if times[last] - now > _MAX_CLOCK_SKEW:
        text = f"{name_of(last)} is in the future: it is {now.isoformat(timespec='seconds')}"
        findings.append(Finding(Severity.WARNING, message.reference_token(last), "time-in-the-future", text))
    problems = []
    if times[first] < _FIRST_CHARGING_STATIONS:
        problems.append((first, f"{name_of(first)} is before {_FIRST_CHARGING_STATIONS.year}"))
    if times[last] - times[first] > _MAX_SESSION:
        problems.append((last, f"{name_of(last)} is more than {_MAX_SESSION.days} days after {name_of(first)}"))
    for earlier, later in _GAPS:
        if earlier in times and later in times and times[later] - times[earlier] > _MAX_GAP:
            problems.append((later, f"{name_of(later)} is more than 48 hours after {name_of(earlier)}"))
    start = times.get("charging_start")
    if start is not None and authorized_at is not None and authorized_at - start > _MAX_AUTHORIZATION_DELAY:
        text = f"{name_of('charging_start')} is more than 10 minutes before the authorization"
        problems.append(("charging_start", f"{text} ({authorized_at.isoformat(timespec='seconds')})"))
    return findings + [
        Finding(Severity.WARNING, message.reference_token(attribute), "implausible-time", text)
        for attribute, text in problems
    ]


def check_plausibility(
    cdr: ChargeDetailRecord, evse: EvseDataRecord | None, products: Collection[str] | None
) -> list[Finding]:
    """Return the findings on a CDR against the data of its EVSE and the products of its operator (C4, C6, C7, L7).

    Args:
        cdr: The record.
        evse: The data of its EVSE; None: its energy is compared with what any session can take.
        products: The ProductIDs of its operator; None skips the check of PartnerProductID.
    """
    findings = _check_energy_alone(cdr) if evse is None else _check_against_evse(evse, cdr)
    if products is not None and cdr.partner_product_id and cdr.partner_product_id not in products:
        listed = ", ".join(sorted(products))
        text = f"'{cdr.partner_product_id}' is none of the products{f' {listed}' if listed else ', for there are none'}"
        findings.append(Finding(Severity.WARNING, "/PartnerProductID", "unknown-product", text))
    return findings


def check_identification(cdr: ChargeDetailRecord, token_keys: Collection[str]) -> list[Finding]:
    """Return a finding if the CDR's identification is none of those of its session (L8).

    ``token_keys`` are what `token_key` says of what started the session, and of what else may stop it. The same
    contract in another data type is the same identification.
    """
    key = token_key(cdr.identification)
    values = {_value_of(known) for known in token_keys}
    evco_id = cdr.identification.evco_id
    if not values or _value_of(key) in values or (evco_id is not None and evco_id.key in values):
        return []
    text = "is another identification than the one that was authorized"
    return [Finding(Severity.WARNING, "/Identification", "other-identification", text)]


def _value_of(key: str) -> str:
    return key.partition(":")[2]


def _check_against_evse(evse: EvseDataRecord, cdr: ChargeDetailRecord) -> list[Finding]:
    if evse.evse_id != cdr.evse_id:
        text = f"the record is of {cdr.evse_id}, the EVSE data is of {evse.evse_id}"
        return [Finding(Severity.ERROR, "/EvseID", "other-evse", text)]
    findings = []
    external = evse.calibration_law_data_availability == CalibrationLawDataAvailability.EXTERNAL
    if external and not any(value.signed_metering_value for value in cdr.signed_metering_values):
        text = "CalibrationLawDataAvailability is External, but there are no signed meter values"
        findings.append(Finding(Severity.WARNING, "/SignedMeteringValues", "unsigned-values", text))
    return [*findings, *_check_energy(evse, cdr)]


def _check_energy(evse: EvseDataRecord, cdr: ChargeDetailRecord) -> list[Finding]:
    """Compare the energy with what the strongest charging facility can deliver in the time (C6)."""
    power = max((facility.power for facility in evse.charging_facilities if facility.power), default=None)
    duration = cdr.charging_end - cdr.charging_start
    if power is None:
        return _check_energy_alone(cdr)
    if duration < timedelta(0):
        return []
    hours = EXACT_CONTEXT.divide(Decimal(duration // _MICROSECOND), Decimal(_HOUR // _MICROSECOND))
    max_energy = EXACT_CONTEXT.multiply(EXACT_CONTEXT.multiply(power, hours), _TOLERANCE_FACTOR)
    if cdr.consumed_energy <= max_energy:
        return []
    return [
        _implausible_energy(f"{cdr.consumed_energy} kWh in {duration}, but {power} kW deliver {max_energy:.3f} kWh")
    ]


def _check_energy_alone(cdr: ChargeDetailRecord) -> list[Finding]:
    """Compare the energy with what any vehicle can take (L7)."""
    energy, duration = cdr.consumed_energy, cdr.charging_end - cdr.charging_start
    if energy > _MAX_ENERGY:
        return [_implausible_energy(f"{energy} kWh are more than {_MAX_ENERGY} kWh; the unit is kWh, not Wh")]
    if energy > _MAX_ENERGY_OF_MINUTES and timedelta(0) <= duration < _FEW_MINUTES:
        return [
            _implausible_energy(f"{energy} kWh in {duration} are more than {_MAX_ENERGY_OF_MINUTES} kWh in 5 minutes")
        ]
    return []


def _implausible_energy(text: str) -> Finding:
    return Finding(Severity.WARNING, "/ConsumedEnergy", "implausible-energy", text)
