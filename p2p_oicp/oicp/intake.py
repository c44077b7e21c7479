"""The closed list of what is rewritten of a message, once, when it comes in (decision 11, DESIGN section 8).

Letter case of EvseID, EvcoID and UID (RULES I8); members that are null; ``Period`` of a tariff, which is ``Periods``; a
boolean DynamicInfoAvailable, which is a text. `repair.PULL_REPAIRS` adds what is repaired of a pulled record. All other
bytes stay, and a message with a top-level ``signature`` stays as it is. What came is evidence (I11).

A null member that is mandatory stays: only records of pulled pages may have one, and without it they would lack it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import TypeVar

import msgspec

from p2p_oicp.oicp.field_specs import FieldSpec, ListField, OptionalWrapperField
from p2p_oicp.oicp.field_types import FieldType, OpenEnumField
from p2p_oicp.oicp.findings import LOWER_CASE_IDENTIFIER, Finding
from p2p_oicp.oicp.lenient import ModelField, model_spec
from p2p_oicp.oicp.message import JSON_ERRORS, Message, decode_members

M = TypeVar("M", bound=Message)

#: A member with an identifier, or with a list of some. Within a text, its quotes would be escaped.
_IDENTIFIERS = re.compile(rb'("(?:EvseID|EvcoID|UID)"\s*:\s*)("[^"\\]*"|\[[^\]{}\\]*\])')
_NULL = b"null"
_BOOLEANS = {b"true": msgspec.Raw(b'"true"'), b"false": msgspec.Raw(b'"false"')}
#: Names that are written in place of those of the documents.
_RENAMED = {"Period": "Periods"}
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.encode


def rewrite(model: type[Message], body: bytes, findings: Iterable[Finding]) -> bytes:
    """Return a message or record as it is stored and passed on; nearly always the same bytes.

    Args:
        model: its model.
        body: its JSON, an object.
        findings: what was found when it was read.
    """
    codes = {finding.code for finding in findings}
    if not codes and _is_as_documented(model, body):
        return body
    try:
        if "signature" in decode_members(body):
            return body
        rewritten = _rewrite_object(ModelField(model), body)
    except JSON_ERRORS:  # deeper than Python's stack allows
        return body
    if LOWER_CASE_IDENTIFIER in codes:
        rewritten = _IDENTIFIERS.sub(lambda match: match[1] + match[2].upper(), rewritten)
    return rewritten


def rewritten(message: M) -> M:
    """Return a message as it is stored and passed on: itself, if nothing of it is rewritten."""
    body, findings = message.to_json(), message.field_findings
    if not findings and _is_as_documented(type(message), body):
        return message
    changed = rewrite(type(message), body, findings)
    return message if changed is body or changed == body else type(message).from_json(changed)


def _is_as_documented(model: type[Message], body: bytes) -> bool:
    """Return whether a message on which nothing was found has nothing to rewrite: by a search, without parsing."""
    # A loop: a generator costs more than the search.
    for sign in _signs_of(model):  # noqa: SIM110
        if sign in body:
            return False
    return True


@cache
def _signs_of(model: type[Message]) -> tuple[bytes, ...]:
    """Return what a message contains that may be rewritten, though nothing is found on it."""
    return (_NULL, *(b'"%b"' % name.encode() for name in _RENAMED if _knows_alias(ModelField(model), name, set())))


def _knows_alias(field_type: FieldType, name: str, seen: set[object]) -> bool:
    """Return whether some object in a value may have a member under another name of it."""
    if isinstance(field_type, OptionalWrapperField):
        return _knows_alias(field_type.inner, name, seen)
    if isinstance(field_type, ListField):
        return _knows_alias(field_type.item, name, seen)
    if not isinstance(field_type, ModelField) or field_type.model in seen:
        return False
    seen.add(field_type.model)
    members = model_spec(field_type.model).members
    return any(_is_renamed(member, name) or _knows_alias(member.field_type, name, seen) for member in members)


def _is_renamed(member: FieldSpec, name: str) -> bool:
    return name in member.names and member.name == _RENAMED.get(name)


def _rewrite_object(field_type: ModelField, raw: bytes) -> bytes:
    spec, members = model_spec(field_type.model), decode_members(raw)
    result: dict[str, msgspec.Raw] = {}
    is_changed = False
    for name, value in members.items():
        member = spec.by_name.get(name, (None,))[0]
        if bytes(value) == _NULL:
            is_mandatory = member is not None and (member.required or member.required_with_default)
            is_changed |= not is_mandatory
            if is_mandatory:
                result[name] = value
            continue
        new_name, new_value = name, value
        if member is not None:
            is_renamed = _is_renamed(member, name) and member.name not in members
            new_name = member.name if is_renamed else name
            new_value = _rewrite_value(member.field_type, value)
        is_changed |= new_name != name or new_value is not value
        result[new_name] = new_value
    return _encode(result) if is_changed else raw


def _rewrite_value(field_type: FieldType, value: msgspec.Raw) -> msgspec.Raw:
    """Return a member's value; the same object if nothing of it is rewritten."""
    raw = bytes(value)
    if isinstance(field_type, OptionalWrapperField):
        is_bare = not raw.startswith(b"{")
        return value if is_bare else _rewrite_value(field_type.inner, value)
    if isinstance(field_type, ListField):
        if not raw.startswith(b"["):
            return _rewrite_value(field_type.item, value)
        items = _decode_list(raw)
        changed = [_rewrite_value(field_type.item, item) for item in items]
        is_same = all(new is old for new, old in zip(changed, items, strict=True))
        return value if is_same else msgspec.Raw(_encode(changed))
    if isinstance(field_type, ModelField) and raw.startswith(b"{"):
        changed_object = _rewrite_object(field_type, raw)
        return value if changed_object is raw else msgspec.Raw(changed_object)
    if isinstance(field_type, OpenEnumField) and field_type.accept_booleans:
        return _BOOLEANS.get(raw, value)
    return value
