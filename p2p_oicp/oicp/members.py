"""How a member stands in its message: other spellings that are read, who owes it, how many of it there may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema
from typing_extensions import override

from p2p_oicp.oicp.findings import Finding, escape
from p2p_oicp.oicp.kinds import NARROW_COUNT, UNREADABLE, Kind, Notes, Unreadable, shown

#: Members that say which thing a record is about; without them even a tolerant reader has nothing to hold.
IDENTIFYING = frozenset({"EvseID", "SessionID"})


class AlsoRead:
    """Other names of a member: ``names`` are documented, ``inexact`` are misprints and are read with a warning.

    ``also_written``: peers exist that know only the other name, so a message of ours carries both.
    """

    def __init__(self, *names: str, inexact: Sequence[str] = (), also_written: bool = False) -> None:
        self.names = (*names, *inexact)
        self.inexact = frozenset(inexact)
        self.also_written = also_written


class Owed:
    """A mandatory member whose absence is an error and still leaves a message that can be held, with ``absent``."""

    def __init__(self, absent: object = None) -> None:
        self.absent = absent

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        schema = handler(source)
        return schema["schema"] if schema["type"] == "nullable" else schema


OWED = Owed()
#: An owed list, which is empty where it is absent.
NO_ELEMENTS = Owed(absent=())


@dataclass(frozen=True)
class Several:
    """Limits of a list; ``alone`` says that a single value without brackets is read as a list of one."""

    minimum: int = 0
    maximum: int | None = None
    #: Real lists are longer, and cutting one would destroy it (RULES D3).
    narrow: bool = False
    optional: bool = False
    alone: bool = False
    #: A list of one is also written without brackets.
    written_alone: bool = False
    #: What an empty list is: it asks for nothing (a warning) or lacks what the record needs (an error).
    empty: Literal["error", "warning"] = "error"
    #: Null elements are skipped with a warning; elsewhere they are errors.
    null_elements: bool = False
    #: The elements come from other partners' older systems (CONFORMANCE D38).
    pulled: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        items: dict[str, Any] = dict(handler(source))
        if items["type"] == "tuple":
            items["min_length"] = self.minimum
            if self.maximum is not None:
                items["max_length"] = self.maximum
        if not self.optional:
            return items
        nothing = core_schema.no_info_after_validator_function(_no_elements, core_schema.none_schema())
        return core_schema.union_schema([items, nothing], mode="left_to_right")

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        found = handler(schema)
        if not self.written_alone:
            return found
        element = next(option for option in found["anyOf"] if option.get("type") == "array")["items"]
        return found | {"anyOf": [element, *found["anyOf"]]}


def _no_elements(_: None) -> tuple[()]:
    return ()


@dataclass(frozen=True)
class Wrapped:
    """An object with one member, that some write as the bare value of that member.

    Documents show bare lists; bare texts come from older senders only, and are read with a warning.
    """

    name: str
    bare: type[list[object] | str] = list


@dataclass(frozen=True)
class ListOf(Kind):
    """The tolerant reader of a list."""

    item: Kind
    limits: Several

    @override
    def read(self, value: object, at: str, notes: Notes) -> object:
        if not isinstance(value, list):
            if self.limits.alone and not isinstance(value, (int, float)):
                element = self.item.read(value, at, notes)
                return UNREADABLE if isinstance(element, Unreadable) else (element,)
            return notes.wrong_type(value, at, "an array")
        self._count(len(value), at, notes)
        outer, notes.pulled = notes.pulled, notes.pulled or self.limits.pulled
        elements = tuple(
            element
            for position, found in enumerate(value)
            if (element := self._element(found, f"{at}/{position}", notes)) is not UNREADABLE
        )
        notes.pulled = outer
        return elements

    def _count(self, count: int, at: str, notes: Notes) -> None:
        limits = self.limits
        if count < limits.minimum:
            note = notes.error if limits.empty == "error" else notes.warn
            note(at, "empty-list", f"has {count} elements, at least {limits.minimum} is needed")
        elif limits.maximum is not None and count > limits.maximum:
            code = NARROW_COUNT if limits.narrow else "too-many-elements"
            notes.error(at, code, f"has {count} elements, at most {limits.maximum} are allowed")

    def _element(self, found: object, at: str, notes: Notes) -> object:
        if found is not None:
            return self.item.read(found, at, notes)
        if self.limits.null_elements or (notes.pulled and not self.limits.pulled):
            notes.warn(at, "null-element", "is null and is skipped; an element is expected")
            return UNREADABLE
        return notes.unreadable(at, "null-element", "is null; an element is expected")


@dataclass(frozen=True)
class Unwrapping(Kind):
    """The tolerant reader of an object that may have been left out around its only member."""

    inner: Kind
    wrapped: Wrapped

    @override
    def read(self, value: object, at: str, notes: Notes) -> object:
        if not isinstance(value, self.wrapped.bare):
            return self.inner.read(value, at, notes)
        inside = Notes(pulled=notes.pulled)
        found = self.inner.read({self.wrapped.name: value}, "", inside)
        if self.wrapped.bare is str:
            if inside.findings:
                return self.inner.read(value, at, notes)
            notes.warn(at, "bare-text", f"{shown(value)} is read as the '{self.wrapped.name}' of an object")
        notes.broken |= inside.broken
        own = f"/{escape(self.wrapped.name)}"
        notes.findings += (
            Finding(note.severity, at + note.pointer.removeprefix(own), note.code, note.message)
            for note in inside.findings
        )
        if isinstance(found, BaseModel):
            object.__setattr__(found, "_tokens", dict.fromkeys(type(found).model_fields, ""))
        return found


@dataclass(frozen=True)
class Member:
    """One member of a message, as the tolerant reader sees it."""

    attribute: str
    name: str
    also: AlsoRead | None
    kind: Kind
    owed: bool
    required: bool
    default: object

    @property
    def names(self) -> tuple[str, ...]:
        """All names under which it may stand, the documents' own first."""
        return (self.name, *(self.also.names if self.also else ()))

    @property
    def is_written_alone(self) -> bool:
        """Whether a list of one is written without brackets."""
        return isinstance(self.kind, ListOf) and self.kind.limits.written_alone

    @property
    def fallback(self) -> object:
        """What a message holds where the member is absent or unreadable; UNREADABLE: there is no message."""
        return UNREADABLE if self.required else self.default

    def is_told_by(self, name: str, value: Mapping[str, object], at: str, notes: Notes) -> bool:
        """Whether the member is read from ``name``; the documents' own name wins over others (D01)."""
        if self.also is None:
            return True
        used = next(other for other in self.names if value.get(other) is not None)
        if name != used:
            if value[name] != value[used]:
                notes.warn(f"{at}/{escape(name)}", "two-spellings", f"differs from '{used}', which is the one read")
            return False
        if name in self.also.inexact:
            notes.warn(f"{at}/{escape(name)}", "misprinted-name", f"'{name}' is read as '{self.name}'")
        return True

    def note_absence(self, value: Mapping[str, object], at: str, notes: Notes) -> None:
        """Note that a mandatory member has no value."""
        pointer = f"{at}/{escape(self.name)}"
        if self.name not in value:
            notes.error(pointer, "missing", f"'{self.name}' is mandatory, and is absent")
        elif notes.pulled and self.name not in IDENTIFYING:
            said = f"'{self.name}' is mandatory in OICP 2.3, and null in older data"
            notes.warn(pointer, "null-in-pulled-data", said)
            return
        else:
            notes.error(pointer, "missing", f"'{self.name}' is mandatory, and null is the same as absent")
        notes.broken |= self.required
