"""``validate`` and ``read``: everything that is wrong with a message, in one list.

The verdict on a message that is known by the name of its operation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, TypeVar

from p2p_oicp.errors import MessageError
from p2p_oicp.oicp import charging
from p2p_oicp.oicp.common import Acknowledgement
from p2p_oicp.oicp.field_types import SOFT_COUNT_LIMIT, SOFT_LENGTH_LIMIT
from p2p_oicp.oicp.findings import Finding, InvalidMessage, Severity
from p2p_oicp.oicp.message import Message
from p2p_oicp.oicp.operations import OPERATION_BY_COMMAND, OPERATION_BY_NAME, response_model
from p2p_oicp.oicp.rules import UNRESTRICTED_SCOPE, SenderScope, check

M = TypeVar("M", bound=Message)

_SOFT_LIMITS = frozenset({SOFT_COUNT_LIMIT, SOFT_LENGTH_LIMIT})


def validate(message: Message, scope: SenderScope = UNRESTRICTED_SCOPE) -> list[Finding]:
    """Return all findings of a message: single members first, then the rules between them; never raises."""
    try:
        return [*message.field_findings, *check(message, scope)]
    except InvalidMessage as invalid:  # built in Python, around the checks
        return list(invalid.findings)


def read(model: type[M], body: bytes, scope: SenderScope = UNRESTRICTED_SCOPE) -> tuple[M, list[Finding]]:
    """Return a message and its warnings; raises InvalidMessage if any finding is an error.

    Where the protocol is narrower than real signed meter values, a receiver takes them all the same: cutting or
    refusing them would lose what a dispute is settled with (RULES D3).
    """
    message = model.from_json(body)
    all_findings = validate(message, scope)
    if not all_findings:
        return message, all_findings
    findings = downgrade_soft_limits(all_findings)
    if any(finding.severity is Severity.ERROR for finding in findings):
        raise InvalidMessage(findings)
    return message, findings


def downgrade_soft_limits(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings as a receiver takes them: limits narrower than real hardware are no errors."""
    return [
        replace(finding, severity=Severity.KNOWN_DEFECT) if finding.code in _SOFT_LIMITS else finding
        for finding in findings
    ]


MessageDirection = Literal["request", "response"]

#: The four bodies that one operation takes, each by a name of its own.
_NOTIFICATION_MODELS: Mapping[str, type[Message]] = MappingProxyType(
    {
        "ChargingNotificationsStart": charging.ChargingNotificationStart,
        "ChargingNotificationsProgress": charging.ChargingNotificationProgress,
        "ChargingNotificationsEnd": charging.ChargingNotificationEnd,
        "ChargingNotificationsError": charging.ChargingNotificationError,
    }
)


class Verdict(StrEnum):
    """What a receiver does with a message."""

    ACCEPT = "accept"
    ACCEPT_WITH_WARNING = "accept-with-warning"
    REJECT = "reject"

    @classmethod
    def from_findings(cls, findings: Iterable[Finding]) -> Verdict:
        """Return the verdict that follows from findings."""
        severities = {finding.severity for finding in findings}
        if Severity.ERROR in severities:
            return cls.REJECT
        return cls.ACCEPT_WITH_WARNING if severities else cls.ACCEPT


def message_model(operation_name: str, direction: MessageDirection, body: bytes) -> type[Message]:
    """Return what a message of an operation is to be read as; raises MessageError if there is no such operation."""
    if operation_name == Acknowledgement.__name__:
        return Acknowledgement
    if operation_name in _NOTIFICATION_MODELS:
        return _NOTIFICATION_MODELS[operation_name] if direction == "request" else Acknowledgement
    operation = OPERATION_BY_NAME.get(operation_name) or OPERATION_BY_COMMAND.get(operation_name)
    if operation is None:
        raise MessageError(f"there is no operation '{operation_name}'; there are {', '.join(OPERATION_BY_NAME)}")
    return operation.request if direction == "request" else response_model(operation, body)


def judge(
    operation_name: str, direction: MessageDirection, body: bytes, scope: SenderScope = UNRESTRICTED_SCOPE
) -> tuple[Finding, ...]:
    """Return everything that is wrong with a message, unreadable or not."""
    try:
        return tuple(validate(message_model(operation_name, direction, body).from_json(body), scope))
    except InvalidMessage as invalid:
        return invalid.findings
