"""``validate`` and ``read``: everything that is wrong with a message, in one list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from p2p_oicp.oicp.base import Message
from p2p_oicp.oicp.findings import Finding, InvalidMessage, Severity
from p2p_oicp.oicp.kinds import NARROW_COUNT, NARROW_LENGTH
from p2p_oicp.oicp.rules import EVERYONE, Scope, check

M = TypeVar("M", bound=Message)

_NARROW = frozenset({NARROW_COUNT, NARROW_LENGTH})


def validate(message: Message, scope: Scope = EVERYONE) -> list[Finding]:
    """Return all findings of a message: single members first, then the rules between them; never raises."""
    try:
        return [*message.field_findings, *check(message, scope)]
    except InvalidMessage as invalid:  # built in Python, around the checks
        return list(invalid.findings)


def read(model: type[M], body: bytes, scope: Scope = EVERYONE) -> tuple[M, list[Finding]]:
    """Return a message and its warnings; raises InvalidMessage if any finding is an error.

    Where the protocol is narrower than real signed meter values, a receiver takes them all the same: cutting or
    refusing them would lose what a dispute is settled with (RULES D3).
    """
    message = model.from_json(body)
    found = validate(message, scope)
    if not found:
        return message, found
    findings = tolerated(found)
    if any(each.severity is Severity.ERROR for each in findings):
        raise InvalidMessage(findings)
    return message, findings


def tolerated(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings as a receiver takes them: limits narrower than real hardware are no errors."""
    return [replace(found, severity=Severity.KNOWN_DEFECT) if found.code in _NARROW else found for found in findings]
