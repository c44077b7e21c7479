"""What comes back from a pull: read record by record, sorted into groups; what cannot be used is set aside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import orjson

from p2p_oicp.oicp import (
    AuthenticationData,
    DeltaType,
    EvseDataPage,
    EvsePricings,
    EvseStatuses,
    Message,
    OperatorEvsePricing,
    OperatorEvseStatus,
    PricingProductData,
    PricingProducts,
    ProviderAuthenticationData,
    PullEvseDataRecord,
    Severity,
    read_records,
)
from p2p_oicp.oicp.operation import Operation
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import RoleContext
from p2p_oicp.roles.state.kinds import KINDS
from p2p_oicp.roles.state.pins import redacted, without_pins
from p2p_oicp.roles.state.taking import foreign, gently
from p2p_oicp.storage.state import quarantine
from p2p_oicp.storage.state.model import Group, Kind, Record
from p2p_oicp.storage.state.quarantine import SetAside

Requests = Callable[[Peer, Peer], Iterator[tuple[str, bytes]]]


@dataclass(frozen=True, slots=True)
class Pull:
    """How a kind of state is pulled: the requests (party, body) to make, and the blocks of an answer."""

    operation: Operation
    answer: type[Message]
    block: type[Message] | None
    requests: Requests


def _statuses(me: Peer, _peer: Peer) -> Iterator[tuple[str, bytes]]:
    provider = me.providers[0].text
    yield provider, orjson.dumps({"ProviderID": provider})


def _products(me: Peer, peer: Peer) -> Iterator[tuple[str, bytes]]:
    operators = [operator.text for operator in peer.operators]
    for provider in me.providers:
        yield provider.text, orjson.dumps({"OperatorIDs": operators})


def _prices(me: Peer, peer: Peer) -> Iterator[tuple[str, bytes]]:
    operators = [operator.text for operator in peer.operators]
    for provider in me.providers:
        yield provider.text, orjson.dumps({"ProviderID": provider.text, "OperatorIDs": operators})


def _identifications(me: Peer, _peer: Peer) -> Iterator[tuple[str, bytes]]:
    operator = me.operators[0].text
    yield operator, orjson.dumps({"OperatorID": operator})


PULLS: Mapping[Kind, Pull] = MappingProxyType(
    {
        Kind.EVSE_DATA: Pull(OPERATION_BY_NAME["PullEvseData"], EvseDataPage, None, _statuses),
        Kind.EVSE_STATUS: Pull(OPERATION_BY_NAME["PullEvseStatus"], EvseStatuses, OperatorEvseStatus, _statuses),
        Kind.PRICING_PRODUCT: Pull(
            OPERATION_BY_NAME["PullPricingProductData"], PricingProducts, PricingProductData, _products
        ),
        Kind.EVSE_PRICING: Pull(OPERATION_BY_NAME["PullEVSEPricing"], EvsePricings, OperatorEvsePricing, _prices),
        Kind.AUTHENTICATION: Pull(
            OPERATION_BY_NAME["PullAuthenticationData"],
            AuthenticationData,
            ProviderAuthenticationData,
            _identifications,
        ),
    }
)


class Harvest:
    """What one pull of one kind brings."""

    def __init__(self, context: RoleContext, peer: Peer, kind: Kind) -> None:
        self._context = context
        self._peer = peer
        self._kind = KINDS[kind]
        self._pull = PULLS[kind]
        self._groups: dict[str, Group] = {}
        self._unusable: list[SetAside] = []
        self.count = 0

    @property
    def groups(self) -> list[Group]:
        """The groups that the records are of."""
        return list(self._groups.values())

    async def take(self, body: bytes) -> tuple[list[Record], list[str]]:
        """Return the records of an answer, and the keys of those it says are gone; raises InvalidMessage."""
        if self._pull.block is None:
            return await self._records(EvseDataPage, body, None)
        records: list[Record] = []
        for raw in read_records(self._pull.answer, body).raws:
            group = self._kind.group_of_block(raw, "")
            self._groups[group.key] = group
            records += (await self._records(self._pull.block, raw, group))[0]
        return records, []

    async def _records(self, model: type[Message], body: bytes, group: Group | None) -> tuple[list[Record], list[str]]:
        """Return usable records and keys that are gone; without a ``group`` each record names its own."""
        usable = await self._usable(model, body)
        if self._kind.kind is Kind.AUTHENTICATION:
            usable = await without_pins(self._context, self._peer.name, usable)
        records: list[Record] = []
        gone: list[str] = []
        for raw, record in usable:
            self.count += 1
            made = self._kind.record(raw, record, group or self._group_of(record))
            if getattr(record, "delta_type", None) == DeltaType.DELETE:
                gone.append(made.key)
            else:
                records.append(made)
        return records, gone

    async def _usable(self, model: type[Message], body: bytes) -> list[tuple[bytes, Message]]:
        reading = read_records(model, body)
        usable: list[tuple[bytes, Message]] = []
        async for raw, record, findings in gently(reading):
            wrong = [finding for finding in findings if finding.severity is Severity.ERROR]
            if record is not None:
                wrong += foreign(record, self._kind, self._peer, reading.pointer)
            if record is None or wrong:
                kept = redacted(raw) if self._kind.kind is Kind.AUTHENTICATION else raw
                self._unusable.append(SetAside(kept, tuple(wrong)))
            else:
                usable.append((raw, record))
        return usable

    def _group_of(self, record: Message) -> Group:
        """Return the group of a charging spot: the operator it names, or its own."""
        spot: PullEvseDataRecord = record  # type: ignore[assignment]
        operator = spot.operator_id or spot.evse_id.operator
        text = operator.text if operator else ""
        head = {"OperatorID": text, **({"OperatorName": spot.operator_name} if spot.operator_name else {})}
        group = Group(operator.key if operator else "", text, orjson.dumps(head))
        return self._groups.setdefault(group.key, group)

    async def set_aside(self) -> int:
        """Keep aside what could not be used; return how much of it was never seen before."""
        operation = self._pull.operation.name
        return await quarantine.set_aside(
            self._context.store, self._peer.name, operation, self._unusable, self._context.now()
        )
