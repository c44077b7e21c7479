"""Field types: what one member may hold, declared as an annotation (``Annotated[str, TextField(50)]``).

A field type defines two forms:

- ``schema()``, the strict form. Pydantic's core checks it in native code, and the JSON Schema is generated from it.
- ``read()``, the lenient form, used only after the strict one failed. It returns what can be parsed and reports a
  finding for each deviation from the documents.

Invariant: what passes ``schema()`` has no findings in ``read()`` and the same value; a test holds the two together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema
from typing_extensions import override

from p2p_oicp.oicp.findings import Finding, Severity


class Unparsable:
    """The type of ``UNPARSABLE``, which marks a value that cannot be parsed at all."""


UNPARSABLE: Final = Unparsable()
# A finding travels in an answer and stands in one log line; a received value may be megabytes.
_MAX_VALUE_LENGTH = 80

#: Codes of limits that real signed meter values exceed: errors in ``validate``, known defects to a receiver (RULES D3).
SOFT_LENGTH_LIMIT: Final = "longer-than-foreseen"
SOFT_COUNT_LIMIT: Final = "more-than-foreseen"
#: The code of a listed value in another letter case, or with other blanks (RULES L15).
MISSPELT_VALUE: Final = "misspelt-value"


_WHITESPACE_NAMES = MappingProxyType({" ": "a blank", "\t": "a tab", "\n": "a line break", "\r": "a line break"})


def format_value(value: object) -> str:
    """Return a value as a finding quotes it: a text in quotes, all else as JSON; cut to 80 characters."""
    text = value if isinstance(value, str) else _to_json_text(value)
    text = text if len(text) <= _MAX_VALUE_LENGTH else f"{text[:_MAX_VALUE_LENGTH]}…"
    return f"'{text}'" if isinstance(value, str) else text


def _to_json_text(value: object) -> str:
    try:
        return str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False, default=str)
    except (RecursionError, ValueError):  # as deep as the decoder allows, or an integer of thousands of digits
        return "…"


def outer_whitespace(text: str) -> str | None:
    """Return what is wrong with a text that begins or ends with whitespace, such as "ends in a blank"."""
    if text != text.rstrip():
        return f"ends in {_WHITESPACE_NAMES.get(text[-1], 'whitespace')}"
    if text != text.lstrip():
        return f"begins with {_WHITESPACE_NAMES.get(text[0], 'whitespace')}"
    return None


def _folded(text: str) -> str:
    return re.sub(r"[\s_-]+", "", text).casefold()


def similar_value(text: str, options: Iterable[str]) -> str | None:
    """Return the listed value that a text is but for letter case and blanks; None: it resembles none of them."""
    folded = _folded(text)
    return next((str(option) for option in options if _folded(option) == folded), None)


def unlisted_value_reason(text: str, options: Iterable[str]) -> str:
    """Return why a text is refused where one of some values is expected."""
    options = [*map(str, options)]
    similar = similar_value(text, options)
    if similar is None:
        return f"{format_value(text)} is none of {', '.join(map(format_value, options))}"
    problem = outer_whitespace(text) if text.strip() == similar else None
    return f"{format_value(text)} {problem or 'is no listed value'}: did you mean {format_value(similar)}?"


@cache
def enum_values(options: type[StrEnum]) -> frozenset[str]:
    """Return the wire values of an enumeration."""
    return frozenset(map(str, options))


def json_type(value: object) -> str:
    """Return the JSON type of a decoded value, with its article."""
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
class FindingCollector:
    """Collects the findings of one lenient parse."""

    findings: list[Finding] = field(default_factory=list)
    #: Set when no message is left: a wrong JSON type, or a mandatory member that is missing.
    fatal: bool = False
    #: Set inside a record of a pulled page, where older data has nulls in mandatory members (CONFORMANCE D38).
    pulled: bool = False

    def error(self, pointer: str, code: str, message: str) -> None:
        """Report a violation of the documents; the value could be parsed."""
        self.findings.append(Finding(Severity.ERROR, pointer, code, message))

    def warn(self, pointer: str, code: str, message: str) -> None:
        """Report a deviation that is accepted."""
        self.findings.append(Finding(Severity.WARNING, pointer, code, message))

    def known_defect(self, pointer: str, code: str, message: str) -> None:
        """Report a value where the protocol is narrower than real hardware."""
        self.findings.append(Finding(Severity.KNOWN_DEFECT, pointer, code, message))

    def unparsable(self, pointer: str, code: str, message: str) -> Unparsable:
        """Report a value that cannot be parsed; without it there may be no message."""
        self.fatal = True
        self.error(pointer, code, message)
        return UNPARSABLE

    def fail(self) -> None:
        """Record that no message is left."""
        self.fatal = True

    def wrong_type(self, value: object, pointer: str, expected: str, *, secret: bool = False) -> Unparsable:
        """Report a value of another JSON type than expected; a secret value is not quoted."""
        actual = json_type(value) if secret else f"{json_type(value)} ({format_value(value)})"
        return self.unparsable(pointer, "wrong-type", f"must be {expected}, not {actual}")


class FieldType:
    """Base of all field types."""

    def schema(self) -> CoreSchema:
        """Return the strict form, for pydantic's core."""
        raise NotImplementedError

    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        """Parse a value leniently; never raises.

        Args:
            value: The decoded JSON value; never None, because null is the same as absent.
            pointer: Where the value stands in the message.
            collector: Receives a finding for each deviation.

        Returns:
            The Python value, or UNPARSABLE.
        """
        raise NotImplementedError

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        return self.schema()


@dataclass(frozen=True)
class TextField(FieldType):
    """A text of ``minimum`` to ``maximum`` characters (code points): the column "Field Length" of the documents."""

    maximum: int | None = None
    minimum: int = 0
    #: The value is not quoted in findings: a PIN, for instance.
    secret: bool = False
    #: Real values exceed the limit, and a cut one would be useless (RULES D3).
    soft_limit: bool = False

    @override
    def schema(self) -> CoreSchema:
        return core_schema.str_schema(strict=True, min_length=self.minimum or None, max_length=self.maximum)

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        if not isinstance(value, str):
            return collector.wrong_type(value, pointer, "a string", secret=self.secret)
        text = "the value" if self.secret else format_value(value)
        if self.maximum is not None and len(value) > self.maximum:
            code = SOFT_LENGTH_LIMIT if self.soft_limit else "too-long"
            collector.error(pointer, code, f"{text} has {len(value)} characters, at most {self.maximum} are allowed")
        elif len(value) < self.minimum:
            text = f"{text} has {len(value)} characters" if value else "is empty"
            collector.error(pointer, "too-short", f"{text}; at least {self.minimum} are needed")
        return value


@dataclass(frozen=True)
class PatternField(FieldType):
    """A text that matches a regular expression as a whole."""

    pattern: str
    #: A sentence about the expected form, with an example.
    format_hint: str
    secret: bool = False

    @override
    def schema(self) -> CoreSchema:
        return core_schema.str_schema(strict=True, pattern=f"^(?:{self.pattern})$")

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        if not isinstance(value, str):
            return collector.wrong_type(value, pointer, "a string", secret=self.secret)
        # fullmatch and ASCII: "$" accepts a trailing newline, and "\d" the digits of other scripts.
        if not re.fullmatch(self.pattern, value, re.ASCII):
            text = "the value" if self.secret else format_value(value)
            collector.error(pointer, "malformed", f"{text} {self.explain(value)}")
        return value

    def explain(self, value: str) -> str:
        """Return why a text does not match, as the rest of a sentence about it."""
        problem = outer_whitespace(value)
        if problem and re.fullmatch(self.pattern, value.strip(), re.ASCII):
            return problem
        return f"cannot be read: {self.format_hint}"


@dataclass(frozen=True)
class OpenEnumField(FieldType):
    """An open enumeration: an unknown text is kept and reported."""

    options: type[StrEnum]
    #: Spellings of other documents of OICP, accepted without a finding.
    alternatives: tuple[str, ...] = ()
    accepted_with_warning: tuple[str, ...] = ()
    #: An unknown text is a known defect, since hardware may be newer than the list (RULES D4).
    extensible: bool = False
    #: JSON booleans are read as their text (RULES T3).
    accept_booleans: bool = False

    @override
    def schema(self) -> CoreSchema:
        return core_schema.literal_schema([*map(str, self.options), *self.alternatives])

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        if self.accept_booleans and isinstance(value, bool):
            collector.warn(
                pointer, "boolean-for-text", f"must be a string, so {str(value).lower()} is read as its text"
            )
            return str(value).lower()
        if not isinstance(value, str):
            return collector.wrong_type(value, pointer, "a string")
        if value in enum_values(self.options) or value in self.alternatives:
            return value
        options = ", ".join(map(format_value, self.options))
        if value in self.accepted_with_warning:
            text = f"{format_value(value)} is read, but {options} are the documents' values"
            collector.warn(pointer, "inexact-value", text)
        elif self.similar_value(value) is not None:
            collector.error(pointer, MISSPELT_VALUE, unlisted_value_reason(value, self.options))
        elif self.extensible and value.strip() not in {"", "Unspecified"}:
            text = f"{format_value(value)} is kept, though OICP 2.3 lists {options}"
            collector.known_defect(pointer, "newer-than-the-list", text)
        else:
            collector.error(pointer, "unknown-value", unlisted_value_reason(value, self.options))
        return value

    def similar_value(self, value: str) -> str | None:
        """Return the listed value that a text is but for letter case and blanks."""
        return similar_value(value, self.options)


@dataclass(frozen=True)
class BooleanField(FieldType):
    """A JSON boolean."""

    @override
    def schema(self) -> CoreSchema:
        return core_schema.bool_schema(strict=True)

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        return value if isinstance(value, bool) else collector.wrong_type(value, pointer, "a boolean")


@dataclass(frozen=True)
class StatusCodeField(FieldType):
    """A status code: three digits as a string. A number is read, an unknown code is kept (OICP 2.3, CodeType)."""

    codes: type[StrEnum]

    @override
    def schema(self) -> CoreSchema:
        return core_schema.literal_schema([*map(str, self.codes)])

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        if isinstance(value, int) and not isinstance(value, bool):
            collector.error(pointer, "number-for-text", f"must be a string such as '000', not the number {value}")
            return f"{value:03}"
        if not isinstance(value, str):
            return collector.wrong_type(value, pointer, "a string")
        if value not in enum_values(self.codes):
            collector.warn(
                pointer,
                "unknown-status-code",
                f"{format_value(value)} is no status code of OICP 2.3, such as '000' or '022'",
            )
        return value

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "examples": [str(code) for code in self.codes]}


@dataclass(frozen=True)
class LiteralField(FieldType):
    """A constant text that discriminates between messages, such as the ``Type`` of a charging notification."""

    expected: StrEnum

    @override
    def schema(self) -> CoreSchema:
        return core_schema.literal_schema([self.expected])

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        if value != self.expected or not isinstance(value, str):
            return collector.unparsable(
                pointer, "unknown-value", f"must be '{self.expected}' here, not {format_value(value)}"
            )
        return self.expected


def codes(text: str) -> frozenset[str]:
    """Return the codes of a list for `CodeListField`, which whitespace separates."""
    return frozenset(text.split())


@dataclass(frozen=True)
class CodeListField(FieldType):
    """A code of three capital letters; withdrawn and customary codes are accepted with a warning."""

    standard: str
    codes: frozenset[str]
    nonstandard_codes: frozenset[str]
    #: Lower case is accepted with a warning.
    accept_lower_case: bool

    @override
    def schema(self) -> CoreSchema:
        return core_schema.literal_schema(sorted(self.codes))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        # The pattern alone: the list would stand in the schema of each message, and grows with the standard.
        return {"type": "string", "pattern": "^[A-Z]{3}$", "description": f"A code of {self.standard}."}

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        if not isinstance(value, str):
            return collector.wrong_type(value, pointer, "a string")
        if value in self.codes:
            return value
        known = self.codes | self.nonstandard_codes
        similar = self.similar_value(value)
        if value in known or (self.accept_lower_case and value.upper() in known):
            collector.warn(
                pointer, "inexact-code", f"{format_value(value)} is read, but is no current code of {self.standard}"
            )
        elif similar is not None:
            text = f"is no code of {self.standard} (three capital letters): did you mean {format_value(similar)}?"
            collector.error(pointer, MISSPELT_VALUE, f"{format_value(value)} {text}")
        else:
            collector.error(
                pointer, "unknown-code", f"{format_value(value)} is no code of {self.standard} (three capital letters)"
            )
        return value

    def similar_value(self, value: str) -> str | None:
        """Return the code that a text is but for letter case and blanks."""
        code = value.strip().upper()
        return code if code in self.codes or code in self.nonstandard_codes else None
