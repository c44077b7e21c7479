"""How good the data of an EVSE is for a driver: points that it loses, each with its reason.

A record that is valid may still leave a driver in front of a closed gate: OICP makes few members mandatory. Each record
begins with 100 points. The points are a judgement, and no rule of OICP: more for what keeps a driver from charging
(where it is, whether it is free, whether the plug fits), less for what is only inconvenient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

FULL_SCORE = 100
_DAY_SECONDS = 86_400.0
_OCCUPIED_DAYS, _BROKEN_DAYS, _UNCHANGED_DAYS = 7.0, 30.0, 180.0
# About 10 m: with three digits, a driver stands in another street.
_MIN_DIGITS = 4
# Bounds are rectangles, and coasts and exclaves are forgotten easily.
_MARGIN_DEGREES = 0.5


class EvseFacts(NamedTuple):
    """What is known of an EVSE.

    Attributes:
        record: of EVSE data, as it was sent; any member may be missing or be something else than OICP has.
        status: as its operator has sent it; empty: it has sent none.
        status_since: since when it is so, in seconds since the epoch.
        latitude: in degrees; None: no coordinates that can be read.
        longitude: as latitude.
        sources: how many sources have a record of this EvseID.
    """

    record: Mapping[str, Any]
    status: str
    status_since: float | None
    latitude: float | None
    longitude: float | None
    sources: int = 1


class Deduction(NamedTuple):
    """Points that a record loses; ``code`` names the kind, ``text`` says what a driver misses."""

    code: str
    points: int
    text: str


def deductions_of(facts: EvseFacts, now: float) -> list[Deduction]:
    """Return what a record loses points for, the most first."""
    found = [*_of_place(facts), *_of_status(facts, now), *_of_members(facts.record)]
    if facts.sources > 1:
        found.append(Deduction("duplicate", 20, f"{facts.sources} sources have this EvseID: which of them is right?"))
    return sorted(found, key=lambda each: (-each.points, each.code))


def score_of(deductions: list[Deduction]) -> int:
    """Return the points that are left, 0 at least."""
    return max(0, FULL_SCORE - sum(each.points for each in deductions))


def _of_place(facts: EvseFacts) -> Iterator[Deduction]:
    latitude, longitude = facts.latitude, facts.longitude
    if latitude is None or longitude is None:
        yield Deduction("no-coordinates", 30, "Without coordinates it is on no map.")
        return
    if latitude == 0 and longitude == 0:
        yield Deduction("null-island", 30, "Its coordinates are 0, 0: in the sea off Africa.")
        return
    country = _member(facts.record, "Address", "Country")
    if bounds := _BOUNDS.get(str(country)):
        west, south, east, north = bounds
        is_inside = (
            west - _MARGIN_DEGREES <= longitude <= east + _MARGIN_DEGREES
            and south - _MARGIN_DEGREES <= latitude <= north + _MARGIN_DEGREES
        )
        if not is_inside:
            where = f"{latitude:.4f}, {longitude:.4f}"
            yield Deduction("other-country", 25, f"Its coordinates ({where}) are not in {country}, its address is.")
    if _digits(latitude) < _MIN_DIGITS and _digits(longitude) < _MIN_DIGITS:
        yield Deduction("coarse-coordinates", 5, "Its coordinates are rounded: a driver may stand in another street.")


def _digits(degrees: float) -> int:
    return len(f"{degrees:.6f}".rstrip("0").partition(".")[2])


def _of_status(facts: EvseFacts, now: float) -> Iterator[Deduction]:
    if not facts.status:
        if str(facts.record.get("DynamicInfoAvailable")).lower() == "false":
            yield Deduction("no-status-offered", 10, "Its operator offers no status: nobody can see if it is free.")
        else:
            yield Deduction("no-status", 20, "A status is promised, and none was sent: nobody can see if it is free.")
        return
    days = 0.0 if facts.status_since is None else (now - facts.status_since) / _DAY_SECONDS
    if facts.status in {"Unknown", "EvseNotFound"}:
        yield Deduction("unknown-status", 15, f"Its status is {facts.status}: nobody can see if it is free.")
    elif facts.status == "OutOfService" and days > _BROKEN_DAYS:
        yield Deduction("long-out-of-service", 10, f"It is out of service for {days:.0f} days.")
    elif facts.status in {"Occupied", "Reserved"} and days > _OCCUPIED_DAYS:
        text = f"It is {facts.status.lower()} for {days:.0f} days: the status is stale, or a car is parked for good."
        yield Deduction("stale-status", 15, text)
    elif days > _UNCHANGED_DAYS:
        yield Deduction(
            "old-status", 5, f"Its status has not changed for {days:.0f} days: nobody charges, or it is stale."
        )


#: Members that drivers need: where they stand, the points, and what a driver misses.
_NEEDED: tuple[tuple[tuple[str, ...], int, str], ...] = (
    (("Plugs",), 15, "Which plugs it has is not said: does the cable fit?"),
    (("ChargingFacilities",), 10, "What power it has is not said: how long does it take?"),
    (("HotlinePhoneNumber",), 10, "No telephone number: nobody can be called when it fails."),
    (("ChargingStationNames",), 5, "Its station has no name."),
    (("Address", "Street"), 5, "Its address has no street."),
    (("Address", "City"), 5, "Its address has no city."),
    (("Address", "PostalCode"), 3, "Its address has no postal code."),
    (("Accessibility",), 5, "Who may enter is not said: a driver may stand in front of a gate."),
    (("AuthenticationModes",), 5, "How a driver starts it is not said."),
    (("PaymentOptions",), 3, "How it may be paid for is not said."),
)


def _of_members(record: Mapping[str, Any]) -> Iterator[Deduction]:
    for path, points, text in _NEEDED:
        if not _member(record, *path):
            yield Deduction(f"no-{path[-1]}", points, text)
    facilities = record.get("ChargingFacilities")
    if isinstance(facilities, list) and facilities and not any(_member(each, "Power") for each in facilities):
        yield Deduction("no-Power", 10, "What power it has is not said: how long does it take?")
    if record.get("IsOpen24Hours") is False and not record.get("OpeningTimes"):
        yield Deduction("no-OpeningTimes", 5, "It is not open all day, and when it is is not said.")


def _member(value: object, *path: str) -> Any:  # noqa: ANN401 - JSON values
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


#: West, south, east, north in degrees of the land of a country (ISO 3166-1 alpha-3), without far islands.
_BOUNDS: Mapping[str, tuple[float, float, float, float]] = {
    "ALB": (19.2, 39.6, 21.1, 42.7), "AND": (1.4, 42.4, 1.8, 42.7), "AUT": (9.5, 46.3, 17.2, 49.1),
    "BEL": (2.5, 49.4, 6.5, 51.6), "BGR": (22.3, 41.2, 28.7, 44.3), "BIH": (15.7, 42.5, 19.7, 45.3),
    "CHE": (5.9, 45.8, 10.5, 47.9), "CYP": (32.2, 34.5, 34.7, 35.8), "CZE": (12.0, 48.5, 18.9, 51.1),
    "DEU": (5.8, 47.2, 15.1, 55.1), "DNK": (8.0, 54.5, 15.3, 57.8), "ESP": (-18.2, 27.6, 4.4, 43.9),
    "EST": (21.7, 57.5, 28.3, 59.8), "FIN": (19.4, 59.7, 31.6, 70.1), "FRA": (-5.2, 41.3, 9.7, 51.1),
    "GBR": (-8.7, 49.8, 1.8, 60.9), "GRC": (19.3, 34.8, 29.7, 41.8), "HRV": (13.4, 42.3, 19.5, 46.6),
    "HUN": (16.1, 45.7, 22.9, 48.6), "IRL": (-10.7, 51.4, -5.9, 55.5), "ISL": (-24.6, 63.2, -13.4, 66.6),
    "ITA": (6.6, 35.4, 18.6, 47.1), "LIE": (9.4, 47.0, 9.7, 47.3), "LTU": (20.9, 53.9, 26.9, 56.5),
    "LUX": (5.7, 49.4, 6.6, 50.2), "LVA": (20.9, 55.6, 28.3, 58.1), "MCO": (7.4, 43.7, 7.5, 43.8),
    "MKD": (20.4, 40.8, 23.1, 42.4), "MLT": (14.1, 35.8, 14.6, 36.1), "MNE": (18.4, 41.8, 20.4, 43.6),
    "NLD": (3.3, 50.7, 7.3, 53.6), "NOR": (4.4, 57.9, 31.2, 71.2), "POL": (14.1, 49.0, 24.2, 54.9),
    "PRT": (-31.3, 32.3, -6.1, 42.2), "ROU": (20.2, 43.6, 29.8, 48.3), "SRB": (18.8, 42.2, 23.1, 46.2),
    "SVK": (16.8, 47.7, 22.6, 49.7), "SVN": (13.3, 45.4, 16.7, 46.9), "SWE": (10.9, 55.3, 24.2, 69.1),
    "TUR": (25.6, 35.8, 44.9, 42.2), "UKR": (22.1, 44.3, 40.3, 52.4),
}  # fmt: skip
