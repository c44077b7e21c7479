"""What an EVSE offers and how it is: energy, identification, payment, access, texts, images, status (GATEWAY 13.1)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from p2p_oicp.ocpi.enumerations import (
    Capability,
    EnergySourceCategory,
    EnvironmentalImpactCategory,
    ImageCategory,
    ParkingRestriction,
    ParkingType,
    Status,
)
from p2p_oicp.ocpi_mapping.amounts import number, whole
from p2p_oicp.ocpi_mapping.losses import Losses
from p2p_oicp.ocpi_mapping.terms import EXTRAWEST, Terms
from p2p_oicp.oicp.enums import (
    Accessibility,
    AccessibilityLocation,
    AuthenticationMode,
    EnergyType,
    EvseStatus,
    PaymentOption,
    ValueAddedService,
)

_TO_STATUS: Final[Mapping[str, EvseStatus]] = MappingProxyType(
    {
        Status.AVAILABLE: EvseStatus.AVAILABLE,
        Status.RESERVED: EvseStatus.RESERVED,
        Status.CHARGING: EvseStatus.OCCUPIED,
        Status.BLOCKED: EvseStatus.OCCUPIED,
        Status.INOPERATIVE: EvseStatus.OUT_OF_SERVICE,
        Status.OUTOFORDER: EvseStatus.OUT_OF_SERVICE,
    }
)
_FROM_STATUS: Final[Mapping[str, Status]] = MappingProxyType(
    {
        EvseStatus.AVAILABLE: Status.AVAILABLE,
        EvseStatus.RESERVED: Status.RESERVED,
        EvseStatus.OCCUPIED: Status.CHARGING,
        EvseStatus.OUT_OF_SERVICE: Status.INOPERATIVE,
    }
)
_TO_ENERGY: Final[Mapping[str, EnergyType]] = MappingProxyType(
    {
        EnergySourceCategory.SOLAR: EnergyType.SOLAR,
        EnergySourceCategory.WIND: EnergyType.WIND,
        EnergySourceCategory.WATER: EnergyType.HYDRO_POWER,
        EnergySourceCategory.NUCLEAR: EnergyType.NUCLEAR,
        EnergySourceCategory.COAL: EnergyType.COAL,
        EnergySourceCategory.GAS: EnergyType.NATURAL_GAS,
    }
)
_FROM_ENERGY: Final[Mapping[str, EnergySourceCategory]] = MappingProxyType(
    {
        **{str(energy): EnergySourceCategory(category) for category, energy in _TO_ENERGY.items()},
        EnergyType.BIOMASS: EnergySourceCategory.GENERAL_GREEN,
        EnergyType.GEOTHERMAL: EnergySourceCategory.GENERAL_GREEN,
        EnergyType.PETROLEUM: EnergySourceCategory.GENERAL_FOSSIL,
    }
)
_IMPACTS: Final = (
    (EnvironmentalImpactCategory.CARBON_DIOXIDE, "CO2Emission"),
    (EnvironmentalImpactCategory.NUCLEAR_WASTE, "NuclearWaste"),
)
_MAX_PERCENTAGE = 99
_NFC_MODES = (AuthenticationMode.RFID_CLASSIC, AuthenticationMode.RFID_DESFIRE)
_PAYMENT_TERMINALS = frozenset(
    {
        Capability.CHIP_CARD_SUPPORT,
        Capability.CONTACTLESS_CARD_SUPPORT,
        Capability.CREDIT_CARD_PAYABLE,
        Capability.DEBIT_CARD_PAYABLE,
        Capability.PED_TERMINAL,
    }
)
_LOST_CAPABILITIES = (
    Capability.CHARGING_PREFERENCES_CAPABLE,
    Capability.START_SESSION_CONNECTOR_REQUIRED,
    Capability.TOKEN_GROUP_CAPABLE,
    Capability.UNLOCK_CAPABLE,
)
#: Where the parking is, and whether it is a facility for parking (None: OICP has no word for the place).
_PARKING: Final[Mapping[str, tuple[AccessibilityLocation | None, bool]]] = MappingProxyType(
    {
        ParkingType.ON_STREET: (AccessibilityLocation.ON_STREET, False),
        ParkingType.PARKING_LOT: (AccessibilityLocation.PARKING_LOT, True),
        ParkingType.PARKING_GARAGE: (AccessibilityLocation.PARKING_GARAGE, True),
        ParkingType.UNDERGROUND_GARAGE: (AccessibilityLocation.UNDERGROUND_PARKING_GARAGE, True),
        ParkingType.ALONG_MOTORWAY: (AccessibilityLocation.PARKING_LOT, False),
        ParkingType.ON_DRIVEWAY: (None, False),
    }
)
_FROM_PARKING: Final[Mapping[str, ParkingType]] = MappingProxyType(
    {
        AccessibilityLocation.ON_STREET: ParkingType.ON_STREET,
        AccessibilityLocation.PARKING_LOT: ParkingType.PARKING_LOT,
        AccessibilityLocation.PARKING_GARAGE: ParkingType.PARKING_GARAGE,
        AccessibilityLocation.UNDERGROUND_PARKING_GARAGE: ParkingType.UNDERGROUND_GARAGE,
    }
)
_MAX_INFO, _MAX_IMAGE_URL, _MAX_LANGUAGE, _MAX_DISPLAY_TEXT = 150, 200, 2, 512
_IMAGE_TYPES = {"jpeg": "jpeg", "jpg": "jpeg", "png": "png", "gif": "gif", "svg": "svg", "webp": "webp"}


def to_status(status: str) -> str:
    """Return the EvseStatus of a status of OCPI; that of any unknown word is Unknown."""
    return str(_TO_STATUS.get(status.upper(), EvseStatus.UNKNOWN))


def from_status(status: str | None) -> str:
    """Return the status of an EvseStatus; UNKNOWN without one."""
    return str(_FROM_STATUS.get(status or "", Status.UNKNOWN))


def to_status_action(status: str) -> dict[str, Any]:
    """Return what a change of status leads to in OICP: an update, a delete, or nothing."""
    match status.upper():
        case Status.REMOVED:
            return {"action": "delete"}
        case Status.PLANNED:
            return {"action": "none"}
    return {"action": "update", "EvseStatus": to_status(status)}


def from_status_action(status: str) -> dict[str, Any]:
    """Return what a change of status leads to in OCPI: a PATCH, or nothing."""
    # EvseNotFound answers a question and is never a state of an EVSE.
    if status.casefold() == EvseStatus.EVSE_NOT_FOUND.casefold():
        return {"action": "none"}
    return {"action": "patch", "status": from_status(status)}


def to_energy(energy_mix: dict[str, Any] | None, terms: Terms, losses: Losses) -> dict[str, Any]:
    """Return RenewableEnergy, EnergySource and EnvironmentalImpact of a location."""
    if energy_mix is None:
        return {"RenewableEnergy": terms.renewable}
    losses.add_members(energy_mix, "/energy_mix", ("supplier_name", "energy_product_name"))
    members: dict[str, Any] = {"RenewableEnergy": energy_mix["is_green_energy"]}
    sources = []
    for position, source in enumerate(energy_mix.get("energy_sources") or []):
        place = f"/energy_mix/energy_sources/{position}"
        energy = _TO_ENERGY.get(source["source"].upper())
        if energy is None:
            losses.add_value(f"{place}/source", source["source"], "has no counterpart in OICP")
            continue
        percentage = whole(source["percentage"])
        if percentage > _MAX_PERCENTAGE:
            losses.add_value(f"{place}/percentage", percentage, f"is more than the {_MAX_PERCENTAGE} of OICP")
        sources.append({"Energy": str(energy)} | ({"Percentage": percentage} if percentage <= _MAX_PERCENTAGE else {}))
    impacts = energy_mix.get("environ_impact") or []
    amounts = {impact["category"].upper(): impact["amount"] for impact in reversed(impacts)}
    impact = {name: amounts[category] for category, name in _IMPACTS if category in amounts}
    return (
        members | ({"EnergySource": sources} if sources else {}) | ({"EnvironmentalImpact": impact} if impact else {})
    )


def from_energy(record: dict[str, Any], pointer: str, terms: Terms, losses: Losses) -> dict[str, Any] | None:
    """Return the energy mix of an EVSE; None where it is not green and nothing else is known of it."""
    sources = []
    for position, source in enumerate(record.get("EnergySource") or []):
        category = _FROM_ENERGY.get(str(source.get("Energy")))
        if category is None or source.get("Percentage") is None:
            losses.add_value(
                f"{pointer}/EnergySource/{position}", source.get("Energy"), "has no percentage or category"
            )
        else:
            sources.append({"source": str(category), "percentage": source["Percentage"]})
    impact = record.get("EnvironmentalImpact") or {}
    impacts = [
        {"category": str(category), "amount": number(impact[name])}
        for category, name in _IMPACTS
        if impact.get(name) is not None
    ]
    is_green = bool(record.get("RenewableEnergy"))
    if not (is_green or sources or impacts):
        return None
    if terms.profile == EXTRAWEST:
        # It demands members that are optional.
        losses.add(f"{pointer}/RenewableEnergy", "profile", "this partner's models refuse an energy mix")
        return None
    members: dict[str, Any] = {"is_green_energy": is_green}
    return members | ({"energy_sources": sources} if sources else {}) | ({"environ_impact": impacts} if impacts else {})


def to_offers(evse: dict[str, Any], pointer: str, terms: Terms, losses: Losses) -> dict[str, Any]:
    """Return how drivers identify and pay at an EVSE, and what it offers."""
    capabilities = {capability.upper() for capability in evse.get("capabilities") or []}
    for capability in _LOST_CAPABILITIES:
        if capability in capabilities:
            losses.add(f"{pointer}/capabilities", f"capability-{capability}", f"{capability} has no word in OICP")
    modes = [str(mode) for mode in _NFC_MODES if Capability.RFID_READER in capabilities]
    if Capability.REMOTE_START_STOP_CAPABLE in capabilities:
        modes.append(str(AuthenticationMode.REMOTE))
    if capabilities & _PAYMENT_TERMINALS:
        modes.append(str(AuthenticationMode.DIRECT_PAYMENT))
    modes = modes or list(terms.authentication)
    pays_directly = AuthenticationMode.DIRECT_PAYMENT in modes
    payments = [str(PaymentOption.CONTRACT)] if any(mode != AuthenticationMode.DIRECT_PAYMENT for mode in modes) else []
    is_reservable = Capability.RESERVABLE in capabilities and terms.reservations
    offers = {
        "AuthenticationModes": modes,
        "PaymentOptions": payments + ([str(PaymentOption.DIRECT)] if pays_directly else []),
        "ValueAddedServices": [str(ValueAddedService.RESERVATION if is_reservable else ValueAddedService.NONE)],
        "IsHubjectCompatible": not capabilities or Capability.REMOTE_START_STOP_CAPABLE in capabilities,
    }
    return offers | ({"DynamicPowerLevel": True} if Capability.CHARGING_PROFILE_CAPABLE in capabilities else {})


def from_offers(record: dict[str, Any], pointer: str, losses: Losses) -> list[str]:
    """Return the capabilities of an EVSE. Charging profiles are never promised: OICP has none."""
    modes, services = record.get("AuthenticationModes") or [], record.get("ValueAddedServices") or []
    capabilities = (
        (Capability.RFID_READER, any(mode in modes for mode in _NFC_MODES)),
        (Capability.REMOTE_START_STOP_CAPABLE, AuthenticationMode.REMOTE in modes),
        (Capability.CREDIT_CARD_PAYABLE, AuthenticationMode.DIRECT_PAYMENT in modes),
        (Capability.RESERVABLE, ValueAddedService.RESERVATION in services),
    )
    known_modes = {*_NFC_MODES, AuthenticationMode.REMOTE, AuthenticationMode.DIRECT_PAYMENT}
    for name, values, known in (
        ("AuthenticationModes", modes, known_modes),
        ("ValueAddedServices", services, {ValueAddedService.RESERVATION, ValueAddedService.NONE}),
    ):
        for position, value in enumerate(values):
            if value not in known:
                losses.add_value(f"{pointer}/{name}/{position}", value, "has no word in OCPI 2.2.1")
    return [str(capability) for capability, is_there in capabilities if is_there]


def to_access(
    location: dict[str, Any], evse: dict[str, Any], pointer: str, terms: Terms, losses: Losses
) -> dict[str, Any]:
    """Return Accessibility and AccessibilityLocation of an EVSE."""
    restrictions = [word.upper() for word in evse.get("parking_restrictions") or []]
    for position, word in enumerate(restrictions):
        if word != ParkingRestriction.CUSTOMERS:
            losses.add_value(f"{pointer}/parking_restrictions/{position}", word, "has no word in OICP")
    is_restricted = not location["publish"] or ParkingRestriction.CUSTOMERS in restrictions
    members = {"Accessibility": str(Accessibility.RESTRICTED) if is_restricted else terms.accessibility}
    if parking_type := location.get("parking_type"):
        place, _ = _PARKING.get(parking_type.upper(), (None, False))
        if place is None:
            losses.add_value("/parking_type", parking_type, "has no word in OICP")
        else:
            members["AccessibilityLocation"] = str(place)
    return members


def is_parking_facility(location: dict[str, Any]) -> bool | None:
    """Return whether a location is a facility for parking; None: nothing is known of it."""
    parking_type = location.get("parking_type")
    return _PARKING.get(parking_type.upper(), (None, False))[1] if parking_type else None


def from_access(record: dict[str, Any], pointer: str, losses: Losses) -> dict[str, Any]:
    """Return ``publish`` and ``parking_type`` of an EVSE's location."""
    accessibility = record.get("Accessibility")
    if accessibility in {Accessibility.RESTRICTED, Accessibility.PAYING}:
        losses.add_value(f"{pointer}/Accessibility", accessibility, "has no word in OCPI")
    parking_type = _FROM_PARKING.get(str(record.get("AccessibilityLocation")))
    members: dict[str, Any] = {"publish": accessibility != Accessibility.TEST_STATION}
    return members | ({"parking_type": str(parking_type)} if parking_type else {})


def to_info_texts(directions: list[dict[str, Any]] | None, pointer: str, losses: Losses) -> list[dict[str, Any]]:
    """Return texts in OICP's form, with at most 150 characters."""
    return [
        {"lang": text["language"], "value": losses.cut(text["text"], _MAX_INFO, f"{pointer}/{position}/text")}
        for position, text in enumerate(directions or [])
    ]


def from_info_texts(texts: list[dict[str, Any]] | None, terms: Terms) -> list[dict[str, Any]]:
    """Return texts in OCPI's form, in all their languages."""
    return [
        {
            "language": str(text.get("lang") or terms.language)[:_MAX_LANGUAGE],
            "text": str(text.get("value", ""))[:_MAX_DISPLAY_TEXT],
        }
        for text in texts or []
    ]


def preferred_text(texts: list[dict[str, Any]] | None, terms: Terms, pointer: str, losses: Losses) -> str | None:
    """Return the text in the configured language, else the first; None without any."""
    if not texts:
        return None
    language = terms.language.lower()
    chosen = next((text for text in texts if str(text.get("lang", "")).lower()[:2] == language[:2]), texts[0])
    for position, text in enumerate(texts):
        if text is not chosen:
            losses.add_value(f"{pointer}/{position}", text.get("value"), "is one language more than OCPI has")
    return str(chosen.get("value", ""))


def to_image(*sources: tuple[list[dict[str, Any]] | None, str], losses: Losses) -> str | None:
    """Return the first image of a charging station among the EVSE's and the location's, each with its pointer."""
    chosen: str | None = None
    for images, pointer in sources:
        for position, image in enumerate(images or []):
            fits = image["category"].upper() == ImageCategory.CHARGER and len(image["url"]) <= _MAX_IMAGE_URL
            if fits and chosen is None:
                chosen = image["url"]
            else:
                losses.add_value(f"{pointer}/{position}", image["url"], "is an image that OICP has no place for")
    return chosen


def from_image(url: str) -> dict[str, Any]:
    """Return the image of a charging station; its type is that of the ending."""
    ending = url.partition("?")[0].rpartition(".")[2].lower()
    return {"url": url, "category": str(ImageCategory.CHARGER), "type": _IMAGE_TYPES.get(ending, "jpeg")}
