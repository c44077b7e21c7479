"""Objects of OCPI and OICP for tests of the mapping; each call gives new ones."""

from __future__ import annotations

from typing import Any

UPDATED = "2026-11-01T08:00:00Z"


def connector(**changes: Any) -> dict[str, Any]:
    return {
        "id": "1",
        "standard": "IEC_62196_T2",
        "format": "SOCKET",
        "power_type": "AC_3_PHASE",
        "max_voltage": 230,
        "max_amperage": 32,
        "max_electric_power": 22000,
        "last_updated": UPDATED,
    } | changes


def evse(**changes: Any) -> dict[str, Any]:
    return {
        "uid": "cp1",
        "evse_id": "DE*GEF*E0001*1",
        "status": "AVAILABLE",
        "connectors": [connector()],
        "capabilities": ["RFID_READER", "REMOTE_START_STOP_CAPABLE"],
        "last_updated": UPDATED,
    } | changes


def location(**changes: Any) -> dict[str, Any]:
    return {
        "country_code": "DE",
        "party_id": "GEF",
        "id": "LOC1",
        "publish": True,
        "name": "Depot Nord",
        "address": "Hafenstraße 12",
        "city": "Hamburg",
        "postal_code": "20457",
        "country": "DEU",
        "coordinates": {"latitude": "53.54321", "longitude": "9.98765"},
        "time_zone": "Europe/Berlin",
        "evses": [evse()],
        "last_updated": UPDATED,
    } | changes


def cdr_token(**changes: Any) -> dict[str, Any]:
    return {
        "country_code": "DE",
        "party_id": "DCB",
        "uid": "04A1B2C3",
        "type": "RFID",
        "contract_id": "DE-DCB-C12345678-9",
    } | changes


def token(**changes: Any) -> dict[str, Any]:
    members = {"issuer": "DCB Mobility", "valid": True, "whitelist": "ALLOWED", "last_updated": UPDATED}
    return cdr_token() | members | changes


def session(**changes: Any) -> dict[str, Any]:
    return {
        "country_code": "DE",
        "party_id": "GEF",
        "id": "S-100",
        "start_date_time": "2026-11-10T09:00:00Z",
        "kwh": 0,
        "cdr_token": cdr_token(),
        "auth_method": "AUTH_REQUEST",
        "location_id": "LOC1",
        "evse_uid": "cp1",
        "connector_id": "1",
        "currency": "EUR",
        "status": "ACTIVE",
        "last_updated": "2026-11-10T09:00:05Z",
    } | changes


def period(start: str, **volumes: Any) -> dict[str, Any]:
    """Return a charging period; the names of the volumes are the types of its dimensions."""
    dimensions = [{"type": name, "volume": volume} for name, volume in volumes.items()]
    return {"start_date_time": start, "dimensions": dimensions}


def cdr(**changes: Any) -> dict[str, Any]:
    return {
        "country_code": "DE",
        "party_id": "GEF",
        "id": "CDR-100",
        "start_date_time": "2026-11-10T09:00:00Z",
        "end_date_time": "2026-11-10T11:00:00Z",
        "session_id": "S-100",
        "cdr_token": cdr_token(),
        "auth_method": "AUTH_REQUEST",
        "cdr_location": {
            "id": "LOC1",
            "address": "Hafenstraße 12",
            "city": "Hamburg",
            "country": "DEU",
            "coordinates": {"latitude": "53.54321", "longitude": "9.98765"},
            "evse_uid": "cp1",
            "evse_id": "DE*GEF*E0001*1",
            "connector_id": "1",
            "connector_standard": "IEC_62196_T2",
            "connector_format": "SOCKET",
            "connector_power_type": "AC_3_PHASE",
        },
        "currency": "EUR",
        "charging_periods": [period("2026-11-10T09:02:00Z", ENERGY=18, TIME=1)],
        "total_cost": {"excl_vat": 8},
        "total_energy": 18,
        "total_time": 2,
        "last_updated": "2026-11-10T11:00:30Z",
    } | changes


def element(price: Any = 1, kind: str = "ENERGY", **restrictions: Any) -> dict[str, Any]:
    components = [{"type": kind, "price": price, "step_size": 1}]
    return {"price_components": components} | ({"restrictions": restrictions} if restrictions else {})


def tariff(*elements: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "country_code": "DE",
        "party_id": "GEF",
        "id": "T1",
        "currency": "EUR",
        "elements": list(elements) or [element()],
        "last_updated": UPDATED,
    } | changes


def record(**changes: Any) -> dict[str, Any]:
    """Return an EVSE record as it is pulled."""
    return {
        "EvseID": "DE*ABC*E77*1",
        "OperatorID": "DE*ABC",
        "OperatorName": "ABC Strom",
        "lastUpdate": "2026-11-02T07:30:00Z",
        "ChargingPoolID": "DE*ABC*P77",
        "ChargingStationNames": [{"lang": "de", "value": "Marktplatz"}],
        "Address": {"Country": "DEU", "City": "Kassel", "Street": "Markt", "PostalCode": "34117", "HouseNum": "3"},
        "GeoCoordinates": {"DecimalDegree": {"Longitude": "9.4979", "Latitude": "51.3127"}},
        "Plugs": ["Type 2 Outlet"],
        "ChargingFacilities": [{"PowerType": "AC_3_PHASE", "Voltage": 400, "Amperage": 32, "Power": 22}],
        "RenewableEnergy": False,
        "CalibrationLawDataAvailability": "Local",
        "AuthenticationModes": ["NFC RFID Classic", "REMOTE"],
        "PaymentOptions": ["Contract"],
        "ValueAddedServices": ["None"],
        "Accessibility": "Free publicly accessible",
        "HotlinePhoneNumber": "+49561123456",
        "IsOpen24Hours": True,
        "IsHubjectCompatible": True,
        "DynamicInfoAvailable": "true",
    } | changes
