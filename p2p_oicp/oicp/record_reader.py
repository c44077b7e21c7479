"""Parse a push or a page record by record, so that an invalid record affects no other one (RULES T1).

``read_records`` splits the received bytes into the envelope and the bytes of each record without decoding the records;
the returned ``RecordStream`` parses one record at each step. A large push therefore needs little more memory than its
own bytes, and a caller may yield to the event loop between two records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar, cast, overload

import msgspec

from p2p_oicp.oicp import evse, pricing, pulls
from p2p_oicp.oicp.field_specs import FieldSpec, ListField, OptionalWrapperField
from p2p_oicp.oicp.findings import Finding, InvalidMessage, Severity, escape_reference_token
from p2p_oicp.oicp.lenient import ModelField, model_spec
from p2p_oicp.oicp.message import JSON_ERRORS, Message, decode, decode_members
from p2p_oicp.oicp.record_view import RecordView, record_view_decoder
from p2p_oicp.oicp.rules import UNRESTRICTED_SCOPE, DuplicateCheck, SenderScope, check
from p2p_oicp.oicp.validation import downgrade_soft_limits, validate

M = TypeVar("M", bound=Message)

#: The attributes that lead to the list of records, from the outermost message inwards.
_RECORD_PATHS: Mapping[type[Message], tuple[str, ...]] = MappingProxyType(
    {
        evse.PushEvseData: ("operator_evse_data", "evse_data_record"),
        evse.PushEvseStatus: ("operator_evse_status", "evse_status_records"),
        evse.OperatorEvseStatus: ("evse_status_records",),
        pricing.PushPricingProductData: ("pricing_product_data", "pricing_product_data_records"),
        pricing.PricingProductData: ("pricing_product_data_records",),
        pricing.PushEVSEPricing: ("evse_pricing",),
        pricing.OperatorEvsePricing: ("evse_pricing",),
        pulls.PushAuthenticationData: ("provider_authentication_data", "authentication_data_record"),
        pulls.EvseDataPage: ("content",),
        pulls.ChargeDetailRecordPage: ("content",),
        pulls.EvseStatuses: ("evse_statuses", "operator_evse_status"),
        pulls.EvseStatusesById: ("evse_status_records", "evse_status_record"),
        pulls.PricingProducts: ("pricing_product_data",),
        pulls.EvsePricings: ("evse_pricing",),
        pulls.AuthenticationData: ("provider_authentication_data",),
    }
)

#: Pushes in which a second record with the same identifier is an error (RULES M4, M13).
_UNIQUE_RECORD_MODELS = frozenset(
    {
        evse.PushEvseData,
        evse.PushEvseStatus,
        pricing.PushPricingProductData,
        pricing.PricingProductData,
        pricing.PushEVSEPricing,
    }
)

_decode_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode_members = msgspec.json.encode
_NULL = msgspec.Raw(b"null")


class RawRecords(Sequence[bytes]):
    """The received bytes of the records; each is copied out of the body only on access."""

    def __init__(self, raws: Sequence[msgspec.Raw] = ()) -> None:
        self._raws = raws

    def __len__(self) -> int:
        return len(self._raws)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        selected = self._raws[index]
        return bytes(selected) if isinstance(selected, msgspec.Raw) else [*map(bytes, selected)]


class ParsedRecord(NamedTuple):
    """One record: its received bytes, the record (None if any finding is an error), its findings."""

    raw: bytes
    record: Message | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class RecordStream(Generic[M]):
    """A push or page: its envelope, and its records, which are parsed while you iterate."""

    envelope: M
    #: The findings of the envelope.
    findings: tuple[Finding, ...]
    model: type[Message]
    raw_records: RawRecords
    #: The JSON pointer of the list of records.
    pointer: str
    scope: SenderScope
    #: Whether the records stem from a pulled page, where older data may have nulls (D38).
    pulled: bool

    @cached_property
    def records(self) -> list[ParsedRecord]:
        """All records, parsed; for small messages."""
        return list(self)

    def __iter__(self) -> Iterator[ParsedRecord]:
        """Parse one record at each step."""
        duplicates = DuplicateCheck() if type(self.envelope) in _UNIQUE_RECORD_MODELS else None
        for position, raw in enumerate(self.raw_records):
            yield self._read(raw, position, duplicates)

    def read_at(self, position: int) -> ParsedRecord:
        """Parse one record, without the check for duplicates in the push."""
        return self._read(self.raw_records[position], position, None)

    def fast_view(self, raw: bytes) -> RecordView | None:
        """Return the view of a record without findings; None: ``read_at`` decides."""
        view = self._decode_view(raw)
        return None if view is None or check(view, self.scope) else view

    @cached_property
    def _decode_view(self) -> Callable[[bytes], RecordView | None]:
        return record_view_decoder(self.model)

    def _read(self, raw: bytes, position: int, duplicates: DuplicateCheck | None) -> ParsedRecord:
        record: Message | None = None
        try:
            record = self.model.from_value(decode(raw), raw, pulled=self.pulled)
            findings = validate(record, self.scope)
            if duplicates and (duplicate := duplicates.check(record, position)):
                findings.append(duplicate)
        except InvalidMessage as invalid:
            findings = list(invalid.findings)
        if not findings:
            return ParsedRecord(raw, record, ())
        pointer = f"{self.pointer}/{position}"
        findings = [finding.with_prefix(pointer) for finding in downgrade_soft_limits(findings)]
        has_error = any(finding.severity is Severity.ERROR for finding in findings)
        return ParsedRecord(raw, None if has_error else record, tuple(findings))


def has_records(model: type[Message]) -> bool:
    """Return whether ``read_records`` supports a model."""
    return model in _RECORD_PATHS


def read_records(envelope: type[M], body: bytes, scope: SenderScope = UNRESTRICTED_SCOPE) -> RecordStream[M]:
    """Split a push or a page into its envelope and its records.

    Args:
        envelope: The model of the message; see ``has_records``.
        body: The received bytes.
        scope: The parties that the sender is authorized for.

    Raises:
        InvalidMessage: The envelope cannot be parsed. Errors in records raise nothing: see ``ParsedRecord``.
    """
    path = _record_path(envelope)
    try:
        envelope_bytes, raw_records, pointer = _split_fast(body, envelope) or _split(body, path)
    except (*JSON_ERRORS, KeyError):
        # No list of records in the documented place: parsing the whole body reports why, or finds no records.
        envelope_bytes, raw_records, pointer = body, RawRecords(), ""
    message = envelope.from_json(envelope_bytes)
    # The counts of a page are checked against the records that were taken out of it.
    envelope_scope = SenderScope(scope.operators, scope.providers, len(raw_records))
    findings = tuple(downgrade_soft_limits(validate(message, envelope_scope)))
    last_step = path[-1]
    return RecordStream(message, findings, last_step.model, raw_records, pointer, scope, last_step.pulled)


@dataclass(frozen=True)
class _PathStep:
    """One member on the path to the records."""

    member: FieldSpec
    #: The model of the object that the member holds; of the last step, the model of the records.
    model: type[Message]
    has_wrapper: bool
    pulled: bool


@cache
def _record_path(envelope: type[Message]) -> tuple[_PathStep, ...]:
    steps: list[_PathStep] = []
    model = envelope
    for attribute in _RECORD_PATHS[envelope]:
        member = next(member for member in model_spec(model).members if member.attribute == attribute)
        has_wrapper, pulled = isinstance(member.field_type, OptionalWrapperField), False
        field_type = (
            member.field_type.inner if isinstance(member.field_type, OptionalWrapperField) else member.field_type
        )
        if isinstance(field_type, ListField):
            pulled, field_type = field_type.limits.pulled, field_type.item
        model = cast("type[Message]", cast("ModelField", field_type).model)
        steps.append(_PathStep(member, model, has_wrapper, pulled))
    return tuple(steps)


@cache
def _fast_decoder(envelope: type[Message]) -> tuple[Callable[[bytes], Any], str]:
    """Return a decoder of nested structs that skips everything but the list of records, and the list's pointer."""
    struct_type: Any = list[msgspec.Raw]
    names = [step.member.name for step in _record_path(envelope)]
    for name in reversed(names):
        struct_type = msgspec.defstruct("Envelope", [("inner", struct_type)], rename={"inner": name})
    return msgspec.json.Decoder(struct_type).decode, "".join(f"/{escape_reference_token(name)}" for name in names)


def _split_fast(body: bytes, envelope: type[Message]) -> tuple[bytes, RawRecords, str] | None:
    """Do what ``_split`` does in one pass over the body; None if the body has aliases or blanks between records."""
    decode_raws, pointer = _fast_decoder(envelope)
    try:
        raws = decode_raws(body)
    except JSON_ERRORS:
        return None
    while not isinstance(raws, list):
        raws = raws.inner
    if not raws:
        return None
    # msgspec does not tell where a raw value begins. The first occurrence of the first record and the last one of the
    # last record enclose the list; if the distance is that of the records with commas, they are its exact ends.
    start, end = body.find(bytes(raws[0])), body.rfind(bytes(raws[-1])) + len(raws[-1])
    if end - start != sum(map(len, raws)) + len(raws) - 1:
        return None
    return body[:start] + body[end:], RawRecords(raws), pointer


def _split(body: msgspec.Raw | bytes, path: tuple[_PathStep, ...]) -> tuple[bytes, RawRecords, str]:
    """Return an object without its records, the records, and the pointer of their list, level by level."""
    step, *remaining = path
    members = decode_members(body)
    present = (name for name in step.member.names if bytes(members.get(name, _NULL)) != b"null")
    name = next(present, step.member.name)
    pointer = f"/{escape_reference_token(name)}"
    # The last level, or the bare list in the place of an object around it (D16).
    if not remaining or (step.has_wrapper and bytes(members[name])[:1] == b"["):
        raw_records = RawRecords(_decode_elements(members[name]))
        inner_bytes, inner_pointer = b"[]", ""
    else:
        inner_bytes, raw_records, inner_pointer = _split(members[name], tuple(remaining))
    members[name] = msgspec.Raw(inner_bytes)
    return _encode_members(members), raw_records, pointer + inner_pointer
