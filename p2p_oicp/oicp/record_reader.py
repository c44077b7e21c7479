"""Reading a page or a push record by record, so that a bad record costs itself and nothing else.

The records are cut out of the received bytes, not decoded, and then read one by one. So a large push needs no more
memory than its own bytes, and a caller may pause between two records.
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
from p2p_oicp.oicp.message import Message, decode
from p2p_oicp.oicp.record_view import RecordView, record_view_decoder
from p2p_oicp.oicp.rules import UNRESTRICTED_SCOPE, DuplicateCheck, SenderScope, check
from p2p_oicp.oicp.validation import downgrade_soft_limits, validate

M = TypeVar("M", bound=Message)

#: Where a message has its records: attributes, from the outside inwards.
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

#: Pushes whose records stand in them only once.
_UNIQUE_RECORD_MODELS = frozenset(
    {
        evse.PushEvseData,
        evse.PushEvseStatus,
        pricing.PushPricingProductData,
        pricing.PricingProductData,
        pricing.PushEVSEPricing,
    }
)

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode_members = msgspec.json.encode
_NULL = msgspec.Raw(b"null")


class RawRecords(Sequence[bytes]):
    """Records as they came; each is copied out of the message only when it is asked for."""

    def __init__(self, raws: Sequence[msgspec.Raw] = ()) -> None:
        self._raws = raws

    def __len__(self) -> int:
        return len(self._raws)

    @overload
    def __getitem__(self, place: int) -> bytes: ...
    @overload
    def __getitem__(self, place: slice) -> list[bytes]: ...
    def __getitem__(self, place: int | slice) -> bytes | list[bytes]:
        found = self._raws[place]
        return bytes(found) if isinstance(found, msgspec.Raw) else [*map(bytes, found)]


class ParsedRecord(NamedTuple):
    """One record: its bytes, what they mean (None if they cannot be read, or must not be used), what is wrong."""

    raw: bytes
    record: Message | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class RecordStream(Generic[M]):
    """A message without its records, and its records; iterate to read them one by one, or take ``records``."""

    envelope: M
    #: What is wrong with the envelope.
    findings: tuple[Finding, ...]
    model: type[Message]
    raw_records: RawRecords
    #: Where the list of records stands in the message.
    pointer: str
    scope: SenderScope
    pulled: bool

    @cached_property
    def records(self) -> list[ParsedRecord]:
        """All records, read."""
        return list(self)

    def __iter__(self) -> Iterator[ParsedRecord]:
        """Read the records, one at each step."""
        duplicates = DuplicateCheck() if type(self.envelope) in _UNIQUE_RECORD_MODELS else None
        for position, raw in enumerate(self.raw_records):
            yield self._read(raw, position, duplicates)

    def read_at(self, position: int) -> ParsedRecord:
        """Read one record; whether another one of the push is about the same is not asked."""
        return self._read(self.raw_records[position], position, None)

    def fast_view(self, raw: bytes) -> RecordView | None:
        """Return what a faultless record is like, much sooner than ``at``; None: see what ``at`` says."""
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
        findings = [found.with_prefix(pointer) for found in downgrade_soft_limits(findings)]
        has_error = any(found.severity is Severity.ERROR for found in findings)
        return ParsedRecord(raw, None if has_error else record, tuple(findings))


def has_records(model: type[Message]) -> bool:
    """Say whether ``read_records`` can read a message of this model."""
    return model in _RECORD_PATHS


def read_records(envelope: type[M], body: bytes, scope: SenderScope = UNRESTRICTED_SCOPE) -> RecordStream[M]:
    """Return a push or a page with its records apart; raises InvalidMessage if the envelope cannot be read.

    A record with an error has None in the place of its record, and its bytes can be kept aside.
    """
    path = _record_path(envelope)
    try:
        envelope_bytes, raw_records, pointer = _split_fast(body, envelope) or _split(body, path)
    except (msgspec.MsgspecError, RecursionError, ValueError, KeyError):
        # Not one of the documented shapes: the message says what is wrong, or holds no records.
        envelope_bytes, raw_records, pointer = body, RawRecords(), ""
    message = envelope.from_json(envelope_bytes)
    envelope_scope = SenderScope(scope.operators, scope.providers, len(raw_records))
    findings = tuple(downgrade_soft_limits(validate(message, envelope_scope)))
    last_step = path[-1]
    return RecordStream(message, findings, last_step.model, raw_records, pointer, scope, last_step.pulled)


@dataclass(frozen=True)
class _PathStep:
    """One member on the way to the records."""

    member: FieldSpec
    #: What the last member's elements are; for the others, the object they hold.
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
    """Return what finds the records of a message as nearly all write it, and the pointer to them."""
    struct_type: Any = list[msgspec.Raw]
    names = [step.member.name for step in _record_path(envelope)]
    for name in reversed(names):
        struct_type = msgspec.defstruct("Envelope", [("inner", struct_type)], rename={"inner": name})
    return msgspec.json.Decoder(struct_type).decode, "".join(f"/{escape_reference_token(name)}" for name in names)


def _split_fast(body: bytes, envelope: type[Message]) -> tuple[bytes, RawRecords, str] | None:
    """As ``_cut``, going over the body once instead of once a step; None where it is not written in the usual way."""
    decode_raws, pointer = _fast_decoder(envelope)
    try:
        raws = decode_raws(body)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None
    while not isinstance(raws, list):
        raws = raws.inner
    if not raws:
        return None
    start, end = body.find(bytes(raws[0])), body.rfind(bytes(raws[-1])) + len(raws[-1])
    # From the first place they can begin to the last they can end, as long as they are with commas: nothing else.
    if end - start != sum(map(len, raws)) + len(raws) - 1:
        return None
    return body[:start] + body[end:], RawRecords(raws), pointer


def _split(body: msgspec.Raw | bytes, path: tuple[_PathStep, ...]) -> tuple[bytes, RawRecords, str]:
    """Return an object without its records, the records, and the pointer to their list."""
    step, *remaining = path
    members = _decode_members(body)
    present = (name for name in step.member.names if bytes(members.get(name, _NULL)) != b"null")
    name = next(present, step.member.name)
    pointer = f"/{escape_reference_token(name)}"
    if not remaining or (step.has_wrapper and bytes(members[name])[:1] == b"["):
        raw_records = RawRecords(_decode_elements(members[name]))
        inner_bytes, inner_pointer = b"[]", ""
    else:
        inner_bytes, raw_records, inner_pointer = _split(members[name], tuple(remaining))
    members[name] = msgspec.Raw(inner_bytes)
    return _encode_members(members), raw_records, pointer + inner_pointer
