"""Charge detail records (GATEWAY 13.4): money, so what cannot be carried is held for a person and never guessed.

Annex: OICP's record has no cost. To a peer that announces it, a record carries the original CDR as the extra member
``OCPI``, and the other gateway takes currency, costs, tariffs and periods from it. Energy and times stay OICP's: an
annex that contradicts them, or is no CDR, is ignored, and reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from p2p_oicp.ocpi.base import encode_json, format_time, read_object
from p2p_oicp.ocpi.enumerations import CdrDimensionType
from p2p_oicp.ocpi.sessions import Cdr
from p2p_oicp.ocpi_mapping.amounts import decimal_of, duration_of, energy, hours, limited, number, time_of, utc
from p2p_oicp.ocpi_mapping.costs import Usage, costs_of
from p2p_oicp.ocpi_mapping.identifications import from_identification
from p2p_oicp.ocpi_mapping.ids import operator_of, party_of_operator, short_id, to_evse_id
from p2p_oicp.ocpi_mapping.losses import Loss, Losses
from p2p_oicp.ocpi_mapping.plugs import connector_kind
from p2p_oicp.ocpi_mapping.sessions import (
    authorization_of,
    first_tariff_id,
    identification_of,
    in_order,
    is_charging,
    trailing_parking,
)
from p2p_oicp.ocpi_mapping.signatures import from_signed_values, to_signed_values
from p2p_oicp.ocpi_mapping.terms import Terms
from p2p_oicp.oicp.findings import InvalidMessage

#: The member of a record with the original CDR: ``{"cdr": …}``.
ANNEX: Final = "OCPI"
_MAX_ADDRESS, _MAX_STATE, _MAX_PRODUCT_ID = 45, 20, 50
_LOST_OF_CDR = (
    "meter_id",
    "currency",
    "total_cost",
    "total_fixed_cost",
    "total_energy_cost",
    "total_time",
    "total_time_cost",
    "total_parking_cost",
    "total_reservation_cost",
    "tariffs",
    "remark",
    "invoice_reference_id",
    "home_charging_compensation",
)
_LOST_OF_RECORD = ("MeterValueStart", "MeterValueEnd", "MeterValueInBetween", "HubOperatorID", "HubProviderID")
#: What the other gateway takes from the annex: all that is money.
_ANNEX_MEMBERS = (
    "currency",
    "tariffs",
    "charging_periods",
    "total_cost",
    "total_fixed_cost",
    "total_energy_cost",
    "total_time_cost",
    "total_parking_cost",
    "total_reservation_cost",
    "remark",
)


@dataclass(frozen=True)
class CdrRecord:
    """The record of a CDR, or the reason why it is parked: held until a person decides."""

    record: dict[str, Any] | None = None
    parked: str | None = None
    losses: tuple[Loss, ...] = ()


@dataclass(frozen=True)
class CdrRequest:
    """The body that is posted to an eMSP; None: OCPI cannot have the record, for a reason."""

    body: dict[str, Any] | None
    reason: str | None = None
    losses: tuple[Loss, ...] = ()


def to_record(cdr: dict[str, Any], known: dict[str, Any] | None) -> CdrRecord:
    """Return the ChargeDetailRecord of a CDR.

    Args:
        cdr: As received.
        known: The OICP session: ``SessionID``, ``Identification`` and ``EMPPartnerSessionID`` if known; None: the CDR
            belongs to no session that is known.
    """
    if cdr.get("credit"):
        return CdrRecord(parked="credit_cdr")
    if known is None:
        return CdrRecord(parked="uncorrelated")
    evse_id = to_evse_id(cdr["cdr_location"]["evse_id"])
    if evse_id is None:
        return CdrRecord(parked="evse_id")
    identification = known.get("Identification") or identification_of(cdr["cdr_token"])
    if identification is None:
        return CdrRecord(parked="identification")
    losses = Losses()
    losses.add_members(cdr, "", _LOST_OF_CDR)
    members = {
        "SessionID": known["SessionID"],
        "CPOPartnerSessionID": cdr.get("session_id"),
        "EMPPartnerSessionID": known.get("EMPPartnerSessionID"),
        "PartnerProductID": _product_id(cdr, losses),
        "EvseID": evse_id,
        "Identification": identification,
        **_times(cdr, losses),
        "ConsumedEnergy": energy(cdr["total_energy"]),
        **to_signed_values(cdr.get("signed_data"), losses),
    }
    return CdrRecord({name: value for name, value in members.items() if value is not None}, losses=losses.all)


def _product_id(cdr: dict[str, Any], losses: Losses) -> str | None:
    tariffs = cdr.get("tariffs") or []
    tariff_id = first_tariff_id(cdr) or (tariffs[0]["id"] if tariffs else None)
    for position, period in enumerate(cdr["charging_periods"]):
        losses.add_members(period, f"/charging_periods/{position}", ("dimensions",))
        if period.get("tariff_id") not in {None, tariff_id}:
            losses.add_value(
                f"/charging_periods/{position}/tariff_id", period["tariff_id"], "is one more than OICP has"
            )
    return tariff_id and tariff_id[:_MAX_PRODUCT_ID]


def _times(cdr: dict[str, Any], losses: Losses) -> dict[str, Any]:
    start, end = time_of(cdr["start_date_time"]), time_of(cdr["end_date_time"])
    charging = [period for period in in_order(cdr["charging_periods"]) if is_charging(period)]
    charging_start = time_of(charging[0]["start_date_time"]) if charging else start
    charging_end = trailing_parking(cdr["charging_periods"])
    if charging_end is None and charging and (parking := cdr.get("total_parking_time")):
        charging_end = end - duration_of(parking, end - start)
        losses.add("/total_parking_time", "parking-at-the-end", "is taken to be at the end of the session")
    charging_start = limited(charging_start, start, end)
    return {
        "ChargingStart": format_time(charging_start),
        "ChargingEnd": format_time(limited(charging_end or end, charging_start, max(charging_start, end))),
        "SessionStart": format_time(start),
        "SessionEnd": format_time(end),
    }


def from_record(
    record: dict[str, Any],
    location: dict[str, Any],
    session: dict[str, Any],
    product: dict[str, Any] | None,
    terms: Terms,
) -> CdrRequest:
    """Return the CDR of a ChargeDetailRecord.

    Args:
        record: The record, perhaps with an annex.
        location: The location as it is served, with ``evse``: uid and connectors.
        session: Our own row: ``OperatorID``, ``ocpi_session_id``, ``opened_by``, and if known ``contract_id``,
            ``PlugType``, and what the eMSP itself wrote: ``cdr_token``, ``authorization_reference``.
        product: The product by which it is priced; None: there is none.
        terms: Those of the eMSP.
    """
    party = party_of_operator(operator_of(record | session), terms)
    cdr_token = session.get("cdr_token") or from_identification(
        record["Identification"], session.get("contract_id"), terms
    )
    if party is None or cdr_token is None:
        return CdrRequest(None, "operator_without_ocpi_party" if party is None else "identification")
    losses = Losses()
    losses.add_members(record, "", _LOST_OF_RECORD)
    session_id = session.get("ocpi_session_id") or record["SessionID"]
    body = {
        **party.members,
        "id": record["SessionID"],
        "start_date_time": utc(record["SessionStart"]),
        "end_date_time": utc(record["SessionEnd"]),
        "session_id": session_id,
        "cdr_token": cdr_token,
        **authorization_of(session.get("opened_by"), session.get("authorization_reference") or record["SessionID"]),
        "cdr_location": _cdr_location(record["EvseID"], location, session.get("PlugType"), losses),
        "currency": (product or {}).get("ProductPriceCurrency") or terms.currency,
        **_totals(record, product, losses),
        **from_signed_values(record, losses),
        "last_updated": format_time(terms.now),
    }
    return CdrRequest(_with_annex(body, record, losses), losses=losses.all)


def _totals(record: dict[str, Any], product: dict[str, Any] | None, losses: Losses) -> dict[str, Any]:
    """Return periods, totals and costs: one period of charging, and one of parking if there was any."""
    charging_start, charging_end = time_of(record["ChargingStart"]), time_of(record["ChargingEnd"])
    start, end = time_of(record["SessionStart"]), time_of(record["SessionEnd"])
    nothing = timedelta(0)
    charging_time, parking_time = max(nothing, charging_end - charging_start), max(nothing, end - charging_end)
    usage = Usage(decimal_of(record["ConsumedEnergy"]), charging_time, parking_time)
    total_energy = number(usage.energy)
    tariff_id = {"tariff_id": short_id(product["ProductID"])} if product else {}
    charging = ((CdrDimensionType.ENERGY, total_energy), (CdrDimensionType.TIME, number(hours(usage.charging))))
    periods = [_period(charging_start, charging) | tariff_id]
    totals = {"total_energy": total_energy, "total_time": number(hours(end - start))}
    if parking := number(hours(usage.parking)):
        periods.append(_period(charging_end, ((CdrDimensionType.PARKING_TIME, parking),)) | tariff_id)
        totals["total_parking_time"] = parking
    return {"charging_periods": periods, **totals, **costs_of(product, usage, losses)}


def _period(start: datetime, volumes: tuple[tuple[CdrDimensionType, Any], ...]) -> dict[str, Any]:
    dimensions = [{"type": str(kind), "volume": volume} for kind, volume in volumes]
    return {"start_date_time": format_time(start), "dimensions": dimensions}


def _cdr_location(evse_id: str, location: dict[str, Any], plug: str | None, losses: Losses) -> dict[str, Any]:
    evse = location["evse"]
    connector = _connector_of(evse["connectors"], plug)
    members = {
        "id": location["id"],
        "name": location.get("name"),
        "address": _short_address(location["address"], losses),
        "city": location["city"],
        "postal_code": location.get("postal_code"),
        "state": location.get("state") and location["state"][:_MAX_STATE],
        "country": location["country"],
        "coordinates": location["coordinates"],
        "evse_uid": evse["uid"],
        "evse_id": evse_id,
        "connector_id": connector["id"],
        "connector_standard": connector["standard"],
        "connector_format": connector["format"],
        "connector_power_type": connector["power_type"],
    }
    return {name: value for name, value in members.items() if value is not None}


def _short_address(address: str, losses: Losses) -> str:
    """Return the address of a CDR, which is shorter than that of a location."""
    if len(address) > _MAX_ADDRESS:
        losses.add("/EvseID", "address-cut", f"its address has {len(address)} characters, a CDR has {_MAX_ADDRESS}")
    return address[:_MAX_ADDRESS]


def _connector_of(connectors: list[dict[str, Any]], plug: str | None) -> dict[str, Any]:
    """Return the connector of the session's plug, else the first."""
    kind = connector_kind(plug) if plug else {}
    matches = (connector for connector in connectors if kind and all(connector[name] == kind[name] for name in kind))
    return next(matches, connectors[0])


def with_annex(record: dict[str, Any], cdr: dict[str, Any]) -> dict[str, Any]:
    """Return a record that carries its original CDR, for a peer that announces ``ocpi-annex``."""
    return record | {ANNEX: {"cdr": cdr}}


def _annexed_cdr(annex: object, losses: Losses) -> dict[str, Any] | None:
    """Return the CDR of an annex; None: it has none, or something that is none, which is reported."""
    if annex is None or (isinstance(annex, dict) and annex.get("cdr") is None):
        return None
    cdr = annex["cdr"] if isinstance(annex, dict) else annex
    try:
        return read_object(Cdr, encode_json(cdr))[0]
    except InvalidMessage as exc:
        losses.add(f"/{ANNEX}/cdr" if isinstance(annex, dict) else f"/{ANNEX}", "annex-ignored", f"is no CDR: {exc}")
        return None


def _with_annex(body: dict[str, Any], record: dict[str, Any], losses: Losses) -> dict[str, Any]:
    """Return a CDR with the costs, tariffs and periods of the original one."""
    original = _annexed_cdr(record.get(ANNEX), losses)
    if original is None:
        return body
    times = (("start_date_time", "SessionStart"), ("end_date_time", "SessionEnd"))
    contradictions = [name for name, own in times if utc(original.get(name)) != utc(record[own])]
    if energy(original.get("total_energy")) != energy(record["ConsumedEnergy"]):
        contradictions.append("total_energy")
    if contradictions:
        losses.add(f"/{ANNEX}/cdr", "annex-ignored", f"contradicts the record: {', '.join(contradictions)}")
        return body
    own = {name: value for name, value in body.items() if name not in _ANNEX_MEMBERS}
    merged = own | {name: original[name] for name in _ANNEX_MEMBERS if original.get(name) is not None}
    for name in ("total_energy", "total_time", "total_parking_time", "signed_data"):
        if original.get(name) is not None:
            merged[name] = original[name]
    return merged
