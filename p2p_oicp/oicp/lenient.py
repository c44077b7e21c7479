"""The tolerant reader: one JSON value in, a message and everything that is wrong with it out.

It is compiled from the same annotations that pydantic's core uses: ``plan_of(model)`` lists the members of a message,
and ``kind_of(annotation)`` says how each is read.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from typing_extensions import override

from p2p_oicp.oicp.field_specs import (
    Aliases,
    FieldSpec,
    ListField,
    ListLimits,
    OptionalWrapper,
    OptionalWrapperField,
    RequiredWithDefault,
)
from p2p_oicp.oicp.field_types import UNPARSABLE, BooleanField, FieldType, FindingCollector, enum_values, format_value
from p2p_oicp.oicp.findings import escape_reference_token
from p2p_oicp.oicp.identifiers import Identifier

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class IdentifierField(FieldType):
    """The tolerant reader of an identifier: any text is held, and a finding says if it is none."""

    identifier_type: type[Identifier]

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        if not isinstance(value, str):
            return collector.wrong_type(value, pointer, "a string")
        identifier = self.identifier_type(value)
        if not identifier.is_exact:
            expected = f"{self.identifier_type.__name__} is written like '{self.identifier_type.example}'"
            if identifier.is_valid:
                collector.warn(pointer, "inexact-identifier", f"{format_value(value)} is read, but {expected}")
            else:
                collector.error(pointer, "malformed-identifier", f"{format_value(value)} cannot be read: {expected}")
        return identifier


@dataclass(frozen=True)
class ClosedEnumField(FieldType):
    """The tolerant reader of a closed enumeration: without one of its values there is no message."""

    options: type[StrEnum]

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        if not isinstance(value, str):
            return collector.wrong_type(value, pointer, "a string")
        if value in enum_values(self.options):
            return self.options(value)
        allowed = ", ".join(f"'{option}'" for option in self.options)
        return collector.unparsable(pointer, "unknown-value", f"{format_value(value)} is none of {allowed}")


def parse_strict(model: type[Model], value: object) -> Model | None:
    """Return a model of a value that is just what the documents want; None if it is not."""
    try:
        instance: Model = model.__pydantic_validator__.validate_python(value, by_alias=True, by_name=False)
    except ValidationError:
        # It shows received values, secrets among them, so it goes no further than this.
        return None
    return instance


@dataclass(frozen=True)
class ModelField(FieldType):
    """The tolerant reader of an object of a certain model; a faultless one inside a message costs no Python."""

    model: type[BaseModel]

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        instance = parse_strict(self.model, value)
        return self.read_members(value, pointer, collector) if instance is None else instance

    def read_members(self, value: object, pointer: str, collector: FindingCollector) -> object:
        """Read an object that is not faultless, member by member."""
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
                reference_tokens[member.attribute] = reference_token
                parsed = member.field_type.read(member_value, pointer + reference_token, collector)
                values[member.attribute] = member.fallback if parsed is UNPARSABLE else parsed
        for member in spec.mandatory:
            if member.attribute not in reference_tokens:
                member.report_missing(value, pointer, collector)
        if any(values[attribute] is UNPARSABLE for attribute in spec.required_attributes):
            return UNPARSABLE
        return _construct(self.model, values, reference_tokens, extra)


def _construct(
    model: type[BaseModel], values: dict[str, Any], reference_tokens: dict[str, str], extra: dict[str, Any]
) -> BaseModel:
    """Return a model with these values, unchecked: ``model_construct`` would look unknown members up as attributes."""
    instance = model.__new__(model)
    object.__setattr__(instance, "__dict__", values)
    object.__setattr__(instance, "_tokens", reference_tokens)
    object.__setattr__(instance, "__pydantic_fields_set__", set(reference_tokens))
    object.__setattr__(instance, "__pydantic_extra__", extra)
    object.__setattr__(instance, "__pydantic_private__", None)
    return instance


@dataclass(frozen=True)
class ModelSpec:
    """How a model is read tolerantly."""

    members: tuple[FieldSpec, ...]
    mandatory: tuple[FieldSpec, ...]
    #: Attributes without which there is no message.
    required_attributes: tuple[str, ...]
    #: All names under which a member may stand, with the token of each in a JSON pointer.
    by_name: Mapping[str, tuple[FieldSpec, str]]
    #: The token of each attribute in a JSON pointer, as the documents spell it.
    reference_tokens: Mapping[str, str]
    #: What stands for members that are absent.
    defaults: Mapping[str, object]


@cache
def model_spec(model: type[BaseModel]) -> ModelSpec:
    """Return how a model is read tolerantly."""
    members = tuple(_field_spec(attribute, info) for attribute, info in model.model_fields.items())
    return ModelSpec(
        members,
        tuple(member for member in members if member.required or member.required_with_default),
        tuple(member.attribute for member in members if member.required),
        {name: (member, f"/{escape_reference_token(name)}") for member in members for name in member.names},
        {member.attribute: f"/{escape_reference_token(member.name)}" for member in members},
        {member.attribute: member.fallback for member in members},
    )


def _field_spec(attribute: str, info: FieldInfo) -> FieldSpec:
    metadata: Any = tuple(info.metadata)
    annotation = Annotated[info.annotation, *metadata] if metadata else info.annotation
    required_with_default = next((mark for mark in metadata if isinstance(mark, RequiredWithDefault)), None)
    return FieldSpec(
        attribute=attribute,
        name=info.alias or attribute,
        aliases=next((mark for mark in metadata if isinstance(mark, Aliases)), None),
        field_type=field_type_of(annotation),
        required_with_default=required_with_default is not None,
        required=info.is_required() and required_with_default is None,
        default=required_with_default.default if required_with_default else info.default,
    )


def _is_list(annotation: object) -> bool:
    return get_origin(annotation) is tuple


def field_type_of(annotation: Any) -> FieldType:  # noqa: ANN401
    """Return how a value of this annotation is read tolerantly."""
    metadata: tuple[object, ...] = ()
    while get_origin(annotation) in {Annotated, Union, types.UnionType}:
        if get_origin(annotation) is Annotated:
            annotation, *outer_metadata = get_args(annotation)
            metadata = (*outer_metadata, *metadata)
        else:
            annotation = next(argument for argument in get_args(annotation) if argument is not type(None))
    field_type = next((mark for mark in metadata if isinstance(mark, FieldType)), None) or _default_field_type(
        annotation, metadata
    )
    wrapper = next((mark for mark in metadata if isinstance(mark, OptionalWrapper)), None)
    return OptionalWrapperField(field_type, wrapper) if wrapper else field_type


def _default_field_type(annotation: Any, metadata: tuple[object, ...]) -> FieldType:  # noqa: ANN401
    if _is_list(annotation):
        limits = next((mark for mark in metadata if isinstance(mark, ListLimits)), ListLimits())
        return ListField(field_type_of(get_args(annotation)[0]), limits)
    if annotation is bool:
        return BooleanField()
    if issubclass(annotation, Identifier):
        return IdentifierField(annotation)
    if issubclass(annotation, StrEnum):
        return ClosedEnumField(annotation)
    return ModelField(annotation)
