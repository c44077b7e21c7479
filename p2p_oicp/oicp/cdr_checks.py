"""Checks of a charge detail record before it is sent (RULES C1 to C7).

A receiver accepts a CDR whose meter values do not add up, and reports it: it is the evidence of a dispute. A sender can
still correct it, so what ``validate`` reports as a warning on times, meter values and signed values is an error here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from p2p_oicp.oicp.charging import ChargeDetailRecord
from p2p_oicp.oicp.enums import CalibrationLawDataAvailability
from p2p_oicp.oicp.evse import EvseDataRecord
from p2p_oicp.oicp.findings import Finding, Severity
from p2p_oicp.oicp.numbers import EXACT_CONTEXT
from p2p_oicp.oicp.validation import validate

_SENDER_ERRORS = frozenset({"energy-mismatch", "meter-backwards", "times-out-of-order", "signed-values-out-of-order"})
#: Tolerance of the plausible energy: clocks and ratings are not exact (C6).
_TOLERANCE_FACTOR = Decimal("1.2")
_HOUR = timedelta(hours=1)
_MICROSECOND = timedelta(microseconds=1)


def preflight(
    cdr: ChargeDetailRecord, evse: EvseDataRecord | None = None, products: Collection[str] | None = None
) -> list[Finding]:
    """Return the findings on a CDR to be sent, errors first.

    Args:
        cdr: The record.
        evse: The data of its EVSE; None skips the checks against it.
        products: The ProductIDs of its operator; None skips the check of PartnerProductID.
    """
    findings = [
        replace(finding, severity=Severity.ERROR) if finding.code in _SENDER_ERRORS else finding
        for finding in validate(cdr)
    ]
    findings += check_plausibility(cdr, evse, products)
    return sorted(findings, key=lambda finding: finding.severity is not Severity.ERROR)


def check_plausibility(
    cdr: ChargeDetailRecord, evse: EvseDataRecord | None, products: Collection[str] | None
) -> list[Finding]:
    """Return the findings on a CDR against the data of its EVSE and the products of its operator (C4, C6, C7)."""
    findings = [] if evse is None else _check_against_evse(evse, cdr)
    if products is not None and cdr.partner_product_id and cdr.partner_product_id not in products:
        text = f"'{cdr.partner_product_id}' is none of the products {', '.join(sorted(products))}"
        findings.append(Finding(Severity.WARNING, "/PartnerProductID", "unknown-product", text))
    return findings


def _check_against_evse(evse: EvseDataRecord, cdr: ChargeDetailRecord) -> list[Finding]:
    if evse.evse_id != cdr.evse_id:
        text = f"the record is of {cdr.evse_id}, the EVSE data is of {evse.evse_id}"
        return [Finding(Severity.ERROR, "/EvseID", "other-evse", text)]
    findings = []
    external = evse.calibration_law_data_availability == CalibrationLawDataAvailability.EXTERNAL
    if external and not any(value.signed_metering_value for value in cdr.signed_metering_values):
        text = "CalibrationLawDataAvailability is External, but there are no signed meter values"
        findings.append(Finding(Severity.ERROR, "/SignedMeteringValues", "unsigned-values", text))
    return [*findings, *_check_energy(evse, cdr)]


def _check_energy(evse: EvseDataRecord, cdr: ChargeDetailRecord) -> list[Finding]:
    """Compare the energy with what the strongest charging facility can deliver in the time (C6)."""
    power = max((facility.power for facility in evse.charging_facilities if facility.power), default=None)
    duration = cdr.charging_end - cdr.charging_start
    if power is None or duration < timedelta(0):
        return []
    hours = EXACT_CONTEXT.divide(Decimal(duration // _MICROSECOND), Decimal(_HOUR // _MICROSECOND))
    max_energy = EXACT_CONTEXT.multiply(EXACT_CONTEXT.multiply(power, hours), _TOLERANCE_FACTOR)
    if cdr.consumed_energy <= max_energy:
        return []
    text = f"{cdr.consumed_energy} kWh in {duration} are more than {max_energy:.3f} kWh, what {power} kW can deliver"
    return [Finding(Severity.WARNING, "/ConsumedEnergy", "implausible-energy", text)]
