"""Plugs and charging facilities of OICP, connectors of OCPI (GATEWAY 13.1)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from p2p_oicp.ocpi.enumerations import ConnectorFormat, ConnectorType, PowerType
from p2p_oicp.ocpi_mapping.amounts import decimal_of, number, whole
from p2p_oicp.ocpi_mapping.losses import Losses
from p2p_oicp.oicp.enums import ChargingMode, Plug

_SOCKET, _CABLE = ConnectorFormat.SOCKET, ConnectorFormat.CABLE
_ANY: Final = None
#: Connector of OCPI, its format (None: any), plug of OICP. The first row of a plug is its way back.
_PLUGS: Final[tuple[tuple[ConnectorType, ConnectorFormat | None, Plug], ...]] = (
    (ConnectorType.CHADEMO, _ANY, Plug.CHADEMO),
    (ConnectorType.IEC_62196_T2, _SOCKET, Plug.TYPE_2_OUTLET),
    (ConnectorType.IEC_62196_T2, _CABLE, Plug.TYPE_2),
    (ConnectorType.IEC_62196_T1, _CABLE, Plug.TYPE_1),
    (ConnectorType.IEC_62196_T1_COMBO, _ANY, Plug.CCS_1),
    (ConnectorType.IEC_62196_T2_COMBO, _ANY, Plug.CCS_2),
    (ConnectorType.IEC_62196_T3C, _ANY, Plug.TYPE_3_OUTLET),
    (ConnectorType.IEC_62196_T3A, _ANY, Plug.TYPE_3_OUTLET),
    (ConnectorType.DOMESTIC_E, _ANY, Plug.TYPE_E_FRENCH),
    (ConnectorType.DOMESTIC_F, _ANY, Plug.TYPE_F_SCHUKO),
    (ConnectorType.DOMESTIC_G, _ANY, Plug.TYPE_G_BRITISH),
    (ConnectorType.DOMESTIC_J, _ANY, Plug.TYPE_J_SWISS),
    (ConnectorType.IEC_60309_2_SINGLE_16, _ANY, Plug.IEC_60309_SINGLE_PHASE),
    (ConnectorType.IEC_60309_2_THREE_16, _ANY, Plug.IEC_60309_THREE_PHASE),
    (ConnectorType.IEC_60309_2_THREE_32, _ANY, Plug.IEC_60309_THREE_PHASE),
    (ConnectorType.IEC_60309_2_THREE_64, _ANY, Plug.IEC_60309_THREE_PHASE),
    (ConnectorType.NEMA_5_20, _ANY, Plug.NEMA_5_20),
    (ConnectorType.TESLA_S, _ANY, Plug.TESLA),
    (ConnectorType.TESLA_R, _ANY, Plug.TESLA),
)
#: What a plug is where its format does not follow from the table: cables are attached.
_CABLE_PLUGS = frozenset({Plug.CHADEMO, Plug.CCS_1, Plug.CCS_2, Plug.TESLA})
_DC_PLUGS = frozenset({Plug.CHADEMO, Plug.CCS_1, Plug.CCS_2})
_DC_STANDARDS = frozenset(str(standard) for standard, _, plug in _PLUGS if plug in _DC_PLUGS)
_THREE_PHASE_STANDARDS = (
    (16, ConnectorType.IEC_60309_2_THREE_16),
    (32, ConnectorType.IEC_60309_2_THREE_32),
)

#: PowerType of OCPI, phases, and PowerType of OICP.
_POWER_TYPES: Final[Mapping[str, tuple[int, PowerType]]] = MappingProxyType(
    {
        PowerType.AC_1_PHASE: (1, PowerType.AC_1_PHASE),
        PowerType.AC_2_PHASE: (2, PowerType.AC_1_PHASE),
        PowerType.AC_2_PHASE_SPLIT: (2, PowerType.AC_1_PHASE),
        PowerType.AC_3_PHASE: (3, PowerType.AC_3_PHASE),
        PowerType.DC: (1, PowerType.DC),
    }
)
_MAX_VOLTAGE, _MAX_AMPERAGE, _MAX_KW = 999, 99, 999
_DOMESTIC_PREFIXES = ("DOMESTIC", "NEMA", "IEC_60309")

# What is taken for a facility of OICP that leaves it out.
_DC_VOLTAGE, _AC_VOLTAGE, _MAX_SINGLE_PHASE_KW = 400, 230, 7
# Between phases 380 to 415 V are 230 V to neutral; OCPI's voltage is to neutral, OICP's often is not.
_BETWEEN_PHASES, _EUROPEAN = 300, range(380, 416)


class Facilities(NamedTuple):
    """Plugs and ChargingFacilities of an EVSE; alike ones once."""

    plugs: list[str]
    facilities: list[dict[str, Any]]


def to_plug(standard: str, connector_format: str) -> Plug | None:
    """Return the plug of a connector; None: OICP has none, or the standard is unknown."""
    matches = (
        plug
        for name, needed_format, plug in _PLUGS
        if name.casefold() == standard.casefold() and needed_format in {None, connector_format.upper()}
    )
    return next(matches, None)


def to_facilities(connectors: list[dict[str, Any]], pointer: str, losses: Losses) -> Facilities:
    """Return plugs and facilities of the connectors that OICP has a plug for."""
    result = Facilities([], [])
    for position, connector in enumerate(connectors):
        place = f"{pointer}/{position}"
        plug = to_plug(connector["standard"], connector["format"])
        if plug is None:
            losses.add_value(f"{place}/standard", connector["standard"], "has no plug in OICP")
            continue
        facility = _facility(connector, place, losses)
        losses.add_members(connector, place, ("terms_and_conditions",))
        if plug not in result.plugs:
            result.plugs.append(str(plug))
        if facility not in result.facilities:
            result.facilities.append(facility)
    return result


def _facility(connector: dict[str, Any], pointer: str, losses: Losses) -> dict[str, Any]:
    written = connector["power_type"].upper()
    power_type = written if written in _POWER_TYPES else _likely_power_type(connector)
    phases, own_type = _POWER_TYPES[power_type]
    if own_type != written:
        losses.add_value(f"{pointer}/power_type", connector["power_type"], f"is written as {own_type}")
    facility: dict[str, Any] = {"PowerType": str(own_type)}
    voltage, amperage = whole(connector["max_voltage"]), whole(connector["max_amperage"])
    for name, member, value, limit in (
        ("Voltage", "max_voltage", voltage, _MAX_VOLTAGE),
        ("Amperage", "max_amperage", amperage, _MAX_AMPERAGE),
    ):
        if 0 <= value <= limit:
            facility[name] = value
        else:
            # Left out and never cut: a wrong value would mislead, an absent one does not.
            losses.add_value(f"{pointer}/{member}", value, f"is beyond the {limit} of OICP")
    watt = connector.get("max_electric_power")
    power = Decimal(voltage * amperage * phases) if watt is None else decimal_of(watt)
    # What is computed is of the connector as a whole.
    facility["Power"] = _kilowatt(power, pointer if watt is None else f"{pointer}/max_electric_power", losses)
    facility["ChargingModes"] = [_charging_mode(connector["standard"].upper(), power_type)]
    return facility


def _kilowatt(watt: Decimal, pointer: str, losses: Losses) -> int:
    kilowatt = whole(watt / 1000)
    if not 1 <= kilowatt <= _MAX_KW:
        # Power is mandatory: here the nearest value that fits stands for it.
        losses.add_value(pointer, watt, f"W is written as a power from 1 to {_MAX_KW} kW")
    return min(max(kilowatt, 1), _MAX_KW)


def _likely_power_type(connector: dict[str, Any]) -> str:
    is_dc = connector["standard"].upper() in _DC_STANDARDS
    return PowerType.DC if is_dc else PowerType.AC_1_PHASE


def _charging_mode(standard: str, power_type: str) -> str:
    if standard == ConnectorType.CHADEMO:
        return str(ChargingMode.CHADEMO)
    if power_type == PowerType.DC:
        return str(ChargingMode.MODE_4)
    return str(ChargingMode.MODE_2 if standard.startswith(_DOMESTIC_PREFIXES) else ChargingMode.MODE_3)


def to_connectors(
    record: dict[str, Any], pointer: str, last_updated: str, tariff_ids: list[str], losses: Losses
) -> list[dict[str, Any]]:
    """Return the connectors of an EVSE of OICP; empty: OCPI has none for its plugs."""
    plugs, facilities = record.get("Plugs") or [], record.get("ChargingFacilities") or []
    connectors: list[dict[str, Any]] = []
    for position, plug in enumerate(plugs):
        if all(plug != own for _, _, own in _PLUGS):
            losses.add_value(f"{pointer}/Plugs/{position}", plug, "has no connector in OCPI")
            continue
        connector: dict[str, Any] = {"id": str(len(connectors) + 1)}
        connector |= _connector(plug, _facility_of(plug, position, plugs, facilities))
        if tariff_ids:
            connector["tariff_ids"] = tariff_ids
        connectors.append(connector | {"last_updated": last_updated})
    for position, facility in enumerate(facilities):
        losses.add_members(facility, f"{pointer}/ChargingFacilities/{position}", ("ChargingModes",))
    return connectors


def _facility_of(plug: str, position: int, plugs: list[str], facilities: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the facility of a plug: the one at its place, the only one, or the strongest of its kind of current."""
    if len(facilities) == len(plugs):
        return facilities[position]
    if len(facilities) == 1:
        return facilities[0]
    is_dc = plug in _DC_PLUGS
    alike = [facility for facility in facilities if (facility.get("PowerType") == PowerType.DC) is is_dc]
    return max(alike or facilities, key=lambda facility: decimal_of(facility.get("Power")), default={})


def _connector(plug: str, facility: dict[str, Any]) -> dict[str, Any]:
    power = decimal_of(facility.get("Power"))
    power_type = facility.get("PowerType") or _power_type_of(plug, power)
    voltage = _voltage_to_neutral(facility.get("Voltage"), power_type)
    amperage = facility.get("Amperage")
    if amperage is None:
        phases = _POWER_TYPES.get(power_type, (1, PowerType.DC))[0]
        amperage = power * 1000 / (max(voltage, 1) * phases)
    connector = {
        **connector_kind(plug, whole(amperage)),
        "power_type": power_type,
        "max_voltage": voltage,
        "max_amperage": whole(amperage),
    }
    return connector | ({"max_electric_power": whole(power * 1000)} if power else {})


def connector_kind(plug: str, amperage: int = 0) -> dict[str, str]:
    """Return standard and format of a plug that has a connector."""
    standard, needed_format, _ = next(row for row in _PLUGS if row[2] == plug)
    if plug == Plug.IEC_60309_THREE_PHASE:
        largest = ConnectorType.IEC_60309_2_THREE_64
        standard = next((name for limit, name in _THREE_PHASE_STANDARDS if amperage <= limit), largest)
    default = _CABLE if plug in _CABLE_PLUGS else _SOCKET
    return {"standard": str(standard), "format": str(needed_format or default)}


def _power_type_of(plug: str, power: Decimal) -> str:
    if plug in _DC_PLUGS:
        return str(PowerType.DC)
    return str(PowerType.AC_3_PHASE if power > _MAX_SINGLE_PHASE_KW else PowerType.AC_1_PHASE)


def _voltage_to_neutral(voltage: int | None, power_type: str) -> int:
    if voltage is None:
        return _DC_VOLTAGE if power_type == PowerType.DC else _AC_VOLTAGE
    if power_type != PowerType.AC_3_PHASE or voltage <= _BETWEEN_PHASES:
        return whole(voltage)
    if voltage in _EUROPEAN:
        return _AC_VOLTAGE
    return int((Decimal(voltage) / Decimal(3).sqrt()).quantize(Decimal(1), ROUND_HALF_UP))


def strongest_kilowatt(connectors: list[dict[str, Any]]) -> Decimal:
    """Return the power in kW of the strongest of some connectors of OCPI; 0 without any."""
    powers = [
        decimal_of(connector["max_electric_power"])
        if connector.get("max_electric_power") is not None
        else Decimal(whole(connector["max_voltage"]) * whole(connector["max_amperage"]))
        * _POWER_TYPES.get(connector["power_type"], (1, PowerType.DC))[0]
        for connector in connectors
    ]
    return number(max(powers, default=Decimal(0)) / 1000)
