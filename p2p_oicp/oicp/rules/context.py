"""Where a rule stands in a message; it reports in attributes, and the pointer is worked out only then.

Records that may stand only once in a push (RULES M4, M13): charging spots, products.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from p2p_oicp.oicp.evse import EvseDataRecord, EvseStatusRecord
from p2p_oicp.oicp.findings import Finding, Severity
from p2p_oicp.oicp.identifiers import OperatorID, ProviderID
from p2p_oicp.oicp.message import Message
from p2p_oicp.oicp.pricing import EvsePricing, PricingProductDataRecord
from p2p_oicp.oicp.record_view import AnyRecord


@dataclass(frozen=True, slots=True)
class SenderScope:
    """Whom a sender may speak for, and how many records its message came with; None where it is not known."""

    operators: frozenset[OperatorID] | None = None
    providers: frozenset[ProviderID] | None = None
    #: Set where the records of a page are read one by one, and its envelope holds none.
    record_count: int | None = None


UNRESTRICTED_SCOPE = SenderScope()


class RuleContext:
    """Where the rules stand: the message at hand, the way to it from the outermost one, and the findings so far."""

    __slots__ = ("findings", "message", "parents", "scope")

    def __init__(self, message: AnyRecord, scope: SenderScope = UNRESTRICTED_SCOPE) -> None:
        self.message = message
        self.scope = scope
        self.findings: list[Finding] = []
        #: Messages above this one, each with the attribute and the position by which it was left.
        self.parents: list[tuple[AnyRecord, tuple[str | int, ...]]] = []

    def error(self, code: str, text: str, *path: str | int) -> None:
        """Note what breaks the documents' rules; ``way`` leads from this message to the member, by attributes."""
        self.findings.append(Finding(Severity.ERROR, self.pointer(*path), code, text))

    def warn(self, code: str, text: str, *path: str | int) -> None:
        """Note what is processed, and what its sender should hear of."""
        self.findings.append(Finding(Severity.WARNING, self.pointer(*path), code, text))

    def pointer(self, *path: str | int) -> str:
        """Return the JSON pointer of a member, in the spelling that was received."""
        steps = [*self.parents, (self.message, path)]
        return "".join(_pointer(message, step_path) for message, step_path in steps)


def _pointer(message: AnyRecord, path: tuple[str | int, ...]) -> str:
    pointer = ""
    part: Any = message
    for step in path:
        if isinstance(step, int):
            pointer, part = f"{pointer}/{step}", part[step]
        else:
            pointer, part = pointer + part.reference_token(step), getattr(part, step)
    return pointer


class DuplicateCheck:
    """Watches the records of one push go by, and reports one that was there before."""

    def __init__(self) -> None:
        self._first_positions: dict[object, int] = {}

    def check(self, record: Message, position: int) -> Finding | None:
        """Take note of the record at ``position``; return what is wrong, seen from the record."""
        attribute, code, key = _identity(record)
        first_position = self._first_positions.setdefault(key, position)
        if first_position == position:
            return None
        identifier = getattr(record, attribute)
        text = f"'{identifier}' is in the records {first_position} and {position} of one push, but may be there once"
        return Finding(Severity.ERROR, record.reference_token(attribute), code, text)


def _identity(record: Message) -> tuple[str, str, object]:
    """Return which member says what a record is about, the code of a second one, and what to compare."""
    if isinstance(record, PricingProductDataRecord):
        return "product_id", "duplicate-product", record.product_id
    if isinstance(record, EvsePricing):
        # The same spot may have other prices for other providers.
        return "evse_id", "duplicate-evse-id", (record.evse_id.key, record.provider_id.key)
    if isinstance(record, (EvseDataRecord, EvseStatusRecord)):
        return "evse_id", "duplicate-evse-id", record.evse_id.key
    raise TypeError(f"{type(record).__name__} may stand more than once in a push")


def unique(*path: str) -> Callable[[Message, RuleContext], None]:
    """Return the rule that the records at the end of ``way`` stand there only once."""
    get_records = attrgetter(".".join(path))

    def rule(push: Message, context: RuleContext) -> None:
        duplicates = DuplicateCheck()
        for position, record in enumerate(get_records(push)):
            if finding := duplicates.check(record, position):
                context.findings.append(finding.with_prefix(context.pointer(*path, position)))

    return rule
