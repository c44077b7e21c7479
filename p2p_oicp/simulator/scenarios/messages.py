"""What a CSMS and a contract system write, as the documents show it."""

from __future__ import annotations

from datetime import datetime, timedelta

from p2p_oicp.simulator.scenarios.backends import Json
from p2p_oicp.simulator.scenarios.stage import Stage, now

_ENERGY = 12.5


def evse_record(stage: Stage, number: int, city: str = "Jena") -> Json:
    """Return the data of one charging spot."""
    return {
        "EvseID": stage.evse(number),
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


def push_data(stage: Stage, action: str, *records: Json) -> Json:
    """Return an eRoamingPushEvseData."""
    operator = str(stage.ends.operator)
    data = {"OperatorID": operator, "OperatorName": "Scenarios", "EvseDataRecord": list(records)}
    return {"ActionType": action, "OperatorEvseData": data}


def push_status(stage: Stage, action: str, **statuses: str) -> Json:
    """Return an eRoamingPushEvseStatus; ``evse1="Available"`` is the first EVSE's."""
    records = [{"EvseID": stage.evse(int(name[4:])), "EvseStatus": status} for name, status in statuses.items()]
    operator = str(stage.ends.operator)
    data = {"OperatorID": operator, "OperatorName": "Scenarios", "EvseStatusRecord": records}
    return {"ActionType": action, "OperatorEvseStatus": data}


def card(uid: str) -> Json:
    """Return the identification of a card."""
    return {"RFIDMifareFamilyIdentification": {"UID": uid}}


def authorize_start(stage: Stage, identification: Json, process: str) -> Json:
    """Return an eRoamingAuthorizeStart; ``process`` tells it from others of this sequence."""
    return {
        "OperatorID": str(stage.ends.operator),
        "EvseID": stage.evse(1),
        "Identification": identification,
        "CPOPartnerSessionID": f"{stage.tag}-{process}",
    }


def authorize_stop(stage: Stage, session: str, identification: Json) -> Json:
    """Return an eRoamingAuthorizeStop."""
    return {
        "SessionID": session,
        "OperatorID": str(stage.ends.operator),
        "EvseID": stage.evse(1),
        "Identification": identification,
    }


def remote_start(stage: Stage, number: int, process: str) -> Json:
    """Return an eRoamingAuthorizeRemoteStart."""
    return {
        "ProviderID": str(stage.ends.provider),
        "EvseID": stage.evse(number),
        "Identification": contract(stage),
        "EMPPartnerSessionID": f"{stage.tag}-{process}",
    }


def contract(stage: Stage) -> Json:
    """Return the identification of a driver's app."""
    return {"RemoteIdentification": {"EvcoID": f"{stage.ends.provider}-C12345678-X"}}


def remote_stop(stage: Stage, session: str) -> Json:
    """Return an eRoamingAuthorizeRemoteStop."""
    return {"SessionID": session, "ProviderID": str(stage.ends.provider), "EvseID": stage.evse(1)}


def _times() -> tuple[datetime, datetime]:
    end = now()
    return end - timedelta(minutes=30), end


def notification(stage: Stage, kind: str, session: str, identification: Json) -> Json:
    """Return one of the four eRoamingChargingNotifications."""
    begin, end = _times()
    of_kind: dict[str, Json] = {
        "Start": {"ChargingStart": begin.isoformat(), "MeterValueStart": 100},
        "Progress": {
            "ChargingStart": begin.isoformat(),
            "EventOccurred": (begin + timedelta(minutes=15)).isoformat(),
            "ChargingDuration": 15 * 60 * 1000,
        },
        "End": {"ChargingStart": begin.isoformat(), "ChargingEnd": end.isoformat(), "ConsumedEnergy": _ENERGY},
        "Error": {"ErrorType": "ConnectorError"},
    }
    return {
        "Type": kind,
        "SessionID": session,
        "OperatorID": str(stage.ends.operator),
        "EvseID": stage.evse(1),
        "Identification": identification,
        **of_kind[kind],
    }


def record(stage: Stage, session: str, identification: Json, energy: float = _ENERGY) -> Json:
    """Return an eRoamingChargeDetailRecord."""
    begin, end = _times()
    return {
        "SessionID": session,
        "EvseID": stage.evse(1),
        "Identification": identification,
        "PartnerProductID": "AC1",
        "SessionStart": begin.isoformat(),
        "ChargingStart": begin.isoformat(),
        "ChargingEnd": end.isoformat(),
        "SessionEnd": end.isoformat(),
        "MeterValueStart": 100,
        "MeterValueEnd": 100 + energy,
        "ConsumedEnergy": energy,
    }
