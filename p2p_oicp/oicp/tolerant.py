"""The tolerant reader: one JSON value in, a message and everything that is wrong with it out.

It is compiled from the same annotations that pydantic's core uses: ``plan_of(model)`` lists the members of a message,
and ``kind_of(annotation)`` says how each is read.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typing_extensions import override

from p2p_oicp.oicp.findings import escape
from p2p_oicp.oicp.identifiers import Identifier
from p2p_oicp.oicp.kinds import UNREADABLE, Flag, Kind, Notes, shown, texts_of
from p2p_oicp.oicp.members import AlsoRead, ListOf, Member, Owed, Several, Unwrapping, Wrapped


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
                notes.warn(at, "inexact-identifier", f"{shown(value)} is read, but a {wanted}")
            else:
                notes.error(at, "malformed-identifier", f"{shown(value)} cannot be read: a {wanted}")
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


@dataclass(frozen=True)
class RecordOf(Kind):
    """The tolerant reader of an object of a certain model."""

    model: type[BaseModel]

    @override
    def read(self, value: object, at: str, notes: Notes) -> object:
        if not isinstance(value, dict):
            return notes.wrong_type(value, at, "an object")
        plan = plan_of(self.model)
        values: dict[str, object] = {}
        tokens: dict[str, str] = {}
        for member in plan.members:
            name = member.spelling(value, at, notes)
            if name is None:
                found = member.absent(value, at, notes)
            else:
                found = member.kind.read(value[name], f"{at}/{escape(name)}", notes)
                tokens[member.attribute] = f"/{escape(name)}"
            if found is UNREADABLE and not member.required:
                found = member.default
            values[member.attribute] = found
        if any(found is UNREADABLE for found in values.values()):
            return UNREADABLE
        extra = {name: found for name, found in value.items() if name not in plan.names}
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
    """The members of a model, and all names under which one of them may be found."""

    members: tuple[Member, ...]
    names: frozenset[str]


@cache
def plan_of(model: type[BaseModel]) -> Plan:
    """Return how a model is read tolerantly."""
    members = tuple(_member(attribute, info) for attribute, info in model.model_fields.items())
    names = frozenset(name for member in members for name in member.names)
    return Plan(members, names)


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
