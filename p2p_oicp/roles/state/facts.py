"""What pulls and authorizations search records by: a few columns beside the bytes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from p2p_oicp.oicp import EvcoID, EvseDataRecord, GeoCoordinates, Identification, Likeness, PullEvseDataRecord
from p2p_oicp.oicp.base import top_level
from p2p_oicp.oicp.places import position_of
from p2p_oicp.storage.state.model import EvseFacts, IdentificationFacts
from p2p_oicp.storage.state.places import cell_of

# What a pull says about a record (OICP 2.3, PullEvseDataRecordType); the answering node says it anew.
_OF_A_PULL = ("deltaType", "lastUpdate", "OperatorID", "OperatorId", "OperatorName")


def bare(raw: bytes, record: EvseDataRecord | Likeness) -> bytes:
    """Return a record without what only pulled records have; nearly always these are the bytes as they came."""
    if record.delta_type is None and record.last_update is None and not _names_operator(record):
        return raw
    members = top_level(raw)
    for name in _OF_A_PULL:
        members.pop(name, None)
    return msgspec.json.encode(members)


def _names_operator(record: EvseDataRecord | Likeness) -> bool:
    if isinstance(record, Likeness):
        return issubclass(record.model, PullEvseDataRecord)
    extra = record.model_extra
    return isinstance(record, PullEvseDataRecord) or bool(extra and extra.keys() & {*_OF_A_PULL})


def of_evse(record: EvseDataRecord | Likeness, group_key: str) -> EvseFacts:
    """Return the columns of a charging spot."""
    operator = record.evse_id.operator
    latitude, longitude = _place(record.geo_coordinates)
    return EvseFacts(
        evse_key=record.evse_id.key,
        operator_key=operator.key if operator else "",
        group_key=group_key,
        country=str(record.address.country).upper(),
        latitude=latitude,
        longitude=longitude,
        cell=None if latitude is None or longitude is None else cell_of(latitude, longitude),
        accessibility=str(record.accessibility or ""),
        calibration=str(record.calibration_law_data_availability or ""),
        authentication_modes=listed(record.authentication_modes),
        renewable=record.renewable_energy,
        compatible=record.is_hubject_compatible,
        always_open=record.is_open_24_hours,
    )


def notation(record: EvseDataRecord) -> str:
    """Return the notation that all places of a record have, an empty text where there is no such one."""
    place, entrance = record.geo_coordinates, record.geo_charging_point_entrance
    if place.google is not None and (entrance is None or entrance.google is not None):
        return "Google"
    for member, name in (("decimal_degree", "DecimalDegree"), ("degree_minute_seconds", "DegreeMinuteSeconds")):
        if all(getattr(each, member) is not None for each in (place, entrance) if each is not None):
            return name
    return ""


def _place(place: GeoCoordinates) -> tuple[float | None, float | None]:
    """Return latitude and longitude; nearly all places are in Google's notation, with a blank."""
    if place.google is not None:
        latitude, blank, longitude = place.google.coordinates.partition(" ")
        try:
            if blank:
                return float(latitude), float(longitude)
        except ValueError:
            pass  # with a comma, or without a blank: read it the long way
    position = position_of(place)
    return (float(position.latitude), float(position.longitude)) if position else (None, None)


def listed(texts: Sequence[str]) -> str:
    """Return texts so that one of them is found as ``listed([one])``."""
    return "".join(f"\n{text}\n" for text in texts)


def key_of_identification(identification: Identification) -> str:
    """Return what an identification is known by: its card, or its contract and how it is told."""
    uid = identification.uid
    if uid is not None:
        return f"uid:{uid.key}"
    for name in ("qr_code", "plug_and_charge", "remote"):
        holder = getattr(identification, name)
        if holder is not None:
            return f"{name}:{holder.evco_id.key}"
    return ""


def evco_ids(identification: Identification) -> list[EvcoID]:
    """Return every contract that an identification names."""
    holders = (identification.rfid, identification.qr_code, identification.plug_and_charge, identification.remote)
    found = (getattr(holder, "evco_id", None) for holder in holders)
    return [evco_id for evco_id in found if evco_id is not None]


def of_identification(identification: Identification) -> IdentificationFacts:
    """Return the columns of an identification."""
    uid, contracts = identification.uid, evco_ids(identification)
    expiry = identification.rfid.expiry_date if identification.rfid else None
    return IdentificationFacts(
        uid_key=uid.key if uid else None,
        evco_key=contracts[0].key if contracts else None,
        expires_at=expiry.timestamp() if expiry else None,
    )
