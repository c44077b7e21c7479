"""What the editor of messages shows: a sample, the findings beside their lines, what sending does, the call as curl."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from types import MappingProxyType
from typing import Any

from p2p_oicp.oicp.findings import Finding, escape_reference_token
from p2p_oicp.oicp.operations import BASE_PATH, Operation, Routing
from p2p_oicp.oicp.samples import REQUESTS, SampleContext
from p2p_oicp.server.dashboard.rendering import encode_json

_SAMPLE_UID = "04A1B2C3D4E5F6"
# A full load would withdraw everything else of the operator.
_SAMPLE_ACTIONS: Mapping[str, str] = MappingProxyType({"PushEvseStatus": "update"})
_PUSH = "{count} peers and our own systems are shown what it says. A fullLoad withdraws everything else of {party}."
_START = "A station may begin to charge a car: a real one, which somebody pays for."
_STOP = "A charging session ends, of whoever charges there now."
_CONSEQUENCES: Mapping[str, str] = MappingProxyType(
    {
        "AuthorizeStart": "The driver is asked for at the EMP, and a charging session is opened in both systems.",
        "AuthorizeStop": _STOP,
        "AuthorizeRemoteStart": _START,
        "AuthorizeRemoteStop": _STOP,
        "AuthorizeRemoteReservationStart": "A station is reserved: nobody else can use it meanwhile.",
        "AuthorizeRemoteReservationStop": "A reservation ends.",
        "ChargingNotifications": "The EMP is told so, and may tell the driver.",
        "ChargeDetailRecord": "It is billed: the EMP pays for this energy.",
    }
)
_MAX_LINES = 2000


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the message, and what was found there."""

    text: str
    pointer: str
    findings: list[Finding] = field(default_factory=list)


def sample_of(operation: Operation, parties: tuple[str, str], evse_id: str, session_id: str, now: float) -> str:
    """Return a faultless request of or to these parties (operator, provider), as JSON over several lines."""
    context = SampleContext(*parties, evse_id, _SAMPLE_UID, session_id, now)
    sample = REQUESTS[operation.name](context)
    if "ActionType" in sample:
        sample = {**sample, "ActionType": _SAMPLE_ACTIONS.get(operation.name, "insert")}
    return json.dumps(sample, indent=2, ensure_ascii=False)


def consequence_of(operation: Operation, party: str, peers: int) -> str:
    """Return what sending a message leads to; empty where it only reads."""
    if operation.routed_by is Routing.STORE:
        return ""
    return _CONSEQUENCES.get(operation.name) or _PUSH.format(count=peers, party=party)


def as_curl(operation: Operation, base: str, party: str, text: str) -> str:
    """Return the call for a shell; who runs it sets TOKEN."""
    url = f"{base}{BASE_PATH}/{operation.path_for(party)}"
    return " \\\n  ".join(
        (
            f"curl -X POST {shlex.quote(url)}",
            "-H 'Content-Type: application/json'",
            '-H "Authorization: Bearer $TOKEN"',
            f"--data-binary {shlex.quote(text)}",
        )
    )


def annotated(text: str, findings: Sequence[Finding]) -> list[Line]:
    """Return a message line by line, each finding at the line that it points to; of no JSON, no lines.

    What is missing is found at what it is missing in.
    """
    try:
        lines = list(islice(_lines(json.loads(text, parse_float=Decimal)), _MAX_LINES))
    except (ValueError, RecursionError):  # no JSON, no text, or nested too deeply
        return []
    # The last line of an object or list has its pointer, too: findings stand at the first.
    by_pointer = {line.pointer: line for line in reversed(lines)}
    for finding in findings:
        pointer = finding.pointer
        while pointer not in by_pointer and pointer:
            pointer = pointer.rpartition("/")[0]
        if pointer in by_pointer:
            by_pointer[pointer].findings.append(finding)
    return lines


def _lines(value: object, pointer: str = "", before: str = "", after: str = "", depth: int = 0) -> Iterator[Line]:
    indent = "  " * depth
    parts, brackets = _parts_of(value)
    if not brackets or not parts:
        yield Line(f"{indent}{before}{encode_json(value).decode()}{after}", pointer)
        return
    yield Line(f"{indent}{before}{brackets[0]}", pointer)
    for number, (name, part, token) in enumerate(parts, 1):
        comma = "," if number < len(parts) else ""
        yield from _lines(part, f"{pointer}/{token}", name, comma, depth + 1)
    yield Line(f"{indent}{brackets[1]}{after}", pointer)


def _parts_of(value: object) -> tuple[list[tuple[str, Any, str]], str]:
    """Return the members of an object or list, each with what stands before it and its token in a pointer."""
    if isinstance(value, dict):
        return [(f"{json.dumps(name)}: ", part, escape_reference_token(name)) for name, part in value.items()], "{}"
    if isinstance(value, list):
        return [("", part, str(index)) for index, part in enumerate(value)], "[]"
    return [], ""


def session_id_of(answer: bytes, text: str) -> str:
    """Return the SessionID of an answer, or of the request where it was acknowledged; empty: there is no session."""
    try:
        answered, requested = json.loads(answer), json.loads(text)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(answered, dict) or not isinstance(requested, dict):
        return ""
    found = answered.get("SessionID") or (answered.get("Result") is True and requested.get("SessionID"))
    return found if isinstance(found, str) else ""


def first_or(values: Iterable[str], otherwise: str) -> str:
    """Return the first of some ids, or the one of the documents."""
    return next(iter(values), otherwise)
