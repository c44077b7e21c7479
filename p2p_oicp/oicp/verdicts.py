"""The verdict on a message that is known by the name of its operation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from p2p_oicp.errors import MessageError
from p2p_oicp.oicp import notifications
from p2p_oicp.oicp.base import Message
from p2p_oicp.oicp.common import Acknowledgement
from p2p_oicp.oicp.findings import Finding, InvalidMessage, Severity
from p2p_oicp.oicp.operations import OPERATION_BY_COMMAND, OPERATION_BY_NAME, response_model
from p2p_oicp.oicp.rules import EVERYONE, Scope
from p2p_oicp.oicp.validation import validate

Side = Literal["request", "response"]

#: The four bodies that one operation takes, each by a name of its own.
_NOTIFICATIONS: Mapping[str, type[Message]] = MappingProxyType(
    {
        "ChargingNotificationsStart": notifications.ChargingNotificationStart,
        "ChargingNotificationsProgress": notifications.ChargingNotificationProgress,
        "ChargingNotificationsEnd": notifications.ChargingNotificationEnd,
        "ChargingNotificationsError": notifications.ChargingNotificationError,
    }
)


class Verdict(StrEnum):
    """What a receiver does with a message."""

    ACCEPT = "accept"
    ACCEPT_WITH_WARNING = "accept-with-warning"
    REJECT = "reject"

    @classmethod
    def on(cls, findings: Iterable[Finding]) -> Verdict:
        """Return the verdict that follows from findings."""
        severities = {found.severity for found in findings}
        if Severity.ERROR in severities:
            return cls.REJECT
        return cls.ACCEPT_WITH_WARNING if severities else cls.ACCEPT


def model_of(operation: str, side: Side, body: bytes) -> type[Message]:
    """Return what a message of an operation is to be read as; raises MessageError if there is no such operation."""
    if operation == Acknowledgement.__name__:
        return Acknowledgement
    if operation in _NOTIFICATIONS:
        return _NOTIFICATIONS[operation] if side == "request" else Acknowledgement
    row = OPERATION_BY_NAME.get(operation) or OPERATION_BY_COMMAND.get(operation)
    if row is None:
        raise MessageError(f"there is no operation '{operation}'; there are {', '.join(OPERATION_BY_NAME)}")
    return row.request if side == "request" else response_model(row, body)


def findings_in(operation: str, side: Side, body: bytes, scope: Scope = EVERYONE) -> tuple[Finding, ...]:
    """Return everything that is wrong with a message, unreadable or not."""
    try:
        return tuple(validate(model_of(operation, side, body).from_json(body), scope))
    except InvalidMessage as invalid:
        return invalid.findings
