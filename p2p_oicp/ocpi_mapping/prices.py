"""Tariffs of OCPI and pricing products of OICP (GATEWAY 13.5).

OICP has one base price a product, for energy or for time. In OCPI the first element that fits counts, for each
dimension. So an element's times are those of the week that no earlier element has, and where a part of a tariff would
be a wrong price, all of it is left out and reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

from p2p_oicp.ocpi.base import format_time
from p2p_oicp.ocpi.enumerations import DayOfWeek, TariffDimensionType, TariffType
from p2p_oicp.ocpi_mapping.amounts import ZERO, decimal_of, number, time_of
from p2p_oicp.ocpi_mapping.costs import hourly_price
from p2p_oicp.ocpi_mapping.hours import (
    DAY_MINUTES,
    FULL_WEEK,
    Week,
    daily_spans,
    read_clock,
    read_days,
    subtract,
    to_days,
    union,
    week_of,
    write_clock,
)
from p2p_oicp.ocpi_mapping.identifications import path_segment
from p2p_oicp.ocpi_mapping.ids import party_of_operator, short_id
from p2p_oicp.ocpi_mapping.losses import Loss, Losses
from p2p_oicp.ocpi_mapping.terms import Terms
from p2p_oicp.oicp.enums import AdditionalReferenceType, ReferenceUnit

_ENERGY, _TIME = TariffDimensionType.ENERGY, TariffDimensionType.TIME
_FLAT, _PARKING = TariffDimensionType.FLAT, TariffDimensionType.PARKING_TIME
#: Restrictions that no product of OICP has; ``max_power`` is the product's power, if the element is the only one.
_FOREIGN_RESTRICTIONS: Final = (
    "start_date",
    "end_date",
    "min_kwh",
    "max_kwh",
    "min_current",
    "max_current",
    "min_power",
    "max_power",
    "min_duration",
    "max_duration",
)
_DAY_NUMBERS: Final[Mapping[str, int]] = MappingProxyType({str(day): number_ for number_, day in enumerate(DayOfWeek)})
_LOST_OF_TARIFF = ("tariff_alt_text", "tariff_alt_url", "energy_mix")
_STEP_SIZES: Final[Mapping[str, int]] = MappingProxyType({_ENERGY: 1, _FLAT: 1, _TIME: 60, _PARKING: 60})
_EVERY_DAY = 7


@dataclass(frozen=True)
class Products:
    """The products of a tariff, and what was left out: the element (None: the tariff) and the reason."""

    products: list[dict[str, Any]]
    left_out: list[dict[str, Any]]
    losses: tuple[Loss, ...] = ()


@dataclass(frozen=True)
class TariffRequest:
    """The PUT of a product's tariff; ``method`` is ``none`` where nothing is sent, for a reason."""

    method: str
    path: str | None = None
    body: dict[str, Any] | None = None
    reason: str | None = None
    losses: tuple[Loss, ...] = ()


@dataclass
class _Element:
    """An element, or several without restrictions, which are one price together."""

    position: int
    restrictions: dict[str, Any]
    prices: dict[str, Decimal] = field(default_factory=dict)

    def add(self, components: list[dict[str, Any]]) -> None:
        """Add prices: of several for one dimension, the first counts."""
        for component in components:
            self.prices.setdefault(component["type"].upper(), decimal_of(component["price"]))


class _LeftOut(Exception):
    """A whole tariff is left out."""

    def __init__(self, element: int | None, reason: str) -> None:
        super().__init__(reason)
        self.finding = {"element": element, "reason": reason}


def to_products(tariff: dict[str, Any], max_power_kw: Decimal, terms: Terms) -> Products:
    """Return the products of a tariff, one for each of its elements.

    Args:
        tariff: As received.
        max_power_kw: Of the strongest connector that uses the tariff.
        terms: Those of the CPO.
    """
    losses = Losses()
    left_out: list[dict[str, Any]] = []
    try:
        _check_tariff(tariff, terms)
        elements = _elements(tariff["elements"], left_out)
        _check_elements(elements)
        weeks = [_week(element) for element in elements]
    except _LeftOut as exc:
        return Products([], [exc.finding])
    losses.add_members(tariff, "", _LOST_OF_TARIFF)
    for position, element in enumerate(tariff["elements"]):
        for number_, component in enumerate(element["price_components"]):
            place = f"/elements/{position}/price_components/{number_}"
            losses.add_members(component, place, ("vat", "step_size"))
    products = []
    taken: Week = ((),) * _EVERY_DAY
    for element, own_week in zip(elements, weeks, strict=True):
        week = subtract(own_week, taken)
        taken = union(taken, week)
        if not any(week):
            left_out.append({"element": element.position, "reason": "never_applies"})
            continue
        suffix = f"#{element.position + 1}" if len(elements) > 1 else ""
        power = element.restrictions.get("max_power", max_power_kw)
        products.append(_product(tariff, suffix, element, week, power))
    return Products(products, left_out, losses.all)


def _check_tariff(tariff: dict[str, Any], terms: Terms) -> None:
    tariff_type = str(tariff.get("type") or TariffType.REGULAR).upper()
    if tariff.get("type") and terms.tariff_types is not None and tariff_type not in terms.tariff_types:
        raise _LeftOut(None, "type")
    start, end = tariff.get("start_date_time"), tariff.get("end_date_time")
    if (start and time_of(start) > terms.now) or (end and time_of(end) <= terms.now):
        raise _LeftOut(None, "not_active")


def _elements(elements: list[dict[str, Any]], left_out: list[dict[str, Any]]) -> list[_Element]:
    """Return the elements without those for reservations; those without restrictions become one."""
    result: list[_Element] = []
    unrestricted: _Element | None = None
    for position, raw_element in enumerate(elements):
        given = raw_element.get("restrictions") or {}
        restrictions = {name: value for name, value in given.items() if value not in (None, [])}
        if "reservation" in restrictions:
            left_out.append({"element": position, "reason": "reservation"})
            continue
        element = unrestricted if not restrictions and unrestricted else _Element(position, restrictions)
        element.add(raw_element["price_components"])
        if element is not unrestricted:
            result.append(element)
        if not restrictions:
            unrestricted = element
    return result


def _check_elements(elements: list[_Element]) -> None:
    """Raise `_LeftOut` where OICP cannot have an element, so that the others would be a wrong price."""
    for element in elements:
        for name in _FOREIGN_RESTRICTIONS:
            if name in element.restrictions and not (name == "max_power" and len(elements) == 1):
                raise _LeftOut(element.position, f"restriction:{name}")
    for element in elements:
        if not element.prices:
            raise _LeftOut(element.position, "no_price")
        for dimension in element.prices:
            if dimension not in _STEP_SIZES:
                raise _LeftOut(element.position, f"dimension:{dimension}")
        # A price of 0 for one of the two adds nothing to the other.
        if element.prices.get(_ENERGY) and element.prices.get(_TIME):
            raise _LeftOut(element.position, "energy_and_time")
        if element.prices.keys() != elements[0].prices.keys():
            raise _LeftOut(element.position, "mixed_dimensions")


def _week(element: _Element) -> Week:
    """Return the times of the week at which an element counts; raise `_LeftOut` if they cannot be read."""
    days = [_DAY_NUMBERS.get(str(day).upper()) for day in element.restrictions.get("day_of_week", DayOfWeek)]
    begin, end = (read_clock(element.restrictions.get(name, "00:00")) for name in ("start_time", "end_time"))
    read = {"day_of_week": None not in days, "start_time": begin is not None, "end_time": end is not None}
    for name, is_readable in read.items():
        if not is_readable:
            raise _LeftOut(element.position, f"restriction:{name}")
    return week_of((day or 0, span) for day in days for span in daily_spans(begin or 0, end or 0))


def _product(tariff: dict[str, Any], suffix: str, element: _Element, week: Week, power: object) -> dict[str, Any]:
    is_time = bool(element.prices.get(_TIME)) or _ENERGY not in element.prices
    base = element.prices.get(_TIME if is_time else _ENERGY, ZERO)
    is_always = week == FULL_WEEK
    references = _references(tariff, element.prices, has_base=bool(base))
    product = {
        "ProductID": f"{tariff['id']}{suffix}",
        "ReferenceUnit": str(
            ReferenceUnit.HOUR if is_time and _TIME in element.prices else ReferenceUnit.KILOWATT_HOUR
        ),
        "ProductPriceCurrency": tariff["currency"].upper(),
        "PricePerReferenceUnit": base,
        "MaximumProductChargingPower": decimal_of(power),
        "IsValid24hours": is_always,
        "ProductAvailabilityTimes": [] if is_always else to_days(week, "Periods"),
    }
    return product | ({"AdditionalReferences": references} if references else {})


def _references(tariff: dict[str, Any], prices: dict[str, Decimal], *, has_base: bool) -> list[dict[str, Any]]:
    flat = AdditionalReferenceType.START_FEE if has_base else AdditionalReferenceType.FIXED_FEE
    amounts = (
        (flat, prices.get(_FLAT)),
        (AdditionalReferenceType.PARKING_FEE, prices.get(_PARKING)),
        (AdditionalReferenceType.MINIMUM_FEE, (tariff.get("min_price") or {}).get("excl_vat")),
        (AdditionalReferenceType.MAXIMUM_FEE, (tariff.get("max_price") or {}).get("excl_vat")),
    )
    return [
        {
            "AdditionalReference": str(kind),
            "AdditionalReferenceUnit": str(ReferenceUnit.HOUR),
            "PricePerAdditionalReferenceUnit": amount,
        }
        for kind, amount in amounts
        if amount is not None
    ]


def from_product(product: dict[str, Any], operator_id: str, terms: Terms) -> TariffRequest:
    """Return the PUT of the tariff that a product is."""
    party = party_of_operator(operator_id, terms)
    if party is None:
        return TariffRequest("none", reason="operator_without_ocpi_party")
    losses = Losses()
    losses.add_members(product, "", ("MaximumProductChargingPower",))
    restrictions = _restrictions(product, losses)
    if restrictions is None:
        return TariffRequest("none", reason="times", losses=losses.all)
    tariff_id = short_id(product["ProductID"])
    components, limits = _components(product, losses)
    body = {
        **party.members,
        "id": tariff_id,
        "currency": product["ProductPriceCurrency"],
        "type": str(TariffType.REGULAR),
        "elements": [
            {"price_components": components} | ({"restrictions": restriction} if restriction else {})
            for restriction in restrictions or [{}]
        ],
        **limits,
        "last_updated": format_time(terms.now),
    }
    return TariffRequest("PUT", f"{party.path}/{path_segment(tariff_id)}", body, losses=losses.all)


def _components(product: dict[str, Any], losses: Losses) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return price components, and least and most of the whole price."""
    base, unit = decimal_of(product["PricePerReferenceUnit"]), product["ReferenceUnit"]
    per_hour = hourly_price(base, unit)
    prices: dict[str, Decimal] = {_ENERGY: base} if per_hour is None else {_TIME: per_hour}
    limits: dict[str, Any] = {}
    limit_names = {
        AdditionalReferenceType.MINIMUM_FEE: "min_price",
        AdditionalReferenceType.MAXIMUM_FEE: "max_price",
    }
    for position, reference in enumerate(product.get("AdditionalReferences") or []):
        kind = reference["AdditionalReference"]
        amount = decimal_of(reference["PricePerAdditionalReferenceUnit"])
        parking = hourly_price(amount, reference["AdditionalReferenceUnit"])
        if kind == AdditionalReferenceType.FIXED_FEE and not base:
            # A fixed price alone: the base of 0 is only there because OICP demands one.
            prices = {name: price for name, price in prices.items() if name not in {_ENERGY, _TIME}}
        if kind in {AdditionalReferenceType.FIXED_FEE, AdditionalReferenceType.START_FEE}:
            prices[_FLAT] = prices.get(_FLAT, ZERO) + amount
        elif kind == AdditionalReferenceType.PARKING_FEE and parking is not None:
            prices[_PARKING] = prices.get(_PARKING, ZERO) + parking
        elif kind in limit_names:
            limits[limit_names[AdditionalReferenceType(kind)]] = {"excl_vat": number(amount)}
        else:
            losses.add_value(f"/AdditionalReferences/{position}", kind, "has no counterpart with its unit")
    components = [
        {"type": str(kind), "price": number(price), "step_size": _STEP_SIZES[kind]} for kind, price in prices.items()
    ]
    return components, limits


def _restrictions(product: dict[str, Any], losses: Losses) -> list[dict[str, Any]] | None:
    """Return the restrictions of a product's times, one for each period; empty: it is always valid.

    None: it is not always valid, and it cannot be read when it is: offered at other times, it would be a wrong price.
    """
    if product.get("IsValid24hours"):
        return []
    unreadable = Losses()
    periods = read_days(product.get("ProductAvailabilityTimes"), "/ProductAvailabilityTimes", unreadable)
    for loss in unreadable.all:
        losses.add(loss.pointer, loss.code, loss.message)
    if not periods:
        losses.add("/IsValid24hours", "no-times", "it is not always valid, and has no times that can be read")
    if unreadable.all or not periods:
        return None
    names = [str(day) for day in DayOfWeek]
    return [
        {"start_time": write_clock(begin), "end_time": write_clock(end % DAY_MINUTES)}
        | ({"day_of_week": [names[day] for day in days]} if len(days) < _EVERY_DAY else {})
        for days, (begin, end) in periods
    ]
