"""Faultless messages to start from, invented for the tests."""

from __future__ import annotations

import json
from typing import Any

SESSION = "b2688855-7f00-0002-6d8e-48d883f6abb6"

AUTHORIZE_START: dict[str, Any] = {
    "OperatorID": "DE*ABC",
    "EvseID": "DE*ABC*E1*2",
    "Identification": {"RFIDMifareFamilyIdentification": {"UID": "CAFEBABE"}},
}

CDR: dict[str, Any] = {
    "SessionID": SESSION,
    "EvseID": "DE*ABC*E1*2",
    "Identification": {"RFIDMifareFamilyIdentification": {"UID": "CAFEBABE"}},
    "SessionStart": "2024-05-01T10:00:00+02:00",
    "ChargingStart": "2024-05-01T10:01:00+02:00",
    "ChargingEnd": "2024-05-01T11:01:00+02:00",
    "SessionEnd": "2024-05-01T11:05:00+02:00",
    "MeterValueStart": 100.5,
    "MeterValueEnd": 110.75,
    "ConsumedEnergy": 10.25,
}

EVSE: dict[str, Any] = {
    "EvseID": "DE*ABC*E1*2",
    "ChargingStationNames": [{"lang": "en", "value": "Harbour"}],
    "Address": {"Country": "DEU", "City": "Kiel", "Street": "Am Kai", "PostalCode": "24103", "HouseNum": "1"},
    "GeoCoordinates": {"Google": {"Coordinates": "54.323293 10.122765"}},
    "Plugs": ["Type 2 Outlet"],
    "ChargingFacilities": [{"PowerType": "AC_3_PHASE", "Power": 22}],
    "RenewableEnergy": True,
    "CalibrationLawDataAvailability": "Local",
    "AuthenticationModes": ["REMOTE"],
    "PaymentOptions": ["Contract"],
    "ValueAddedServices": ["None"],
    "Accessibility": "Free publicly accessible",
    "HotlinePhoneNumber": "+49431123456",
    "IsOpen24Hours": True,
    "IsHubjectCompatible": True,
    "DynamicInfoAvailable": "auto",
}

PRODUCT: dict[str, Any] = {
    "ProductID": "AC1",
    "ReferenceUnit": "KILOWATT_HOUR",
    "ProductPriceCurrency": "EUR",
    "PricePerReferenceUnit": 0.49,
    "MaximumProductChargingPower": 22,
    "IsValid24hours": True,
    "ProductAvailabilityTimes": [],
}


def body(value: object) -> bytes:
    """Return a value as it goes over the wire."""
    return json.dumps(value, ensure_ascii=False).encode()


def push_evse_data(*records: object) -> dict[str, Any]:
    return {
        "ActionType": "fullLoad",
        "OperatorEvseData": {"OperatorID": "DE*ABC", "OperatorName": "ABC", "EvseDataRecord": list(records)},
    }


def page(*records: object) -> dict[str, Any]:
    return {
        "content": list(records),
        "number": 0,
        "size": 20,
        "totalElements": len(records),
        "last": True,
        "totalPages": 1,
        "first": True,
        "numberOfElements": len(records),
        "StatusCode": {"Code": "000"},
    }
