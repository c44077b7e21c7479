"""How a member occurs in its message: aliases, whether it is required, limits of lists, optional wrappers.

``Aliases``, ``RequiredWithDefault``, ``ListLimits`` and ``OptionalWrapper`` are annotations; ``FieldSpec`` is what
``lenient.model_spec`` compiles from them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema
from typing_extensions import override

from p2p_oicp.oicp.field_types import (
    SOFT_COUNT_LIMIT,
    UNPARSABLE,
    FieldType,
    FindingCollector,
    Unparsable,
    format_value,
)
from p2p_oicp.oicp.findings import Finding, escape_reference_token

#: Members that identify a record; null in one of them is an error in pulled data too.
IDENTIFYING_MEMBERS = frozenset({"EvseID", "SessionID"})


class Aliases:
    """Other names of a member.

    Args:
        names: Names that other documents of OICP use, read without a finding.
        misspellings: Misprints of the documents, read with a warning.
        write_aliases: Messages of ours carry the member under all names, because some peers read only an alias.
    """

    def __init__(self, *names: str, misspellings: Sequence[str] = (), write_aliases: bool = False) -> None:
        self.names = (*names, *misspellings)
        self.misspellings = frozenset(misspellings)
        self.write_aliases = write_aliases


class RequiredWithDefault:
    """A mandatory member whose absence is an error, but leaves a message with ``default`` in its place."""

    def __init__(self, default: object = None) -> None:
        self.default = default

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        # The Python type is optional (None: absent), the strict form is not.
        schema = handler(source)
        return schema["schema"] if schema["type"] == "nullable" else schema


REQUIRED_OR_NONE = RequiredWithDefault()
REQUIRED_OR_EMPTY = RequiredWithDefault(default=())


@dataclass(frozen=True)
class ListLimits:
    """Limits and spellings of a list."""

    minimum: int = 0
    maximum: int | None = None
    #: Real lists exceed the maximum, and a cut one would be useless (RULES D3).
    soft_limit: bool = False
    #: Null is an empty list.
    optional: bool = False
    #: A single value without brackets is read as a list of one.
    allow_single: bool = False
    #: A list of one is written without brackets.
    write_single: bool = False
    #: Too short a list: a filter that asks for nothing is a warning, a record that lacks values is an error.
    empty_severity: Literal["error", "warning"] = "error"
    #: Null elements are skipped with a warning; without it they are errors.
    skip_nulls: bool = False
    #: The elements are records of a pulled page, where older data may have nulls (CONFORMANCE D38).
    pulled: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        items: dict[str, Any] = dict(handler(source))
        if items["type"] == "tuple":
            items["min_length"] = self.minimum
            if self.maximum is not None:
                items["max_length"] = self.maximum
        if not self.optional:
            return items
        null_schema = core_schema.no_info_after_validator_function(_empty_tuple, core_schema.none_schema())
        return core_schema.union_schema([items, null_schema], mode="left_to_right")

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        json_schema = handler(schema)
        if not self.write_single:
            return json_schema
        # What this library writes has to fit its own schema: the bare element is one more form.
        element = next(option for option in json_schema["anyOf"] if option.get("type") == "array")["items"]
        return json_schema | {"anyOf": [element, *json_schema["anyOf"]]}


def _empty_tuple(_: None) -> tuple[()]:
    return ()


@dataclass(frozen=True)
class OptionalWrapper:
    """An object with one member, in whose place some senders write the bare value of that member."""

    name: str
    #: The documents show bare lists; bare texts come from older senders only and are read with a warning.
    bare_type: type[list[object] | str] = list


@dataclass(frozen=True)
class ListField(FieldType):
    """The lenient form of a list."""

    item: FieldType
    limits: ListLimits

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        if not isinstance(value, list):
            # Lists that may be written without brackets have texts or objects as elements: a number is no element.
            if self.limits.allow_single and not isinstance(value, (int, float)):
                element = self.item.read(value, pointer, collector)
                return UNPARSABLE if isinstance(element, Unparsable) else (element,)
            return collector.wrong_type(value, pointer, "an array")
        self._check_count(len(value), pointer, collector)
        outer_pulled, collector.pulled = collector.pulled, collector.pulled or self.limits.pulled
        elements = tuple(
            element
            for position, raw_element in enumerate(value)
            if (element := self._read_element(raw_element, f"{pointer}/{position}", collector)) is not UNPARSABLE
        )
        collector.pulled = outer_pulled
        return elements

    def _check_count(self, count: int, pointer: str, collector: FindingCollector) -> None:
        limits = self.limits
        if count < limits.minimum:
            report = collector.error if limits.empty_severity == "error" else collector.warn
            report(pointer, "empty-list", f"has {count} elements, at least {limits.minimum} is needed")
        elif limits.maximum is not None and count > limits.maximum:
            code = SOFT_COUNT_LIMIT if limits.soft_limit else "too-many-elements"
            collector.error(pointer, code, f"has {count} elements, at most {limits.maximum} are allowed")

    def _read_element(self, raw_element: object, pointer: str, collector: FindingCollector) -> object:
        if raw_element is not None:
            return self.item.read(raw_element, pointer, collector)
        if self.limits.skip_nulls or (collector.pulled and not self.limits.pulled):
            collector.warn(pointer, "null-element", "is null and is skipped; an element is expected")
            return UNPARSABLE
        return collector.unparsable(pointer, "null-element", "is null; an element is expected")


@dataclass(frozen=True)
class OptionalWrapperField(FieldType):
    """The lenient form of an object that may be absent around its only member."""

    inner: FieldType
    wrapper: OptionalWrapper

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        if not isinstance(value, self.wrapper.bare_type):
            return self.inner.read(value, pointer, collector)
        inner_collector = FindingCollector(pulled=collector.pulled)
        result = self.inner.read({self.wrapper.name: value}, "", inner_collector)
        if self.wrapper.bare_type is str and not inner_collector.findings:
            collector.warn(
                pointer, "bare-text", f"{format_value(value)} is read as the '{self.wrapper.name}' of an object"
            )
        if inner_collector.fatal:
            collector.fail()
        # Pointers must name what was received, and the wrapper was not.
        wrapper_pointer = f"/{escape_reference_token(self.wrapper.name)}"
        collector.findings.extend(
            Finding(
                finding.severity, pointer + finding.pointer.removeprefix(wrapper_pointer), finding.code, finding.message
            )
            for finding in inner_collector.findings
        )
        if isinstance(result, BaseModel):
            object.__setattr__(result, "_tokens", dict.fromkeys(type(result).model_fields, ""))
        return result


#: Longer names, and further unknown members of one object, are not compared: each comparison costs microseconds.
_MAX_COMPARED_LENGTH = 50
MAX_COMPARED_NAMES = 20
_AFFIX_LENGTH = 3
_SURE_CUTOFF = 0.85


def similar_name(name: str, candidates: Collection[str], cutoff: float = 0.6) -> str | None:
    """Return the one of some names that a name is but for letter case, else the one that is close to it (RULES L13).

    ``cutoff`` is the least similarity, as of ``difflib``.
    """
    if len(name) > _MAX_COMPARED_LENGTH:
        return None
    same = next((candidate for candidate in candidates if candidate.casefold() == name.casefold()), None)
    return same or next(iter(get_close_matches(name, candidates, n=1, cutoff=cutoff)), None)


def similar_optional_name(name: str, candidates: Collection[str]) -> str | None:
    """As `similar_name`, but more certain: an unknown member is an extension more often than a misspelling."""
    alike = [candidate for candidate in candidates if affixes(candidate)[0] == affixes(name)[0]]
    return similar_name(name, alike) or similar_name(name, candidates, _SURE_CUTOFF)


def affixes(name: str) -> tuple[str, str]:
    """Return beginning and end of a name: whatever is similar to another name shares one of both with it."""
    folded = name.casefold()
    return folded[:_AFFIX_LENGTH], f"…{folded[-_AFFIX_LENGTH:]}"


@dataclass(frozen=True)
class FieldSpec:
    """One member of a message, for the lenient parser and for serialization."""

    attribute: str
    name: str
    aliases: Aliases | None
    field_type: FieldType
    required_with_default: bool
    required: bool
    default: object

    @property
    def names(self) -> tuple[str, ...]:
        """All wire names of the member, the preferred one first."""
        return (self.name, *(self.aliases.names if self.aliases else ()))

    @property
    def writes_single(self) -> bool:
        """Whether a list of one element is written without brackets."""
        return isinstance(self.field_type, ListField) and self.field_type.limits.write_single

    @property
    def fallback(self) -> object:
        """The value of a member that is absent or cannot be parsed; UNPARSABLE: there is no message without it."""
        return UNPARSABLE if self.required else self.default

    def accepts_name(self, name: str, value: Mapping[str, object], pointer: str, collector: FindingCollector) -> bool:
        """Whether the member is read from ``name``: if it has several names in a message, the preferred one counts."""
        if self.aliases is None:
            return True
        effective_name = next(candidate for candidate in self.names if value.get(candidate) is not None)
        if name != effective_name:
            if value[name] != value[effective_name]:
                collector.warn(
                    f"{pointer}/{escape_reference_token(name)}",
                    "two-spellings",
                    f"differs from '{effective_name}', which is the one read",
                )
            return False
        if name in self.aliases.misspellings:
            collector.warn(
                f"{pointer}/{escape_reference_token(name)}", "misprinted-name", f"'{name}' is read as '{self.name}'"
            )
        return True

    def report_missing(
        self, value: Mapping[str, object], pointer: str, collector: FindingCollector, similar: str | None
    ) -> None:
        """Report that a mandatory member has no value; ``similar`` is a member that may be meant to be this one."""
        member_pointer = f"{pointer}/{escape_reference_token(self.name)}"
        if self.name not in value:
            hint = ""
            if similar is not None:
                null = "" if value[similar] is not None else ", which is null"
                hint = f"; there is '{similar}'{null}: did you mean '{self.name}'?"
            collector.error(member_pointer, "missing", f"'{self.name}' is mandatory, and is absent{hint}")
        elif collector.pulled and self.name not in IDENTIFYING_MEMBERS:
            text = f"'{self.name}' is mandatory in OICP 2.3, and null in older data"
            collector.warn(member_pointer, "null-in-pulled-data", text)
            return
        else:
            collector.error(member_pointer, "missing", f"'{self.name}' is mandatory, and null is the same as absent")
        if self.required:
            collector.fail()
