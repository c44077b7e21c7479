"""The base model of all messages: parse permissively, keep everything, emit strictly.

A ``Message`` is parsed in one of two ways, both derived from the same annotations:

1. Strict: pydantic's core checks the documented form of every member. Nearly all messages pass, in native code only.
2. Lenient: a message that fails is parsed again by ``lenient.ModelField``, which keeps what it can and reports each
   deviation as a finding. It raises only if no message is left: not JSON, a wrong type, a mandatory member missing.

The received bytes are the record of truth (decision 0001): ``to_json`` returns them, ``replace`` patches members.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Self

import msgspec
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from p2p_oicp.oicp.field_specs import Aliases, affixes
from p2p_oicp.oicp.field_types import FindingCollector
from p2p_oicp.oicp.findings import Finding, InvalidMessage, Severity, escape_reference_token
from p2p_oicp.oicp.identifiers import Identifier
from p2p_oicp.oicp.lenient import ModelField, model_spec, names_in_use, parse_strict

# float_hook: a price or a meter value as a binary float would lose its decimal places.
_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_NO_FINDINGS: tuple[Finding, ...] = ()
_NO_REFERENCE_TOKENS: dict[str, str] = {}

#: What a JSON text with U+0000 contains; a text with a backslash before "u0000" does as well.
ESCAPED_NUL = b"\\u0000"
#: Decode the members of a JSON object with their values as bytes; raises what ``JSON_ERRORS`` lists.
decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
#: ValueError is bytes that are no UTF-8; RecursionError is JSON nested deeper than Python's stack allows.
JSON_ERRORS = (msgspec.MsgspecError, RecursionError, ValueError)

# The content types of nearly every message: nothing to look up, nothing to convert.
_UTF8_CONTENT_TYPES = frozenset(
    {"application/json", "application/json; charset=utf-8", "application/json;charset=UTF-8"}
)
_BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def decode(body: bytes) -> object:
    """Return the JSON value of ``body``, fractions as Decimal; raises InvalidMessage."""
    try:
        return _decode(body)
    except JSON_ERRORS as exc:
        raise InvalidMessage([Finding(Severity.ERROR, "", "not-json", f"is not JSON: {exc}")]) from exc


def as_utf8(body: bytes, content_type: str) -> bytes:
    """Return JSON text as UTF-8 without a byte order mark; raise ValueError if its charset is unknown or does not fit.

    A byte order mark, or the zero bytes of UTF-16 and UTF-32, override the declared charset: they cannot be a mistake.
    """
    detected = _detect_encoding(body)
    if detected is not None:
        return body.decode(detected).encode()
    if content_type in _UTF8_CONTENT_TYPES:
        return body
    charset = _declared_charset(content_type)
    if charset is None or charset == "utf-8":
        return body
    return body.decode(charset).encode()


def _detect_encoding(body: bytes) -> str | None:
    if b"\x00" in body[:4] or body.startswith(_BYTE_ORDER_MARKS):
        return json.detect_encoding(body)
    return None


def _declared_charset(content_type: str) -> str | None:
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return _canonical_charset(value.strip().strip('"'))
    return None


def _canonical_charset(charset: str) -> str:
    try:
        info = codecs.lookup(charset)
    except LookupError as exc:
        raise ValueError(f"unknown charset '{charset}'") from exc
    if not getattr(info, "_is_text_encoding", True):
        raise ValueError(f"unknown charset '{charset}'")
    return info.name


def split_members(body: bytes) -> dict[str, msgspec.Raw]:
    """Return the members of a JSON object with their values as bytes, without null ones; raises InvalidMessage."""
    try:
        members = decode_members(body)
    except JSON_ERRORS as exc:
        raise InvalidMessage([Finding(Severity.ERROR, "", "not-an-object", f"is no JSON object: {exc}")]) from exc
    return {name: value for name, value in members.items() if bytes(value) != b"null"}


def _unknown_names_schema(model: type[BaseModel], names: frozenset[str], aliases: frozenset[str]) -> CoreSchema:
    """Return a schema for the names of unknown members that fails where the lenient parser may have to say something.

    That is on aliases, and on names that may be meant to be one of ``names`` (RULES L13).
    """
    folded = frozenset(map(str.casefold, names))
    known_affixes = frozenset(affix for name in names for affix in affixes(name))

    def check(name: str) -> str:
        # A known name is unknown where messages are built in Python, which knows attributes.
        is_similar = name not in names and (
            name.casefold() in folded
            or (not known_affixes.isdisjoint(affixes(name)) and name not in names_in_use(model))
        )
        if name in aliases or is_similar:
            raise PydanticCustomError("other_spelling", "another spelling of a known member")
        return name

    return core_schema.no_info_plain_validator_function(check)


class Message(BaseModel):
    """Base of all messages and records of OICP: immutable, unknown members kept, null the same as absent."""

    # Constructor calls use Python names; the wire's aliases are accepted by parse_strict alone.
    model_config = ConfigDict(extra="allow", frozen=True, validate_by_name=True, validate_by_alias=False)

    #: Set anew by the base of another protocol's messages, which share this way of reading (`ocpi.base`).
    protocol: ClassVar[str] = "OICP 2.3"

    # Absent on messages that are built in Python. Slots, because pydantic's private attributes would be initialised
    # for every message and record that is parsed.
    __slots__ = ("_findings", "_received", "_tokens")

    @classmethod
    def from_json(cls, body: bytes) -> Self:
        """Parse a message permissively; raises InvalidMessage if ``body`` holds no such message."""
        return cls.from_value(decode(body), body)

    @classmethod
    def from_value(cls, value: object, received: bytes, *, pulled: bool = False) -> Self:
        """Parse a message from a decoded JSON value.

        Args:
            value: What ``decode(received)`` returned.
            received: The bytes that ``to_json`` will return.
            pulled: Whether the record stems from a pulled page, where data of OICP 2.1 and 2.2 may have nulls in
                mandatory members (D38).

        Raises:
            InvalidMessage: ``value`` is no such message.
        """
        if ESCAPED_NUL in received and (pointer := _find_nul(value)) is not None:
            # One of the two databases cannot keep it (RULES L24).
            raise InvalidMessage([Finding(Severity.ERROR, pointer, "nul-character", "has the character U+0000")])
        message, findings = parse_strict(cls, value), _NO_FINDINGS
        if message is None:
            message, findings = cls._read_leniently(value, pulled=pulled)
        # Invariant: this is the only place that writes the slots; object.__setattr__ passes by ``frozen``.
        object.__setattr__(message, "_received", received)
        object.__setattr__(message, "_findings", findings)
        return message

    @classmethod
    def _read_leniently(cls, value: object, *, pulled: bool) -> tuple[Self, tuple[Finding, ...]]:
        collector = FindingCollector(pulled=pulled)
        message = ModelField(cls).read_members(value, "", collector)
        if collector.fatal or not isinstance(message, cls):
            raise InvalidMessage(collector.findings)
        return message, tuple(collector.findings)

    def to_json(self) -> bytes:
        """Return the received bytes; for a message built in Python, its strict form (see ``encode``)."""
        received: bytes | None = getattr(self, "_received", None)
        return encode(self) if received is None else received

    def replace(self, **changes: object) -> Self:
        """Return a copy with some members changed (None removes one); all other members stay byte for byte."""
        return type(self).from_json(self.to_json_with(**changes))

    def to_json_with(self, **changes: object) -> bytes:
        """Return what ``replace(...).to_json()`` returns, without parsing it again."""
        received: bytes | None = getattr(self, "_received", None)
        members: dict[str, Any] = _wire_members(self) if received is None else decode_members(received)
        for member in model_spec(type(self)).members:
            if member.attribute not in changes:
                continue
            # The old value may stand under another spelling; two spellings with different values would contradict.
            for alias in member.names[1:]:
                members.pop(alias, None)
            value = changes.pop(member.attribute)
            if value is None:
                members.pop(member.name, None)
            else:
                members[member.name] = _to_wire(value)
        if changes:
            raise TypeError(f"{type(self).__name__} has no member {', '.join(changes)}")
        return _encoder.encode(members)

    if not TYPE_CHECKING:  # a type checker would accept any attribute

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401
            # Pydantic's own takes 3 µs for an absent attribute, and roles use getattr() on members that only some
            # messages have.
            if not name.startswith("_") and name in self.__pydantic_extra__:
                return self.__pydantic_extra__[name]
            raise AttributeError(f"{type(self).__name__} has no member {name}")

    def reference_token(self, attribute: str) -> str:
        """Return the reference token (RFC 6901) of a member, in the received spelling."""
        received_tokens: dict[str, str] = getattr(self, "_tokens", _NO_REFERENCE_TOKENS)
        return received_tokens.get(attribute, model_spec(type(self)).reference_tokens[attribute])

    @property
    def field_findings(self) -> tuple[Finding, ...]:
        """The findings on single members; those between members are the rules'."""
        findings: tuple[Finding, ...] | None = getattr(self, "_findings", None)
        # A message built in Python was only checked by pydantic; its lenient findings come from its own JSON.
        return type(self).from_json(self.to_json()).field_findings if findings is None else findings

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        schema = handler(source)
        fields = cls.__pydantic_fields__
        names = frozenset(info.alias or attribute for attribute, info in fields.items())
        markers = (marker for info in fields.values() for marker in info.metadata if isinstance(marker, Aliases))
        aliases = frozenset(name for marker in markers for name in marker.names)
        if schema["type"] == "model":
            schema["schema"]["extras_keys_schema"] = _unknown_names_schema(cls, names, aliases)
        return schema


def _find_nul(value: object) -> str | None:
    """Return the JSON pointer of a text with U+0000, or of an object with such a name; None: there is none."""
    # No recursion: JSON may be nested deeper than Python's stack allows.
    pending: list[tuple[str, object]] = [("", value)]
    for pointer, part in pending:
        if isinstance(part, dict):
            if any("\0" in name for name in part):
                return pointer
            pending += [(f"{pointer}/{escape_reference_token(name)}", member) for name, member in part.items()]
        elif isinstance(part, list):
            pending += [(f"{pointer}/{position}", element) for position, element in enumerate(part)]
        elif isinstance(part, str) and "\0" in part:
            return pointer
    return None


def encode(value: object) -> bytes:
    """Return a message, or a part of one, as strict OICP JSON: no nulls, decimals as numbers, times with offset."""
    return _encoder.encode(_to_wire(value))


_encoder = msgspec.json.Encoder(decimal_format="number")


def _to_wire(value: object) -> object:
    if isinstance(value, Message):
        return _wire_members(value)
    if isinstance(value, (tuple, list)):
        return [_to_wire(element) for element in value]
    if isinstance(value, Identifier):
        return value.text
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {name: _to_wire(item) for name, item in value.items()}
    return value


def _wire_members(message: Message) -> dict[str, object]:
    members: dict[str, object] = {}
    for member in model_spec(type(message)).members:
        value = message.__dict__[member.attribute]
        # An empty optional list is written only if it was given: in a fullLoad, "no records" means "delete all" (M8).
        if value is None or (value == () and member.default == () and member.attribute not in message.model_fields_set):
            continue
        members[member.name] = _to_wire(value[0] if member.writes_single and len(value) == 1 else value)
        # Answers of price pulls have two documented names, and other implementations read only one of them (D12, D13).
        if member.aliases and member.aliases.write_aliases:
            members |= dict.fromkeys(member.aliases.names, members[member.name])
    return members | {name: _to_wire(value) for name, value in (message.model_extra or {}).items()}
