"""The requests that the loads send, as the bytes that go on the wire."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import orjson

CPO, EMP = "DE*GEF", "DE-GDF"
TOKENS = 100_000
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
AUTHORIZE_START = f"/api/oicp/charging/v21/operators/{CPO}/authorize/start"
CHARGING_NOTIFICATION = "/api/oicp/notificationmgmt/v11/charging-notifications"
CHARGE_DETAIL_RECORD = f"/api/oicp/cdrmgmt/v22/operators/{CPO}/charge-detail-record"
_LENGTH_BYTES = 4
_JSON = "application/json; charset=utf-8"
#: What a node sends along (p2p_oicp.client.transport).
NODE_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Accept": "application/json; charset=utf-8",
        "User-Agent": "p2p-oicp/0.1.0",
        "Process-ID": "7a2f0b9e-1c57-4a3e-9d55-0d6f3c1b2a48",
    }
)


def token(number: int) -> str:
    """Return the UID of an RFID card; the token list has those of the numbers below ``TOKENS``."""
    return f"{0x10000000 + number % TOKENS:08X}"


def session_id(number: int) -> str:
    """Return the SessionID that the CPO's node gives to a request."""
    return f"b2688855-7f00-4002-8d8e-{number:012x}"


def authorize_start(number: int, *, with_session_id: bool = True) -> bytes:
    """Return the body of one AuthorizeStart; with a SessionID it is as a CPO's node sends it."""
    members = {
        "CPOPartnerSessionID": f"csms-{number:012x}-0123456789abcdef0123456789abcdef",
        "OperatorID": CPO,
        "EvseID": f"DE*GEF*E{number % 1000:07d}*1",
        "Identification": {"RFIDMifareFamilyIdentification": {"UID": token(number)}},
        "PartnerProductID": "AC 1",
    }
    return orjson.dumps({"SessionID": session_id(number)} | members if with_session_id else members)


def authorize_starts(numbers: Iterable[int], *, with_session_id: bool = True) -> Iterator[bytes]:
    """Return whole HTTP requests, one a number."""
    headers = NODE_HEADERS if with_session_id else _NO_HEADERS
    return (
        post(AUTHORIZE_START, authorize_start(number, with_session_id=with_session_id), headers) for number in numbers
    )


def notifications(numbers: Iterable[int]) -> Iterator[bytes]:
    """Return the ChargingNotifications (Start) of sessions that are authorized, as whole HTTP requests."""
    return (post(CHARGING_NOTIFICATION, orjson.dumps({"Type": "Start", **_session(number)})) for number in numbers)


def cdrs(numbers: Iterable[int]) -> Iterator[bytes]:
    """Return the ChargeDetailRecords of sessions that are authorized, as whole HTTP requests."""
    ended = _wire_time(0)
    members = {"SessionStart": _wire_time(-60), "SessionEnd": ended, "ChargingEnd": ended, "ConsumedEnergy": 7.5}
    return (post(CHARGE_DETAIL_RECORD, orjson.dumps(members | _session(number))) for number in numbers)


def _session(number: int) -> dict[str, object]:
    """Return what a notification and a CDR say of the session of an AuthorizeStart."""
    members = orjson.loads(authorize_start(number))
    names = ("SessionID", "CPOPartnerSessionID", "EvseID", "Identification", "PartnerProductID")
    return {name: members[name] for name in names} | {"ChargingStart": _wire_time(-30)}


def _wire_time(seconds: float) -> str:
    """Return the time ``seconds`` from now as OICP writes it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def post(path: str, body: bytes, headers: Mapping[str, str] = _NO_HEADERS) -> bytes:
    """Return one HTTP request."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in {"Content-Type": _JSON, **headers}.items()]
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def echo_request() -> bytes:
    """Return the request that REF is measured with: 500 bytes in."""
    members = orjson.loads(authorize_start(1))
    members["Filler"] = "x" * (500 - len(authorize_start(1)) - len(',"Filler":""'))
    return post("/echo", orjson.dumps(members))


def send_request(port: int, request: bytes) -> bytes:
    """Send one request over a connection of its own; return the whole response."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        return b"".join(iter(lambda: connection.recv(1 << 20), b""))


def write_requests(file: Path, requests: Iterable[bytes]) -> int:
    """Write requests for a generator, each preceded by its length; return how many."""
    count = 0
    with file.open("wb") as out:
        for request in requests:
            out.write(len(request).to_bytes(_LENGTH_BYTES, "little") + request)
            count += 1
    return count


def read_requests(file: Path) -> list[bytes]:
    """Return the requests of a file."""
    data, requests, offset = file.read_bytes(), [], 0
    while offset < len(data):
        length = int.from_bytes(data[offset : offset + _LENGTH_BYTES], "little")
        requests.append(data[offset + _LENGTH_BYTES : offset + _LENGTH_BYTES + length])
        offset += _LENGTH_BYTES + length
    return requests
