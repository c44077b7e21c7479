"""Likenesses: what roles need of a faultless record, at less than half the cost of its model.

A push of 10,000 charging spots is read for a few columns, and its bytes are kept as they came. So a record is first
held against a form that msgspec checks while it decodes, compiled from the same annotations as the model. A likeness
has the model's attributes: texts, flags, lists and parts as the model has them, identifiers where they are asked for
(others are texts), ``Held`` for all else. What does not fit may be faultless all the same, in a form that is rare:
having no likeness says nothing, and the model is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache, singledispatch
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias, cast

import msgspec
from msgspec import Meta

from p2p_oicp.oicp.base import Message
from p2p_oicp.oicp.evse import EvseDataRecord, EvseStatusRecord, PullEvseDataRecord
from p2p_oicp.oicp.identifiers import Identifier
from p2p_oicp.oicp.iso import ListedCode
from p2p_oicp.oicp.kinds import Flag, Kind, Matching, Notes, OneOf, Text
from p2p_oicp.oicp.members import ListOf, Member, Unwrapping
from p2p_oicp.oicp.quantities import Number, Whole
from p2p_oicp.oicp.tolerant import IdentifierOf, RecordOf, plan_of

#: Members whose identifiers are asked for what they mean; all others are held as texts.
_ASKED_FOR = frozenset({"evse_id", "operator_id"})
# A type as msgspec understands it.
_Form: TypeAlias = Any


class Likeness(msgspec.Struct, gc=False):
    """Base of all likenesses; ``model`` is what they are like."""

    model: ClassVar[type[Message]]

    def token(self, attribute: str) -> str:
        """Stand in for a message's: what is reported of a likeness is looked at again in the model."""
        return f"/{attribute}"

    if TYPE_CHECKING:  # the attributes of the model

        def __getattr__(self, name: str) -> Any: ...  # noqa: ANN401


#: A record as it was read, or what it is like.
Readable: TypeAlias = Message | Likeness


class Held:
    """A value that is just what the documents want, and that nobody asks a likeness for."""

    __slots__ = ()
    kind: ClassVar[Kind]

    def __init__(self, value: object) -> None:
        notes = Notes()
        self.kind.read(value, "", notes)
        if notes.findings:
            raise ValueError(notes.findings[0].message)


def _names(model: type[Message]) -> frozenset[str]:
    return frozenset(name for member in plan_of(model).members for name in member.names)


#: Models that have likenesses, and names that none of their likenesses has: a pushed spot with those of a pulled one.
_ALIKE: Mapping[type[Message], frozenset[str]] = MappingProxyType(
    {
        EvseDataRecord: _names(PullEvseDataRecord) - _names(EvseDataRecord),
        PullEvseDataRecord: frozenset(),
        EvseStatusRecord: frozenset(),
    }
)


@cache
def likeness_of(model: type[Message]) -> Callable[[bytes], Likeness | None]:
    """Return what makes a likeness of a record's bytes; None: ask the model."""
    if model not in _ALIKE:
        return _nothing
    decode = msgspec.json.Decoder(_struct(model, _ALIKE[model]), dec_hook=_held, float_hook=Decimal).decode

    def look(raw: bytes) -> Likeness | None:
        try:
            return decode(raw)
        except (msgspec.MsgspecError, RecursionError, ValueError):
            return None

    return look


def _nothing(_raw: bytes) -> None:
    return None


def _held(form: type, value: object) -> object:
    """Return a value in a form of our own (msgspec's ``dec_hook``); raises ValueError."""
    held = form(value)
    if isinstance(held, Identifier) and not (isinstance(value, str) and held.is_exact):
        raise ValueError("not just as the documents write it")
    return held


@cache
def _struct(model: type[Message], refused: frozenset[str] = frozenset()) -> type[Likeness]:
    members = plan_of(model).members
    others = refused.union(*(member.names[1:] for member in members))
    # Other spellings are the model's business; null is the same as absent.
    refusing = {f"refused_{place}": name for place, name in enumerate(sorted(others))}
    fields = [_field(member) for member in members] + [(attribute, None, None) for attribute in refusing]
    names = {member.attribute: member.name for member in members} | refusing
    made = msgspec.defstruct(
        f"{model.__name__}Likeness",
        fields,
        bases=(Likeness,),
        namespace={"model": model},
        rename=names,
        kw_only=True,
        gc=False,
    )
    return cast("type[Likeness]", made)


def _field(member: Member) -> tuple[str, _Form] | tuple[str, _Form, object]:
    kind = member.kind
    form = kind.type if isinstance(kind, IdentifierOf) and member.attribute in _ASKED_FOR else _form(kind)
    return (member.attribute, form) if member.required or member.owed else (member.attribute, form | None, None)


@singledispatch
def _form(kind: Kind) -> _Form:
    """Return the form of a kind: of all that is not said below, what the tolerant reader finds nothing wrong with."""
    return _tolerant(kind)


def _tolerant(kind: Kind) -> _Form:
    return type("Held", (Held,), {"kind": kind, "__slots__": ()})


def _matching(pattern: str) -> _Form:
    return Annotated[str, Meta(pattern=rf"(?a)\A(?:{pattern})\Z")]


@_form.register
def _(kind: Text) -> _Form:
    return Annotated[str, Meta(min_length=kind.minimum, max_length=kind.maximum)]


@_form.register
def _(kind: Matching) -> _Form:
    return _matching(kind.pattern)


@_form.register
def _(kind: OneOf) -> _Form:
    return Literal[(*map(str, kind.options), *kind.also_read)]


@_form.register
def _(kind: ListedCode) -> _Form:
    return Literal[tuple(sorted(kind.listed))]


@_form.register
def _(_kind: Flag) -> _Form:
    return bool


@_form.register
def _(kind: Whole) -> _Form:
    return Annotated[int, Meta(ge=kind.minimum, le=kind.maximum if kind.usual is None else kind.usual)]


@_form.register
def _(kind: IdentifierOf) -> _Form:
    return _matching(kind.type.pattern)


@_form.register
def _(kind: Number) -> _Form:
    # Whole powers are what nearly all write.
    return Annotated[int, Meta(ge=kind.minimum, le=int(kind.usual))] if kind.whole and kind.usual else _tolerant(kind)


@_form.register
def _(kind: RecordOf) -> _Form:
    return _struct(kind.model)


@_form.register
def _(kind: Unwrapping) -> _Form:
    return _form(kind.inner)


@_form.register
def _(kind: ListOf) -> _Form:
    limits = kind.limits
    elements: Any = tuple.__class_getitem__((_form(kind.item), ...))
    return Annotated[elements, Meta(min_length=limits.minimum, max_length=limits.maximum)]
