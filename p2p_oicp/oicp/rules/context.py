"""What a rule gets beside the message: its position, the scope of the sender, and methods to report findings.

A rule names members by attribute. The JSON pointer, in the received spelling, is computed only when a finding is
reported: most messages have none. ``DuplicateCheck`` finds records that occur twice in a push (RULES M4, M13).
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
    """The parties that the sender of a message is authorized for; None: any."""

    operators: frozenset[OperatorID] | None = None
    providers: frozenset[ProviderID] | None = None
    #: The number of records of a page whose envelope is checked without them; None: count those in the message.
    record_count: int | None = None


UNRESTRICTED_SCOPE = SenderScope()


class RuleContext:
    """The position of the rules in a message, and the findings so far."""

    __slots__ = ("findings", "message", "parents", "scope")

    def __init__(self, message: AnyRecord, scope: SenderScope = UNRESTRICTED_SCOPE) -> None:
        self.message = message
        self.scope = scope
        self.findings: list[Finding] = []
        #: The enclosing messages, outermost first, each with the path from it to the next one.
        self.parents: list[tuple[AnyRecord, tuple[str | int, ...]]] = []

    def error(self, code: str, text: str, *path: str | int) -> None:
        """Report a violation; ``path`` leads from the current message to the member, by attributes and positions."""
        self.findings.append(Finding(Severity.ERROR, self.pointer(*path), code, text))

    def warn(self, code: str, text: str, *path: str | int) -> None:
        """Report a deviation that is accepted."""
        self.findings.append(Finding(Severity.WARNING, self.pointer(*path), code, text))

    def pointer(self, *path: str | int) -> str:
        """Return the JSON pointer of a member from the outermost message, in the received spelling."""
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
    """Finds records of one push that have the same identifier."""

    def __init__(self) -> None:
        self._first_positions: dict[object, int] = {}

    def check(self, record: Message, position: int) -> Finding | None:
        """Return a finding, relative to the record, if an earlier position had the same identifier."""
        attribute, code, key = _identity(record)
        first_position = self._first_positions.setdefault(key, position)
        if first_position == position:
            return None
        identifier = getattr(record, attribute)
        text = f"'{identifier}' is in the records {first_position} and {position} of one push, but is allowed once"
        return Finding(Severity.ERROR, record.reference_token(attribute), code, text)


def _identity(record: Message) -> tuple[str, str, object]:
    """Return the identifying attribute of a record, the code of a duplicate, and the key to compare."""
    if isinstance(record, PricingProductDataRecord):
        return "product_id", "duplicate-product", record.product_id
    if isinstance(record, EvsePricing):
        # An EVSE may have other prices for other providers.
        return "evse_id", "duplicate-evse-id", (record.evse_id.key, record.provider_id.key)
    if isinstance(record, (EvseDataRecord, EvseStatusRecord)):
        return "evse_id", "duplicate-evse-id", record.evse_id.key
    raise TypeError(f"{type(record).__name__} has no identifier that must be unique in a push")


def unique(*path: str) -> Callable[[Message, RuleContext], None]:
    """Return the rule that no two records of the list at ``path`` have the same identifier."""
    get_records = attrgetter(".".join(path))

    def rule(push: Message, context: RuleContext) -> None:
        duplicates = DuplicateCheck()
        for position, record in enumerate(get_records(push)):
            if finding := duplicates.check(record, position):
                context.findings.append(finding.with_prefix(context.pointer(*path, position)))

    return rule
