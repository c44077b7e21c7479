"""What is special about each kind of state: its keys and groups, whose it is, how it stands on the wire."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import orjson

from p2p_oicp.oicp import (
    AuthenticationDataRecord,
    EvseDataRecord,
    EvsePricing,
    EvseStatusRecord,
    Message,
    OperatorID,
    PricingProductDataRecord,
    ProviderID,
    Readable,
)
from p2p_oicp.oicp.base import top_level
from p2p_oicp.oicp.operation import Operation, Party
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.peers import Peer
from p2p_oicp.roles.state import facts
from p2p_oicp.storage.state.model import EVERYONE, Group, Kind, Record

#: Inconsistent EvseID, inconsistent EvcoID (OICP 2.3, CodeType).
OPERATOR_CODE, PROVIDER_CODE = "018", "019"

Owner = OperatorID | ProviderID


@dataclass(frozen=True, slots=True, kw_only=True)
class StateKind:
    """One kind of state (``delivery.StateKind``).

    ``around`` are the names of the object around the records (None: there is none), ``within`` those of the records;
    the first one is written, the others are also read. ``owners`` are the parties that a record belongs to.
    """

    kind: Kind
    operation: Operation
    publisher: Party
    around: tuple[str, ...]
    within: tuple[str, ...]
    record: Callable[[bytes, Readable, Group], Record]
    owners: Callable[[Readable], Sequence[Owner | None]]
    foreign_code: str = OPERATOR_CODE
    head_counts: bool = False
    has_audiences: bool = False

    @property
    def name(self) -> str:
        """What people call it."""
        return self.kind.name.lower().replace("_", " ")

    def audiences_of(self, peer: Peer) -> Sequence[str] | None:
        """Return the audiences that this peer belongs to; None: it may see everything, as a clearing house does."""
        if not self.has_audiences or peer.default_route:
            return None
        return [EVERYONE, *(provider.key for provider in peer.providers)]

    def content(self, head: bytes, records: Sequence[bytes]) -> bytes:
        """Return a push's JSON from its second member to its end."""
        if not self.around:
            return b'"%b":[%b]}' % (self.within[0].encode(), b",".join(records))
        return b'"%b":%b}' % (self.around[0].encode(), self.block(head, b",".join(records)))

    def block(self, head: bytes, records: bytes) -> bytes:
        """Return the object around the records, with them."""
        comma = b"," if len(head) > len(b"{}") else b""
        return b'%b%b"%b":[%b]}' % (head[:-1], comma, self.within[0].encode(), records)

    def group(self, envelope: Message, party: str) -> Group:
        """Return the group that a push speaks of; ``party`` is the sender's id in the path."""
        members = top_level(envelope.to_json())
        around = next((bytes(members[name]) for name in self.around if name in members), b"{}")
        return self.group_of_block(around, party)

    def group_of_block(self, block: bytes, party: str) -> Group:
        """Return the group that the object around records speaks of."""
        members = {name: value for name, value in top_level(block).items() if name not in self.within}
        head = b"{%b}" % b",".join(b"%b:%b" % (orjson.dumps(name), bytes(value)) for name, value in members.items())
        told = {name: orjson.loads(bytes(members[name])) for name in _IDS if name in members}
        if self.publisher is Party.EMP:
            provider = ProviderID(told.get("ProviderID", party))
            return Group(provider.key, provider.text, head)
        operator = OperatorID(told.get("OperatorID", party))
        if self.kind is not Kind.PRICING_PRODUCT:
            return Group(operator.key, operator.text, head)
        audience = audience_key(told.get("ProviderID", EVERYONE))
        return Group(f"{operator.key}|{audience}", operator.text, head, audience)


_IDS = ("OperatorID", "ProviderID")


def audience_key(text: str) -> str:
    """Return the canonical form of a provider or ``*``."""
    return EVERYONE if text == EVERYONE else ProviderID(text).key


def _status(raw: bytes, record: Readable, group: Group) -> Record:
    status: EvseStatusRecord = record  # type: ignore[assignment]
    return Record(status.evse_id.key, group.key, raw, str(status.evse_status).lower())


def _evse(raw: bytes, record: Readable, group: Group) -> Record:
    evse: EvseDataRecord = record  # type: ignore[assignment]
    return Record(
        evse.evse_id.key, group.key, facts.bare(raw, evse), facts.notation(evse), facts.of_evse(evse, group.key)
    )


def _product(raw: bytes, record: Readable, group: Group) -> Record:
    product: PricingProductDataRecord = record  # type: ignore[assignment]
    return Record(f"{group.key}|{product.product_id}", group.key, raw, group.audience)


def _evse_price(raw: bytes, record: Readable, group: Group) -> Record:
    price: EvsePricing = record  # type: ignore[assignment]
    return Record(f"{price.evse_id.key}|{price.provider_id.key}", group.key, raw, price.provider_id.key)


def _identification(raw: bytes, record: Readable, group: Group) -> Record:
    told: AuthenticationDataRecord = record  # type: ignore[assignment]
    key = facts.key_of_identification(told.identification)
    return Record(key, group.key, raw, "", facts.of_identification(told.identification))


def _operators(record: Readable) -> Sequence[Owner | None]:
    evse: EvseDataRecord | EvseStatusRecord | EvsePricing = record  # type: ignore[assignment]
    return (evse.evse_id.operator,)


def _providers(record: Readable) -> Sequence[Owner | None]:
    told: AuthenticationDataRecord = record  # type: ignore[assignment]
    return [evco_id.provider for evco_id in facts.evco_ids(told.identification)]


def _nobody(_record: Readable) -> Sequence[Owner | None]:
    return ()


KINDS: Mapping[Kind, StateKind] = MappingProxyType(
    {
        kind.kind: kind
        for kind in (
            StateKind(
                kind=Kind.EVSE_DATA,
                operation=OPERATION_BY_NAME["PushEvseData"],
                publisher=Party.CPO,
                around=("OperatorEvseData", "OperatorEVSEData"),
                within=("EvseDataRecord",),
                record=_evse,
                owners=_operators,
            ),
            StateKind(
                kind=Kind.EVSE_STATUS,
                operation=OPERATION_BY_NAME["PushEvseStatus"],
                publisher=Party.CPO,
                around=("OperatorEvseStatus", "OperatorEVSEStatus"),
                within=("EvseStatusRecord", "EVSEStatusRecord"),
                record=_status,
                owners=_operators,
            ),
            StateKind(
                kind=Kind.PRICING_PRODUCT,
                operation=OPERATION_BY_NAME["PushPricingProductData"],
                publisher=Party.CPO,
                around=("PricingProductData",),
                within=("PricingProductDataRecords",),
                record=_product,
                owners=_nobody,
                head_counts=True,
                has_audiences=True,
            ),
            StateKind(
                kind=Kind.EVSE_PRICING,
                operation=OPERATION_BY_NAME["PushEVSEPricing"],
                publisher=Party.CPO,
                around=(),
                within=("EVSEPricing",),
                record=_evse_price,
                owners=_operators,
                has_audiences=True,
            ),
            StateKind(
                kind=Kind.AUTHENTICATION,
                operation=OPERATION_BY_NAME["PushAuthenticationData"],
                publisher=Party.EMP,
                around=("ProviderAuthenticationData",),
                within=("AuthenticationDataRecord",),
                record=_identification,
                owners=_providers,
                foreign_code=PROVIDER_CODE,
            ),
        )
    }
)
