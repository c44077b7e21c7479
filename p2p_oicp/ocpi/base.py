"""The wire policy of OCPI 2.2.1: one base model, and what a member may hold (types.asciidoc, transport_and_format).

``OcpiObject`` reads as the messages of OICP do (`oicp.message`): strictly in native code, else leniently with a finding
for each deviation. Unknown members and unknown words of enumerations are kept, null is the same as absent. Nothing is
left of an object only if it is not JSON, has a member of the wrong type, or lacks a mandatory one: `InvalidMessage`,
whose findings have JSON pointers. What is written is held to the same models: it has no findings at all.

A CiString is compared without letter case and written back as it was received: `ci` is the key for comparing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
from pydantic_core import CoreSchema, core_schema
from typing_extensions import override

from p2p_oicp.oicp.field_specs import ListLimits
from p2p_oicp.oicp.field_types import BooleanField, FieldType, FindingCollector, TextField, enum_values, format_value
from p2p_oicp.oicp.findings import Finding, InvalidMessage, Severity
from p2p_oicp.oicp.message import Message, decode
from p2p_oicp.oicp.numbers import DecimalField, IntegerField

#: A decoded JSON object; numbers with a fraction are Decimal.
JsonObject = Mapping[str, Any]

_TIMESTAMP = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?Z?"
_WITH_OFFSET = re.compile(_TIMESTAMP.removesuffix("Z?") + r"(?:Z|[+-][0-9]{2}:?[0-9]{2})?", re.ASCII)
_COORDINATE = re.compile(r"-?[0-9]{1,3}(?:\.[0-9]+)?", re.ASCII)
_DECIMALS = 4
_encoder = msgspec.json.Encoder(decimal_format="number")


class OcpiObject(Message):
    """Base of all objects of OCPI: immutable, unknown members kept, null the same as absent."""

    protocol: ClassVar[str] = "OCPI 2.2.1"


@dataclass(frozen=True)
class CiStringField(TextField):
    """Printable ASCII, whose letter case has no meaning (types.asciidoc, CiString)."""

    @override
    def schema(self) -> CoreSchema:
        return core_schema.str_schema(
            strict=True, min_length=self.minimum or None, max_length=self.maximum, pattern=r"^[\x20-\x7E]*$"
        )

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        text = super().read(value, pointer, collector)
        if isinstance(text, str) and not (text.isascii() and text.isprintable()):
            collector.error(pointer, "not-ascii", f"{format_value(text)} has characters that are not printable ASCII")
        return text


@dataclass(frozen=True)
class TimestampField(FieldType):
    """A time in UTC, kept as text: `parse_time` reads it (types.asciidoc, DateTime)."""

    @override
    def schema(self) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            _existing_time, core_schema.str_schema(strict=True, pattern=f"^{_TIMESTAMP}$")
        )

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        if not isinstance(value, str):
            return collector.wrong_type(value, pointer, "a date and time as a string")
        if not _WITH_OFFSET.fullmatch(value) or parse_time(value) is None:
            text = f"{format_value(value)} is no date and time like 2026-11-10T09:00:00Z"
            return collector.unparsable(pointer, "malformed-time", text)
        if not re.fullmatch(_TIMESTAMP, value, re.ASCII):
            collector.warn(pointer, "time-with-offset", f"{format_value(value)} is read, but OCPI's times are in UTC")
        return value


def _existing_time(text: str) -> str:
    datetime.fromisoformat(text)  # raises ValueError, which fails the strict form
    return text


@dataclass(frozen=True)
class WordField(FieldType):
    """A word of an open enumeration: others are kept and reported, since later versions have more."""

    options: type[StrEnum]

    @override
    def schema(self) -> CoreSchema:
        return core_schema.literal_schema([*map(str, self.options)])

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        if not isinstance(value, str):
            return collector.wrong_type(value, pointer, "a string")
        if value not in enum_values(self.options):
            text = f"{format_value(value)} is read, though OCPI 2.2.1 has no such {self.options.__name__}"
            collector.warn(pointer, "unknown-word", text)
        return value


@dataclass(frozen=True)
class CoordinateField(FieldType):
    """Decimal degrees as a text (mod_locations, GeoLocation); numbers and other decimals are read with a warning."""

    pattern: str

    @override
    def schema(self) -> CoreSchema:
        return core_schema.str_schema(strict=True, pattern=f"^{self.pattern}$")

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            collector.warn(pointer, "number-for-text", f"must be a string, so {value} is read as its text")
            return f"{value:f}"
        if not isinstance(value, str):
            return collector.wrong_type(value, pointer, "a string")
        if not re.fullmatch(self.pattern, value, re.ASCII):
            report = collector.warn if _COORDINATE.fullmatch(value.strip()) else collector.error
            report(pointer, "malformed", f"{format_value(value)} is not written like '53.54321', with 5 to 7 decimals")
        return value


Ci2 = Annotated[str, CiStringField(2)]
Ci3 = Annotated[str, CiStringField(3)]
Ci4 = Annotated[str, CiStringField(4)]
Ci32 = Annotated[str, CiStringField(32)]
Ci36 = Annotated[str, CiStringField(36)]
Ci39 = Annotated[str, CiStringField(39)]
Ci48 = Annotated[str, CiStringField(48)]
Text2 = Annotated[str, TextField(2)]
Text3 = Annotated[str, TextField(3)]
Text4 = Annotated[str, TextField(4)]
Text5 = Annotated[str, TextField(5)]
Text10 = Annotated[str, TextField(10)]
Text16 = Annotated[str, TextField(16)]
Text20 = Annotated[str, TextField(20)]
Text45 = Annotated[str, TextField(45)]
Text64 = Annotated[str, TextField(64)]
Text100 = Annotated[str, TextField(100)]
Text255 = Annotated[str, TextField(255)]
Text512 = Annotated[str, TextField(512)]
Text5000 = Annotated[str, TextField(5000)]
Secret64 = Annotated[str, TextField(64, secret=True)]
Url = Text255
Boolean = Annotated[bool, BooleanField()]
Integer = Annotated[int, IntegerField()]
Number = Annotated[Decimal, DecimalField(decimals=_DECIMALS)]
Timestamp = Annotated[str, TimestampField()]
Latitude = Annotated[str, CoordinateField(r"-?[0-9]{1,2}\.[0-9]{5,7}")]
Longitude = Annotated[str, CoordinateField(r"-?[0-9]{1,3}\.[0-9]{5,7}")]

#: Cardinality ``*``: absent is the same as empty; cardinality ``+``.
ANY_NUMBER, AT_LEAST_ONE = ListLimits(optional=True), ListLimits(minimum=1)

ObjectModel = TypeVar("ObjectModel", bound=OcpiObject)


def ci(text: object) -> str:
    """Return the key that a CiString is compared by."""
    return str(text).strip().lower()


def parse_time(text: str) -> datetime | None:
    """Return a time of OCPI with its zone, UTC where it names none; None if there is no such time."""
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):  # the latter: an offset that leads out of the calendar
        return None


def format_time(time: datetime) -> str:
    """Return a time in UTC with ``Z``, with milliseconds if there are any."""
    time = time.astimezone(UTC)
    spec = "milliseconds" if time.microsecond // 1000 else "seconds"
    return time.replace(tzinfo=None).isoformat(timespec=spec) + "Z"


def without_nulls(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a JSON value without the members that are null: the same as absent."""
    if isinstance(value, dict):
        return {name: without_nulls(member) for name, member in value.items() if member is not None}
    return [without_nulls(element) for element in value] if isinstance(value, list) else value


def read_object(model: type[ObjectModel], body: bytes) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """Return an object as JSON without nulls, and its findings; raise `InvalidMessage` if ``body`` holds none."""
    value = decode(body)
    message = model.from_value(value, body)
    if not isinstance(value, dict):
        raise InvalidMessage([Finding(Severity.ERROR, "", "wrong-type", "must be an object")])
    return without_nulls(value), message.field_findings


def check_object(model: type[ObjectModel], value: JsonObject) -> tuple[Finding, ...]:
    """Return what OCPI 2.2.1 forbids in an object that is to be written; empty: nothing."""
    try:
        return model.from_json(encode_json(value)).field_findings
    except InvalidMessage as invalid:
        return invalid.findings


def encode_json(value: object) -> bytes:
    """Return a JSON value as bytes, decimals as numbers."""
    return _encoder.encode(value)
