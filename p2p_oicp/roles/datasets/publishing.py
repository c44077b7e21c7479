"""What a peer sees of our datasets, by its ``[peer.publish]``: in what is replicated to it, and in what it pulls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson

from p2p_oicp.oicp import EvseID
from p2p_oicp.peers import Peer
from p2p_oicp.peers.publishing import EvseFacts, PublishFilter, parse_filter
from p2p_oicp.storage import Store
from p2p_oicp.storage.datasets import change_feed, queries
from p2p_oicp.storage.datasets.models import OWN, DatasetKind

_EVSE_DATASETS = frozenset({DatasetKind.EVSE_DATA, DatasetKind.EVSE_STATUS, DatasetKind.EVSE_PRICING})


@dataclass(frozen=True)
class PublishedView:
    """The records of one dataset of ours that a filter shows (`storage.datasets.change_feed.RecordView`).

    Attributes:
        filter: None shows everything.
        dataset: the dataset of the records.
        store: has the EVSE data that decide of statuses and prices.
        earlier: the view by which a peer's copy was made.
        is_changed: whether it was made by another view than this one.
        on_moved: wakes the replicators to the peer: EVSEs have come into view, or gone out of it.
    """

    filter: PublishFilter | None
    dataset: DatasetKind
    store: Store
    earlier: PublishedView | None = None
    is_changed: bool = False
    on_moved: Callable[[], None] = lambda: None

    @property
    def text(self) -> str:
        return "" if self.filter is None else self.filter.to_text()

    @property
    def follows_evse_data(self) -> bool:
        is_evse_data = self.dataset is DatasetKind.EVSE_DATA
        return is_evse_data and self.filter is not None and self.filter.depends_on_evse_data

    async def shown(self, records: Sequence[tuple[str, bytes]]) -> list[bool]:
        """Return, for each key and bytes of a record, whether it is published. Raises StoreError."""
        publish = self.filter
        if publish is None or self.dataset is DatasetKind.AUTHENTICATION:
            return [True] * len(records)
        if self.dataset is DatasetKind.PRICING_PRODUCT:
            # By its key: the operator, the audience, the ProductID (`types.DATASET_TYPES`).
            parts = [key.split("|", 2) for key, _ in records]
            return [publish.shows_product(operator, product) for operator, _, product in parts]
        facts = await self._facts(records, publish)
        shown = [publish.shows_evse(each) for each in facts]
        if self.dataset is DatasetKind.EVSE_PRICING and (publish.include.products or publish.exclude.products):
            products = [orjson.loads(raw).get("EvseIDProductList") or () for _, raw in records]
            operators = [each.operator_key for each in facts]
            return [
                is_shown and all(publish.shows_product(operator, str(product)) for product in listed)
                for is_shown, operator, listed in zip(shown, operators, products, strict=True)
            ]
        return shown

    async def _facts(self, records: Sequence[tuple[str, bytes]], publish: PublishFilter) -> list[EvseFacts]:
        keys = [key.partition("|")[0] for key, _ in records]
        if self.dataset is DatasetKind.EVSE_DATA:
            data = [raw for _, raw in records]
        elif publish.depends_on_evse_data:
            found = await queries.records_by_key(
                self.store, DatasetKind.EVSE_DATA, dict.fromkeys(keys), source=OWN, excluded_sources=None
            )
            data = [found.get(key, b"") for key in keys]
        else:
            data = [b""] * len(keys)
        return [_facts_of(key, raw, publish) for key, raw in zip(keys, data, strict=True)]


def _facts_of(evse_key: str, evse_data: bytes, publish: PublishFilter) -> EvseFacts:
    operator = EvseID(evse_key).operator
    operator_key = operator.key if operator else ""
    if not evse_data or not publish.depends_on_evse_data:
        return EvseFacts(evse_key, operator_key)
    record = orjson.loads(evse_data)
    country = str((record.get("Address") or {}).get("Country") or "").upper()
    return EvseFacts(evse_key, operator_key, str(record.get("ChargingStationID") or ""), country)


def view_of_copy(
    peer: Peer, dataset: DatasetKind, store: Store, text: str, on_moved: Callable[[], None]
) -> PublishedView:
    """Return the view of a peer's copy, which was made by the filter ``text`` (empty: it has everything)."""
    publish, earlier = peer.publish, parse_filter(text)
    earlier_view = None if earlier is None else PublishedView(earlier, dataset, store)
    is_changed = text != ("" if publish is None else publish.to_text())
    return PublishedView(publish, dataset, store, earlier_view, is_changed, on_moved)


def view_of_pull(peer: Peer | None, dataset: DatasetKind, store: Store, source: str | None) -> PublishedView | None:
    """Return the view of a pull; None where everything may be pulled: our own backends pull all sources (None)."""
    if source != OWN or peer is None or peer.publish is None:
        return None
    return PublishedView(peer.publish, dataset, store)


async def published_keys(view: PublishedView) -> list[str]:
    """Return the keys of all live records of ours that a view shows. Raises StoreError."""
    records = await change_feed.load_own_records(view.store, view.dataset)
    shown = await view.shown(records)
    return [key for (key, _), is_shown in zip(records, shown, strict=True) if is_shown]
