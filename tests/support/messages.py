"""Requests as a CPO's and an EMP's backend send them."""

from datetime import UTC, datetime

A_CPO, B_EMP, EVSE, UID = "DE*GEF", "DE-GDF", "DE*GEF*E1234567*1", "1234ABCD"
OTHER_CPO, OTHER_EMP = "FR*XYZ", "FR-XYZ"
START = f"charging/v21/operators/{A_CPO}/authorize/start"
STOP = f"charging/v21/operators/{A_CPO}/authorize/stop"
REMOTE_START = f"charging/v21/providers/{B_EMP}/authorize-remote/start"
REMOTE_STOP = f"charging/v21/providers/{B_EMP}/authorize-remote/stop"
NOTIFY = "notificationmgmt/v11/charging-notifications"
CDR = f"cdrmgmt/v22/operators/{A_CPO}/charge-detail-record"
PUSH_STATUS = f"evsepush/v21/operators/{A_CPO}/status-records"
PULL_STATUS = f"evsepull/v21/providers/{B_EMP}/status-records"
RESERVE = f"reservation/v11/providers/{B_EMP}/reservation-start-request"
END_RESERVATION = f"reservation/v11/providers/{B_EMP}/reservation-stop-request"
GET_CDRS = f"cdrmgmt/v22/providers/{B_EMP}/get-charge-detail-records-request"
UNKNOWN_SESSION = "f98efba4-02d8-4fa0-b810-9a9d50d2c527"


def card(uid: str = UID) -> dict:
    return {"RFIDMifareFamilyIdentification": {"UID": uid}}


def authorize_start(uid: str = UID, **members) -> dict:
    return {"OperatorID": A_CPO, "EvseID": EVSE, "Identification": card(uid), **members}


def authorize_stop(session: str, uid: str = UID, **members) -> dict:
    return {"SessionID": session, "OperatorID": A_CPO, "EvseID": EVSE, "Identification": card(uid), **members}


def remote_start(evse: str = EVSE, **members) -> dict:
    contract = {"RemoteIdentification": {"EvcoID": "DE-GDF-C12345678-X"}}
    return {"ProviderID": B_EMP, "EvseID": evse, "Identification": contract, **members}


def remote_stop(session: str) -> dict:
    return {"SessionID": session, "ProviderID": B_EMP, "EvseID": EVSE}


def notification(kind: str, session: str, **members) -> dict:
    times = {
        "Start": {"ChargingStart": "2026-03-01T10:00:05+01:00"},
        "Progress": {
            "ChargingStart": "2026-03-01T10:00:05+01:00",
            "EventOccurred": "2026-03-01T10:10:05+01:00",
            "ChargingDuration": 600000,
        },
        "End": {"ChargingEnd": "2026-03-01T10:40:00+01:00"},
        "Error": {"ErrorType": "ConnectorError"},
    }
    return {"Type": kind, "SessionID": session, "OperatorID": A_CPO, "EvseID": EVSE, **times[kind], **members}


def cdr(session: str, **members) -> dict:
    return {
        "SessionID": session,
        "EvseID": EVSE,
        "Identification": card(),
        "SessionStart": "2026-03-01T10:00:00+01:00",
        "ChargingStart": "2026-03-01T10:00:05+01:00",
        "ChargingEnd": "2026-03-01T10:40:00+01:00",
        "SessionEnd": "2026-03-01T10:41:00+01:00",
        "MeterValueStart": 1000.25,
        "MeterValueEnd": 1022.75,
        "ConsumedEnergy": 22.5,
        **members,
    }


def plausible() -> dict:
    """Members of a CDR that nothing speaks against, of a session that has just begun."""
    now = datetime.now(UTC).isoformat()
    times = dict.fromkeys(("SessionStart", "ChargingStart", "ChargingEnd", "SessionEnd"), now)
    return {**times, "MeterValueStart": 1000.25, "MeterValueEnd": 1000.25, "ConsumedEnergy": 0}


def push_status(action: str = "fullLoad", operator: str = A_CPO, **statuses: str) -> dict:
    records = [{"EvseID": f"{A_CPO}*E{name}", "EvseStatus": status} for name, status in statuses.items()]
    return {
        "ActionType": action,
        "OperatorEvseStatus": {"OperatorID": operator, "OperatorName": "GEF", "EvseStatusRecord": records},
    }


def reserve(evse: str = EVSE, **members) -> dict:
    return remote_start(evse, **{"Duration": 15, **members})


def get_cdrs(**members) -> dict:
    return {"ProviderID": B_EMP, "From": "2026-03-01T00:00:00Z", "To": "2026-03-02T00:00:00Z", **members}
