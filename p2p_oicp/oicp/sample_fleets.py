"""Whole fleets of EVSEs, invented: stations with one to four EVSEs, AC and DC, in German cities."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

Json = dict[str, Any]

_MAX_EVSES_OF_A_STATION = 4
_DC_PART = 0.3


class _City(NamedTuple):
    name: str
    postal_code: str
    latitude: float
    longitude: float


_CITIES = (
    _City("Kiel", "24103", 54.3233, 10.1228), _City("Berlin", "10115", 52.5200, 13.4050),
    _City("Hamburg", "20095", 53.5511, 9.9937), _City("München", "80331", 48.1374, 11.5755),
    _City("Köln", "50667", 50.9375, 6.9603), _City("Dresden", "01067", 51.0504, 13.7373),
    _City("Freiburg", "79098", 47.9990, 7.8421), _City("Erfurt", "99084", 50.9848, 11.0299),
)  # fmt: skip
_STREETS = ("Am Kai", "Hauptstraße", "Bahnhofstraße", "Gartenweg", "Lindenallee", "Marktplatz")
_AC_POWERS, _DC_POWERS = (11, 22), (50, 150, 300)
_STATUSES = ("Available", "Occupied", "OutOfService", "Unknown")
_STATUS_WEIGHTS = (70, 22, 5, 3)


def evse_id_of(operator: str = "DE*ABC", number: int = 1, place: int = 1) -> str:
    """Return the EvseID of an EVSE of an operator's station of that number."""
    return f"{operator}*E{1000 + number}*{place}"


def fleet(count: int, *, operator: str = "DE*ABC", seed: int = 1) -> Fleet:
    """Return so many EVSEs of an operator; the same ones for the same arguments."""
    chance = random.Random(f"{operator} {seed}")  # noqa: S311 - no secret
    records = tuple(_records(count, operator, chance))
    ids = [record["EvseID"] for record in records]
    statuses = dict(zip(ids, chance.choices(_STATUSES, _STATUS_WEIGHTS, k=count), strict=True))
    return Fleet(operator, records, statuses)


@dataclass(frozen=True, slots=True)
class Fleet:
    """An operator's EVSEs, and the messages about them; ``records`` are EvseDataRecords, ``status_of`` by EvseID."""

    operator: str
    records: tuple[Json, ...]
    status_of: dict[str, str]

    @property
    def evse_ids(self) -> list[str]:
        """All EvseIDs, in the order of the records."""
        return [record["EvseID"] for record in self.records]

    def push_evse_data(self, action: str = "fullLoad") -> Json:
        """Return a PushEvseData of all."""
        data = {**self._operator(), "EvseDataRecord": list(self.records)}
        return {"ActionType": action, "OperatorEvseData": data}

    def statuses(self) -> list[Json]:
        """Return an EvseStatusRecord of each."""
        return [{"EvseID": evse_id, "EvseStatus": status} for evse_id, status in self.status_of.items()]

    def push_evse_status(self, action: str = "fullLoad", **changes: str) -> Json:
        """Return a PushEvseStatus of all; or, with ``update``, of those of ``**{evse_id: status}`` if there are any."""
        changed = [{"EvseID": evse_id, "EvseStatus": status} for evse_id, status in changes.items()]
        status = {**self._operator(), "EvseStatusRecord": changed or self.statuses()}
        return {"ActionType": action, "OperatorEvseStatus": status}

    def push_pricing_products(self, provider: str = "*") -> Json:
        """Return a PushPricingProductData with the products AC1 and DC1."""
        return products_of(self.operator, provider)

    def push_evse_pricing(self, action: str = "fullLoad", provider: str = "*") -> Json:
        """Return a PushEVSEPricing: AC1 for the slow ones, DC1 for the fast ones."""
        return {"ActionType": action, "EVSEPricing": self._pricing(provider)}

    def page(self) -> Json:
        """Return the answer to a PullEvseData with all in one page."""
        content, count = [{**record, **self._operator()} for record in self.records], len(self.records)
        numbers = {"number": 0, "size": count, "totalElements": count, "totalPages": 1, "numberOfElements": count}
        return {"content": content, "first": True, "last": True, "StatusCode": {"Code": "000"}, **numbers}

    def pulled_statuses(self) -> Json:
        """Return the answer to a PullEvseStatus."""
        return {"EvseStatuses": {"OperatorEvseStatus": [{**self._operator(), "EvseStatusRecord": self.statuses()}]}}

    def pulled_pricing(self, provider: str = "*") -> Json:
        """Return the answer to a PullEVSEPricing."""
        return {"EVSEPricing": [{**self._operator(), "EVSEPricing": self._pricing(provider)}]}

    def _pricing(self, provider: str) -> list[Json]:
        return [
            {
                "EvseID": record["EvseID"],
                "ProviderID": provider,
                "EvseIDProductList": ["DC1" if _is_fast(record) else "AC1"],
            }
            for record in self.records
        ]

    def _operator(self) -> Json:
        return {"OperatorID": self.operator, "OperatorName": f"Operator {self.operator}"}


def products_of(operator: str, provider: str = "*") -> Json:
    """Return a PushPricingProductData with an operator's products AC1 and DC1."""
    data = {
        "OperatorID": operator,
        "OperatorName": f"Operator {operator}",
        "ProviderID": provider,
        "PricingDefaultPrice": 0.59,
        "PricingDefaultPriceCurrency": "EUR",
        "PricingDefaultReferenceUnit": "KILOWATT_HOUR",
        "PricingProductDataRecords": [_product("AC1", 22, 0.49), _product("DC1", 300, 0.69)],
    }
    return {"ActionType": "fullLoad", "PricingProductData": data}


def _product(name: str, power: int, price: float) -> Json:
    return {
        "ProductID": name,
        "ReferenceUnit": "KILOWATT_HOUR",
        "ProductPriceCurrency": "EUR",
        "PricePerReferenceUnit": price,
        "MaximumProductChargingPower": power,
        "IsValid24hours": True,
        "ProductAvailabilityTimes": [],
    }


def _records(count: int, operator: str, chance: random.Random) -> Iterator[Json]:
    station, left = 1, count
    while left:
        size = min(left, chance.randint(1, _MAX_EVSES_OF_A_STATION))
        yield from _station(operator, station, size, chance)
        station, left = station + 1, left - size


def _station(operator: str, number: int, size: int, chance: random.Random) -> Iterator[Json]:
    city, street, house_number = chance.choice(_CITIES), chance.choice(_STREETS), str(chance.randint(1, 99))
    latitude, longitude = (each + chance.uniform(-0.05, 0.05) for each in (city.latitude, city.longitude))
    is_fast = chance.random() < _DC_PART
    power = chance.choice(_DC_POWERS if is_fast else _AC_POWERS)
    shared = {
        "ChargingStationID": f"{operator}*S{1000 + number}",
        "ChargingStationNames": [{"lang": "de", "value": f"{city.name}, {street} {house_number}"}],
        "Address": {
            "Country": "DEU",
            "City": city.name,
            "Street": street,
            "PostalCode": city.postal_code,
            "HouseNum": house_number,
        },
        "GeoCoordinates": {"Google": {"Coordinates": f"{latitude:.6f} {longitude:.6f}"}},
        "Plugs": ["CCS Combo 2 Plug (Cable Attached)" if is_fast else "Type 2 Outlet"],
        "ChargingFacilities": [{"PowerType": "DC" if is_fast else "AC_3_PHASE", "Power": power}],
    }
    for place in range(1, size + 1):
        yield {"EvseID": evse_id_of(operator, number, place), **shared, **_COMMON}


_AUTHENTICATION_MODES: Sequence[str] = ("NFC RFID Classic", "REMOTE")
_COMMON: Json = {
    "RenewableEnergy": True,
    "CalibrationLawDataAvailability": "Local",
    "AuthenticationModes": list(_AUTHENTICATION_MODES),
    "PaymentOptions": ["Contract"],
    "ValueAddedServices": ["Reservation"],
    "Accessibility": "Free publicly accessible",
    "HotlinePhoneNumber": "+49431123456",
    "IsOpen24Hours": True,
    "IsHubjectCompatible": True,
    "DynamicInfoAvailable": "auto",
}


def _is_fast(record: Json) -> bool:
    return any(each["PowerType"] == "DC" for each in record["ChargingFacilities"])
