"""Locations with their EVSEs into EVSE records and statuses, and back (GATEWAY 13.1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from p2p_oicp.ocpi.enumerations import Status
from p2p_oicp.ocpi_mapping.amounts import time_of, utc
from p2p_oicp.ocpi_mapping.evses import (
    from_access,
    from_energy,
    from_image,
    from_info_texts,
    from_offers,
    from_status,
    is_parking_facility,
    preferred_text,
    to_access,
    to_energy,
    to_image,
    to_info_texts,
    to_offers,
    to_status,
)
from p2p_oicp.ocpi_mapping.hours import from_opening_times, to_opening_times
from p2p_oicp.ocpi_mapping.ids import (
    Party,
    evse_uid,
    group_location_id,
    is_operated_by,
    operator_of,
    party_of_operator,
    pool_location_id,
    short_id,
    to_evse_id,
    to_pool_id,
)
from p2p_oicp.ocpi_mapping.losses import Loss, Losses
from p2p_oicp.ocpi_mapping.places import from_address, from_coordinates, to_address, to_coordinates
from p2p_oicp.ocpi_mapping.plugs import to_connectors, to_facilities
from p2p_oicp.ocpi_mapping.terms import Terms
from p2p_oicp.oicp.enums import DeltaType, DynamicInfo
from p2p_oicp.oicp.identifiers import EvseID

_MAX_NAME, _MAX_STATION_ID, _MAX_COMPANY, _MAX_OCPI_NAME, _MAX_FLOOR_LEVEL = 150, 50, 100, 255, 4
_LOST_OF_LOCATION = ("publish_allowed_to", "owner", "facilities", "charging_when_closed")
_LOST_OF_EVSE = ("status_schedule", "physical_reference")
_LOST_OF_RECORD = (
    "ChargingStationID",
    "HardwareManufacturer",
    "DynamicPowerLevel",
    "CalibrationLawDataAvailability",
    "HotlinePhoneNumber",
    "MaxCapacity",
    "HubOperatorID",
    "ClearinghouseID",
)


@dataclass(frozen=True)
class EvseRecords:
    """What a location is in OICP.

    Attributes:
        records, statuses: EVSE records and statuses of its EVSEs.
        deleted: EvseIDs of EVSEs that were removed.
        dropped: uid and reason of EVSEs that OICP cannot have.
        losses: What could not be carried.
    """

    records: list[dict[str, Any]]
    statuses: list[dict[str, Any]]
    deleted: list[str]
    dropped: list[dict[str, Any]]
    losses: tuple[Loss, ...]


@dataclass(frozen=True)
class Locations:
    """What EVSE records are in OCPI: locations, and EvseID and reason of records that OCPI cannot have."""

    locations: list[dict[str, Any]]
    dropped: list[dict[str, Any]]
    losses: tuple[Loss, ...]


class _Dropped(Exception):
    """An EVSE that the other protocol cannot have; the text is the reason."""


def to_records(location: dict[str, Any], terms: Terms) -> EvseRecords:
    """Return the EVSE records and statuses of a location."""
    losses = Losses()
    result = EvseRecords([], [], [], [], ())
    losses.add_members(location, "", _LOST_OF_LOCATION)
    for position, evse in enumerate(location.get("evses") or []):
        try:
            evse_id = _exported_id(evse, terms)
            if evse["status"].upper() == Status.REMOVED:
                result.deleted.append(evse_id)
                continue
            record = _record(location, evse, evse_id, f"/evses/{position}", terms, losses)
        except _Dropped as dropped:
            result.dropped.append({"evse_uid": evse["uid"], "reason": str(dropped)})
            continue
        result.records.append(record)
        result.statuses.append({"EvseID": evse_id, "EvseStatus": to_status(evse["status"])})
    return EvseRecords(result.records, result.statuses, result.deleted, result.dropped, losses.all)


def _exported_id(evse: dict[str, Any], terms: Terms) -> str:
    if not str(evse.get("evse_id") or "").strip():
        raise _Dropped("evse_id_missing")
    evse_id = to_evse_id(evse["evse_id"])
    if evse_id is None:
        raise _Dropped("evse_id_invalid")
    if not is_operated_by(evse_id, terms):
        raise _Dropped("foreign_operator")
    return evse_id


def _record(
    location: dict[str, Any], evse: dict[str, Any], evse_id: str, pointer: str, terms: Terms, losses: Losses
) -> dict[str, Any]:
    if not location["publish"] and not terms.export_unpublished:
        raise _Dropped("not_published")
    if evse["status"].upper() == Status.PLANNED:
        raise _Dropped("planned")
    coordinates = to_coordinates(evse.get("coordinates") or location["coordinates"])
    if coordinates is None:
        raise _Dropped("coordinates_invalid")
    plugs, facilities = to_facilities(evse["connectors"], f"{pointer}/connectors", losses)
    if not plugs:
        raise _Dropped("no_oicp_plug")
    losses.add_members(evse, pointer, _LOST_OF_EVSE)
    return {
        "EvseID": evse_id,
        **_names(location, evse, terms, losses),
        "Address": _address(location, evse, terms, losses),
        "GeoCoordinates": coordinates,
        "Plugs": plugs,
        "ChargingFacilities": facilities,
        **to_energy(location.get("energy_mix"), terms, losses),
        "CalibrationLawDataAvailability": terms.calibration_law,
        **to_offers(evse, pointer, terms, losses),
        **to_access(location, evse, pointer, terms, losses),
        **_hotline(terms, losses),
        **_texts(location, evse, pointer, losses),
        **to_opening_times(location.get("opening_times") or {}, "/opening_times", losses),
        "DynamicInfoAvailable": str(DynamicInfo.TRUE),
    }


def _names(location: dict[str, Any], evse: dict[str, Any], terms: Terms, losses: Losses) -> dict[str, Any]:
    name = location.get("name") or f"{location['address']}, {location['city']}"
    station, separator, _ = evse["uid"].partition("::")
    party = Party(location["country_code"], location["party_id"])
    members: dict[str, Any] = {
        "ChargingStationID": (station if separator and station else location["id"])[:_MAX_STATION_ID],
        "ChargingStationNames": [{"lang": terms.language, "value": losses.cut(name, _MAX_NAME, "/name")}],
    }
    if pool_id := to_pool_id(location["id"], party, terms.operator_id):
        members["ChargingPoolID"] = pool_id
    operator = (location.get("operator") or {}).get("name")
    if operator and operator != terms.operator_name:
        losses.add_value("/operator/name", operator, "is replaced by the configured name of the operator")
    if sub_operator := (location.get("suboperator") or {}).get("name"):
        members["SubOperatorName"] = losses.cut(sub_operator, _MAX_COMPANY, "/suboperator/name")
    for company in ("operator", "suboperator"):
        losses.add_members(location.get(company) or {}, f"/{company}", ("website", "logo"))
    return members


def _address(location: dict[str, Any], evse: dict[str, Any], terms: Terms, losses: Losses) -> dict[str, Any]:
    is_facility = is_parking_facility(location)
    address = to_address(location, evse.get("floor_level"), terms, losses)
    return address if is_facility is None else address | {"ParkingFacility": is_facility}


def _hotline(terms: Terms, losses: Losses) -> dict[str, Any]:
    if terms.hotline:
        return {"HotlinePhoneNumber": terms.hotline}
    losses.add("", "not-configured", "OICP demands a HotlinePhoneNumber: set hotline")
    return {}


def _texts(location: dict[str, Any], evse: dict[str, Any], pointer: str, losses: Losses) -> dict[str, Any]:
    others = location.get("related_locations") or []
    for position, other in enumerate(others):
        if position:
            losses.add_value(f"/related_locations/{position}", other["latitude"], "is one place more than OICP has")
        else:
            losses.add_members(other, f"/related_locations/{position}", ("name",))
    members = {
        "AdditionalInfo": to_info_texts(location.get("directions"), "/directions", losses),
        "ChargingStationLocationReference": to_info_texts(evse.get("directions"), f"{pointer}/directions", losses),
        "ChargingStationImage": to_image(
            (evse.get("images"), f"{pointer}/images"), (location.get("images"), "/images"), losses=losses
        ),
        "GeoChargingPointEntrance": to_coordinates(others[0]) if others else None,
    }
    return {name: value for name, value in members.items() if value}


@dataclass(frozen=True)
class _Source:
    """A record with its place in the source, its party and its position."""

    record: dict[str, Any]
    pointer: str
    party: Party
    coordinates: dict[str, str]


def to_locations(
    records: list[dict[str, Any]],
    statuses: Mapping[str, str],
    products: Mapping[str, list[str]],
    terms: Terms,
) -> Locations:
    """Return the locations of EVSE records, one for each charging pool, else for each address and place.

    Args:
        records: EVSE records with their OperatorID, as they are pulled.
        statuses: EvseStatus by EvseID; an EVSE without one is UNKNOWN.
        products: ProductIDs by EvseID.
        terms: Those of the eMSP.
    """
    losses = Losses()
    dropped: list[dict[str, Any]] = []
    groups: dict[tuple[Party, str], dict[str, Any]] = {}
    own_statuses = {EvseID(evse_id).key: status for evse_id, status in statuses.items()}
    own_products = {EvseID(evse_id).key: ids for evse_id, ids in products.items()}
    for position, record in enumerate(records):
        try:
            source = _source(record, f"/{position}", terms)
            key = EvseID(record["EvseID"]).key
            tariff_ids = [short_id(product) for product in own_products.get(key, [])]
            evse = _evse(source, own_statuses.get(key), tariff_ids, terms, losses)
        except _Dropped as exc:
            dropped.append({"EvseID": record.get("EvseID"), "reason": str(exc)})
            continue
        _add_evse(_group_of(source, groups, terms, losses), evse, source)
    return Locations(list(groups.values()), dropped, losses.all)


def _group_of(
    source: _Source, groups: dict[tuple[Party, str], dict[str, Any]], terms: Terms, losses: Losses
) -> dict[str, Any]:
    """Return the location of an EVSE: a new one, or that of an earlier EVSE, whose members then count."""
    location_id = _location_id(source)
    group = groups.get((source.party, location_id.lower()))
    if group is None:
        group = groups[source.party, location_id.lower()] = _location(source, location_id, terms, losses)
        return group
    own = _location(source, location_id, terms, Losses())
    for name in sorted(own.keys() - {"id", "coordinates", "evses"}):
        if own[name] != group.get(name):
            losses.add(source.pointer, f"other-{name}", f"its {name} is not that of its location's first EVSE")
    return group


def _source(record: dict[str, Any], pointer: str, terms: Terms) -> _Source:
    party = party_of_operator(operator_of(record), terms)
    if party is None:
        raise _Dropped("operator_without_ocpi_party")
    coordinates = from_coordinates(record.get("GeoCoordinates"))
    if coordinates is None:
        raise _Dropped("coordinates_invalid")
    return _Source(record, pointer, party, coordinates)


def _location_id(source: _Source) -> str:
    if pool_id := source.record.get("ChargingPoolID"):
        return pool_location_id(pool_id)
    address = source.record.get("Address") or {}
    names = ("Country", "PostalCode", "City", "Street", "HouseNum")
    return group_location_id(
        *(str(address.get(name) or "") for name in names),
        *(f"{Decimal(source.coordinates[name]):.5f}" for name in ("latitude", "longitude")),
    )


def _location(source: _Source, location_id: str, terms: Terms, losses: Losses) -> dict[str, Any]:
    """Return the location of its first EVSE, without EVSEs."""
    record, pointer = source.record, source.pointer
    name = preferred_text(record.get("ChargingStationNames"), terms, f"{pointer}/ChargingStationNames", losses)
    members = {
        **source.party.members,
        "id": location_id,
        **from_access(record, pointer, losses),
        "name": name and losses.cut(name, _MAX_OCPI_NAME, f"{pointer}/ChargingStationNames"),
        **from_address(record.get("Address") or {}, f"{pointer}/Address", terms, losses),
        "coordinates": source.coordinates,
        "related_locations": list(filter(None, [from_coordinates(record.get("GeoChargingPointEntrance"))])),
        "directions": from_info_texts(record.get("AdditionalInfo"), terms),
        "operator": _company(record.get("OperatorName")),
        "suboperator": _company(record.get("SubOperatorName")),
        "opening_times": from_opening_times(record, pointer, losses),
        "energy_mix": from_energy(record, pointer, terms, losses),
    }
    return {name: value for name, value in members.items() if value not in (None, [], "")} | {"evses": []}


def _company(name: str | None) -> dict[str, Any] | None:
    return {"name": name[:_MAX_COMPANY]} if name else None


def _evse(source: _Source, status: str | None, tariff_ids: list[str], terms: Terms, losses: Losses) -> dict[str, Any]:
    record, pointer = source.record, source.pointer
    last_updated = utc(record.get("lastUpdate") or terms.now.isoformat())
    connectors = to_connectors(record, pointer, last_updated, tariff_ids, losses)
    if not connectors:
        raise _Dropped("no_ocpi_connector")
    losses.add_members(record, pointer, _LOST_OF_RECORD)
    is_deleted = record.get("deltaType") == DeltaType.DELETE
    image = record.get("ChargingStationImage")
    members = {
        "uid": evse_uid(record["EvseID"]),
        "evse_id": record["EvseID"],
        "status": str(Status.REMOVED) if is_deleted else from_status(status),
        "connectors": connectors,
        "capabilities": from_offers(record, pointer, losses),
        "floor_level": _floor_level(record, pointer, losses),
        "directions": from_info_texts(record.get("ChargingStationLocationReference"), terms),
        "images": [from_image(image)] if image else [],
        "last_updated": last_updated,
    }
    return {name: value for name, value in members.items() if value not in (None, [], "")}


def _floor_level(record: dict[str, Any], pointer: str, losses: Losses) -> str:
    floor = str((record.get("Address") or {}).get("Floor") or "")
    return losses.cut(floor, _MAX_FLOOR_LEVEL, f"{pointer}/Address/Floor")


def _add_evse(location: dict[str, Any], evse: dict[str, Any], source: _Source) -> None:
    if source.coordinates != location["coordinates"]:
        evse["coordinates"] = source.coordinates
    location["evses"].append(evse)
    location["last_updated"] = max((other["last_updated"] for other in location["evses"]), key=time_of)


def connectors_of(location: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return all connectors of a location of OCPI."""
    return (connector for evse in location.get("evses") or [] for connector in evse["connectors"])
