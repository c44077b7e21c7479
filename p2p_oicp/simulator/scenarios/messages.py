"""The messages of a CSMS and of a contract system, after the examples of the OICP documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from p2p_oicp.simulator.scenarios.backends import Json
from p2p_oicp.simulator.scenarios.harness import ScenarioContext, now

# Plausible for a session that was authorized a moment ago, at 22 kW: an endpoint may refuse what is not (RULES L6, L9).
_MINUTES, ENERGY = 5, 1.5


def evse_record(context: ScenarioContext, number: int, city: str = "Jena") -> Json:
    """Return the EvseDataRecord of one EVSE."""
    return {
        "EvseID": context.evse(number),
        "ChargingStationNames": [{"lang": "de", "value": f"Station {number}"}],
        "Address": {
            "Country": "DEU", "City": city, "Street": "Am Planetarium", "PostalCode": "07743", "HouseNum": "1",
        },
        "GeoCoordinates": {"Google": {"Coordinates": "50.930000 11.580000"}},
        "Plugs": ["Type 2 Outlet"],
        "ChargingFacilities": [{"PowerType": "AC_3_PHASE", "Power": 22}],
        "RenewableEnergy": True,
        "CalibrationLawDataAvailability": "Not Available",
        "AuthenticationModes": ["NFC RFID Classic", "REMOTE"],
        "PaymentOptions": ["Contract"],
        "ValueAddedServices": ["None"],
        "Accessibility": "Free publicly accessible",
        "HotlinePhoneNumber": "+4936411234567",
        "IsOpen24Hours": True,
        "IsHubjectCompatible": True,
        "DynamicInfoAvailable": "true",
    }  # fmt: skip


def _operator(context: ScenarioContext) -> Json:
    # The name that it has already: a push would change it, also if everything else is deleted again.
    return {"OperatorID": context.operator, "OperatorName": context.operator_name or "Scenarios"}


def push_evse_data(context: ScenarioContext, action: str, *records: Json) -> Json:
    """Return an eRoamingPushEvseData."""
    data = {**_operator(context), "EvseDataRecord": list(records)}
    return {"ActionType": action, "OperatorEvseData": data}


def push_evse_status(context: ScenarioContext, action: str, statuses: Mapping[int, str]) -> Json:
    """Return an eRoamingPushEvseStatus; the keys are the numbers of EVSEs."""
    records = [{"EvseID": context.evse(number), "EvseStatus": status} for number, status in statuses.items()]
    data = {**_operator(context), "EvseStatusRecord": records}
    return {"ActionType": action, "OperatorEvseStatus": data}


def rfid_identification(uid: str) -> Json:
    """Return the identification by an RFID card."""
    return {"RFIDMifareFamilyIdentification": {"UID": uid}}


def authorize_start(context: ScenarioContext, identification: Json, suffix: str) -> Json:
    """Return an eRoamingAuthorizeStart; ``suffix`` tells it from others of this sequence."""
    return {
        "OperatorID": context.operator,
        "EvseID": context.evse(1),
        "Identification": identification,
        "CPOPartnerSessionID": f"{context.tag}-{suffix}",
    }


def authorize_stop(context: ScenarioContext, session_id: str, identification: Json) -> Json:
    """Return an eRoamingAuthorizeStop."""
    return {
        "SessionID": session_id,
        "OperatorID": context.operator,
        "EvseID": context.evse(1),
        "Identification": identification,
    }


def remote_start(context: ScenarioContext, number: int, suffix: str) -> Json:
    """Return an eRoamingAuthorizeRemoteStart."""
    return {
        "ProviderID": context.provider,
        "EvseID": context.evse(number),
        "Identification": remote_identification(context),
        "EMPPartnerSessionID": f"{context.tag}-{suffix}",
    }


def reservation(context: ScenarioContext, number: int, suffix: str) -> Json:
    """Return an eRoamingAuthorizeRemoteReservationStart, of a quarter of an hour."""
    return remote_start(context, number, suffix) | {"Duration": 15}


def remote_identification(context: ScenarioContext) -> Json:
    """Return the identification by a driver's app."""
    return {"RemoteIdentification": {"EvcoID": f"{context.provider}-C12345678-X"}}


def remote_stop(context: ScenarioContext, session_id: str) -> Json:
    """Return an eRoamingAuthorizeRemoteStop."""
    return {"SessionID": session_id, "ProviderID": context.provider, "EvseID": context.evse(1)}


def _session_times() -> tuple[datetime, datetime]:
    end = now()
    return end - timedelta(minutes=_MINUTES), end


def notification(context: ScenarioContext, notification_type: str, session_id: str, identification: Json) -> Json:
    """Return one of the four eRoamingChargingNotifications."""
    begin, end = _session_times()
    members_by_type: dict[str, Json] = {
        "Start": {"ChargingStart": begin.isoformat(), "MeterValueStart": 100},
        "Progress": {
            "ChargingStart": begin.isoformat(),
            "EventOccurred": end.isoformat(),
            "ChargingDuration": _MINUTES * 60 * 1000,
        },
        "End": {"ChargingStart": begin.isoformat(), "ChargingEnd": end.isoformat(), "ConsumedEnergy": ENERGY},
        "Error": {"ErrorType": "ConnectorError"},
    }
    return {
        "Type": notification_type,
        "SessionID": session_id,
        "OperatorID": context.operator,
        "EvseID": context.evse(1),
        "Identification": identification,
        **members_by_type[notification_type],
    }


def charge_detail_record(
    context: ScenarioContext, session_id: str, identification: Json, energy: float = ENERGY
) -> Json:
    """Return an eRoamingChargeDetailRecord."""
    begin, end = _session_times()
    return {
        "SessionID": session_id,
        "EvseID": context.evse(1),
        "Identification": identification,
        "SessionStart": begin.isoformat(),
        "ChargingStart": begin.isoformat(),
        "ChargingEnd": end.isoformat(),
        "SessionEnd": end.isoformat(),
        "MeterValueStart": 100,
        "MeterValueEnd": 100 + energy,
        "ConsumedEnergy": energy,
    }


def cdr_in_the_future(context: ScenarioContext, session_id: str, identification: Json) -> Json:
    """Return an eRoamingChargeDetailRecord of a session that will only end in two hours."""
    end = (now() + timedelta(hours=2)).isoformat()
    return charge_detail_record(context, session_id, identification) | {"ChargingEnd": end, "SessionEnd": end}


def get_charge_detail_records(context: ScenarioContext, session_ids: Sequence[str]) -> Json:
    """Return an eRoamingGetChargeDetailRecords, for these sessions of the last two hours."""
    begin, end = now() - timedelta(hours=1), now() + timedelta(hours=1)
    span = {"From": begin.isoformat(), "To": end.isoformat()}
    return {"ProviderID": context.provider, **span, "SessionID": list(session_ids)}


def push_products(context: ScenarioContext, action: str, provider: str, product: str, defaults: Json) -> Json:
    """Return an eRoamingPushPricingProductData of one product; ``defaults`` are the group's default prices."""
    record = {
        "ProductID": product, "ReferenceUnit": "KILOWATT_HOUR", "ProductPriceCurrency": "EUR",
        "PricePerReferenceUnit": 0.49, "MaximumProductChargingPower": 22, "IsValid24hours": True,
        "ProductAvailabilityTimes": [],
    }  # fmt: skip
    data = {
        **_operator(context),
        "ProviderID": provider,
        "PricingDefaultPrice": 0.79,
        "PricingDefaultPriceCurrency": "EUR",
        "PricingDefaultReferenceUnit": "KILOWATT_HOUR",
        **defaults,
        "PricingProductDataRecords": [record],
    }
    return {"ActionType": action, "PricingProductData": data}


def push_evse_pricing(action: str, *prices: Json) -> Json:
    """Return an eRoamingPushEVSEPricing."""
    return {"ActionType": action, "EVSEPricing": list(prices)}


def push_authentication_data(context: ScenarioContext, action: str, identification: Json) -> Json:
    """Return an eRoamingPushAuthenticationData of one identification."""
    records = [{"Identification": identification}]
    data = {"ProviderID": context.provider, "AuthenticationDataRecord": records}
    return {"ActionType": action, "ProviderAuthenticationData": data}
