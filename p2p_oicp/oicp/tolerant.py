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

from p2p_oicp.oicp.findings import escape
from p2p_oicp.oicp.identifiers import Identifier
from p2p_oicp.oicp.kinds import UNREADABLE, Flag, Kind, Notes, shown, texts_of
from p2p_oicp.oicp.members import AlsoRead, ListOf, Member, Owed, Several, Unwrapping, Wrapped

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class IdentifierOf(Kind):
    """The tolerant reader of an identifier: any text is held, and a finding says if it is none."""

    type: type[Identifier]

    @override
    def read(self, value: object, at: str, notes: Notes) -> object:
        if not isinstance(value, str):
            return notes.wrong_type(value, at, "a string")
        identifier = self.type(value)
        if not identifier.is_exact:
            wanted = f"{self.type.__name__} is written like '{self.type.example}'"
            if identifier.is_valid:
                notes.warn(at, "inexact-identifier", f"{shown(value)} is read, but {wanted}")
            else:
                notes.error(at, "malformed-identifier", f"{shown(value)} cannot be read: {wanted}")
        return identifier


@dataclass(frozen=True)
class ChoiceOf(Kind):
    """The tolerant reader of a closed enumeration: without one of its values there is no message."""

    options: type[StrEnum]

    @override
    def read(self, value: object, at: str, notes: Notes) -> object:
        if not isinstance(value, str):
            return notes.wrong_type(value, at, "a string")
        if value in texts_of(self.options):
            return self.options(value)
        listed = ", ".join(f"'{option}'" for option in self.options)
        return notes.unreadable(at, "unknown-value", f"{shown(value)} is none of {listed}")


def faultless(model: type[Model], value: object) -> Model | None:
    """Return a model of a value that is just what the documents want; None if it is not."""
    try:
        found: Model = model.__pydantic_validator__.validate_python(value, by_alias=True, by_name=False)
    except ValidationError:
        # It shows received values, secrets among them, so it goes no further than this.
        return None
    return found


@dataclass(frozen=True)
class RecordOf(Kind):
    """The tolerant reader of an object of a certain model; a faultless one inside a message costs no Python."""

    model: type[BaseModel]

    @override
    def read(self, value: object, at: str, notes: Notes) -> object:
        found = faultless(self.model, value)
        return self.read_members(value, at, notes) if found is None else found

    def read_members(self, value: object, at: str, notes: Notes) -> object:
        """Read an object that is not faultless, member by member."""
        if not isinstance(value, dict):
            return notes.wrong_type(value, at, "an object")
        plan = plan_of(self.model)
        values = dict(plan.defaults)
        tokens: dict[str, str] = {}
        extra: dict[str, object] = {}
        for name, found in value.items():
            known = plan.by_name.get(name)
            if known is None:
                extra[name] = found
                continue
            member, token = known
            if found is not None and member.is_told_by(name, value, at, notes):
                tokens[member.attribute] = token
                read = member.kind.read(found, at + token, notes)
                values[member.attribute] = member.fallback if read is UNREADABLE else read
        for member in plan.mandatory:
            if member.attribute not in tokens:
                member.note_absence(value, at, notes)
        if any(values[attribute] is UNREADABLE for attribute in plan.required):
            return UNREADABLE
        return _hold(self.model, values, tokens, extra)


def _hold(model: type[BaseModel], values: dict[str, Any], tokens: dict[str, str], extra: dict[str, Any]) -> BaseModel:
    """Return a model with these values, unchecked: ``model_construct`` would look unknown members up as attributes."""
    held = model.__new__(model)
    object.__setattr__(held, "__dict__", values)
    object.__setattr__(held, "_tokens", tokens)
    object.__setattr__(held, "__pydantic_fields_set__", set(tokens))
    object.__setattr__(held, "__pydantic_extra__", extra)
    object.__setattr__(held, "__pydantic_private__", None)
    return held


@dataclass(frozen=True)
class Plan:
    """How a model is read tolerantly."""

    members: tuple[Member, ...]
    mandatory: tuple[Member, ...]
    #: Attributes without which there is no message.
    required: tuple[str, ...]
    #: All names under which a member may stand, with the token of each in a JSON pointer.
    by_name: Mapping[str, tuple[Member, str]]
    #: The token of each attribute in a JSON pointer, as the documents spell it.
    tokens: Mapping[str, str]
    #: What stands for members that are absent.
    defaults: Mapping[str, object]


@cache
def plan_of(model: type[BaseModel]) -> Plan:
    """Return how a model is read tolerantly."""
    members = tuple(_member(attribute, info) for attribute, info in model.model_fields.items())
    return Plan(
        members,
        tuple(member for member in members if member.required or member.owed),
        tuple(member.attribute for member in members if member.required),
        {name: (member, f"/{escape(name)}") for member in members for name in member.names},
        {member.attribute: f"/{escape(member.name)}" for member in members},
        {member.attribute: member.fallback for member in members},
    )


def _member(attribute: str, info: FieldInfo) -> Member:
    marks: Any = tuple(info.metadata)
    annotation = Annotated[info.annotation, *marks] if marks else info.annotation
    owed = next((mark for mark in marks if isinstance(mark, Owed)), None)
    return Member(
        attribute=attribute,
        name=info.alias or attribute,
        also=next((mark for mark in marks if isinstance(mark, AlsoRead)), None),
        kind=kind_of(annotation),
        owed=owed is not None,
        required=info.is_required() and owed is None,
        default=owed.absent if owed else info.default,
    )


def _is_list(annotation: object) -> bool:
    return get_origin(annotation) is tuple


def kind_of(annotation: Any) -> Kind:  # noqa: ANN401
    """Return how a value of this annotation is read tolerantly."""
    marks: tuple[object, ...] = ()
    while get_origin(annotation) in {Annotated, Union, types.UnionType}:
        if get_origin(annotation) is Annotated:
            annotation, *found = get_args(annotation)
            marks = (*found, *marks)
        else:
            annotation = next(part for part in get_args(annotation) if part is not type(None))
    kind = next((mark for mark in marks if isinstance(mark, Kind)), None) or _kind_of_type(annotation, marks)
    wrapped = next((mark for mark in marks if isinstance(mark, Wrapped)), None)
    return Unwrapping(kind, wrapped) if wrapped else kind


def _kind_of_type(annotation: Any, marks: tuple[object, ...]) -> Kind:  # noqa: ANN401
    if _is_list(annotation):
        limits = next((mark for mark in marks if isinstance(mark, Several)), Several())
        return ListOf(kind_of(get_args(annotation)[0]), limits)
    if annotation is bool:
        return Flag()
    if issubclass(annotation, Identifier):
        return IdentifierOf(annotation)
    if issubclass(annotation, StrEnum):
        return ChoiceOf(annotation)
    return RecordOf(annotation)
