"""Where a rule stands in a message; it reports in attributes, and the pointer is worked out only then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from p2p_oicp.oicp.findings import Finding, Severity
from p2p_oicp.oicp.identifiers import OperatorID, ProviderID
from p2p_oicp.oicp.likeness import Readable


@dataclass(frozen=True, slots=True)
class Scope:
    """Whom a sender may speak for, and how many records its message came with; None where it is not known."""

    operators: frozenset[OperatorID] | None = None
    providers: frozenset[ProviderID] | None = None
    #: Set where the records of a page are read one by one, and its envelope holds none.
    count: int | None = None


EVERYONE = Scope()


class Here:
    """Where the rules stand: the message at hand, the way to it from the outermost one, and the findings so far."""

    __slots__ = ("findings", "message", "scope", "trail")

    def __init__(self, message: Readable, scope: Scope = EVERYONE) -> None:
        self.message = message
        self.scope = scope
        self.findings: list[Finding] = []
        #: Messages above this one, each with the attribute and the position by which it was left.
        self.trail: list[tuple[Readable, tuple[str | int, ...]]] = []

    def error(self, code: str, said: str, *way: str | int) -> None:
        """Note what breaks the documents' rules; ``way`` leads from this message to the member, by attributes."""
        self.findings.append(Finding(Severity.ERROR, self.pointer(*way), code, said))

    def warn(self, code: str, said: str, *way: str | int) -> None:
        """Note what is processed, and what its sender should hear of."""
        self.findings.append(Finding(Severity.WARNING, self.pointer(*way), code, said))

    def pointer(self, *way: str | int) -> str:
        """Return the JSON pointer of a member, in the spelling that was received."""
        steps = [*self.trail, (self.message, way)]
        return "".join(_pointer(message, taken) for message, taken in steps)


def _pointer(message: Readable, way: tuple[str | int, ...]) -> str:
    pointer = ""
    part: Any = message
    for step in way:
        if isinstance(step, int):
            pointer, part = f"{pointer}/{step}", part[step]
        else:
            pointer, part = pointer + part.token(step), getattr(part, step)
    return pointer
