"""What is wrong with a message, and where: findings with a JSON pointer in the names of the wire."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from p2p_oicp.errors import MessageError

_LEADING_CAPITALS = re.compile(r"^(?:[A-Z]+(?![a-z])|[A-Z])")

#: Findings that are answered with a status code of their own; all others are 022, data error (OICP 2.3, CodeType).
_STATUS_CODES = {
    "duplicate-evse-id": "018",
    "foreign-evse-id": "018",
    "foreign-evco-id": "019",
    "pin-missing": "101",
    "pin-hashed": "101",
}


class Severity(StrEnum):
    """How grave a finding is."""

    ERROR = "error"
    """The message cannot be processed."""
    WARNING = "warning"
    """The message is processed, and its sender should hear of this."""
    KNOWN_DEFECT = "known-defect"
    """The protocol is narrower than real hardware: nothing is wrong with the sender."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One observation: ``pointer`` is RFC 6901 in wire names, ``code`` stable text, ``message`` names both values."""

    severity: Severity
    pointer: str
    code: str
    message: str

    @property
    def status_code(self) -> str:
        """The OICP status code of a refusal for this reason."""
        return _STATUS_CODES.get(self.code, "022")

    def with_prefix(self, prefix: str) -> Finding:
        """Return the same finding for a message that stands at ``pointer`` of a larger one."""
        return Finding(self.severity, prefix + self.pointer, self.code, self.message)


class InvalidMessage(MessageError):
    """A message that cannot be processed; ``findings`` say why, errors first."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(sorted(findings, key=lambda finding: finding.severity is not Severity.ERROR))
        super().__init__(
            "; ".join(f"{finding.pointer or 'message'}: {finding.message}" for finding in self.findings[:3])
        )


def escape_reference_token(name: str) -> str:
    """Return a member name as one token of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def field_reference(pointer: str) -> str:
    """Return a pointer as Hubject writes it in validationErrors: ``operatorEvseData.evseDataRecord[0].plugs``."""
    reference = ""
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if name.isdecimal():
            reference += f"[{name}]"
        else:
            reference += "." * bool(reference) + _LEADING_CAPITALS.sub(lambda match: match[0].lower(), name, count=1)
    return reference
