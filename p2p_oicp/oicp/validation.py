"""The entry points of validation.

``validate`` lists all findings of a message, ``read`` parses and refuses on errors, ``preflight`` checks a CDR that a
sender may still correct, and ``judge`` validates bytes by the name of their operation, for tools that have a file only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, TypeVar

from p2p_oicp.errors import MessageError
from p2p_oicp.oicp import charging
from p2p_oicp.oicp.cdr_checks import DOUBT_CODES, check_plausibility, check_times
from p2p_oicp.oicp.common import Acknowledgement
from p2p_oicp.oicp.evse import EvseDataRecord
from p2p_oicp.oicp.field_types import SOFT_COUNT_LIMIT, SOFT_LENGTH_LIMIT
from p2p_oicp.oicp.findings import Finding, InvalidMessage, Severity
from p2p_oicp.oicp.message import Message, split_members
from p2p_oicp.oicp.operations import OPERATION_BY_COMMAND, OPERATION_BY_NAME, Operation
from p2p_oicp.oicp.rules import UNRESTRICTED_SCOPE, SenderScope, check

M = TypeVar("M", bound=Message)

_SOFT_LIMITS = frozenset({SOFT_COUNT_LIMIT, SOFT_LENGTH_LIMIT})


def validate(message: Message, scope: SenderScope = UNRESTRICTED_SCOPE) -> list[Finding]:
    """Return all findings of a message: those on single members first, then those of the rules; never raises."""
    try:
        return [*message.field_findings, *check(message, scope)]
    except InvalidMessage as invalid:  # built in Python with model_construct, which checks nothing
        return list(invalid.findings)


def read(model: type[M], body: bytes, scope: SenderScope = UNRESTRICTED_SCOPE) -> tuple[M, list[Finding]]:
    """Return a message and its warnings, for a receiver.

    Signed meter values that exceed the documented limits are accepted: to cut or refuse them would lose the evidence
    of a billing dispute (RULES D3).

    Raises:
        InvalidMessage: Any finding is an error.
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
    """Return the findings with exceeded soft limits as known defects: errors for a sender, none for a receiver."""
    return [
        replace(finding, severity=Severity.KNOWN_DEFECT) if finding.code in _SOFT_LIMITS else finding
        for finding in findings
    ]


def response_model(operation: Operation, body: bytes) -> type[Message]:
    """Return the model of a response; any response may be an Acknowledgement instead (CONFORMANCE D57)."""
    try:
        members = split_members(body)
    except InvalidMessage:
        return operation.response
    own_members = _member_names(operation.response) - _member_names(Acknowledgement)
    return Acknowledgement if "Result" in members and not own_members & members.keys() else operation.response


def _member_names(model: type[Message]) -> set[str]:
    return {info.alias or "" for info in model.model_fields.values()}


MessageDirection = Literal["request", "response"]

#: ChargingNotifications is one operation with four bodies; tools name each by its own name.
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
        """Return the verdict for a list of findings."""
        severities = {finding.severity for finding in findings}
        if Severity.ERROR in severities:
            return cls.REJECT
        return cls.ACCEPT_WITH_WARNING if severities else cls.ACCEPT


def message_model(operation_name: str, direction: MessageDirection, body: bytes) -> type[Message]:
    """Return the model of an operation's message; raises MessageError if there is no such operation."""
    if operation_name == Acknowledgement.__name__:
        return Acknowledgement
    if operation_name in _NOTIFICATION_MODELS:
        return _NOTIFICATION_MODELS[operation_name] if direction == "request" else Acknowledgement
    operation = OPERATION_BY_NAME.get(operation_name) or OPERATION_BY_COMMAND.get(operation_name)
    if operation is None:
        raise MessageError(f"there is no operation '{operation_name}'; there are {', '.join(OPERATION_BY_NAME)}")
    return operation.request if direction == "request" else response_model(operation, body)


def judge(
    operation_name: str,
    direction: MessageDirection,
    body: bytes,
    scope: SenderScope = UNRESTRICTED_SCOPE,
    now: datetime | None = None,
) -> tuple[Finding, ...]:
    """Return all findings of a message given as bytes; if it cannot be parsed, the reasons for that.

    ``now`` is what the times of a CDR or notification are compared with; None: with nothing.
    """
    try:
        message = message_model(operation_name, direction, body).from_json(body)
    except InvalidMessage as invalid:
        return invalid.findings
    return (*validate(message, scope), *_find_doubts(message, None, None, now))


def preflight(
    cdr: charging.ChargeDetailRecord,
    evse: EvseDataRecord | None = None,
    products: Collection[str] | None = None,
    now: datetime | None = None,
) -> list[Finding]:
    """Return the findings on a CDR to be sent, errors first: what a receiver finds doubtful, a sender can correct.

    Args:
        cdr: The record.
        evse: The data of its EVSE; None skips the checks against it.
        products: The ProductIDs of its operator; None skips the check of PartnerProductID.
        now: The time that its times are compared with; None skips that.
    """
    findings = [
        replace(finding, severity=Severity.ERROR) if finding.code in DOUBT_CODES else finding
        for finding in [*validate(cdr), *_find_doubts(cdr, evse, products, now)]
    ]
    return sorted(findings, key=lambda finding: finding.severity is not Severity.ERROR)


def _find_doubts(
    message: Message, evse: EvseDataRecord | None, products: Collection[str] | None, now: datetime | None
) -> list[Finding]:
    findings = []
    if now is not None and isinstance(message, charging.ChargeDetailRecord | charging.ChargingNotification):
        findings += check_times(message, now)
    if isinstance(message, charging.ChargeDetailRecord):
        findings += check_plausibility(message, evse, products)
    return findings
