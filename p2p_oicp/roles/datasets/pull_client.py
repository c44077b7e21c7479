"""Pull the peers that do not push: every ``pull_interval`` seconds, by delta where the operation has one.

**One pull** of a dataset reads page after page into a `PullImport`, which is applied as a whole behind the last page:
nothing is deleted first, and a pull that fails changes nothing (RULES P3).

**Deltas** (EVSE data only) ask for what changed since a watermark: the peer's clock before the first page of the last
pull, less five minutes (RULES S2, S3). The watermark is stored when a pull is applied.

**Invalid records** go to the quarantine, and the watermark is not moved: they are pulled once more, for the peer may
repair them. Bytes that were invalid before do not stop it again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import orjson
import structlog

from p2p_oicp.client import OicpReply
from p2p_oicp.clock import format_timestamp
from p2p_oicp.concurrency import shield_until_done
from p2p_oicp.delivery import ExponentialBackoff
from p2p_oicp.errors import PeerError, PeerProtocolError, PeerRejected, StoreError
from p2p_oicp.oicp import (
    AnyRecord,
    AuthenticationData,
    DeltaType,
    EvseDataPage,
    EvsePricings,
    EvseStatuses,
    InvalidMessage,
    Message,
    OperatorEvsePricing,
    OperatorEvseStatus,
    PricingProductData,
    PricingProducts,
    ProviderAuthenticationData,
    PullEvseDataRecord,
    RecordStream,
    StatusCode,
    StatusCodeValue,
    read_records,
)
from p2p_oicp.oicp.findings import format_counts
from p2p_oicp.oicp.operations import OPERATION_BY_NAME, Operation, Party
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import Services
from p2p_oicp.roles.datasets.ingest import RecordFilter
from p2p_oicp.roles.datasets.types import DATASET_TYPES
from p2p_oicp.storage.datasets import change_feed
from p2p_oicp.storage.datasets.coordinator import PullImport
from p2p_oicp.storage.datasets.models import DatasetKind, RecordGroup, ReplaceScope

log = structlog.get_logger(__name__)

# As many records as a page of another node has at most (`responses.PageRequest`).
_PAGE_SIZE = 2000
# Against a peer whose pages never end.
_MAX_PAGES = 100_000
# The clocks of two companies differ, and a record that is written during a pull has an earlier time (RULES S2).
CLOCK_SKEW_SECONDS = 300.0
_MAX_RETRY_DELAY_SECONDS = 300.0

#: Returns the requests of a pull: the party that asks, and the body.
RequestFactory = Callable[[Peer, Peer], Iterator[tuple[str, bytes]]]


@dataclass(frozen=True, slots=True)
class PullSpec:
    """How a dataset is pulled.

    ``wrapper_type`` is the object around the records of a group in the response; None: the response is a page of
    records.
    """

    operation: Operation
    response_type: type[Message]
    wrapper_type: type[Message] | None
    build_requests: RequestFactory


# EVSE data and statuses are the same for all our providers, so one of them asks.
def _provider_request(local_peer: Peer, _peer: Peer) -> Iterator[tuple[str, bytes]]:
    provider = local_peer.providers[0].text
    yield provider, orjson.dumps({"ProviderID": provider})


# Products and prices are offered to single providers: each of ours asks for its own.
def _product_requests(local_peer: Peer, peer: Peer) -> Iterator[tuple[str, bytes]]:
    operators = [operator.text for operator in peer.operators]
    for provider in local_peer.providers:
        yield provider.text, orjson.dumps({"OperatorIDs": operators})


def _price_requests(local_peer: Peer, peer: Peer) -> Iterator[tuple[str, bytes]]:
    operators = [operator.text for operator in peer.operators]
    for provider in local_peer.providers:
        yield provider.text, orjson.dumps({"ProviderID": provider.text, "OperatorIDs": operators})


def _operator_request(local_peer: Peer, _peer: Peer) -> Iterator[tuple[str, bytes]]:
    operator = local_peer.operators[0].text
    yield operator, orjson.dumps({"OperatorID": operator})


PULL_SPECS: Mapping[DatasetKind, PullSpec] = MappingProxyType(
    {
        DatasetKind.EVSE_DATA: PullSpec(OPERATION_BY_NAME["PullEvseData"], EvseDataPage, None, _provider_request),
        DatasetKind.EVSE_STATUS: PullSpec(
            OPERATION_BY_NAME["PullEvseStatus"], EvseStatuses, OperatorEvseStatus, _provider_request
        ),
        DatasetKind.PRICING_PRODUCT: PullSpec(
            OPERATION_BY_NAME["PullPricingProductData"], PricingProducts, PricingProductData, _product_requests
        ),
        DatasetKind.EVSE_PRICING: PullSpec(
            OPERATION_BY_NAME["PullEVSEPricing"], EvsePricings, OperatorEvsePricing, _price_requests
        ),
        DatasetKind.AUTHENTICATION: PullSpec(
            OPERATION_BY_NAME["PullAuthenticationData"],
            AuthenticationData,
            ProviderAuthenticationData,
            _operator_request,
        ),
    }
)


class PullResultReader:
    """Reads the responses to one pull of a dataset into an import.

    Args:
        context: the services of the node.
        peer: the peer that is pulled.
        dataset: the dataset that is pulled.
        pull_import: what the records are added to.

    """

    def __init__(self, context: Services, peer: Peer, dataset: DatasetKind, pull_import: PullImport) -> None:
        self._dataset_type = DATASET_TYPES[dataset]
        self._spec = PULL_SPECS[dataset]
        self._record_filter = RecordFilter(context, self._dataset_type, peer, repairs=True)
        self._pull_import = pull_import
        self._groups: dict[str, RecordGroup] = {}
        self.count = 0

    @property
    def groups(self) -> list[RecordGroup]:
        """All groups that the records read so far belong to."""
        return list(self._groups.values())

    async def add_page(self, body: bytes) -> None:
        """Read the records of a response. Raises InvalidMessage, StoreError."""
        if self._spec.wrapper_type is None:
            await self._import_records(read_records(self._spec.response_type, body), self._group_of)
            return
        for raw in read_records(self._spec.response_type, body).raw_records:
            group = self._dataset_type.group_of_wrapper(raw, "")
            self._groups[group.key] = group
            await self._import_records(read_records(self._spec.wrapper_type, raw), partial(_fixed_group, group))

    async def _import_records(
        self, stream: RecordStream[Message], group_of: Callable[[AnyRecord], RecordGroup]
    ) -> None:
        async for valid_records in self._record_filter.valid_records(stream, group_of):
            self.count += len(valid_records)
            for record, message in valid_records:
                if getattr(message, "delta_type", None) == DeltaType.DELETE:
                    await self._pull_import.add_deletion(record.key)
                else:
                    await self._pull_import.add_record(record)

    def _group_of(self, record: AnyRecord) -> RecordGroup:
        """Return the group of an EVSE: the operator that the record names, else that of its EvseID."""
        evse: PullEvseDataRecord = record  # type: ignore[assignment]
        operator = evse.operator_id or evse.evse_id.operator
        text = operator.text if operator else ""
        wrapper = {"OperatorID": text, **({"OperatorName": evse.operator_name} if evse.operator_name else {})}
        group = RecordGroup(operator.key if operator else "", text, orjson.dumps(wrapper))
        return self._groups.setdefault(group.key, group)

    def log_repairs(self, peer: Peer) -> None:
        """Log what was repaired: the sums, and the first record of each kind."""
        repairs = self._record_filter.repairs
        first = {repair.code: f"{name}: {repair}" for name, repair in reversed(repairs)}
        if repairs:
            counts = format_counts(Counter(repair.code for _, repair in repairs))
            dataset = self._dataset_type.name
            log.warning(
                "pull.records_repaired", peer=peer.name, dataset=dataset, counts=counts, first=[*first.values()]
            )

    async def store_rejected(self) -> int:
        """Put the invalid records into the quarantine; return how many are new there. Raises StoreError."""
        return await self._record_filter.store_rejected(self._spec.operation.name)


def _fixed_group(group: RecordGroup, _record: AnyRecord) -> RecordGroup:
    return group


class DatasetPuller:
    """Pulls all datasets of one peer, again and again.

    Args:
        context: the services of the node.
        peer: the peer that is pulled.
        interval: seconds from the end of one pull to the next.
        backoff: the delay after failures; never more than the interval, and than five minutes.

    Background task: run it under a `TaskSupervisor`.

    """

    def __init__(self, context: Services, peer: Peer, interval: float, backoff: ExponentialBackoff) -> None:
        self._context = context
        self._peer = peer
        self._interval = interval
        self._backoff = backoff
        self._failures = 0

    def __repr__(self) -> str:
        return f"<DatasetPuller peer={self._peer.name} failures={self._failures}>"

    async def run(self) -> None:
        while True:
            delay = await self.pull()
            await asyncio.sleep(delay)

    async def pull(self) -> float:
        """Pull every dataset that the peer offers and that we may have; return the seconds until the next pull."""
        failed = False
        for dataset, spec in PULL_SPECS.items():
            if not self._is_applicable(spec.operation):
                continue
            try:
                await self._pull_dataset(dataset)
            except (PeerError, StoreError) as error:
                failed = True
                log.info("pull.failed", peer=self._peer.name, dataset=dataset.name.lower(), error=error)
        self._failures = self._failures + 1 if failed else 0
        if not failed:
            return self._interval
        return min(self._interval, self._backoff.delay(self._failures), _MAX_RETRY_DELAY_SECONDS)

    def _is_applicable(self, operation: Operation) -> bool:
        local_peer, peer = self._context.local_peer, self._peer
        local_parties, peer_parties = (
            (local_peer.providers, peer.operators)
            if operation.sender is Party.EMP
            else (local_peer.operators, peer.providers)
        )
        return bool(local_parties and peer_parties) and peer.serves(operation.name)

    async def _pull_dataset(self, dataset: DatasetKind) -> None:
        """Pull a dataset. Raises PeerError, StoreError; nothing is changed then."""
        peer, store = self._peer, self._context.store
        since = await change_feed.get_watermark(store, peer.id, dataset) if dataset is DatasetKind.EVSE_DATA else None
        # A full pull deletes what it does not contain; a delta contains its deletions.
        replace_scope = ReplaceScope.SOURCE if since is None else ReplaceScope.NOTHING
        pull_import = PullImport(self._context.datasets, dataset, peer.id, replace_scope)
        reader = PullResultReader(self._context, self._peer, dataset, pull_import)
        try:
            watermark = await self._fetch(dataset, reader, since)
            if not reader.count and since is None:
                meaning = "all records are deleted"
                log.warning("pull.empty", peer=peer.name, dataset=dataset.name.lower(), meaning=meaning)
            result = await pull_import.apply(reader.groups)
        except BaseException as error:
            await shield_until_done(pull_import.discard())
            if isinstance(error, PeerRejected) and since is not None:
                # Our watermark may be older than the oldest tombstone of the peer: the next pull asks for everything.
                await change_feed.clear_watermark(store, peer.id, dataset)
            raise
        # Order: the watermark comes last. A crash before it costs another pull of the same changes.
        new_rejections = await reader.store_rejected()
        reader.log_repairs(peer)
        if dataset is DatasetKind.EVSE_DATA and not new_rejections:
            await change_feed.set_watermark(store, peer.id, dataset, watermark)
        log.info(
            "pull.completed", peer=peer.name, dataset=dataset.name.lower(), records=reader.count, changed=result.changed
        )

    async def _fetch(self, dataset: DatasetKind, reader: PullResultReader, since: float | None) -> float:
        """Read all responses; return the peer's time before the first one, in seconds since the epoch."""
        # The Date header of the first response; a peer without one is taken to have our clock.
        watermark: float | None = None
        replies = self._fetch_pages(since) if dataset is DatasetKind.EVSE_DATA else self._fetch_groups(dataset)
        async for reply in replies:
            watermark = watermark or reply.sent_at or self._context.now()
            try:
                await reader.add_page(reply.body)
            except InvalidMessage as error:
                raise PeerProtocolError(self._peer.name, f"the answer is not OICP: {error}") from error
        return watermark or self._context.now()

    async def _fetch_pages(self, since: float | None) -> AsyncIterator[OicpReply]:
        """Request page after page; a page that does not say whether it is the last one is the last one (RULES P3)."""
        request = {"ProviderID": self._context.local_peer.providers[0].text, "GeoCoordinatesResponseFormat": "Google"}
        if since is not None:
            request["LastCall"] = format_timestamp(since - CLOCK_SKEW_SECONDS)
        body, operation = orjson.dumps(request), PULL_SPECS[DatasetKind.EVSE_DATA].operation
        for page_number in range(_MAX_PAGES):
            reply = await self._call(
                operation, request["ProviderID"], body, {"page": str(page_number), "size": str(_PAGE_SIZE)}
            )
            yield reply
            page = reply.message
            if (
                not isinstance(page, EvseDataPage)
                or page.is_last
                or not read_records(EvseDataPage, reply.body).raw_records
            ):
                return

    async def _fetch_groups(self, dataset: DatasetKind) -> AsyncIterator[OicpReply]:
        for party, body in PULL_SPECS[dataset].build_requests(self._context.local_peer, self._peer):
            yield await self._call(PULL_SPECS[dataset].operation, party, body)

    async def _call(
        self, operation: Operation, party: str, body: bytes, query: dict[str, str] | None = None
    ) -> OicpReply:
        """Send a request. Raises PeerRejected for a status code of failure, whatever else the response contains."""
        reply = await self._context.peers.call(
            self._peer, operation, party, body, deadline=operation.deadline, query=query
        )
        status = getattr(reply.message, "status_code", None)
        code = str(status.code) if isinstance(status, StatusCode) else StatusCodeValue.SUCCESS
        if code != StatusCodeValue.SUCCESS or not isinstance(reply.message, operation.response):
            raise PeerRejected(
                self._peer.name, f"refused {operation.name} with {code}", http_status=reply.http_status, code=code
            )
        return reply
