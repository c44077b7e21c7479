"""One exchange in a few words, for a person who watches."""

from __future__ import annotations

from typing import NamedTuple

from p2p_oicp.errors import PeerError
from p2p_oicp.oicp import (
    Acknowledgement,
    AuthorizationStart,
    AuthorizationStop,
    ChargeDetailRecord,
    ChargingNotification,
    EvseStatuses,
    EvseStatusesById,
    Message,
    PushEvseStatus,
    StatusCode,
)
from p2p_oicp.simulator.answers import statuses_in


class Outcome(NamedTuple):
    """What the answer says, and whether it is a yes."""

    result: str
    good: bool


def outcome(request: Message, answer: Message | PeerError) -> Outcome:
    """Return what became of one request."""
    if isinstance(answer, PeerError):
        return Outcome(answer.reason, good=False)
    subject = _subject(request)
    words, good = _answer(answer)
    return Outcome(f"{subject}: {words}" if subject else words, good)


def _subject(request: Message) -> str:
    match request:
        case PushEvseStatus():
            return f"{request.action_type}, {_count(len(request.operator_evse_status.evse_status_records), 'status')}"
        case ChargingNotification():
            return str(request.type)
        case ChargeDetailRecord():
            return f"{request.consumed_energy} kWh"
    return ""


def _answer(answer: Message) -> Outcome:
    match answer:
        case AuthorizationStart() | AuthorizationStop():
            good = answer.authorization_status == "Authorized"
            words = f"{answer.authorization_status} by {answer.provider_id}" if good else answer.authorization_status
            return Outcome(words if good else f"{words}, {_code(answer.status_code)}", good)
        case Acknowledgement():
            return Outcome(_code(answer.status_code), answer.result)
        case EvseStatuses() | EvseStatusesById():
            return Outcome(_count(len(statuses_in(answer)), "status"), good=True)
    return Outcome(type(answer).__name__, good=True)


def _code(status: StatusCode) -> str:
    return f"{status.code} {status.description or ''}".rstrip()


def _count(number: int, name: str) -> str:
    return f"{number} {name}" + ("" if number == 1 else "es")
