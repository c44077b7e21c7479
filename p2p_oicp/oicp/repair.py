"""Make a usable record of one that is not quite OICP, and say what was changed (RULES L14, L15).

For what we fetch ourselves, feeds and pulls; a push by OICP is never repaired. A record is usable if its mandatory
content is there:

(1) Values in another form get the documented one: numbers as texts, a value beside its list, a listed value with a
    blank too many. Which forms, is the caller's choice: ``FEED_REPAIRS`` or ``PULL_REPAIRS``.
(2) What is wrong after that costs the smallest optional part around it, a member or an element of a list.
(3) What is wrong then is why the record is refused, in the words for what was received.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from p2p_oicp.oicp.field_specs import FieldSpec, ListField, OptionalWrapperField, similar_name
from p2p_oicp.oicp.field_types import (
    MISSPELT_VALUE,
    BooleanField,
    CodeListField,
    FieldType,
    FindingCollector,
    OpenEnumField,
    PatternField,
    TextField,
    format_value,
)
from p2p_oicp.oicp.findings import LOWER_CASE_IDENTIFIER, Finding, InvalidMessage, Severity, escape_reference_token
from p2p_oicp.oicp.geo import DegreesField, GoogleCoordinatesField, to_degrees
from p2p_oicp.oicp.lenient import IdentifierField, ModelField, model_spec
from p2p_oicp.oicp.message import Message, decode, encode
from p2p_oicp.oicp.numbers import DecimalField, IntegerField
from p2p_oicp.oicp.validation import downgrade_soft_limits, validate

#: The repairs of what we pull: those of the closed list that decision 11 has.
PULL_REPAIRS: Final = frozenset({MISSPELT_VALUE, "text-for-number", LOWER_CASE_IDENTIFIER})
#: The repairs of a feed, whose author never meant to speak OICP.
FEED_REPAIRS: Final = PULL_REPAIRS | {
    "renamed-member",
    "number-for-text",
    "text-for-boolean",
    "bare-text",
    "boolean-for-text",
    "single-for-list",
    "inexact-form",
    "too-many-decimals",
}
# Each part that is left out costs a parse of the record; what is worse, or much larger than a record, is not repaired.
_MAX_ERRORS = 50
_MAX_REPAIRED_BYTES = 64 * 1024
_SEPARATORS = re.compile(r"[\s()/.-]+")


@dataclass(frozen=True, slots=True)
class RepairedRecord:
    """A record after its repair.

    Attributes:
        raw: Its JSON; the received bytes if nothing was repaired.
        repairs: What was changed: warnings, with pointers into the received record.
        errors: Why it cannot be used; empty if it can.
    """

    raw: bytes
    repairs: tuple[Finding, ...] = ()
    errors: tuple[Finding, ...] = ()


def repair_record(model: type[Message], raw: bytes, allowed: frozenset[str], *, pulled: bool = False) -> RepairedRecord:
    """Return a record with the ``allowed`` repairs; never raises.

    Args:
        model: The model of the record.
        raw: The received bytes.
        allowed: The codes of repairs that may be made; those of parts that are left out always are.
        pulled: As of `Message.from_value`.
    """
    findings = _find(model, raw, pulled=pulled)
    if not findings:
        return RepairedRecord(raw)
    try:
        return _repair(model, raw, findings, allowed, pulled=pulled)
    except InvalidMessage as invalid:
        return RepairedRecord(raw, errors=invalid.findings)
    except RecursionError:  # deeper than Python's stack allows, though the decoder could read it
        return RepairedRecord(raw, errors=(Finding(Severity.ERROR, "", "too-deep", "is nested too deeply"),))


def _repair(
    model: type[Message], raw: bytes, findings: Sequence[Finding], allowed: frozenset[str], *, pulled: bool
) -> RepairedRecord:
    value, received_errors = decode(raw), _errors(findings)
    if len(received_errors) > _MAX_ERRORS or len(raw) > _MAX_REPAIRED_BYTES:
        return RepairedRecord(raw, errors=tuple(received_errors))
    converter = _Converter(allowed)
    value = converter.convert(ModelField(model), value, "")
    repaired = encode(value)
    errors = unrepaired = _errors(_find(model, repaired, pulled=pulled))
    for _ in range(_MAX_ERRORS + 1):
        dropped = next((drop for error in errors if (drop := _find_droppable(model, value, error.pointer))), None)
        if dropped is None:
            break
        cause = next(error for error in errors if error.pointer.startswith(dropped.pointer))
        converter.note_dropped(dropped.pointer, f"is left out: {cause.message}")
        dropped.remove()
        repaired = encode(value)
        errors = _errors(_find(model, repaired, pulled=pulled))
    repairs = tuple(converter.repairs)
    if errors:
        return RepairedRecord(raw, repairs, _before_drops(errors, unrepaired))
    return RepairedRecord(repaired if repairs else raw, repairs)


def _find(model: type[Message], raw: bytes, *, pulled: bool) -> Sequence[Finding]:
    try:
        return downgrade_soft_limits(validate(model.from_value(decode(raw), raw, pulled=pulled)))
    except InvalidMessage as invalid:
        return invalid.findings


def _errors(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity is Severity.ERROR]


def _before_drops(errors: Sequence[Finding], unrepaired: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the errors that no repair has mended, in place of those about what was left of the record."""
    members = {_first_token(error) for error in errors}
    return tuple(error for error in unrepaired if _first_token(error) in members) or tuple(errors)


def _first_token(finding: Finding) -> str:
    return finding.pointer.partition("/")[2].partition("/")[0]


@dataclass(frozen=True, slots=True)
class _Droppable:
    """A part of a record that it can do without."""

    container: Any
    key: str | int
    pointer: str

    def remove(self) -> None:
        del self.container[self.key]


def _find_droppable(model: type[Message], record: object, pointer: str) -> _Droppable | None:
    """Return the smallest optional part of a record that a pointer leads into; None: all on the way is mandatory."""
    field_type: FieldType = ModelField(model)
    part, path, smallest = record, "", None
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        field_type, path = _without_wrapper(field_type, part), f"{path}/{token}"
        if isinstance(field_type, ModelField) and isinstance(part, dict) and name in part:
            entry = model_spec(field_type.model).by_name.get(name)
            if entry is None:
                break
            member = entry[0]
            if not (member.required or member.required_with_default):
                smallest = _Droppable(part, name, path)
            field_type, part = member.field_type, part[name]
        elif isinstance(field_type, ListField) and isinstance(part, list) and name.isdecimal():
            if len(part) > field_type.limits.minimum:
                smallest = _Droppable(part, int(name), path)
            field_type, part = field_type.item, part[int(name)]
        else:
            break
    return smallest


def _without_wrapper(field_type: FieldType, value: object) -> FieldType:
    """Return the field type of what was received, an object or the bare value of its only member."""
    if not isinstance(field_type, OptionalWrapperField):
        return field_type
    if isinstance(value, field_type.wrapper.bare_type) and isinstance(field_type.inner, ModelField):
        return model_spec(field_type.inner.model).by_name[field_type.wrapper.name][0].field_type
    return field_type.inner


@dataclass(slots=True)
class _Converter:
    """Gives values their documented form, and notes each change."""

    allowed: frozenset[str]
    repairs: list[Finding] = field(default_factory=list)

    def convert(self, field_type: FieldType, value: object, pointer: str) -> object:
        """Return a value, or the same value in its documented form."""
        collector = FindingCollector()
        field_type.read(value, pointer, collector)
        if not collector.findings:
            return value
        if isinstance(field_type, OptionalWrapperField) and isinstance(value, str):
            return self._convert_bare_text(field_type, value, pointer)
        field_type = _without_wrapper(field_type, value)
        if isinstance(field_type, ModelField) and isinstance(value, dict):
            return self._convert_members(field_type, value, pointer)
        if isinstance(field_type, ListField):
            return self._convert_list(field_type, value, pointer)
        conversion = _convert_value(field_type, value)
        return value if conversion is None else self._note(pointer, conversion[0], value, conversion[1])

    def _convert_bare_text(self, field_type: OptionalWrapperField, text: str, pointer: str) -> object:
        converted = self.convert(_without_wrapper(field_type, text), text, pointer)
        wrapped = {field_type.wrapper.name: converted}
        collector = FindingCollector()
        field_type.read(wrapped, pointer, collector)
        return converted if collector.findings else self._note(pointer, "bare-text", converted, wrapped)

    def _convert_members(self, field_type: ModelField, value: dict[str, object], pointer: str) -> dict[str, object]:
        spec = model_spec(field_type.model)
        converted = {}
        for name, member_value in value.items():
            member = spec.by_name.get(name, (None,))[0] or self._find_similar(spec.members, name, value)
            member_pointer = f"{pointer}/{escape_reference_token(name)}"
            if member is None or member_value is None:
                converted[name] = member_value
                continue
            if name not in member.names:
                text = f"'{name}' is read as '{member.name}'"
                self.repairs.append(Finding(Severity.WARNING, member_pointer, "renamed-member", text))
                name = member.name  # noqa: PLW2901  # its documented name
            converted[name] = self.convert(member.field_type, member_value, member_pointer)
        return converted

    def _find_similar(self, members: Sequence[FieldSpec], name: str, value: dict[str, object]) -> FieldSpec | None:
        """Return the member that an unknown name is meant to be: but for letter case, or a mandatory one by a typo."""
        if "renamed-member" not in self.allowed:
            return None
        absent = {
            member.name: member
            for member in members
            if all(value.get(known_name) is None for known_name in member.names)
        }
        similar = absent.get(similar_name(name, absent) or "")
        if similar is None or similar.name.casefold() == name.casefold() or similar.required:
            return similar
        return similar if similar.required_with_default else None

    def _convert_list(self, field_type: ListField, value: object, pointer: str) -> object:
        if isinstance(value, list):
            return [self.convert(field_type.item, part, f"{pointer}/{at}") for at, part in enumerate(value)]
        if field_type.limits.allow_single:
            return self.convert(field_type.item, value, pointer)
        return self._convert_element(field_type, value, pointer)

    def _convert_element(self, field_type: ListField, value: object, pointer: str) -> object:
        """Return a list of a value that stands in its place; of texts only listed values, for others may be several."""
        item = field_type.item
        is_listed = isinstance(item, OpenEnumField | CodeListField) and item.similar_value(str(value)) is not None
        if isinstance(value, str) and not is_listed:
            return value
        element = _Converter(self.allowed)
        converted = [element.convert(item, value, pointer)]
        collector = FindingCollector()
        field_type.read(converted, pointer, collector)
        if collector.fatal or "single-for-list" not in self.allowed:
            return value
        self._note(pointer, "single-for-list", value, converted)
        self.repairs += element.repairs
        return converted

    def note_dropped(self, pointer: str, text: str) -> None:
        """Note a part that is left out, in place of parts of it that were left out before: its reason is theirs."""
        inner = [repair for repair in self.repairs if repair.pointer.startswith(f"{pointer}/")]
        self.repairs = [repair for repair in self.repairs if repair not in inner]
        text = next((repair.message for repair in inner if repair.code == "member-dropped"), text)
        self.repairs.append(Finding(Severity.WARNING, pointer, "member-dropped", text))

    def _note(self, pointer: str, code: str, value: object, converted: object) -> object:
        if code not in self.allowed:
            return value
        text = f"{format_value(value)} is read as {format_value(converted)}"
        self.repairs.append(Finding(Severity.WARNING, pointer, code, text))
        return converted


def _convert_value(field_type: FieldType, value: object) -> tuple[str, object] | None:
    """Return the documented form of a value, behind the code of the repair; None: there is none."""
    if isinstance(value, bool):
        is_text = isinstance(field_type, OpenEnumField) and field_type.accept_booleans
        return ("boolean-for-text", str(value).lower()) if is_text else None
    if isinstance(value, int | Decimal):
        text = str(value) if isinstance(value, int) else f"{value.normalize():f}"
        return ("number-for-text", text) if isinstance(field_type, TextField | PatternField) else None
    return _convert_text(field_type, value) if isinstance(value, str) else None


def _convert_text(field_type: FieldType, text: str) -> tuple[str, object] | None:
    if isinstance(field_type, OpenEnumField | CodeListField):
        similar = field_type.similar_value(text)
        return None if similar is None else (MISSPELT_VALUE, similar)
    if isinstance(field_type, DecimalField | IntegerField):
        return _convert_number(text.strip())
    if isinstance(field_type, BooleanField):
        truth = {"true": True, "false": False}.get(text.strip().lower())
        return None if truth is None else ("text-for-boolean", truth)
    return _convert_form(field_type, text)


def _convert_form(field_type: FieldType, text: str) -> tuple[str, object] | None:
    """Return a text that matches the expression of its field."""
    if isinstance(field_type, IdentifierField):
        identifier_type = field_type.identifier_type
        if identifier_type(text).is_lower_case:
            return LOWER_CASE_IDENTIFIER, text.upper()
        return ("inexact-form", text.strip()) if identifier_type(text.strip()).is_exact else None
    if not isinstance(field_type, PatternField):
        return None
    code, changes = "inexact-form", _FORM_CHANGES
    if isinstance(field_type, GoogleCoordinatesField | DegreesField):
        code, changes = "too-many-decimals", (_round_decimals,)
    forms = (form for change in changes if re.fullmatch(field_type.pattern, form := change(text.strip()), re.ASCII))
    form = next(forms, text)
    return None if form == text else ("inexact-form" if form == text.strip() else code, form)


def _round_decimals(text: str) -> str:
    return re.sub(r"[0-9]+\.[0-9]{7,30}", lambda match: to_degrees(Decimal(match[0])), text)


def _without_separators(text: str) -> str:
    # "+41 (0)44 …": the zero is dialled within the country only.
    text = text.replace("(0)", "") if text.startswith(("+", "00")) else text
    return _SEPARATORS.sub("", text)


#: Other forms of a text, such as a phone number with blanks, tried in this order.
_FORM_CHANGES: tuple[Callable[[str], str], ...] = (
    str,
    str.lower,
    _without_separators,
    lambda text: f"+{_without_separators(text).removeprefix('00')}" if text.startswith("00") else text,
    lambda text: f"{text.removesuffix(':00') if text.count(':') > 1 else text:0>5}",  # 6:00 and 06:00:00 are 06:00
)


def _convert_number(text: str) -> tuple[str, object] | None:
    if not re.fullmatch(r"-?[0-9]{1,18}(\.[0-9]{1,18})?", text, re.ASCII):
        return None
    number = Decimal(text)
    return "text-for-number", int(number) if number == number.to_integral_value() else number
