"""The look over a charge detail record before it is sent (RULES C1 to C7).

A receiver takes a record whose meter values do not add up, and reports it; whoever sends it should not. So what
``validate`` reports about times, meter and signed values is an error here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from p2p_oicp.oicp.enumerations import CalibrationLawDataAvailability
from p2p_oicp.oicp.evse import EvseDataRecord
from p2p_oicp.oicp.findings import Finding, Severity
from p2p_oicp.oicp.quantities import EXACT
from p2p_oicp.oicp.sessions import ChargeDetailRecord
from p2p_oicp.oicp.validation import validate

#: What the sender can still put right.
_OWN_FAULTS = frozenset({"energy-mismatch", "meter-backwards", "times-out-of-order", "signed-values-out-of-order"})
#: A meter may be ahead of the clock, and a charger of its rating: one fifth.
_LEEWAY = Decimal("1.2")
_HOUR = timedelta(hours=1)
_MICROSECOND = timedelta(microseconds=1)


def preflight(
    record: ChargeDetailRecord, evse: EvseDataRecord | None = None, products: Collection[str] | None = None
) -> list[Finding]:
    """Return what speaks against sending a record, errors first; without ``evse`` and ``products``, less is known."""
    findings = [
        replace(found, severity=Severity.ERROR) if found.code in _OWN_FAULTS else found for found in validate(record)
    ]
    findings += implausible(record, evse, products)
    return sorted(findings, key=lambda found: found.severity is not Severity.ERROR)


def implausible(
    record: ChargeDetailRecord, evse: EvseDataRecord | None, products: Collection[str] | None
) -> list[Finding]:
    """Return what the data of its charging spot and the ProductIDs of its operator speak against (RULES C4, C6, C7)."""
    findings = [] if evse is None else _against(evse, record)
    if products is not None and record.partner_product_id and record.partner_product_id not in products:
        said = f"'{record.partner_product_id}' is none of the products {', '.join(sorted(products))}"
        findings.append(Finding(Severity.WARNING, "/PartnerProductID", "unknown-product", said))
    return findings


def _against(evse: EvseDataRecord, record: ChargeDetailRecord) -> list[Finding]:
    if evse.evse_id != record.evse_id:
        said = f"the record is of {record.evse_id}, the charging spot is {evse.evse_id}"
        return [Finding(Severity.ERROR, "/EvseID", "other-evse", said)]
    found = []
    external = evse.calibration_law_data_availability == CalibrationLawDataAvailability.EXTERNAL
    if external and not any(value.signed_metering_value for value in record.signed_metering_values):
        said = "CalibrationLawDataAvailability is External, but there are no signed meter values"
        found.append(Finding(Severity.ERROR, "/SignedMeteringValues", "unsigned-values", said))
    return [*found, *_plausible(evse, record)]


def _plausible(evse: EvseDataRecord, record: ChargeDetailRecord) -> list[Finding]:
    """Compare the energy with what the strongest outlet can deliver in the time (C6)."""
    power = max((facility.power for facility in evse.charging_facilities if facility.power), default=None)
    passed = record.charging_end - record.charging_start
    if power is None or passed < timedelta(0):
        return []
    hours = EXACT.divide(Decimal(passed // _MICROSECOND), Decimal(_HOUR // _MICROSECOND))
    most = EXACT.multiply(EXACT.multiply(power, hours), _LEEWAY)
    if record.consumed_energy <= most:
        return []
    said = f"{record.consumed_energy} kWh in {passed} are more than {most:.3f} kWh, what {power} kW can deliver"
    return [Finding(Severity.WARNING, "/ConsumedEnergy", "implausible-energy", said)]
