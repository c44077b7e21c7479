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


STATUS_CODE = {"Code": "000", "Description": "Success"}
DRIVER = {"RFIDMifareFamilyIdentification": {"UID": "CAFEBABE"}}
APP = {"RemoteIdentification": {"EvcoID": "DE-DCB-C12345678-X"}}
PULLED_EVSE = EVSE | {"OperatorID": "DE*ABC", "OperatorName": "ABC"}
SESSION_OF_EMP = {"SessionID": SESSION, "ProviderID": "DE-DCB", "EvseID": "DE*ABC*E1*2"}
NOTIFICATION = {"SessionID": SESSION, "EvseID": "DE*ABC*E1*2", "OperatorID": "DE*ABC", "Identification": DRIVER}
STATUSES = {"OperatorID": "DE*ABC", "EvseStatusRecord": [{"EvseID": "DE*ABC*E1", "EvseStatus": "Available"}]}
PRICES = {"EvseID": "DE*ABC*E1*2", "ProviderID": "*", "EvseIDProductList": ["AC1"]}
PRODUCTS = {
    "OperatorID": "DE*ABC",
    "ProviderID": "DE-DCB",
    "PricingDefaultPrice": 0.59,
    "PricingDefaultPriceCurrency": "EUR",
    "PricingDefaultReferenceUnit": "KILOWATT_HOUR",
    "PricingProductDataRecords": [PRODUCT],
}
DRIVERS = {"ProviderID": "DE-DCB", "AuthenticationDataRecord": [{"Identification": DRIVER}]}

REQUESTS: dict[str, Any] = {
    "AuthorizeStart": AUTHORIZE_START,
    "AuthorizeStop": AUTHORIZE_START | {"SessionID": SESSION},
    "AuthorizeRemoteStart": SESSION_OF_EMP | {"Identification": APP, "PartnerProductID": "AC1"},
    "AuthorizeRemoteStop": SESSION_OF_EMP,
    "AuthorizeRemoteReservationStart": SESSION_OF_EMP | {"Identification": APP, "Duration": 15},
    "AuthorizeRemoteReservationStop": SESSION_OF_EMP,
    "ChargingNotifications": NOTIFICATION
    | {
        "Type": "Progress",
        "ChargingStart": "2024-05-01T10:00:00+02:00",
        "EventOccurred": "2024-05-01T10:05:00+02:00",
        "ChargingDuration": 300000,
        "ConsumedEnergyProgress": 1.125,
    },
    "ChargeDetailRecord": CDR,
    "PushEvseData": push_evse_data(EVSE),
    "PushEvseStatus": {"ActionType": "update", "OperatorEvseStatus": STATUSES},
    "PushPricingProductData": {"ActionType": "fullLoad", "PricingProductData": PRODUCTS},
    "PushEVSEPricing": {"ActionType": "insert", "EVSEPricing": [PRICES]},
    "PushAuthenticationData": {"ActionType": "fullLoad", "ProviderAuthenticationData": DRIVERS},
    "PullAuthenticationData": {"OperatorID": "DE*ABC"},
    "PullEvseData": {
        "ProviderID": "DE-DCB",
        "GeoCoordinatesResponseFormat": "Google",
        "OperatorIds": ["DE*ABC"],
        "SearchCenter": {"GeoCoordinates": EVSE["GeoCoordinates"], "Radius": 2.5},
    },
    "PullEvseStatus": {"ProviderID": "DE-DCB", "EVSEStatus": "Available"},
    "PullEvseStatusByID": {"ProviderID": "DE-DCB", "EvseID": ["DE*ABC*E1", "+49*810*000*438"]},
    "PullEvseStatusByOperatorID": {"ProviderID": "DE-DCB", "OperatorID": ["DE*ABC"]},
    "PullPricingProductData": {"OperatorIDs": ["DE*ABC"]},
    "PullEVSEPricing": {"ProviderID": "DE-DCB", "OperatorIDs": ["DE*ABC"], "LastCall": "2024-05-01T10:00:00+00:00"},
    "GetChargeDetailRecords": {
        "ProviderID": "DE-DCB",
        "From": "2024-05-01T00:00:00+00:00",
        "To": "2024-05-02T00:00:00+00:00",
    },
}

RESPONSES: dict[str, Any] = {
    "AuthorizeStart": {
        "AuthorizationStatus": "Authorized",
        "SessionID": SESSION,
        "ProviderID": "DE-DCB",
        "StatusCode": STATUS_CODE,
        "AuthorizationStopIdentifications": [DRIVER],
    },
    "AuthorizeStop": {"AuthorizationStatus": "NotAuthorized", "StatusCode": {"Code": "102"}},
    "AuthorizeRemoteStart": {"Result": True, "StatusCode": STATUS_CODE},
    "PullAuthenticationData": {"ProviderAuthenticationData": [DRIVERS]},
    "PullEvseData": page(PULLED_EVSE),
    "PullEvseStatus": {"EvseStatuses": {"OperatorEvseStatus": [STATUSES]}},
    "PullEvseStatusByID": {"EVSEStatusRecords": {"EvseStatusRecord": STATUSES["EvseStatusRecord"]}},
    "PullPricingProductData": {"PricingProductData": [PRODUCTS]},
    "PullEVSEPricing": {"EVSEPricing": [{"OperatorID": "DE*ABC", "EVSEPricing": [PRICES]}]},
    "GetChargeDetailRecords": page(CDR),
}
