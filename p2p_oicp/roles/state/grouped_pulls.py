"""Answering the pulls that have no pages: statuses, prices, authentication data; by joining stored bytes by group."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import (
    EvseID,
    PullAuthenticationData,
    PullEVSEPricing,
    PullEvseStatus,
    PullEvseStatusById,
    PullEvseStatusByOperatorId,
    PullPricingProductData,
)
from p2p_oicp.roles.answers import status_code
from p2p_oicp.roles.context import Answer, Incoming, RoleContext
from p2p_oicp.roles.state.evse_pull import circle_of
from p2p_oicp.roles.state.kinds import KINDS, audience_key
from p2p_oicp.storage.state import evses, queries
from p2p_oicp.storage.state.model import EVERYONE, Kind

_DATA_ERROR = "022"
_MOST_IDS = 100
_SUCCESS = orjson.dumps(status_code("000"))


class GroupedPulls:
    """Answers from the store; ``source`` is whose state: ``""`` our own, None everybody's."""

    def __init__(self, context: RoleContext, source: str | None) -> None:
        self._store = context.store
        self._source = source
        self._former = context.former

    async def statuses(self, incoming: Incoming[PullEvseStatus]) -> Answer:
        """Return all statuses, those that are ``EVSEStatus``, those in a circle."""
        pull = incoming.message
        wanted = None if pull.evse_status is None else [str(pull.evse_status).lower()]
        if pull.search_center is None:
            return _statuses(await self._grouped(Kind.EVSE_STATUS, facets=wanted))
        keys = await evses.keys_near(self._store, circle_of(pull.search_center), self._source, self._former.names())
        rows = await self._store.scan(
            queries.GROUPED_KEYS,
            kind_=Kind.EVSE_STATUS,
            keys=_json(keys),
            facets=_json(wanted),
            source_=self._source,
            gone=_json(self._former.names()),
        )
        return _statuses(rows)

    async def statuses_of_operators(self, incoming: Incoming[PullEvseStatusByOperatorId]) -> Answer:
        """Return the statuses of some operators."""
        wanted = [operator.key for operator in incoming.message.operator_id]
        return _statuses(await self._grouped(Kind.EVSE_STATUS, groups=wanted))

    async def statuses_by_id(self, incoming: Incoming[PullEvseStatusById]) -> Answer:
        """Return up to 100 statuses: ``EvseNotFound`` for an unknown EVSE, ``Unknown`` without a status (box M10)."""
        wanted = {evse_id.key: evse_id for evse_id in incoming.message.evse_id}
        if len(wanted) > _MOST_IDS:
            raise Refusal(_DATA_ERROR, f"{len(wanted)} EvseIDs are asked for; at most {_MOST_IDS} are answered")
        statuses = await self._by_key(Kind.EVSE_STATUS, wanted)
        known = await self._by_key(Kind.EVSE_DATA, wanted.keys() - statuses.keys())
        records = [
            statuses.get(key) or _no_status(evse_id, "Unknown" if key in known else "EvseNotFound")
            for key, evse_id in wanted.items()
        ]
        return Answer(
            b'{"EVSEStatusRecords":{"EvseStatusRecord":[%b]},"StatusCode":%b}' % (b",".join(records), _SUCCESS)
        )

    async def products(self, incoming: Incoming[PullPricingProductData]) -> Answer:
        """Return the products that some operators offer to this provider or to all."""
        pull = incoming.message
        audiences = _audiences(incoming.party)
        groups = [f"{operator.key}|{audience}" for operator in pull.operator_ids for audience in audiences]
        rows = await self._grouped(
            Kind.PRICING_PRODUCT, facets=audiences, groups=groups, since=_seconds(pull.last_call)
        )
        return _twice(b"PricingProductData", b"OperatorPricingProducts", _blocks(Kind.PRICING_PRODUCT, rows))

    async def evse_prices(self, incoming: Incoming[PullEVSEPricing]) -> Answer:
        """Return which products apply where, for this provider or for all."""
        pull = incoming.message
        rows = await self._grouped(
            Kind.EVSE_PRICING,
            facets=_audiences(pull.provider_id.text),
            groups=[operator.key for operator in pull.operator_ids],
            since=_seconds(pull.last_call),
        )
        kind = KINDS[Kind.EVSE_PRICING]
        heads = (orjson.dumps({"OperatorID": row["party"]}) for row in rows)
        blocks = [kind.block(head, row["records"]) for head, row in zip(heads, rows, strict=True)]
        return _twice(b"EVSEPricing", b"OperatorEVSEPricing", blocks)

    async def authentication_data(self, _incoming: Incoming[PullAuthenticationData]) -> Answer:
        """Return who the drivers are; PINs as hashes."""
        rows = await self._grouped(Kind.AUTHENTICATION)
        blocks = b",".join(_blocks(Kind.AUTHENTICATION, rows))
        return Answer(b'{"ProviderAuthenticationData":[%b],"StatusCode":%b}' % (blocks, _SUCCESS))

    async def _grouped(
        self,
        kind: Kind,
        *,
        facets: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
        since: float | None = None,
    ) -> Sequence[Any]:
        return await self._store.scan(
            queries.GROUPED,
            kind_=kind,
            source_=self._source,
            gone=_json(self._former.names()),
            facets=_json(facets),
            groups=_json(groups),
            since=since,
        )

    async def _by_key(self, kind: Kind, keys: Iterable[str]) -> dict[str, bytes]:
        asked, gone = _json(list(keys)), _json(self._former.names())
        rows = await self._store.read(queries.BY_KEY, kind_=kind, keys=asked, source_=self._source, gone=gone)
        return {row["key"]: row["raw"] for row in reversed(rows)}


def _json(texts: Sequence[str] | None) -> str | None:
    return None if texts is None else orjson.dumps(texts).decode()


def _seconds(instant: Any) -> float | None:  # noqa: ANN401 - datetime or None
    return None if instant is None else instant.timestamp()


def _audiences(provider: str | None) -> list[str]:
    return [EVERYONE] if provider is None else [EVERYONE, audience_key(provider)]


def _no_status(evse_id: EvseID, status: str) -> bytes:
    return orjson.dumps({"EvseID": evse_id.text, "EvseStatus": status})


def _blocks(kind: Kind, rows: Sequence[Any]) -> list[bytes]:
    return [KINDS[kind].block(row["head"], row["records"]) for row in rows]


def _statuses(rows: Sequence[Any]) -> Answer:
    blocks = b",".join(_blocks(Kind.EVSE_STATUS, rows))
    return Answer(b'{"EvseStatuses":{"OperatorEvseStatus":[%b]},"StatusCode":%b}' % (blocks, _SUCCESS))


def _twice(name: bytes, other_name: bytes, blocks: Sequence[bytes]) -> Answer:
    """Write a list under both names that are read (CONFORMANCE D12, D13)."""
    joined = b",".join(blocks)
    return Answer(b'{"%b":[%b],"%b":[%b],"StatusCode":%b}' % (name, joined, other_name, joined, _SUCCESS))
