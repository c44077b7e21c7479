"""What comes back from a pull: read record by record, sorted into groups; what cannot be used is set aside.

Pulling peers that do not push: every ``pull_interval`` seconds, by delta where there is one (boxes P3, S2, S3).

Nothing is cleared first: what comes is staged, and applied as a whole when the last page is there. The watermark of a
delta is the other side's clock before the first page, committed with the last one; the next pull asks from five minutes
before it. A record that cannot be read is set aside, and asked for once more: only bytes that were unreadable twice are
passed over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import orjson
import structlog

from p2p_oicp.client import OicpReply
from p2p_oicp.clock import format_timestamp
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
    read_records,
)
from p2p_oicp.oicp.operations import OPERATION_BY_NAME, Operation, Party
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import Services
from p2p_oicp.roles.datasets.ingest import RecordFilter
from p2p_oicp.roles.datasets.types import DATASET_TYPES
from p2p_oicp.roles.responses import SUCCESS
from p2p_oicp.storage.datasets import change_feed
from p2p_oicp.storage.datasets.coordinator import PullImport
from p2p_oicp.storage.datasets.models import DatasetKind, RecordGroup, ReplaceScope

RequestFactory = Callable[[Peer, Peer], Iterator[tuple[str, bytes]]]


@dataclass(frozen=True, slots=True)
class PullSpec:
    """How a kind of state is pulled: the requests (party, body) to make, and the blocks of an answer."""

    operation: Operation
    response_type: type[Message]
    wrapper_type: type[Message] | None
    build_requests: RequestFactory


def _provider_request(local_peer: Peer, _peer: Peer) -> Iterator[tuple[str, bytes]]:
    provider = local_peer.providers[0].text
    yield provider, orjson.dumps({"ProviderID": provider})


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
    """What one pull of one kind brings; ``groups`` are the groups that its records are of."""

    def __init__(self, context: Services, peer: Peer, dataset: DatasetKind, pull_import: PullImport) -> None:
        self._dataset_type = DATASET_TYPES[dataset]
        self._spec = PULL_SPECS[dataset]
        self._record_filter = RecordFilter(context, self._dataset_type, peer)
        self._pull_import = pull_import
        self._groups: dict[str, RecordGroup] = {}
        self.count = 0

    @property
    def groups(self) -> list[RecordGroup]:
        """The groups that the records are of."""
        return list(self._groups.values())

    async def add_page(self, body: bytes) -> None:
        """Take in the records of an answer; raises InvalidMessage."""
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
        """Return the group of a charging spot: the operator it names, or its own."""
        evse: PullEvseDataRecord = record  # type: ignore[assignment]
        operator = evse.operator_id or evse.evse_id.operator
        text = operator.text if operator else ""
        wrapper = {"OperatorID": text, **({"OperatorName": evse.operator_name} if evse.operator_name else {})}
        group = RecordGroup(operator.key if operator else "", text, orjson.dumps(wrapper))
        return self._groups.setdefault(group.key, group)

    async def store_rejected(self) -> int:
        """Keep aside what could not be used; return how much of it was never seen before."""
        return await self._record_filter.store_rejected(self._spec.operation.name)


def _fixed_group(group: RecordGroup, _record: AnyRecord) -> RecordGroup:
    return group


log = structlog.get_logger(__name__)

_PAGE_SIZE = 2000
_MAX_PAGES = 100_000
# The clocks of two companies differ, and what is being written while we ask has an earlier time (box S2).
CLOCK_SKEW_SECONDS = 300.0
_MAX_RETRY_DELAY_SECONDS = 300.0


class DatasetPuller:
    """Pulls one peer again and again."""

    def __init__(self, context: Services, peer: Peer, interval: float, backoff: ExponentialBackoff) -> None:
        self._context = context
        self._peer = peer
        self._interval = interval
        self._backoff = backoff
        self._failures = 0

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            delay = await self.pull()
            await asyncio.sleep(delay)

    async def pull(self) -> float:
        """Pull every kind of state that this peer has for us; return the seconds until the next time."""
        failed = False
        for dataset, spec in PULL_SPECS.items():
            if not self._is_applicable(spec.operation):
                continue
            try:
                await self._pull_dataset(dataset)
            except (PeerError, StoreError) as error:
                failed = True
                log.info("pull.failed", peer=self._peer.name, dataset=dataset.name.lower(), error=str(error))
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
        """Pull one kind: gather all of it, then apply all of it, then commit the watermark."""
        name, store = self._peer.name, self._context.store
        since = await change_feed.get_watermark(store, name, dataset) if dataset is DatasetKind.EVSE_DATA else None
        replace_scope = ReplaceScope.SOURCE if since is None else ReplaceScope.NOTHING
        pull_import = PullImport(self._context.datasets, dataset, name, replace_scope)
        reader = PullResultReader(self._context, self._peer, dataset, pull_import)
        try:
            watermark = await self._fetch(dataset, reader, since)
            if not reader.count and since is None:
                log.warning("pull.empty", peer=name, dataset=dataset.name.lower(), meaning="all withdrawn")
            result = await pull_import.apply(reader.groups)
        except BaseException as error:
            await asyncio.shield(pull_import.discard())
            if isinstance(error, PeerRejected) and since is not None:
                await change_feed.clear_watermark(store, name, dataset)
            raise
        new_rejections = await reader.store_rejected()
        if dataset is DatasetKind.EVSE_DATA and not new_rejections:
            await change_feed.set_watermark(store, name, dataset, watermark)
        log.info(
            "pull.completed", peer=name, dataset=dataset.name.lower(), records=reader.count, changed=result.changed
        )

    async def _fetch(self, dataset: DatasetKind, reader: PullResultReader, since: float | None) -> float:
        """Take in everything; return the other side's time before the first answer."""
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
        """Ask page after page; a page that does not say whether it is the last one is (box P3)."""
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
        """Ask one thing; raises PeerRejected where the answer is a refusal, whatever stands beside it."""
        reply = await self._context.peers.call(
            self._peer, operation, party, body, deadline=operation.deadline, query=query
        )
        status = getattr(reply.message, "status_code", None)
        code = str(status.code) if isinstance(status, StatusCode) else SUCCESS
        if code != SUCCESS or not isinstance(reply.message, operation.response):
            raise PeerRejected(
                self._peer.name, f"refused {operation.name} with {code}", http_status=reply.http_status, code=code
            )
        return reply
