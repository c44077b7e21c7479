"""What a member may hold, declared once as an annotation and read by everyone who needs to know.

A kind says the same thing twice, in two strengths:

- ``schema()`` is the faultless form. Pydantic's core checks it, so that a faultless message costs no Python at all; the
  JSON Schema is drawn from it too.
- ``read()`` is the tolerant form, taken only when the first one failed: it reads what can be read, and notes a finding
  for everything that is not as the documents want it.

The two are held together by a test: what passes ``schema()`` has no finding in ``read()``, and means the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema
from typing_extensions import override

from p2p_oicp.oicp.findings import Finding, Severity


class Unreadable:
    """The one value that stands for "nothing could be read here"."""


UNREADABLE: Final = Unreadable()
_SHOWN = 80

#: Codes of limits that real signed meter values exceed: errors to a validator, known defects to a receiver (RULES D3).
NARROW_LENGTH: Final = "longer-than-foreseen"
NARROW_COUNT: Final = "more-than-foreseen"


def shown(value: object) -> str:
    """Return a value as a sentence shows it: as text, and not too much of it."""
    text = value if isinstance(value, str) else repr(value)
    return f"'{text}'" if len(text) <= _SHOWN else f"'{text[:_SHOWN]}…'"


@cache
def texts_of(options: type[StrEnum]) -> frozenset[str]:
    """Return the texts of an enumeration."""
    return frozenset(map(str, options))


def json_type(value: object) -> str:
    """Return what a decoded value is called in JSON."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, dict):
        return "an object"
    return "an array" if isinstance(value, list) else "a number"


@dataclass(slots=True)
class Notes:
    """What the tolerant reader has noticed so far."""

    findings: list[Finding] = field(default_factory=list)
    #: Set when something is so wrong that there is no message: a wrong type, a mandatory member that is missing.
    broken: bool = False
    #: Set inside a record of a pulled page, where older data has nulls in mandatory members (CONFORMANCE D38).
    pulled: bool = False

    def error(self, at: str, code: str, message: str) -> None:
        """Note something that breaks the documents' rules, although it can be read."""
        self.findings.append(Finding(Severity.ERROR, at, code, message))

    def warn(self, at: str, code: str, message: str) -> None:
        """Note something that is processed, and that its sender should hear of."""
        self.findings.append(Finding(Severity.WARNING, at, code, message))

    def defect(self, at: str, code: str, message: str) -> None:
        """Note something where the protocol is narrower than real hardware."""
        self.findings.append(Finding(Severity.KNOWN_DEFECT, at, code, message))

    def unreadable(self, at: str, code: str, message: str) -> Unreadable:
        """Note something that cannot be read at all."""
        self.broken = True
        self.error(at, code, message)
        return UNREADABLE

    def wrong_type(self, value: object, at: str, wanted: str, *, secret: bool = False) -> Unreadable:
        """Note a value of another JSON type than ``wanted``; a secret value is not shown."""
        said = json_type(value) if secret else f"{json_type(value)} ({shown(value)})"
        return self.unreadable(at, "wrong-type", f"must be {wanted}, not {said}")


class Kind:
    """Base of all kinds; used as ``Annotated[str, Text(50)]``."""

    def schema(self) -> CoreSchema:
        """Return the faultless form for pydantic's core."""
        raise NotImplementedError

    def read(self, value: object, at: str, notes: Notes) -> object:
        """Return ``value`` as Python holds it, or UNREADABLE, and note what is wrong with it; never raises."""
        raise NotImplementedError

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        return self.schema()


@dataclass(frozen=True)
class Text(Kind):
    """A text of ``minimum`` to ``maximum`` characters (code points), as the documents' column "Field Length" says."""

    maximum: int | None = None
    minimum: int = 0
    secret: bool = False
    #: Real values are longer, and cutting one would destroy it (RULES D3).
    narrow: bool = False

    @override
    def schema(self) -> CoreSchema:
        return core_schema.str_schema(strict=True, min_length=self.minimum or None, max_length=self.maximum)

    @override
    def read(self, value: object, at: str, notes: Notes) -> object:
        if not isinstance(value, str):
            return notes.wrong_type(value, at, "a string", secret=self.secret)
        if self.maximum is not None and len(value) > self.maximum:
            code = NARROW_LENGTH if self.narrow else "too-long"
            notes.error(at, code, f"has {len(value)} characters, at most {self.maximum} are allowed")
        elif len(value) < self.minimum:
            notes.error(at, "too-short", f"has {len(value)} characters, at least {self.minimum} are needed")
        return value


@dataclass(frozen=True)
class Matching(Kind):
    """A text of a certain form; ``tolerated`` is a wider one, read with a warning, ``why`` says what is meant."""

    pattern: str
    why: str
    tolerated: str | None = None
    secret: bool = False

    @override
    def schema(self) -> CoreSchema:
        return core_schema.str_schema(strict=True, pattern=f"^(?:{self.pattern})$")

    @override
    def read(self, value: object, at: str, notes: Notes) -> object:
        if not isinstance(value, str):
            return notes.wrong_type(value, at, "a string", secret=self.secret)
        if not re.fullmatch(self.pattern, value, re.ASCII):
            said = "the value" if self.secret else shown(value)
            if self.tolerated and re.fullmatch(self.tolerated, value, re.ASCII):
                notes.warn(at, "inexact-form", f"{said} is read, but {self.why}")
            else:
                notes.error(at, "malformed", f"{said} cannot be read: {self.why}")
        return value


@dataclass(frozen=True)
class OneOf(Kind):
    """An open enumeration: an unknown text is kept and reported.

    ``also_read`` holds other spellings of the documents, ``inexact`` those that are read with a warning. With
    ``growing``, a text the list does not know is taken for hardware newer than the list (RULES D4).
    """

    options: type[StrEnum]
    also_read: tuple[str, ...] = ()
    inexact: tuple[str, ...] = ()
    growing: bool = False
    booleans: bool = False

    @override
    def schema(self) -> CoreSchema:
        return core_schema.literal_schema([*map(str, self.options), *self.also_read])

    @override
    def read(self, value: object, at: str, notes: Notes) -> object:
        if self.booleans and isinstance(value, bool):
            notes.warn(at, "boolean-for-text", f"must be a string, so {str(value).lower()} is read as its text")
            return str(value).lower()
        if not isinstance(value, str):
            return notes.wrong_type(value, at, "a string")
        if value in texts_of(self.options) or value in self.also_read:
            return value
        if value in self.inexact:
            notes.warn(at, "inexact-value", f"{shown(value)} is read, but {self._listed()} are the documents' values")
        elif self.growing and self._is_new(value):
            notes.defect(at, "newer-than-the-list", f"{shown(value)} is kept, though OICP 2.3 lists {self._listed()}")
        else:
            notes.error(at, "unknown-value", f"{shown(value)} is none of {self._listed()}")
        return value

    def _is_new(self, value: str) -> bool:
        """Whether a text names something new, rather than something known in a wrong way."""
        return bool(value) and value != "Unspecified" and value.casefold() not in map(str.casefold, self.options)

    def _listed(self) -> str:
        return ", ".join(f"'{option}'" for option in self.options)


@dataclass(frozen=True)
class Flag(Kind):
    """A JSON boolean."""

    @override
    def schema(self) -> CoreSchema:
        return core_schema.bool_schema(strict=True)

    @override
    def read(self, value: object, at: str, notes: Notes) -> object:
        return value if isinstance(value, bool) else notes.wrong_type(value, at, "a boolean")


@dataclass(frozen=True)
class CodeText(Kind):
    """A status code: three digits as a string; a number is read, an unknown code is kept (OICP 2.3, CodeType)."""

    known: type[StrEnum]

    @override
    def schema(self) -> CoreSchema:
        return core_schema.literal_schema([*map(str, self.known)])

    @override
    def read(self, value: object, at: str, notes: Notes) -> object:
        if isinstance(value, int) and not isinstance(value, bool):
            notes.error(at, "number-for-text", f"must be a string such as '000', not the number {value}")
            return f"{value:03}"
        if not isinstance(value, str):
            return notes.wrong_type(value, at, "a string")
        if value not in texts_of(self.known):
            notes.warn(
                at, "unknown-status-code", f"{shown(value)} is no status code of OICP 2.3, such as '000' or '022'"
            )
        return value

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "examples": [str(code) for code in self.known]}


@dataclass(frozen=True)
class Exactly(Kind):
    """One text, that says which of several messages this is."""

    option: StrEnum

    @override
    def schema(self) -> CoreSchema:
        return core_schema.literal_schema([self.option])

    @override
    def read(self, value: object, at: str, notes: Notes) -> object:
        if value != self.option or not isinstance(value, str):
            return notes.unreadable(at, "unknown-value", f"must be '{self.option}' here, not {shown(value)}")
        return self.option
