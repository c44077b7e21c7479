"""What stands in the record of an EVSE, in a few lines for people.

A record may come from anybody, and any member may be missing or be something else than OICP has: what cannot be shown
is left out here, and stands in the record itself below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_ADDRESS = ("Street", "HouseNum", "PostalCode", "City", "Region", "Country")


def describe_evse(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a driver would ask for, as pairs of a label and a text; what the record does not have is left out."""
    found = [
        ("Station", " ".join(filter(None, (station_name(record), text_of(record.get("ChargingStationID")))))),
        ("Address", address_of(record)),
        ("Plugs", _joined(record.get("Plugs"))),
        ("Power", ", ".join(filter(None, map(_facility, objects_of(record.get("ChargingFacilities")))))),
        ("Access", text_of(record.get("Accessibility"))),
        ("Authentication", _joined(record.get("AuthenticationModes"))),
        ("Payment", _joined(record.get("PaymentOptions"))),
        ("Open", "24 hours" if record.get("IsOpen24Hours") is True else ""),
        ("Hotline", text_of(record.get("HotlinePhoneNumber"))),
        ("Renewable energy", _yes_or_no(record.get("RenewableEnergy"))),
    ]
    return [(label, text) for label, text in found if text]


def station_name(record: Mapping[str, Any]) -> str:
    """Return the first name of the station; empty without."""
    for name in ("ChargingStationNames", "ChargingStationName"):
        for each in objects_of(record.get(name)):
            if text := text_of(each.get("value")):
                return text
    return ""


def place_of(record: Mapping[str, Any]) -> str:
    """Return city and country."""
    address = record.get("Address")
    return ", ".join(_texts(address, ("City", "Country")))


def address_of(record: Mapping[str, Any]) -> str:
    """Return the address in one line."""
    return " ".join(_texts(record.get("Address"), _ADDRESS))


def objects_of(value: object) -> list[dict[str, Any]]:
    """Return the objects of a list; a single object as a list of one; of anything else none."""
    elements = value if isinstance(value, list) else [value]
    return [each for each in elements if isinstance(each, dict)]


def text_of(value: object) -> str:
    """Return a text or number as text; empty for anything else."""
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _texts(value: object, names: Sequence[str]) -> list[str]:
    return [text for name in names if isinstance(value, dict) and (text := text_of(value.get(name)))]


def _facility(facility: Mapping[str, Any]) -> str:
    power = facility.get("Power") or facility.get("power")
    text = f"{power} kW" if power else ""
    return " ".join(filter(None, (text, text_of(facility.get("PowerType") or facility.get("powertype")))))


def _joined(value: object) -> str:
    return ", ".join(filter(None, map(text_of, value))) if isinstance(value, list) else text_of(value)


def _yes_or_no(value: object) -> str:
    return {True: "yes", False: "no"}.get(value, "") if isinstance(value, bool) else ""
