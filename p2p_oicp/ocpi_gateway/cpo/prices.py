"""Tariffs of a partner into products and prices of the node (GATEWAY 9.7).

The products of an operator, and which of them apply at its EVSEs, are pushed as a whole whenever a tariff or its use
has changed, or a tariff begins or ends: the node passes on what really differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import structlog

from p2p_oicp.concurrency import offload
from p2p_oicp.ocpi.base import parse_time
from p2p_oicp.ocpi.tariffs import Tariff
from p2p_oicp.ocpi_gateway.cpo.context import CpoContext
from p2p_oicp.ocpi_gateway.cpo.intake import ObjectIntake
from p2p_oicp.ocpi_gateway.node_calls import NodeRefused
from p2p_oicp.ocpi_gateway.requests import ModuleRequest, ModuleResult, unknown_object
from p2p_oicp.ocpi_mapping.plugs import strongest_kilowatt
from p2p_oicp.ocpi_mapping.prices import Products, to_products
from p2p_oicp.ocpi_mapping.terms import Terms
from p2p_oicp.oicp import EvseID, OperatorID, PushEVSEPricing, PushPricingProductData
from p2p_oicp.oicp.enums import ActionType
from p2p_oicp.oicp.message import decode
from p2p_oicp.storage import Transaction
from p2p_oicp.storage.datasets import change_feed
from p2p_oicp.storage.datasets.models import ALL_PROVIDERS, DatasetKind
from p2p_oicp.storage.ocpi import evses, findings, objects
from p2p_oicp.storage.ocpi.evses import StoredEvse
from p2p_oicp.storage.ocpi.objects import ObjectID, ObjectKind, ObjectState, StoredObject

log = structlog.get_logger(__name__)

_KIND = ObjectKind.TARIFF


class TariffReceiver:
    """The receiver's interface of tariffs.

    Args:
        context: of the partner.
        on_changed: is called after each change.
    """

    def __init__(self, context: CpoContext, on_changed: Callable[[], None]) -> None:
        self._context = context
        self._on_changed = on_changed
        self.intake = ObjectIntake(context, _KIND, Tariff)

    async def handle(self, request: ModuleRequest) -> ModuleResult:
        """Serve GET, PUT and DELETE of one tariff."""
        id_ = self.intake.id_in_path(request.segments, "tariff_id")
        if request.verb == "GET":
            return ModuleResult((await self.intake.get(id_)).value)
        if request.verb == "DELETE":
            await self._delete(id_)
            return ModuleResult()
        self.intake.check_path(request, "tariff_id")
        await self.receive(request.body or {})
        return ModuleResult()

    async def receive(self, value: Mapping[str, Any]) -> bool:
        """Store a tariff; return whether it is another one than before."""
        received = await self.intake.put(value)
        if received.is_changed:
            self._on_changed()
        return received.is_changed

    async def _delete(self, id_: ObjectID) -> None:
        if not await self._context.write(lambda tx: objects.remove(tx, id_)):
            raise unknown_object(f"the tariff {id_.object_key}")
        self._on_changed()

    async def remove_others(self, listed: set[ObjectID]) -> int:
        """Delete the tariffs that a whole list has not; return how many."""
        stored = await objects.list_all(self._context.store, self._context.name, _KIND)
        gone = [each.id for each in stored if each.id not in listed]
        for id_ in gone:
            await self._delete(id_)
        return len(gone)


class PriceExporter:
    """Pushes products and prices to the node.

    Args:
        context: of the partner.
    """

    def __init__(self, context: CpoContext) -> None:
        self._context = context

    async def export(self) -> int:
        """Push products and prices as they are now, and return how many products. Raises NodeUnavailable."""
        async with self._context.one_at_a_time("tariffs"):
            store, name = self._context.store, self._context.name
            tariffs = await objects.list_all(store, name, _KIND)
            known = await evses.list_all(store, name)
            if not tariffs and not await self._priced_evses(known):
                return 0
            locations = await objects.list_all(store, name, ObjectKind.LOCATION)
            mapped = await offload(_products, tariffs, locations, self._context.terms())
            for operator_id in self._context.settings.parties:
                await self._push(operator_id, mapped, [each for each in known if _is_of(each, operator_id)])
            await self._store(tariffs, mapped)
            return sum(len(result.products) for result in mapped.values())

    async def _push(self, operator_id: str, mapped: Mapping[str, Products], known: list[StoredEvse]) -> None:
        settings, terms = self._context.settings, self._context.terms()
        products = {
            "OperatorID": operator_id,
            "OperatorName": terms.operator_name,
            "ProviderID": ALL_PROVIDERS,
            "PricingDefaultPrice": Decimal(settings.default_price.amount),
            "PricingDefaultPriceCurrency": terms.currency,
            "PricingDefaultReferenceUnit": settings.default_price.unit,
            "PricingProductDataRecords": [product for result in mapped.values() for product in result.products],
        }
        prices = [price for evse in known if (price := _price(evse, mapped))]
        try:
            await self._context.node.deliver(
                PushPricingProductData, {"ActionType": ActionType.FULL_LOAD, "PricingProductData": products}
            )
            await self._push_prices(prices, known)
        except NodeRefused as refused:
            log.warning("ocpi.prices_refused", partner=self._context.name, operator=operator_id, reason=str(refused))

    async def _push_prices(self, prices: list[dict[str, Any]], known: list[StoredEvse]) -> None:
        if prices:
            push = {"ActionType": ActionType.FULL_LOAD, "EVSEPricing": prices}
            await self._context.node.deliver(PushEVSEPricing, push)
        elif gone := await self._priced_evses(known):
            # OICP has no list of prices without any.
            await self._context.node.deliver(PushEVSEPricing, {"ActionType": ActionType.DELETE, "EVSEPricing": gone})

    async def _priced_evses(self, known: Sequence[StoredEvse]) -> list[dict[str, Any]]:
        """Return the prices that the node has of some EVSEs."""
        keys = {evse.evse_key for evse in known}
        records: list[Any] = [
            decode(raw) for _, raw in await change_feed.load_own_records(self._context.store, DatasetKind.EVSE_PRICING)
        ]
        return [record for record in records if EvseID(record["EvseID"]).key in keys]

    async def _store(self, tariffs: list[StoredObject], mapped: Mapping[str, Products]) -> None:
        """Record what became of the tariffs."""

        def job(tx: Transaction) -> None:
            for stored in tariffs:
                result = mapped[stored.id.object_key]
                found = self._context.findings_of(_KIND, stored.object_id, result.losses)
                for left_out in result.left_out:
                    element = left_out["element"]
                    place = "" if element is None else f"/elements/{element}"
                    text = f"{place or 'the tariff'} has no product in OICP: {left_out['reason']}"
                    found.append(self._context.finding(_KIND, stored.object_id, left_out["reason"], text, place))
                objects.set_state(tx, stored, ObjectState.CARRIED)
                findings.replace_all(tx, self._context.name, _KIND, stored.object_id, found)

        await self._context.write(job)

    async def next_change(self) -> datetime | None:
        """Return when the next tariff begins or ends; None: none does."""
        now = self._context.now()
        tariffs = await objects.list_all(self._context.store, self._context.name, _KIND)
        texts = (str(each.value.get(name)) for each in tariffs for name in ("start_date_time", "end_date_time"))
        return min((time for text in texts if (time := parse_time(text)) is not None and time > now), default=None)


def _is_of(evse: StoredEvse, operator_id: str) -> bool:
    operator = EvseID(evse.evse_id).operator
    return operator is not None and operator.key == OperatorID(operator_id).key


def _products(tariffs: list[StoredObject], locations: list[StoredObject], terms: Terms) -> dict[str, Products]:
    """Return the products of each tariff, by its key; the power is that of the strongest connector that has it."""
    connectors: dict[str, list[dict[str, Any]]] = {}
    for location in locations:
        for evse in location.value.get("evses") or []:
            for connector in evse.get("connectors") or []:
                for tariff_id in connector.get("tariff_ids") or []:
                    connectors.setdefault(str(tariff_id).lower(), []).append(connector)
    return {
        each.id.object_key: to_products(each.value, strongest_kilowatt(connectors.get(each.id.object_key, [])), terms)
        for each in tariffs
    }


def _price(evse: StoredEvse, mapped: Mapping[str, Products]) -> dict[str, Any] | None:
    """Return which products apply at an EVSE; None: none does."""
    tariff_ids = dict.fromkeys(tariff_id.lower() for each in evse.connectors for tariff_id in each.tariff_ids)
    products = [product["ProductID"] for key in tariff_ids if key in mapped for product in mapped[key].products]
    if not products:
        return None
    return {"EvseID": evse.evse_id, "ProviderID": ALL_PROVIDERS, "EvseIDProductList": products}
