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
absent    none           no answer       `PeerProtocolError`   uncertain
========= ============== =============== ===================== =========

Of an authorization, Authorized with 000 or no code is a yes, and NotAuthorized with any code a no; everything else is
no answer. Every answer that is not as documented is logged. ``validate`` judges such messages, the node copes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TypeVar

import orjson
import structlog

from p2p_oicp.errors import PeerProtocolError
from p2p_oicp.oicp import (
    Acknowledgement,
    AuthorizationStart,
    AuthorizationStatus,
    AuthorizationStop,
    Finding,
    Message,
    StatusCodeValue,
)
from p2p_oicp.oicp.enums import INDETERMINATE_CODES
from p2p_oicp.oicp.message import JSON_ERRORS

M = TypeVar("M", bound=Message)

log = structlog.get_logger(__name__)

_SUCCESS, _NO_ANSWER = str(StatusCodeValue.SUCCESS), str(StatusCodeValue.PARTNER_DID_NOT_RESPOND)
_BOOLEANS = MappingProxyType({"true": True, "false": False})
_DECISIVE_MEMBERS = frozenset({"/Result", "/StatusCode", "/StatusCode/Code"})
_AUTHORIZATIONS = (AuthorizationStart, AuthorizationStop)


class UnconfirmedAcknowledgement(Acknowledgement):
    """A yes by its code alone, 000 without a Result: it goes out as a yes, and the session stays uncertain."""


def is_indeterminate(answer: Acknowledgement) -> bool:
    """Return whether an answer leaves the outcome of a start open."""
    return isinstance(answer, UnconfirmedAcknowledgement) or str(answer.status_code.code) in INDETERMINATE_CODES


def checked_answer(sender: str, operation: str, message: Message, findings: Iterable[Finding] = ()) -> Message:
    """Return a message as it goes out: itself, if it is whole and does not contradict itself.

    ``findings`` are those on what was received. Raises PeerProtocolError as `complete_answer` does.
    """
    is_success = getattr(getattr(message, "status_code", None), "code", None) == _SUCCESS
    if isinstance(message, Acknowledgement):
        is_whole = message.result is is_success
    elif isinstance(message, _AUTHORIZATIONS):
        is_whole = (message.authorization_status == AuthorizationStatus.AUTHORIZED) is is_success
    else:
        return message
    if is_whole and not any(finding.pointer in _DECISIVE_MEMBERS for finding in findings):
        return message
    return complete_answer(sender, operation, type(message), message.to_json()) or message


def complete_answer(sender: str, operation: str, model: type[Message], body: bytes) -> Message | None:
    """Return an acknowledgement or authorization as it goes out, completed as the table above says.

    Args:
        sender: who has answered, for errors and the log.
        operation: what was asked, for the log.
        model: the type of the answer.
        body: the answer as received.

    Returns:
        The message; None where ``body`` is no JSON object, or no answer of this type.

    Raises:
        PeerProtocolError: it is no answer at all, or an authorization that contradicts itself.
    """
    try:
        members = orjson.loads(body)
    except JSON_ERRORS:
        return None
    if not isinstance(members, dict):
        return None
    if issubclass(model, Acknowledgement):
        return _complete_acknowledgement(sender, operation, members)
    return _complete_authorization(sender, operation, model, members) if issubclass(model, _AUTHORIZATIONS) else None


def _complete_acknowledgement(sender: str, operation: str, members: dict[str, object]) -> Acknowledgement | None:
    received, raw_code, code = members.get("Result"), _raw_code(members), _code(members)
    result = received if isinstance(received, bool) else _BOOLEANS.get(str(received).lower())
    if result is None and code is None:
        return None
    answer = f"{'no Result' if result is None else str(result).lower()} with {code or 'no code'}"
    model, outcome = Acknowledgement, (result or False, code or "")
    if result and code in {None, _SUCCESS}:
        outcome = (True, _SUCCESS)
    elif result or (result is False and code in {None, _SUCCESS}):
        # Under the code that it gets its own Description would be wrong.
        members["StatusCode"] = {"AdditionalInfo": f"contradictory answer: {answer}"}
        outcome = (False, _NO_ANSWER)
    elif code == _SUCCESS:
        model, outcome = UnconfirmedAcknowledgement, (True, _SUCCESS)
    if not isinstance(received, bool) or outcome != (received, raw_code):
        log.warning("oicp.answer_deviates", sender=sender, operation=operation, answer=answer, read_as=outcome)
    members["Result"] = outcome[0]
    return _with_code(model, members, outcome[1])


def _complete_authorization(
    sender: str, operation: str, model: type[Message], members: dict[str, object]
) -> Message | None:
    status, code = members.get("AuthorizationStatus"), _code(members)
    if status == AuthorizationStatus.NOT_AUTHORIZED:
        read_as = str(StatusCodeValue.NO_POSITIVE_AUTHENTICATION) if code in {None, _SUCCESS} else str(code)
    elif status == AuthorizationStatus.AUTHORIZED and code in {None, _SUCCESS}:
        read_as = _SUCCESS
    elif status == AuthorizationStatus.AUTHORIZED:
        raise PeerProtocolError(sender, f"contradictory answer: {status} with {code}")
    else:
        return None
    if read_as != _raw_code(members):
        log.warning(
            "oicp.answer_deviates", sender=sender, operation=operation, answer=f"{status} with {code}", read_as=read_as
        )
    return _with_code(model, members, read_as)


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
