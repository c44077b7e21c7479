"""What a session costs by a product of OICP, in OCPI's parts (GATEWAY 13.4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from p2p_oicp.ocpi_mapping.amounts import ZERO, decimal_of, hours, number
from p2p_oicp.ocpi_mapping.losses import Losses
from p2p_oicp.oicp.enums import AdditionalReferenceType, ReferenceUnit

#: The remark of a CDR whose cost is unknown: a cost is mandatory in OCPI.
NO_PRICE: Final = "price not provided by OICP"
_MINUTES_PER_HOUR = 60
_FIXED = frozenset({AdditionalReferenceType.START_FEE, AdditionalReferenceType.FIXED_FEE})


@dataclass(frozen=True)
class Usage:
    """What is paid for: energy in kWh, charging time, parking time."""

    energy: Decimal
    charging: timedelta
    parking: timedelta


def hourly_price(price: Decimal, unit: str) -> Decimal | None:
    """Return a price of time by the hour; None: it is none of time."""
    if unit == ReferenceUnit.HOUR:
        return price
    return price * _MINUTES_PER_HOUR if unit == ReferenceUnit.MINUTE else None


def costs_of(product: dict[str, Any] | None, usage: Usage, losses: Losses) -> dict[str, Any]:
    """Return the members of a CDR that say what it costs; without a product 0, and a remark that says so."""
    if product is None:
        return {"total_cost": {"excl_vat": ZERO}, "remark": NO_PRICE}
    price, unit = decimal_of(product["PricePerReferenceUnit"]), product["ReferenceUnit"]
    per_hour = hourly_price(price, unit)
    parts = {
        "total_energy_cost": usage.energy * price if per_hour is None else ZERO,
        "total_time_cost": ZERO if per_hour is None else hours(usage.charging) * per_hour,
        "total_fixed_cost": ZERO,
        "total_parking_cost": ZERO,
    }
    limits: dict[str, Decimal] = {}
    for reference in product.get("AdditionalReferences") or []:
        kind = reference["AdditionalReference"]
        amount = decimal_of(reference["PricePerAdditionalReferenceUnit"])
        if kind in _FIXED:
            parts["total_fixed_cost"] += amount
        elif kind == AdditionalReferenceType.PARKING_FEE:
            parking_price = hourly_price(amount, reference["AdditionalReferenceUnit"])
            if parking_price is None:
                losses.add_value("/PartnerProductID", amount, "is its price for parking, and no price of time")
            parts["total_parking_cost"] += hours(usage.parking) * (parking_price or ZERO)
        else:
            limits[kind] = amount
    total = max(sum(parts.values(), ZERO), limits.get(AdditionalReferenceType.MINIMUM_FEE, ZERO))
    total = min(total, limits.get(AdditionalReferenceType.MAXIMUM_FEE, total))
    paid = {name: {"excl_vat": number(amount)} for name, amount in parts.items() if amount}
    return {"total_cost": {"excl_vat": number(total)}, **paid}
