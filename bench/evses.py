"""Charging spots to push and pull, with nearly all members that OICP knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import orjson

from bench import messages
from bench.model import record

_PULLED_ONLY = ("OperatorID", "OperatorName", "deltaType", "lastUpdate")
_PUSH_DATA = f"/api/oicp/evsepush/v23/operators/{messages.CPO}/data-records"
_PUSH_STATUS = f"/api/oicp/evsepush/v21/operators/{messages.CPO}/status-records"
_PULL_DATA = f"/api/oicp/evsepull/v23/providers/{messages.EMP}/data-records"
_NUMBER, _FRACTION, _REVISION = b"7777777", b"888888", b"+49431123456"


def _template() -> bytes:
    members = {name: value for name, value in record(int(_NUMBER)).items() if name not in _PULLED_ONLY}
    members |= {"EvseID": evse_id(int(_NUMBER)), "HubOperatorID": messages.CPO}
    coordinates = {"Google": {"Coordinates": f"54.{_FRACTION.decode()} 10.122765"}}
    members |= {"GeoCoordinates": coordinates, "GeoChargingPointEntrance": coordinates}
    members["ChargingPoolID"] = f"{messages.CPO}*P{_NUMBER.decode()}"
    return orjson.dumps(members)


def evse_id(number: int) -> str:
    """Return the EvseID of a charging spot."""
    return f"{messages.CPO}*E{number}*1"


def evse_key(number: int) -> str:
    """Return its canonical form."""
    return evse_id(number).replace("*", "")


_RECORD = _template()


def evse(number: int, revision: int = 0) -> bytes:
    """Return a record; another ``revision`` has another telephone number."""
    fraction = b"%06d" % (number % 1_000_000)
    numbered = _RECORD.replace(_NUMBER, b"%d" % number).replace(_FRACTION, fraction)
    return numbered.replace(_REVISION, b"+49431%07d" % revision)


def push_body(records: Iterable[bytes], action: str) -> bytes:
    """Return the body of PushEvseData."""
    prefix = f'{{"ActionType":"{action}","OperatorEvseData":{{"OperatorID":"{messages.CPO}","OperatorName":"GEF",'
    return prefix.encode() + b'"EvseDataRecord":[' + b",".join(records) + b"]}}"


def push_request(numbers: Iterable[int], action: str, revision: int = 0) -> bytes:
    """Return a whole PushEvseData request."""
    body = push_body((evse(number, revision) for number in numbers), action)
    return messages.post(_PUSH_DATA, body)


def status_request(number: int, status: str) -> bytes:
    """Return a whole PushEvseStatus request for one charging spot."""
    return statuses_request({evse_id(number): status}, "insert")


def statuses_request(statuses: Mapping[str, str], action: str) -> bytes:
    """Return a whole PushEvseStatus request for charging spots, by their ids."""
    records = [{"EvseID": each, "EvseStatus": status} for each, status in statuses.items()]
    inner = {"OperatorID": messages.CPO, "OperatorName": "GEF", "EvseStatusRecord": records}
    return messages.post(_PUSH_STATUS, orjson.dumps({"ActionType": action, "OperatorEvseStatus": inner}))


def pull_request(page: int, size: int, last_call: str | None = None) -> bytes:
    """Return a whole PullEvseData request for coordinates in the notation of the records."""
    members = {"ProviderID": messages.EMP, "GeoCoordinatesResponseFormat": "Google", "LastCall": last_call}
    body = orjson.dumps({name: value for name, value in members.items() if value})
    return messages.post(f"{_PULL_DATA}?page={page}&size={size}", body)
