"""The wire policy of OICP, in one base model: parse permissively, keep everything, emit strictly.

Every message and every record of OICP is a ``Message``. It is read in one of two ways, from the same declaration:

1. Pydantic's core checks the faultless form of every member. Nearly all messages pass, and cost no Python.
2. A message that did not pass is read again by the tolerant reader, which reads what can be read and notes each
   finding. Only what leaves no message at all (not JSON, a wrong type, a mandatory member missing) raises.

Received bytes are the record of truth: ``to_json`` returns them as they came, and ``replace`` patches single members.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self

import msgspec
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from p2p_oicp.oicp.field_specs import Aliases
from p2p_oicp.oicp.field_types import FindingCollector
from p2p_oicp.oicp.findings import Finding, InvalidMessage, Severity
from p2p_oicp.oicp.identifiers import Identifier
from p2p_oicp.oicp.lenient import ModelField, model_spec, parse_strict

_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_NO_FINDINGS: tuple[Finding, ...] = ()
_NO_REFERENCE_TOKENS: dict[str, str] = {}

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def decode(body: bytes) -> object:
    """Return the JSON value of ``body``, its fractions as Decimal; raises InvalidMessage."""
    try:
        return _decode(body)
    except (msgspec.MsgspecError, RecursionError, ValueError) as exc:
        raise InvalidMessage([Finding(Severity.ERROR, "", "not-json", f"is not JSON: {exc}")]) from exc


def split_members(body: bytes) -> dict[str, msgspec.Raw]:
    """Return the members of a JSON object with their values as bytes, null ones left out; raises InvalidMessage."""
    try:
        members = _decode_members(body)
    except (msgspec.MsgspecError, RecursionError, ValueError) as exc:
        raise InvalidMessage([Finding(Severity.ERROR, "", "not-an-object", f"is no JSON object: {exc}")]) from exc
    return {name: value for name, value in members.items() if bytes(value) != b"null"}


class Message(BaseModel):
    """Base of all messages and records of OICP: immutable, unknown members kept, null the same as absent."""

    model_config = ConfigDict(extra="allow", frozen=True, validate_by_name=True, validate_by_alias=False)

    __slots__ = ("_findings", "_received", "_tokens")

    @classmethod
    def from_json(cls, body: bytes) -> Self:
        """Read a message permissively; raises InvalidMessage if there is no message in ``body``."""
        return cls.from_value(decode(body), body)

    @classmethod
    def from_value(cls, value: object, received: bytes, *, pulled: bool = False) -> Self:
        """Read a message from what ``decode(received)`` returned; ``pulled``: from a page that may hold older data."""
        message, findings = parse_strict(cls, value), _NO_FINDINGS
        if message is None:
            message, findings = cls._read_leniently(value, pulled=pulled)
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
        """Return the bytes as they were received; for a message built here, the documents' own form of it."""
        received: bytes | None = getattr(self, "_received", None)
        return encode(self) if received is None else received

    def replace(self, **changes: object) -> Self:
        """Return a copy with other values for some of its members; None removes one, all else stays byte for byte."""
        return type(self).from_json(self.to_json_with(**changes))

    def to_json_with(self, **changes: object) -> bytes:
        """Return what ``replace(...).to_json()`` returns, without reading it again."""
        received: bytes | None = getattr(self, "_received", None)
        members: dict[str, Any] = _wire_members(self) if received is None else _decode_members(received)
        for member in model_spec(type(self)).members:
            if member.attribute not in changes:
                continue
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

    if not TYPE_CHECKING:  # a checker would take any attribute for granted

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401
            # Pydantic's own costs 3 µs for what is not there, and roles ask for members that some messages do not have.
            if not name.startswith("_") and name in self.__pydantic_extra__:
                return self.__pydantic_extra__[name]
            raise AttributeError(f"{type(self).__name__} has no member {name}")

    def reference_token(self, attribute: str) -> str:
        """Return the token of a JSON pointer for a member, in the spelling that was received."""
        received_tokens: dict[str, str] = getattr(self, "_tokens", _NO_REFERENCE_TOKENS)
        return received_tokens.get(attribute, model_spec(type(self)).reference_tokens[attribute])

    @property
    def field_findings(self) -> tuple[Finding, ...]:
        """What is wrong with single members of the message."""
        findings: tuple[Finding, ...] | None = getattr(self, "_findings", None)
        return type(self).from_json(self.to_json()).field_findings if findings is None else findings

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        schema = handler(source)
        alias_names = frozenset(
            name
            for info in cls.__pydantic_fields__.values()
            for metadata in info.metadata
            if isinstance(metadata, Aliases)
            for name in metadata.names
        )
        if alias_names and schema["type"] == "model":
            schema["schema"]["extras_keys_schema"] = _reject_names_schema(alias_names)
        return schema


def _reject_names_schema(names: frozenset[str]) -> CoreSchema:
    """Return a schema of unknown members' names that leaves other spellings of known ones to the tolerant reader."""

    def check(name: str) -> str:
        if name in names:
            raise PydanticCustomError("other_spelling", "another spelling of a known member")
        return name

    return core_schema.no_info_plain_validator_function(check)


def encode(value: object) -> bytes:
    """Return a message, or parts of one, as strict OICP JSON: no nulls, decimals as numbers, times with offset."""
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
        if value is None or (value == () and member.default == () and member.attribute not in message.model_fields_set):
            continue
        members[member.name] = _to_wire(value[0] if member.writes_single and len(value) == 1 else value)
        if member.aliases and member.aliases.write_aliases:
            members |= dict.fromkeys(member.aliases.names, members[member.name])
    return members | {name: _to_wire(value) for name, value in (message.model_extra or {}).items()}
