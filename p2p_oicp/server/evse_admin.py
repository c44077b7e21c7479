"""What is known of EVSEs beside their records, over HTTP.

``GET /admin/v1/evses/{EvseID}/details``: prices, earlier statuses and versions, and how good the data is.
``GET /admin/v1/evse-quality``: how good the data of operators is, by samples; ``cursor`` is that of the page before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import orjson
from aiohttp import web

from p2p_oicp.clock import Clock, format_timestamp
from p2p_oicp.oicp import EvseID, OperatorID, StatusCodeValue
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.roles.datasets import quality
from p2p_oicp.roles.datasets.quality import Deduction, EvseFacts
from p2p_oicp.server.openapi import evse_endpoints
from p2p_oicp.server.pipeline import RequestContext, RequestPipeline
from p2p_oicp.server.problems import HttpError, parse_whole_number
from p2p_oicp.storage import Row, Store, evse_details, evse_lists
from p2p_oicp.storage.datasets.models import ALL_PROVIDERS, DatasetKind

_MAX_OPERATORS = 25
_TOP_DEDUCTIONS = 8


class EvseAdminApi:
    """Shows what is known of EVSEs.

    Args:
        store: the database.
        clock: the time.
        status_days: how long earlier statuses are stored.
        version_days: how long earlier versions are stored.
    """

    def __init__(self, store: Store, clock: Clock, status_days: float, version_days: float) -> None:
        self._store = store
        self._clock = clock
        self._days = {"status_days": status_days, "version_days": version_days}

    def routes(self, pipeline: RequestPipeline) -> Sequence[web.RouteDef]:
        return [
            evse_endpoints.EVSE_DETAILS.route(pipeline, self._details),
            evse_endpoints.EVSE_QUALITY.route(pipeline, self._quality),
        ]

    async def _details(self, context: RequestContext) -> OperationResponse:
        evse_id = EvseID(context.parameter("evse_id"))
        rows = await self._store.query(evse_lists.EVSE_BY_KEY, key_=evse_id.key)
        if not rows:
            raise HttpError(404, StatusCodeValue.DATA_ERROR, f"there is none of {evse_id.text[:100]} here")
        content = {
            **self._days,
            "quality": [self._judged(row, len(rows)) for row in rows],
            "statuses": await self._statuses(evse_id.key),
            "versions": await self._versions(evse_id.key),
            **await self._prices(evse_id),
        }
        return OperationResponse(msgspec.json.encode(content))

    def _judged(self, row: Row, sources: int) -> dict[str, object]:
        deductions = quality.deductions_of(_facts(row, sources), self._clock.time())
        return {
            "source": row["source"] or "own",
            "score": quality.score_of(deductions),
            "deductions": [each._asdict() for each in deductions],
        }

    async def _statuses(self, key: str) -> list[dict[str, object]]:
        limit = evse_details.MAX_STATUSES
        rows = await evse_details.read_versions(self._store, DatasetKind.EVSE_STATUS, key, limit)
        return [
            {
                "source": row["source"] or "own",
                "status": None if row["deleted"] else _object(row["raw"]).get("EvseStatus"),
                "since": format_timestamp(row["since"]),
                "until": format_timestamp(row["until"]),
            }
            for row in rows
        ]

    async def _versions(self, key: str) -> list[dict[str, object]]:
        limit = evse_details.MAX_VERSIONS
        rows = await evse_details.read_versions(self._store, DatasetKind.EVSE_DATA, key, limit)
        return [
            {
                "source": row["source"] or "own",
                "since": format_timestamp(row["since"]),
                "until": format_timestamp(row["until"]),
                "record": None if row["deleted"] or row["raw"] is None else msgspec.Raw(row["raw"]),
            }
            for row in rows
        ]

    async def _prices(self, evse_id: EvseID) -> dict[str, object]:
        """Return the products that apply at an EVSE, and what its operator takes where none does."""
        operator = evse_id.operator.key if evse_id.operator else ""
        rows = await self._store.query(evse_details.PRICES, key_=evse_id.key)
        named = [(row, row["key"].partition("|")[2], _product_ids(row["raw"])) for row in rows]
        keys = [f"{operator}|{each}|{name}" for _, provider, names in named for name in names
                for each in (provider, ALL_PROVIDERS)]  # fmt: skip
        products = await evse_details.read_products(self._store, keys)
        found = [
            {
                "source": row["source"] or "own",
                "provider": _object(row["raw"]).get("ProviderID") or provider,
                "product_id": name,
                "product": _first_product(products, row["source_id"], operator, provider, name),
            }
            for row, provider, names in named
            for name in names
        ]
        defaults = await self._store.query(evse_details.DEFAULT_PRICES, operator_=f"{operator}|")
        return {"prices": found, "default_prices": [_default_price(row) for row in defaults] if operator else []}

    async def _quality(self, context: RequestContext) -> OperationResponse:
        query = context.http.query
        limit = min(parse_whole_number(query.get("limit", str(_MAX_OPERATORS))), _MAX_OPERATORS)
        if chosen := query.get("operator", ""):
            operators, cursor = [OperatorID(chosen).key], None
        else:
            operators = await evse_details.operators_after(self._store, query.get("cursor", ""), limit + 1)
            cursor = operators[limit - 1] if len(operators) > limit else None
        judged = [await self._judge_operator(each) for each in operators[:limit]]
        content = {"operators": [each for each in judged if each["evses"]], "cursor": cursor}
        return OperationResponse(orjson.dumps(content))

    async def _judge_operator(self, operator: str) -> dict[str, object]:
        count, rows = await evse_details.sample_evses(self._store, operator)
        scores, codes = [], Counter[str]()
        examples: dict[str, tuple[Deduction, str]] = {}
        for row in rows:
            deductions = quality.deductions_of(_facts(row, 1), self._clock.time())
            scores.append(quality.score_of(deductions))
            codes.update(each.code for each in deductions)
            for each in deductions:
                examples.setdefault(each.code, (each, _evse_id(row)))
        lost = sorted(codes, key=lambda code: -codes[code] * examples[code][0].points)
        return {
            "operator": _operator_text(rows, operator),
            "evses": count,
            "sampled": len(rows),
            "score": round(sum(scores) / len(scores)) if scores else None,
            "deductions": [
                {**examples[code][0]._asdict(), "records": codes[code], "example": examples[code][1]}
                for code in lost[:_TOP_DEDUCTIONS]
            ],
        }


def _facts(row: Row, sources: int) -> EvseFacts:
    status = _object(row["status"]).get("EvseStatus")
    return EvseFacts(
        _object(row["raw"]),
        status if isinstance(status, str) else "",
        row["status_changed_at"],
        row["latitude"],
        row["longitude"],
        sources,
    )


def _object(raw: bytes | None) -> dict[str, Any]:
    value = orjson.loads(raw) if raw else {}
    return value if isinstance(value, dict) else {}


def _evse_id(row: Row) -> str:
    return str(_object(row["raw"]).get("EvseID") or row["key"])


def _operator_text(rows: Sequence[Row], operator: str) -> str:
    """Return the OperatorID as its EVSEs write it."""
    for row in rows:
        if (found := EvseID(_evse_id(row)).operator) is not None and found.key == operator:
            return found.text
    return operator


def _product_ids(raw: bytes) -> list[str]:
    names = _object(raw).get("EvseIDProductList")
    return [str(each) for each in names] if isinstance(names, list) else []


def _first_product(
    products: Mapping[tuple[str, str], bytes], source: str, operator: str, provider: str, name: str
) -> msgspec.Raw | None:
    """Return the product for a provider, or else that for all; None: its operator has sent none of this name."""
    for audience in (provider, ALL_PROVIDERS):
        if (raw := products.get((source, f"{operator}|{audience}|{name}"))) is not None:
            return msgspec.Raw(raw)
    return None


def _default_price(row: Row) -> dict[str, object]:
    wrapper = _object(row["wrapper"])
    return {
        "source": row["source"] or "own",
        "provider": wrapper.get("ProviderID") or row["audience"],
        "price": wrapper.get("PricingDefaultPrice"),
        "currency": wrapper.get("PricingDefaultPriceCurrency"),
        "unit": wrapper.get("PricingDefaultReferenceUnit"),
        "since": format_timestamp(row["wrapper_since"]) if row["wrapper_since"] else None,
    }
