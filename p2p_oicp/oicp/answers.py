"""What an answer of a backend or a peer means, where it is incomplete or contradicts itself (RULES L1).

========= ============== =============== ===================== =========
Result    Code           is              goes out              session
========= ============== =============== ===================== =========
true      000, 0, none   yes             true, 000             authorized
absent    000, 0         yes             true, 000             uncertain
false     000, none      no answer       false, 310            uncertain
no, absent 001 002 021 310 no answer     false, that code      uncertain
no, absent any other     no              false, the code       refused
true      any other      a contradiction false, 310            uncertain
absent    none           no answer       nothing is read       uncertain
========= ============== =============== ===================== =========

Of an authorization, Authorized with 000 or no code is a yes, and NotAuthorized with any code a no; everything else is
no answer. ``validate`` judges such messages, the node copes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Generic, NamedTuple, TypeVar

import orjson

from p2p_oicp.errors import MessageError
from p2p_oicp.oicp.charging import AuthorizationStart, AuthorizationStop
from p2p_oicp.oicp.common import Acknowledgement
from p2p_oicp.oicp.enums import INDETERMINATE_CODES, AuthorizationStatus, StatusCodeValue
from p2p_oicp.oicp.findings import Finding
from p2p_oicp.oicp.message import JSON_ERRORS, Message

M = TypeVar("M", bound=Message)
M_co = TypeVar("M_co", bound=Message, covariant=True)

_SUCCESS, _NO_ANSWER = str(StatusCodeValue.SUCCESS), str(StatusCodeValue.PARTNER_DID_NOT_RESPOND)
_BOOLEANS = MappingProxyType({"true": True, "false": False})
_DECISIVE_MEMBERS = frozenset({"/Result", "/StatusCode", "/StatusCode/Code"})
_AUTHORIZATIONS = (AuthorizationStart, AuthorizationStop)


class UnconfirmedAcknowledgement(Acknowledgement):
    """A yes by its code alone, 000 without a Result: it goes out as a yes, and the session stays uncertain."""


class ContradictoryAcknowledgement(Acknowledgement):
    """A yes and a no in one: it goes out as no answer, 310. Whoever asks again gets the same answer (RULES L1)."""


def is_indeterminate(answer: Acknowledgement) -> bool:
    """Return whether an answer leaves the outcome of a start open."""
    return isinstance(answer, UnconfirmedAcknowledgement) or str(answer.status_code.code) in INDETERMINATE_CODES


class ContradictoryAnswer(MessageError):
    """An authorization that is a yes and a no; it counts as no answer."""


class WholeAnswer(NamedTuple, Generic[M_co]):
    """An answer as it goes out; ``deviation`` tells how the received one differs in its meaning, None: not at all."""

    message: M_co
    deviation: str | None = None


def is_whole(message: Message, findings: Iterable[Finding] = ()) -> bool:
    """Return whether an answer goes out as it came; ``findings`` are those on what was received."""
    is_success = getattr(getattr(message, "status_code", None), "code", None) == _SUCCESS
    if isinstance(message, Acknowledgement):
        is_consistent = message.result is is_success
    elif isinstance(message, _AUTHORIZATIONS):
        is_consistent = (message.authorization_status == AuthorizationStatus.AUTHORIZED) is is_success
    else:
        return True
    return is_consistent and not any(finding.pointer in _DECISIVE_MEMBERS for finding in findings)


def complete_answer(model: type[Message], body: bytes) -> WholeAnswer[Message] | None:
    """Return an acknowledgement or authorization as it goes out, completed as the table above says.

    Args:
        model: the type of the answer.
        body: the answer as received.

    Returns:
        None where ``body`` is no JSON object, or no answer of this type.

    Raises:
        ContradictoryAnswer: an authorization contradicts itself.
        InvalidMessage: another member makes it unusable.
    """
    try:
        members = orjson.loads(body)
    except JSON_ERRORS:
        return None
    if not isinstance(members, dict):
        return None
    if issubclass(model, Acknowledgement):
        return _complete_acknowledgement(members)
    return _complete_authorization(model, members) if issubclass(model, _AUTHORIZATIONS) else None


def _complete_acknowledgement(members: dict[str, object]) -> WholeAnswer[Acknowledgement] | None:
    received, raw_code, code = members.get("Result"), _raw_code(members), _code(members)
    result = received if isinstance(received, bool) else _BOOLEANS.get(str(received).lower())
    if result is None and code is None:
        return None
    answer = f"{'no Result' if result is None else str(result).lower()} with {code or 'no code'}"
    model: type[Acknowledgement] = Acknowledgement
    outcome = (result or False, code or "")
    if result and code in {None, _SUCCESS}:
        outcome = (True, _SUCCESS)
    elif result or (result is False and code in {None, _SUCCESS}):
        # Under the code that it gets its own Description would be wrong.
        members["StatusCode"] = {"AdditionalInfo": f"contradictory answer: {answer}"}
        model, outcome = ContradictoryAcknowledgement, (False, _NO_ANSWER)
    elif code == _SUCCESS:
        model, outcome = UnconfirmedAcknowledgement, (True, _SUCCESS)
    is_as_received = isinstance(received, bool) and outcome == (received, raw_code)
    members["Result"] = outcome[0]
    return WholeAnswer(_with_code(model, members, outcome[1]), None if is_as_received else answer)


def _complete_authorization(model: type[Message], members: dict[str, object]) -> WholeAnswer[Message] | None:
    status, code = members.get("AuthorizationStatus"), _code(members)
    if status == AuthorizationStatus.NOT_AUTHORIZED:
        read_as = str(StatusCodeValue.NO_POSITIVE_AUTHENTICATION) if code in {None, _SUCCESS} else str(code)
    elif status == AuthorizationStatus.AUTHORIZED and code in {None, _SUCCESS}:
        read_as = _SUCCESS
    elif status == AuthorizationStatus.AUTHORIZED:
        raise ContradictoryAnswer(f"contradictory answer: {status} with {code}")
    else:
        return None
    deviation = None if read_as == _raw_code(members) else f"{status} with {code or 'no code'}"
    return WholeAnswer(_with_code(model, members, read_as), deviation)


def _code(members: Mapping[str, object]) -> str | None:
    """Return the status code, of three digits; None: there is none."""
    code = _raw_code(members)
    if isinstance(code, int) and not isinstance(code, bool):
        return f"{code:03}"
    text = code.strip() if isinstance(code, str) else ""
    return (text.zfill(3) if text.isascii() and text.isdigit() else text) or None


def _raw_code(members: Mapping[str, object]) -> object:
    status = members.get("StatusCode")
    return status.get("Code") if isinstance(status, dict) else status


def _with_code(model: type[M], members: dict[str, object], code: str) -> M:
    status = members.get("StatusCode")
    members["StatusCode"] = {**(status if isinstance(status, dict) else {}), "Code": code}
    return model.from_json(orjson.dumps(members))
