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

from p2p_oicp.oicp.evse import EvseDataRecord, EvseStatusRecord, PullEvseDataRecord
from p2p_oicp.oicp.field_specs import FieldSpec, ListField, OptionalWrapperField
from p2p_oicp.oicp.field_types import (
    BooleanField,
    CodeListField,
    FieldType,
    FindingCollector,
    OpenEnumField,
    PatternField,
    TextField,
)
from p2p_oicp.oicp.identifiers import Identifier
from p2p_oicp.oicp.lenient import IdentifierField, ModelField, model_spec
from p2p_oicp.oicp.message import Message
from p2p_oicp.oicp.numbers import DecimalField, IntegerField

#: Members whose identifiers are asked for what they mean; all others are held as texts.
_PARSED_IDENTIFIERS = frozenset({"evse_id", "operator_id"})
# A type as msgspec understands it.
_MsgspecType: TypeAlias = Any


class RecordView(msgspec.Struct, gc=False):
    """Base of all likenesses; ``model`` is what they are like."""

    model: ClassVar[type[Message]]

    def reference_token(self, attribute: str) -> str:
        """Stand in for a message's: what is reported of a likeness is looked at again in the model."""
        return f"/{attribute}"

    if TYPE_CHECKING:  # the attributes of the model

        def __getattr__(self, name: str) -> Any: ...  # noqa: ANN401


#: A record as it was read, or what it is like.
AnyRecord: TypeAlias = Message | RecordView


class OpaqueValue:
    """A value that is just what the documents want, and that nobody asks a likeness for."""

    __slots__ = ()
    field_type: ClassVar[FieldType]

    def __init__(self, value: object) -> None:
        if isinstance(self.field_type, DecimalField) and self.field_type.fits_fast_path(value):
            return
        collector = FindingCollector()
        self.field_type.read(value, "", collector)
        if collector.findings:
            raise ValueError(collector.findings[0].message)


def _member_names(model: type[Message]) -> frozenset[str]:
    return frozenset(name for member in model_spec(model).members for name in member.names)


#: Models that have likenesses, and names that none of their likenesses has: a pushed spot with those of a pulled one.
_EXCLUDED_NAMES: Mapping[type[Message], frozenset[str]] = MappingProxyType(
    {
        EvseDataRecord: _member_names(PullEvseDataRecord) - _member_names(EvseDataRecord),
        PullEvseDataRecord: frozenset(),
        EvseStatusRecord: frozenset(),
    }
)


@cache
def record_view_decoder(model: type[Message]) -> Callable[[bytes], RecordView | None]:
    """Return what makes a likeness of a record's bytes; None: ask the model."""
    if model not in _EXCLUDED_NAMES:
        return _no_view
    decode = msgspec.json.Decoder(
        _view_struct(model, _EXCLUDED_NAMES[model]), dec_hook=_decode_custom_type, float_hook=Decimal
    ).decode

    def try_decode(raw: bytes) -> RecordView | None:
        try:
            return decode(raw)
        except (msgspec.MsgspecError, RecursionError, ValueError):
            return None

    return try_decode


def _no_view(_raw: bytes) -> None:
    return None


def _decode_custom_type(target_type: type, value: object) -> object:
    """Return a value in a form of our own (msgspec's ``dec_hook``); raises ValueError."""
    instance = target_type(value)
    if isinstance(instance, Identifier) and not (isinstance(value, str) and instance.is_exact):
        raise ValueError("not just as the documents write it")
    return instance


@cache
def _view_struct(model: type[Message], excluded: frozenset[str] = frozenset()) -> type[RecordView]:
    members = model_spec(model).members
    excluded_names = excluded.union(*(member.names[1:] for member in members))
    # Other spellings are the model's business; null is the same as absent.
    excluded_attributes = {f"excluded_{index}": name for index, name in enumerate(sorted(excluded_names))}
    fields = [_struct_field(member) for member in members] + [
        (attribute, None, None) for attribute in excluded_attributes
    ]
    names = {member.attribute: member.name for member in members} | excluded_attributes
    struct = msgspec.defstruct(
        f"{model.__name__}View",
        fields,
        bases=(RecordView,),
        namespace={"model": model},
        rename=names,
        kw_only=True,
        gc=False,
    )
    return cast("type[RecordView]", struct)


def _struct_field(member: FieldSpec) -> tuple[str, _MsgspecType] | tuple[str, _MsgspecType, object]:
    field_type = member.field_type
    msgspec_type = (
        field_type.identifier_type
        if isinstance(field_type, IdentifierField) and member.attribute in _PARSED_IDENTIFIERS
        else _msgspec_type(field_type)
    )
    return (
        (member.attribute, msgspec_type)
        if member.required or member.required_with_default
        else (member.attribute, msgspec_type | None, None)
    )


@singledispatch
def _msgspec_type(field_type: FieldType) -> _MsgspecType:
    """Return the form of a kind: of all that is not said below, what the tolerant reader finds nothing wrong with."""
    return _opaque_type(field_type)


def _opaque_type(field_type: FieldType) -> _MsgspecType:
    return type("OpaqueValue", (OpaqueValue,), {"field_type": field_type, "__slots__": ()})


def _pattern_type(pattern: str) -> _MsgspecType:
    return Annotated[str, Meta(pattern=rf"(?a)\A(?:{pattern})\Z")]


@_msgspec_type.register
def _(kind: TextField) -> _MsgspecType:
    return Annotated[str, Meta(min_length=kind.minimum, max_length=kind.maximum)]


@_msgspec_type.register
def _(kind: PatternField) -> _MsgspecType:
    return _pattern_type(kind.pattern)


@_msgspec_type.register
def _(kind: OpenEnumField) -> _MsgspecType:
    return Literal[(*map(str, kind.options), *kind.alternatives)]


@_msgspec_type.register
def _(kind: CodeListField) -> _MsgspecType:
    return Literal[tuple(sorted(kind.codes))]


@_msgspec_type.register
def _(_kind: BooleanField) -> _MsgspecType:
    return bool


@_msgspec_type.register
def _(kind: IntegerField) -> _MsgspecType:
    return Annotated[
        int, Meta(ge=kind.minimum, le=kind.maximum if kind.documented_maximum is None else kind.documented_maximum)
    ]


@_msgspec_type.register
def _(kind: IdentifierField) -> _MsgspecType:
    return _pattern_type(kind.identifier_type.pattern)


@_msgspec_type.register
def _(kind: DecimalField) -> _MsgspecType:
    # Whole powers are what nearly all write.
    return (
        Annotated[int, Meta(ge=kind.minimum, le=int(kind.documented_maximum))]
        if kind.integer and kind.documented_maximum
        else _opaque_type(kind)
    )


@_msgspec_type.register
def _(kind: ModelField) -> _MsgspecType:
    return _view_struct(kind.model)


@_msgspec_type.register
def _(kind: OptionalWrapperField) -> _MsgspecType:
    return _msgspec_type(kind.inner)


@_msgspec_type.register
def _(kind: ListField) -> _MsgspecType:
    limits = kind.limits
    elements: Any = tuple.__class_getitem__((_msgspec_type(kind.item), ...))
    return Annotated[elements, Meta(min_length=limits.minimum, max_length=limits.maximum)]
