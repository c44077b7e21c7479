"""Tariffs and prices (OCPI 2.2.1, mod_tariffs; types, Price). Amounts are Decimal, energy is in kWh, time in hours."""

from __future__ import annotations

from typing import Annotated

from p2p_oicp.ocpi.base import (
    ANY_NUMBER,
    AT_LEAST_ONE,
    Ci2,
    Ci3,
    Ci36,
    Integer,
    Number,
    OcpiObject,
    Text3,
    Text5,
    Text10,
    Timestamp,
    Url,
    WordField,
)
from p2p_oicp.ocpi.enumerations import DayOfWeek, ReservationRestrictionType, TariffDimensionType, TariffType
from p2p_oicp.ocpi.locations import DisplayTexts, EnergyMix


class Price(OcpiObject):
    """An amount without and with VAT (Price)."""

    excl_vat: Number
    incl_vat: Number | None = None


class PriceComponent(OcpiObject):
    """What one dimension costs (PriceComponent); VAT in percent."""

    type: Annotated[str, WordField(TariffDimensionType)]
    price: Number
    vat: Number | None = None
    step_size: Integer


class TariffRestrictions(OcpiObject):
    """When an element counts: all of it has to hold (TariffRestrictions)."""

    start_time: Text5 | None = None
    end_time: Text5 | None = None
    start_date: Text10 | None = None
    end_date: Text10 | None = None
    min_kwh: Number | None = None
    max_kwh: Number | None = None
    min_current: Number | None = None
    max_current: Number | None = None
    min_power: Number | None = None
    max_power: Number | None = None
    min_duration: Integer | None = None
    max_duration: Integer | None = None
    day_of_week: Annotated[tuple[Annotated[str, WordField(DayOfWeek)], ...], ANY_NUMBER] = ()
    reservation: Annotated[str, WordField(ReservationRestrictionType)] | None = None


class TariffElement(OcpiObject):
    """Prices, and when they count (TariffElement); for each dimension the first element that fits counts."""

    price_components: Annotated[tuple[PriceComponent, ...], AT_LEAST_ONE]
    restrictions: TariffRestrictions | None = None


class Tariff(OcpiObject):
    """A tariff (Tariff)."""

    country_code: Ci2
    party_id: Ci3
    id: Ci36
    currency: Text3
    type: Annotated[str, WordField(TariffType)] | None = None
    tariff_alt_text: DisplayTexts = ()
    tariff_alt_url: Url | None = None
    min_price: Price | None = None
    max_price: Price | None = None
    elements: Annotated[tuple[TariffElement, ...], AT_LEAST_ONE]
    start_date_time: Timestamp | None = None
    end_date_time: Timestamp | None = None
    energy_mix: EnergyMix | None = None
    last_updated: Timestamp
