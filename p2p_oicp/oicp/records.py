"""Reading a page or a push record by record, so that a bad record costs itself and nothing else.

The records are cut out of the received bytes, not decoded, and then read one by one. So a large push needs no more
memory than its own bytes, and a caller may pause between two records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar, cast

import msgspec

from p2p_oicp.oicp import evse, pricing, pulls
from p2p_oicp.oicp.base import Message, decode
from p2p_oicp.oicp.findings import Finding, InvalidMessage, Severity, escape
from p2p_oicp.oicp.likeness import Likeness, likeness_of
from p2p_oicp.oicp.members import ListOf, Member, Unwrapping
from p2p_oicp.oicp.rules import EVERYONE, Once, Scope, check
from p2p_oicp.oicp.tolerant import RecordOf, plan_of
from p2p_oicp.oicp.validation import tolerated, validate

M = TypeVar("M", bound=Message)

#: Where a message has its records: attributes, from the outside inwards.
_WAYS: Mapping[type[Message], tuple[str, ...]] = MappingProxyType(
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
_ONCE_EACH = frozenset(
    {
        evse.PushEvseData,
        evse.PushEvseStatus,
        pricing.PushPricingProductData,
        pricing.PricingProductData,
        pricing.PushEVSEPricing,
    }
)

_members_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_elements_of = msgspec.json.Decoder(list[msgspec.Raw]).decode
_join = msgspec.json.encode
_NULL = msgspec.Raw(b"null")


class ReadRecord(NamedTuple):
    """One record: its bytes, what they mean (None if they cannot be read, or must not be used), what is wrong."""

    raw: bytes
    record: Message | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class RecordReading(Generic[M]):
    """A message without its records, and its records; iterate to read them one by one, or take ``records``."""

    envelope: M
    #: What is wrong with the envelope.
    findings: tuple[Finding, ...]
    model: type[Message]
    raws: tuple[bytes, ...]
    #: Where the list of records stands in the message.
    pointer: str
    scope: Scope
    pulled: bool

    @cached_property
    def records(self) -> list[ReadRecord]:
        """All records, read."""
        return list(self)

    def __iter__(self) -> Iterator[ReadRecord]:
        """Read the records, one at each step."""
        seen = Once() if type(self.envelope) in _ONCE_EACH else None
        for position, raw in enumerate(self.raws):
            yield self._read(raw, position, seen)

    def at(self, position: int) -> ReadRecord:
        """Read one record; whether another one of the push is about the same is not asked."""
        return self._read(self.raws[position], position, None)

    def likeness(self, position: int) -> Likeness | None:
        """Return what a faultless record is like, much sooner than ``at``; None: see what ``at`` says."""
        found = self._look(self.raws[position])
        return None if found is None or check(found, self.scope) else found

    @cached_property
    def _look(self) -> Callable[[bytes], Likeness | None]:
        return likeness_of(self.model)

    def _read(self, raw: bytes, position: int, seen: Once | None) -> ReadRecord:
        record: Message | None = None
        try:
            record = self.model.from_value(decode(raw), raw, pulled=self.pulled)
            findings = validate(record, self.scope)
            if seen and (again := seen.see(record, position)):
                findings.append(again)
        except InvalidMessage as invalid:
            findings = list(invalid.findings)
        if not findings:
            return ReadRecord(raw, record, ())
        at = f"{self.pointer}/{position}"
        findings = [found.below(at) for found in tolerated(findings)]
        refused = any(found.severity is Severity.ERROR for found in findings)
        return ReadRecord(raw, None if refused else record, tuple(findings))


def has_records(model: type[Message]) -> bool:
    """Say whether ``read_records`` can read a message of this model."""
    return model in _WAYS


def read_records(envelope: type[M], body: bytes, scope: Scope = EVERYONE) -> RecordReading[M]:
    """Return a push or a page with its records apart; raises InvalidMessage if the envelope cannot be read.

    A record with an error has None in the place of its record, and its bytes can be kept aside.
    """
    way = _way(envelope)
    try:
        bare, raws, pointer = _cut_out(body, envelope) or _cut(body, way)
    except (msgspec.MsgspecError, RecursionError, ValueError, KeyError):
        # Not one of the documented shapes: the message says what is wrong, or holds no records.
        bare, raws, pointer = body, (), ""
    message = envelope.from_json(bare)
    around = Scope(scope.operators, scope.providers, len(raws))
    findings = tuple(tolerated(validate(message, around)))
    last = way[-1]
    return RecordReading(message, findings, last.model, raws, pointer, scope, last.pulled)


@dataclass(frozen=True)
class _Step:
    """One member on the way to the records."""

    member: Member
    #: What the last member's elements are; for the others, the object they hold.
    model: type[Message]
    wrapped: bool
    pulled: bool


@cache
def _way(envelope: type[Message]) -> tuple[_Step, ...]:
    steps: list[_Step] = []
    model = envelope
    for attribute in _WAYS[envelope]:
        member = next(member for member in plan_of(model).members if member.attribute == attribute)
        wrapped, pulled = isinstance(member.kind, Unwrapping), False
        kind = member.kind.inner if isinstance(member.kind, Unwrapping) else member.kind
        if isinstance(kind, ListOf):
            pulled, kind = kind.limits.pulled, kind.item
        model = cast("type[Message]", cast("RecordOf", kind).model)
        steps.append(_Step(member, model, wrapped, pulled))
    return tuple(steps)


@cache
def _shape(envelope: type[Message]) -> tuple[Callable[[bytes], Any], str]:
    """Return what finds the records of a message as nearly all write it, and the pointer to them."""
    shape: Any = list[msgspec.Raw]
    names = [step.member.name for step in _way(envelope)]
    for name in reversed(names):
        shape = msgspec.defstruct("Around", [("inside", shape)], rename={"inside": name})
    return msgspec.json.Decoder(shape).decode, "".join(f"/{escape(name)}" for name in names)


def _cut_out(body: bytes, envelope: type[Message]) -> tuple[bytes, tuple[bytes, ...], str] | None:
    """As ``_cut``, going over the body once instead of once a step; None where it is not written in the usual way."""
    find, pointer = _shape(envelope)
    try:
        found = find(body)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None
    while not isinstance(found, list):
        found = found.inside
    raws = tuple(map(bytes, found))
    if not raws:
        return None
    start, end = body.find(raws[0]), body.rfind(raws[-1]) + len(raws[-1])
    # From the first place they can begin to the last they can end, as long as they are with commas: nothing else.
    if end - start != sum(map(len, raws)) + len(raws) - 1:
        return None
    return body[:start] + body[end:], raws, pointer


def _cut(body: msgspec.Raw | bytes, way: tuple[_Step, ...]) -> tuple[bytes, tuple[bytes, ...], str]:
    """Return an object without its records, the records, and the pointer to their list."""
    step, *rest = way
    members = _members_of(body)
    given = (name for name in step.member.names if bytes(members.get(name, _NULL)) != b"null")
    name = next(given, step.member.name)
    at = f"/{escape(name)}"
    if not rest or (step.wrapped and bytes(members[name])[:1] == b"["):
        raws = tuple(map(bytes, _elements_of(members[name])))
        inner, below = b"[]", ""
    else:
        inner, raws, below = _cut(members[name], tuple(rest))
    members[name] = msgspec.Raw(inner)
    return _join(members), raws, at + below
