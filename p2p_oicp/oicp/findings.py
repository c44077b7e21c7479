"""Findings: what is wrong with a message, and where, as a JSON pointer (RFC 6901) in wire names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from p2p_oicp.errors import MessageError
from p2p_oicp.oicp.enums import StatusCodeValue

# Enough for a log line.
_MAX_SUMMARIZED = 3
# "EvseID" becomes "evseID", "EVSEStatus" becomes "evseStatus", "UID" becomes "uid".
_LEADING_CAPITALS = re.compile(r"^(?:[A-Z]+(?![a-z])|[A-Z])")

#: The code of an identifier that is to be in upper case (RULES I8).
LOWER_CASE_IDENTIFIER: Final = "lower-case-identifier"
#: The code of an unknown member that may be meant to be a known one (RULES L13).
SIMILAR_NAME: Final = "similar-name"
#: The code of a hash that is none of bcrypt: a warning, since any text is documented, but a node refuses it.
NOT_BCRYPT: Final = "not-bcrypt"
#: Findings with a status code of their own; all others are 022, data error (OICP 2.3, CodeType; 018 twice: D54).
_STATUS_CODES = {
    "duplicate-evse-id": StatusCodeValue.INCONSISTENT_EVSE_ID,
    "foreign-evse-id": StatusCodeValue.INCONSISTENT_EVSE_ID,
    "foreign-evco-id": StatusCodeValue.INCONSISTENT_EVCO_ID,
    "pin-missing": StatusCodeValue.QR_CODE_INVALID,
    "pin-hashed": StatusCodeValue.QR_CODE_INVALID,
}


class Severity(StrEnum):
    """What a finding means for the message."""

    ERROR = "error"
    """The message cannot be processed."""
    WARNING = "warning"
    """The message is processed, and the finding is reported to its sender."""
    KNOWN_DEFECT = "known-defect"
    """The protocol is narrower than real hardware; the sender did nothing wrong (RULES D1 to D4)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One deviation.

    Attributes:
        severity: What it means for the message.
        pointer: Where it is, as a JSON pointer in wire names; empty: the message as a whole.
        code: A stable identifier of the kind of deviation; programs and tests compare it.
        message: A text for people that quotes the received value and the expected one.
    """

    severity: Severity
    pointer: str
    code: str
    message: str

    @property
    def status_code(self) -> StatusCodeValue:
        """The OICP status code of a refusal for this reason."""
        return _STATUS_CODES.get(self.code, StatusCodeValue.DATA_ERROR)

    def __str__(self) -> str:
        return f"{self.pointer or 'message'}: {self.message} [{self.code}]"

    def with_prefix(self, prefix: str) -> Finding:
        """Return the same finding for a message that is part of a larger one, at the pointer ``prefix``."""
        return Finding(self.severity, prefix + self.pointer, self.code, self.message)


class InvalidMessage(MessageError):
    """A message that cannot be processed; ``findings`` has the reasons, errors first.

    ``counts`` has the number of errors of each kind; it may be higher than that of the findings, which are then cut.
    """

    def __init__(self, findings: Iterable[Finding], counts: Mapping[str, int] | None = None) -> None:
        self.findings = tuple(sorted(findings, key=lambda finding: finding.severity is not Severity.ERROR))
        errors = (finding.code for finding in self.findings if finding.severity is Severity.ERROR)
        self.counts = Counter(errors if counts is None else counts)
        super().__init__(summarize(self.findings))


def summarize(findings: Sequence[Finding]) -> str:
    """Return the first three findings in one line, and how many more there are."""
    more = len(findings) - _MAX_SUMMARIZED
    listed = "; ".join(f"{finding.pointer or 'message'}: {finding.message}" for finding in findings[:_MAX_SUMMARIZED])
    return f"{listed}; and {more} more" if more > 0 else listed


def format_counts(counts: Counter[str]) -> str:
    """Return how many findings there are of each kind, the most frequent first."""
    return ", ".join(f"{count:,} {code}" for code, count in counts.most_common())


def escape_reference_token(name: str) -> str:
    """Return a member name as a reference token of a JSON pointer (RFC 6901 §3)."""
    return name.replace("~", "~0").replace("/", "~1")


def field_reference(pointer: str) -> str:
    """Return a pointer in the notation of Hubject's validationErrors: ``operatorEvseData.evseDataRecord[0].plugs``."""
    reference = ""
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if name.isdecimal():
            reference += f"[{name}]"
        else:
            reference += "." * bool(reference) + _LEADING_CAPITALS.sub(lambda match: match[0].lower(), name, count=1)
    return reference
