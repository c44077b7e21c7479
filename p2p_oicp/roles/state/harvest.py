"""What comes back from a pull: read record by record, sorted into groups; what cannot be used is set aside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
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
    Readable,
    RecordReading,
    read_records,
)
from p2p_oicp.oicp.operation import Operation
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import RoleContext
from p2p_oicp.roles.state.kinds import KINDS
from p2p_oicp.roles.state.sieve import Sieve
from p2p_oicp.storage.state.intake import Intake
from p2p_oicp.storage.state.model import Group, Kind

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
    """What one pull of one kind brings; ``groups`` are the groups that its records are of."""

    def __init__(self, context: RoleContext, peer: Peer, kind: Kind, intake: Intake) -> None:
        self._kind = KINDS[kind]
        self._pull = PULLS[kind]
        self._sieve = Sieve(context, self._kind, peer)
        self._intake = intake
        self._groups: dict[str, Group] = {}
        self.count = 0

    @property
    def groups(self) -> list[Group]:
        """The groups that the records are of."""
        return list(self._groups.values())

    async def take(self, body: bytes) -> None:
        """Take in the records of an answer; raises InvalidMessage."""
        if self._pull.block is None:
            await self._take_in(read_records(self._pull.answer, body), self._group_of)
            return
        for raw in read_records(self._pull.answer, body).raws:
            group = self._kind.group_of_block(raw, "")
            self._groups[group.key] = group
            await self._take_in(read_records(self._pull.block, raw), partial(_always, group))

    async def _take_in(self, reading: RecordReading[Message], group_of: Callable[[Readable], Group]) -> None:
        async for usable in self._sieve.usable(reading, group_of):
            self.count += len(usable)
            for record, message in usable:
                if getattr(message, "delta_type", None) == DeltaType.DELETE:
                    await self._intake.withdraw(record.key)
                else:
                    await self._intake.put(record)

    def _group_of(self, record: Readable) -> Group:
        """Return the group of a charging spot: the operator it names, or its own."""
        spot: PullEvseDataRecord = record  # type: ignore[assignment]
        operator = spot.operator_id or spot.evse_id.operator
        text = operator.text if operator else ""
        head = {"OperatorID": text, **({"OperatorName": spot.operator_name} if spot.operator_name else {})}
        group = Group(operator.key if operator else "", text, orjson.dumps(head))
        return self._groups.setdefault(group.key, group)

    async def set_aside(self) -> int:
        """Keep aside what could not be used; return how much of it was never seen before."""
        return await self._sieve.keep_aside(self._pull.operation.name)


def _always(group: Group, _record: Readable) -> Group:
    return group
