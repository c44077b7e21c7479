"""The lenient parser: a JSON value that failed the strict form in, a message and its findings out.

It is compiled from the annotations that pydantic's core uses as well: ``model_spec(model)`` lists the members of a
message, ``field_type_of(annotation)`` returns the field type of each.
"""

from __future__ import annotations

import types
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import islice
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from typing_extensions import override

from p2p_oicp.oicp.field_specs import (
    MAX_COMPARED_NAMES,
    Aliases,
    FieldSpec,
    ListField,
    ListLimits,
    OptionalWrapper,
    OptionalWrapperField,
    RequiredWithDefault,
    similar_name,
    similar_optional_name,
)
from p2p_oicp.oicp.field_types import (
    UNPARSABLE,
    BooleanField,
    FieldType,
    FindingCollector,
    enum_values,
    format_value,
    unlisted_value_reason,
)
from p2p_oicp.oicp.findings import LOWER_CASE_IDENTIFIER, SIMILAR_NAME, escape_reference_token
from p2p_oicp.oicp.identifier_problems import find_problem, name_of
from p2p_oicp.oicp.identifiers import Identifier

Model = TypeVar("Model", bound=BaseModel)
Marker = TypeVar("Marker")


@dataclass(frozen=True)
class IdentifierField(FieldType):
    """The lenient form of an identifier: any text is kept, and a malformed one is reported (RULES I13)."""

    identifier_type: type[Identifier]

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        if not isinstance(value, str):
            return collector.wrong_type(value, pointer, "a string")
        identifier = self.identifier_type(value)
        if identifier.is_exact:
            return identifier
        expected = f"{name_of(self.identifier_type)} is written like '{self.identifier_type.example}'"
        if identifier.is_lower_case:
            text = f"{format_value(value)} is read, but is written in upper case: '{value.upper()}'"
            collector.warn(pointer, LOWER_CASE_IDENTIFIER, text)
        elif identifier.is_valid:
            collector.warn(pointer, "inexact-identifier", f"{format_value(value)} is read, but {expected}")
        else:
            text = f"{format_value(value)} {find_problem(identifier) or 'cannot be read'}; {expected}"
            collector.error(pointer, "malformed-identifier", text)
        return identifier


@dataclass(frozen=True)
class ClosedEnumField(FieldType):
    """The lenient form of a closed enumeration: without one of its values there is no message (RULES T5)."""

    options: type[StrEnum]

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        if not isinstance(value, str):
            return collector.wrong_type(value, pointer, "a string")
        if value in enum_values(self.options):
            return self.options(value)
        return collector.unparsable(pointer, "unknown-value", unlisted_value_reason(value, self.options))


def parse_strict(model: type[Model], value: object) -> Model | None:
    """Return a model of a value in the strict form; None if it deviates from it."""
    try:
        # The validator itself: model_validate() adds a Python frame to each message and record.
        instance: Model = model.__pydantic_validator__.validate_python(value, by_alias=True, by_name=False)
    except ValidationError:
        # Its text quotes received values, PINs among them; it must not reach a log or an answer.
        return None
    return instance


@dataclass(frozen=True)
class ModelField(FieldType):
    """The lenient form of an object of a model."""

    model: type[BaseModel]

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        # One bad member of a message does not send its other objects through Python.
        instance = parse_strict(self.model, value)
        return self.read_members(value, pointer, collector) if instance is None else instance

    def read_members(self, value: object, pointer: str, collector: FindingCollector) -> object:
        """Parse an object that failed the strict form, member by member."""
        if not isinstance(value, dict):
            return collector.wrong_type(value, pointer, "an object")
        spec = model_spec(self.model)
        values = dict(spec.defaults)
        reference_tokens: dict[str, str] = {}
        extra: dict[str, object] = {}
        for name, member_value in value.items():
            entry = spec.by_name.get(name)
            if entry is None:
                extra[name] = member_value
                continue
            member, reference_token = entry
            if member_value is not None and member.accepts_name(name, value, pointer, collector):
                # The pointers of the rules' findings will have the name under which the member was received.
                reference_tokens[member.attribute] = reference_token
                parsed = member.field_type.read(member_value, pointer + reference_token, collector)
                values[member.attribute] = member.fallback if parsed is UNPARSABLE else parsed
        self._report_absent(value, reference_tokens, extra, pointer, collector)
        if any(values[attribute] is UNPARSABLE for attribute in spec.required_attributes):
            return UNPARSABLE
        return _construct(self.model, values, reference_tokens, extra)

    def _report_absent(
        self,
        value: Mapping[str, object],
        present: Collection[str],
        unknown: Iterable[str],
        pointer: str,
        collector: FindingCollector,
    ) -> None:
        """Report mandatory members that are absent, and unknown ones that may be meant to be absent ones (L13)."""
        absent = [member for member in model_spec(self.model).members if member.attribute not in present]
        names = list(islice(unknown, MAX_COMPARED_NAMES))
        for member in absent:
            if member.required or member.required_with_default:
                similar = similar_name(member.name, names)
                member.report_missing(value, pointer, collector, similar)
                names = [name for name in names if name != similar]
        for name in names:
            similar = similar_optional_name(name, [member.name for member in absent])
            # A member of other messages is no misspelling of one of this message.
            if similar and (similar.casefold() == name.casefold() or name not in names_in_use(self.model)):
                text = f"there is '{name}', which is not read: did you mean '{similar}'?"
                collector.warn(f"{pointer}/{escape_reference_token(name)}", SIMILAR_NAME, text)


def _construct(
    model: type[BaseModel], values: dict[str, Any], reference_tokens: dict[str, str], extra: dict[str, Any]
) -> BaseModel:
    """Return a model with these values, without validation."""
    # Not model_construct: it looks up each unknown member as an attribute of the model.
    instance = model.__new__(model)
    object.__setattr__(instance, "__dict__", values)
    object.__setattr__(instance, "_tokens", reference_tokens)
    object.__setattr__(instance, "__pydantic_fields_set__", set(reference_tokens))
    object.__setattr__(instance, "__pydantic_extra__", extra)
    object.__setattr__(instance, "__pydantic_private__", None)
    return instance


def names_in_use(model: type[BaseModel]) -> frozenset[str]:
    """Return the names of the members of all messages of its protocol, given one of them."""
    return _names_below(next(base for base in model.__mro__ if _is_root(base)))


def _is_root(model: type) -> bool:
    """Whether all messages of one protocol derive from the model: the same names mean other things in another one."""
    return "protocol" in vars(model)


@cache
def _names_below(base: type[BaseModel]) -> frozenset[str]:
    own_names = (info.alias or attribute for attribute, info in base.model_fields.items())
    return frozenset(own_names).union(*(_names_below(model) for model in base.__subclasses__() if not _is_root(model)))


@dataclass(frozen=True)
class ModelSpec:
    """The members of a model, indexed for the lenient parser."""

    members: tuple[FieldSpec, ...]
    #: Attributes without which there is no message.
    required_attributes: tuple[str, ...]
    #: All wire names of all members, each with its reference token.
    by_name: Mapping[str, tuple[FieldSpec, str]]
    #: The reference token of each attribute, in the preferred spelling.
    reference_tokens: Mapping[str, str]
    #: The values of absent members.
    defaults: Mapping[str, object]


@cache
def model_spec(model: type[BaseModel]) -> ModelSpec:
    """Return the members of a model, compiled once from its annotations."""
    members = tuple(_field_spec(attribute, info) for attribute, info in model.model_fields.items())
    return ModelSpec(
        members,
        tuple(member.attribute for member in members if member.required),
        {name: (member, f"/{escape_reference_token(name)}") for member in members for name in member.names},
        {member.attribute: f"/{escape_reference_token(member.name)}" for member in members},
        {member.attribute: member.fallback for member in members},
    )


def _field_spec(attribute: str, info: FieldInfo) -> FieldSpec:
    metadata: Any = tuple(info.metadata)
    annotation = Annotated[info.annotation, *metadata] if metadata else info.annotation
    required_with_default = _first(RequiredWithDefault, metadata)
    return FieldSpec(
        attribute=attribute,
        name=info.alias or attribute,
        aliases=_first(Aliases, metadata),
        field_type=field_type_of(annotation),
        required_with_default=required_with_default is not None,
        required=info.is_required() and required_with_default is None,
        default=required_with_default.default if required_with_default else info.default,
    )


def field_type_of(annotation: Any) -> FieldType:  # noqa: ANN401
    """Return the field type of an annotation; unions other than with None are not supported."""
    metadata: tuple[object, ...] = ()
    # Annotated and "| None" may be nested in any order; inner metadata is put first, so that it wins over outer.
    while get_origin(annotation) in {Annotated, Union, types.UnionType}:
        if get_origin(annotation) is Annotated:
            annotation, *outer_metadata = get_args(annotation)
            metadata = (*outer_metadata, *metadata)
        else:
            annotation = next(argument for argument in get_args(annotation) if argument is not type(None))
    field_type = _first(FieldType, metadata) or _default_field_type(annotation, metadata)
    wrapper = _first(OptionalWrapper, metadata)
    return OptionalWrapperField(field_type, wrapper) if wrapper else field_type


def _first(marker_type: type[Marker], metadata: Iterable[object]) -> Marker | None:
    return next((marker for marker in metadata if isinstance(marker, marker_type)), None)


def _default_field_type(annotation: Any, metadata: tuple[object, ...]) -> FieldType:  # noqa: ANN401
    if get_origin(annotation) is tuple:
        return ListField(field_type_of(get_args(annotation)[0]), _first(ListLimits, metadata) or ListLimits())
    if annotation is bool:
        return BooleanField()
    if issubclass(annotation, Identifier):
        return IdentifierField(annotation)
    if issubclass(annotation, StrEnum):
        return ClosedEnumField(annotation)
    return ModelField(annotation)
