"""Changes to faultless messages, and the findings that they give."""

from __future__ import annotations

from typing import Any

from p2p_oicp.oicp import OPERATION_BY_NAME, response_model, validate
from tests.support.oicp_examples import EVSE, PRODUCT, REQUESTS, body, push_evse_data

CARD = {"UID": "CAFEBABE", "RFID": "nfc"}
CODE = {"EvcoID": "DE-DCB-C12345678-X"}
HASH = {"Value": "$2b$04$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy", "Function": "Bcrypt"}
PROGRESS = REQUESTS["ChargingNotifications"]
DMS = {"DegreeMinuteSeconds": {"Longitude": "9°21'39.32''", "Latitude": "-21°34'23.16''"}}


def codes(operation: str, value: Any, *, answer: bool = False) -> list[tuple[str, str, str]]:
    received = body(value)
    row = OPERATION_BY_NAME[operation]
    model = response_model(row, received) if answer else row.request
    return [(found.severity, found.pointer, found.code) for found in validate(model.from_json(received))]


def evse(**changes: object) -> dict[str, Any]:
    return push_evse_data(EVSE | changes)


def product(**changes: object) -> dict[str, Any]:
    push = REQUESTS["PushPricingProductData"]
    return push | {
        "PricingProductData": push["PricingProductData"] | {"PricingProductDataRecords": [PRODUCT | changes]}
    }


def fee(name: str, price: object) -> dict[str, Any]:
    unit = {"AdditionalReferenceUnit": "HOUR", "PricePerAdditionalReferenceUnit": price}
    return {"AdditionalReference": name} | unit


def pushed_driver(identification: object) -> dict[str, Any]:
    data = {"ProviderID": "DE-DCB", "AuthenticationDataRecord": [{"Identification": identification}]}
    return {"ActionType": "insert", "ProviderAuthenticationData": data}


RECORD = "/OperatorEvseData/EvseDataRecord/0"
TARIFF = "/PricingProductData/PricingProductDataRecords/0"
PUSHED = "/ProviderAuthenticationData/AuthenticationDataRecord/0/Identification"
E, W = "error", "warning"
