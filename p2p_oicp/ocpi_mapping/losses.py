"""What could not be carried from one protocol into the other: each loss once, with its place in the source object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from p2p_oicp.oicp.field_types import format_value
from p2p_oicp.oicp.findings import escape_reference_token


@dataclass(frozen=True, order=True)
class Loss:
    """One loss.

    Attributes:
        pointer: Where it stands in the source object, as a JSON pointer (RFC 6901).
        code: A stable identifier of the kind of loss.
        message: A text for people.
    """

    pointer: str
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.pointer or 'object'}: {self.message} [{self.code}]"


@dataclass
class Losses:
    """Collects the losses of one mapping."""

    _found: dict[tuple[str, str], Loss] = field(default_factory=dict)

    def add(self, pointer: str, code: str, message: str) -> None:
        """Report a loss; the same one at the same place is reported once."""
        self._found.setdefault((pointer, code), Loss(pointer, code, message))

    def add_members(self, source: Mapping[str, Any], pointer: str, names: Iterable[str]) -> None:
        """Report the members of an object, if present, that the other protocol has no place for."""
        for name in names:
            # An empty list or text says nothing, and nothing of it is lost.
            if source.get(name) not in (None, [], "", {}):
                place = f"{pointer}/{escape_reference_token(name)}"
                self.add(place, "no-counterpart", f"{name} has no place in the other protocol")

    def add_value(self, pointer: str, value: object, reason: str) -> None:
        """Report a value that the other protocol has no word or no room for."""
        self.add(pointer, "no-such-value", f"{format_value(value)} {reason}")

    def cut(self, text: str, length: int, pointer: str) -> str:
        """Return a text with at most ``length`` characters, and report what was cut off."""
        if len(text) > length:
            self.add(pointer, "cut", f"has {len(text)} characters, and is cut to {length}")
        return text[:length]

    @property
    def all(self) -> tuple[Loss, ...]:
        """The losses, in the order in which they were reported."""
        return tuple(self._found.values())
