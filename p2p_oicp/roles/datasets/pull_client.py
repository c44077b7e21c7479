"""Pull the peers that do not push: every ``pull_interval`` seconds, by delta where the operation has one.

Each dataset has its own times: one that fails is tried again by itself, and one that the peer does not offer an hour
later.

**A clearing house** is pulled for whatever it has (RULES L20). Records of parties that another peer is responsible for,
or this node itself, are left out; which ones these are may change with the peers, and then everything is pulled again.

**One pull** of a dataset reads page after page into a `PullImport`, which is applied as a whole behind the last page:
nothing is deleted first, and a pull that fails changes nothing (RULES P3).

**Deltas** (EVSE data only) ask for what changed since a watermark: the peer's clock before the first page of the last
pull, less five minutes (RULES S2, S3). The watermark is stored when a pull is applied.

**Invalid records** go to the quarantine, and the watermark is not moved: they are pulled once more, for the peer may
repair them. Bytes that were invalid before do not stop it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import orjson
import structlog

from p2p_oicp.client import OicpReply
from p2p_oicp.concurrency import shield_until_done
from p2p_oicp.delivery import ChannelLog, ExponentialBackoff
from p2p_oicp.delivery.wakeup import NOT_OFFERED_CODES, NOT_OFFERED_DELAY_SECONDS
from p2p_oicp.errors import PeerBusy, PeerError, PeerProtocolError, PeerRejected, StoreError
from p2p_oicp.oicp import (
    AnyRecord,
    DeltaType,
    InvalidMessage,
    Message,
    OperatorID,
    PullEvseDataRecord,
    RecordStream,
    read_records,
)
from p2p_oicp.oicp.findings import format_counts
from p2p_oicp.oicp.operations import Operation, Party
from p2p_oicp.peers import Peer
from p2p_oicp.peers.models import PullSettings
from p2p_oicp.roles.context import Services
from p2p_oicp.roles.datasets.ingest import RecordFilter
from p2p_oicp.roles.datasets.pull_specs import (
    BY_OPERATORS,
    PULL_SPECS,
    check_reply,
    evse_data_request,
    fetch_pages,
    is_not_offered,
)
from p2p_oicp.roles.datasets.types import DATASET_TYPES
from p2p_oicp.storage import Transaction, job_keys, peer_state
from p2p_oicp.storage.datasets import change_feed, queries
from p2p_oicp.storage.datasets.coordinator import PullImport
from p2p_oicp.storage.datasets.models import DatasetKind, RecordGroup, ReplaceScope
from p2p_oicp.storage.peer_state import PULL_PREFIX, Destination

log = structlog.get_logger(__name__)

_MAX_RETRY_DELAY_SECONDS = 300.0
#: Of a clearing house without ``pull_interval``: what the integration guide recommends for statuses at most.
HUB_PULL_INTERVAL_SECONDS = 300.0


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
        self._record_filter = RecordFilter(context, self._dataset_type, peer, is_pull=True)
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
            if self._record_filter.is_of_other_peer(self._dataset_type.party_of(group)):
                continue
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
        """Log what was repaired (the sums, and the first record of each kind), and how much was left out."""
        repairs, dataset = self._record_filter.repairs, self._dataset_type.name
        if left_out := self._record_filter.of_other_peers:
            log.info("pull.records_of_other_peers", peer=peer.name, dataset=dataset, records=left_out)
        first = {repair.code: f"{name}: {repair}" for name, repair in reversed(repairs)}
        if repairs:
            counts = format_counts(Counter(repair.code for _, repair in repairs))
            log.warning(
                "pull.records_repaired", peer=peer.name, dataset=dataset, counts=counts, first=[*first.values()]
            )

    async def store_rejected(self) -> int:
        """Put the invalid records into the quarantine; return how many are new there. Raises StoreError."""
        return await self._record_filter.store_rejected(self._spec.operation.name)


def _fixed_group(group: RecordGroup, _record: AnyRecord) -> RecordGroup:
    return group


@dataclass(slots=True)
class _Schedule:
    """When a dataset is pulled: ``due_at`` is monotonic, ``failures`` are those in a row."""

    log: ChannelLog
    due_at: float = 0.0
    failures: int = 0


def _settings_of(peer: Peer, operation: Operation) -> PullSettings:
    return peer.pull_settings(operation.name.removeprefix("Pull"))


class DatasetPuller:
    """Pulls all datasets of one peer, again and again.

    Args:
        context: the services of the node.
        peer: the peer that is pulled.
        interval: seconds from the end of one pull to the next, where the peer has no other for a dataset; None: never.
        backoff: the delay after failures; never more than the interval, and than five minutes.

    Background task: run it under a `TaskSupervisor`.

    """

    def __init__(self, context: Services, peer: Peer, interval: float | None, backoff: ExponentialBackoff) -> None:
        self._context = context
        self._peer = peer
        self._settings = {dataset: _settings_of(peer, spec.operation) for dataset, spec in PULL_SPECS.items()}
        self._intervals = {
            dataset: (interval or 0.0) if settings.interval is None else settings.interval
            for dataset, settings in self._settings.items()
        }
        # Of a filtered pull; in memory, so that another filter begins with everything.
        self._filtered_watermark: float | None = None
        self._backoff = backoff
        self._schedules = {
            dataset: _Schedule(ChannelLog(log.bind(peer=peer.name, channel=PULL_PREFIX + dataset.label), context.clock))
            for dataset in PULL_SPECS
        }
        self._peers_of_last_pull: object = None

    def __repr__(self) -> str:
        failures = {dataset.name: schedule.failures for dataset, schedule in self._schedules.items()}
        return f"<DatasetPuller peer={self._peer.name} failures={failures}>"

    async def run(self) -> None:
        wakeup = self._context.wakeups.register(Destination(self._peer.id, PULL_PREFIX.strip()))
        while True:
            retries, delay = wakeup.retries, await self.pull()
            has_failed = any(schedule.failures for schedule in self._schedules.values())
            if await wakeup.wait(delay, idle=not has_failed):
                # Of a peer that proves to be alive, at once what has failed; where a person asks for it, everything.
                for schedule in self._schedules.values():
                    if schedule.failures or wakeup.retries != retries:
                        schedule.due_at = 0.0

    async def pull(self) -> float:
        """Pull every dataset that is due, the peer offers and we may have; return the seconds until one is due."""
        applicable = {
            dataset: self._schedules[dataset]
            for dataset, spec in PULL_SPECS.items()
            if self._intervals[dataset] and self._is_applicable(spec.operation)
        }
        for dataset, schedule in applicable.items():
            if schedule.due_at > self._context.clock.monotonic():
                continue
            try:
                await self._pull_dataset(dataset)
            except (PeerError, StoreError) as error:
                schedule.failures += 1
                delay = self._delay_after(error, schedule.failures, self._intervals[dataset])
                schedule.log.record_failure(error, next_try_in=delay)
                await self._record(dataset, error, schedule.failures, delay)
            else:
                schedule.failures, delay = 0, self._intervals[dataset]
                schedule.log.record_success()
                await self._record(dataset, None)
            schedule.due_at = self._context.clock.monotonic() + delay
        due_times = [schedule.due_at for schedule in applicable.values()]
        return max(0.0, min(due_times) - self._context.clock.monotonic()) if due_times else _MAX_RETRY_DELAY_SECONDS

    def _delay_after(self, error: PeerError | StoreError, failures: int, interval: float) -> float:
        if isinstance(error, PeerRejected) and is_not_offered(error):
            return max(interval, NOT_OFFERED_DELAY_SECONDS)
        requested_delay = error.retry_after if isinstance(error, PeerBusy) else None
        delay = max(self._backoff.delay(failures), requested_delay or 0.0)
        return min(interval, delay, _MAX_RETRY_DELAY_SECONDS)

    async def _record(
        self, dataset: DatasetKind, error: PeerError | StoreError | None, failures: int = 0, delay: float = 0.0
    ) -> None:
        """Store how the pull went; it is shown, and decides nothing."""
        destination, now = Destination(self._peer.id, PULL_PREFIX + dataset.label), self._context.now()

        def job(tx: Transaction) -> None:
            if error is None:
                peer_state.mark_success(tx, destination, now)
            else:
                peer_state.mark_failure(tx, destination, failures, now + delay, error, now=now)

        try:
            await self._context.store.write(job, about=(job_keys.destination(self._peer.id),))
        except StoreError as store_error:
            log.warning("pull.not_recorded", peer=self._peer.name, error=store_error)

    def _is_applicable(self, operation: Operation) -> bool:
        local_peer, peer = self._context.local_peer, self._peer
        local_parties, peer_parties = (
            (local_peer.providers, peer.operators)
            if operation.sender is Party.EMP
            else (local_peer.operators, peer.providers)
        )
        return bool(local_parties and (peer_parties or peer.is_hub)) and peer.serves(operation.name)

    async def _watermark_of(self, dataset: DatasetKind) -> float | None:
        """Return since when changes are pulled; None: everything is."""
        if dataset is not DatasetKind.EVSE_DATA:
            return None
        peers, previous_peers = self._context.registry.all(), self._peers_of_last_pull
        self._peers_of_last_pull = peers
        if self._peer.is_hub and peers is not previous_peers:
            return None
        if self._settings[dataset].is_filtered:
            return self._filtered_watermark
        return await change_feed.get_watermark(self._context.store, self._peer.id, dataset)

    async def _set_watermark(self, dataset: DatasetKind, watermark: float) -> None:
        if self._settings[dataset].is_filtered:
            self._filtered_watermark = watermark
            await change_feed.clear_watermark(self._context.store, self._peer.id, dataset)
        else:
            await change_feed.set_watermark(self._context.store, self._peer.id, dataset, watermark)

    async def _pull_dataset(self, dataset: DatasetKind) -> None:
        """Pull a dataset. Raises PeerError, StoreError; nothing is changed then."""
        peer, store = self._peer, self._context.store
        since = await self._watermark_of(dataset)
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
                self._filtered_watermark = None
                await change_feed.clear_watermark(store, peer.id, dataset)
            raise
        if result.changed:
            self._context.wakeups.notify_dataset(dataset.label, is_ours=False)
        # Order: the watermark comes last. A crash before it costs another pull of the same changes.
        new_rejections = await reader.store_rejected()
        reader.log_repairs(peer)
        if dataset is DatasetKind.EVSE_DATA and not new_rejections:
            await self._set_watermark(dataset, watermark)
        log.info(
            "pull.completed", peer=peer.name, dataset=dataset.name.lower(), records=reader.count, changed=result.changed
        )

    async def _fetch(self, dataset: DatasetKind, reader: PullResultReader, since: float | None) -> float:
        """Read all responses; return the peer's time before the first one, in seconds since the epoch."""
        # The Date header of the first response; a peer without one is taken to have our clock.
        watermark: float | None = None
        replies = self._fetch_pages(since) if dataset is DatasetKind.EVSE_DATA else self._fetch_groups(dataset, reader)
        async for reply in replies:
            watermark = watermark or reply.sent_at or self._context.now()
            try:
                await reader.add_page(reply.body)
            except InvalidMessage as error:
                raise PeerProtocolError(self._peer.name, f"the answer is not OICP: {error}") from error
        return watermark or self._context.now()

    def _fetch_pages(self, since: float | None) -> AsyncIterator[OicpReply]:
        provider, settings = self._context.local_peer.providers[0].text, self._settings[DatasetKind.EVSE_DATA]
        operators = [operator.text for operator in settings.operators or ()]
        request = evse_data_request(provider, since, countries=settings.countries or (), operators=operators)
        return fetch_pages(self._call, provider, request)

    async def _fetch_groups(self, dataset: DatasetKind, reader: PullResultReader) -> AsyncIterator[OicpReply]:
        selected = self._settings[dataset].operators
        operators = [operator.text for operator in selected or self._peer.operators]
        if selected or not self._peer.is_hub or dataset not in BY_OPERATORS:
            async for reply in self._fetch_groups_of(dataset, operators):
                yield reply
            return
        # A clearing house is asked for all, and only where it answers nothing to that, for those that it has named.
        try:
            async for reply in self._fetch_groups_of(dataset, []):
                yield reply
        except PeerRejected as error:
            if error.code in NOT_OFFERED_CODES:
                raise
        if not reader.groups and (named := await self._operators_of_hub()):
            async for reply in self._fetch_groups_of(dataset, named):
                yield reply

    async def _fetch_groups_of(self, dataset: DatasetKind, operators: Sequence[str]) -> AsyncIterator[OicpReply]:
        operation, local_peer = PULL_SPECS[dataset].operation, self._context.local_peer
        parties = local_peer.providers if operation.sender is Party.EMP else local_peer.operators
        for party, body in PULL_SPECS[dataset].build_requests([each.text for each in parties], operators):
            yield await self._call(operation, party, body)

    async def _operators_of_hub(self) -> list[str]:
        """Return the operators of its entry, and those whose EVSE data has been pulled of it."""
        rows = await self._context.store.query(queries.PARTIES, dataset_=DatasetKind.EVSE_DATA, source_=self._peer.id)
        named = (*(operator.text for operator in self._peer.operators), *(row["party"] for row in rows))
        return [*{OperatorID(text).key: text for text in named}.values()]

    async def _call(
        self, operation: Operation, party: str, body: bytes, query: Mapping[str, str] | None = None
    ) -> OicpReply:
        reply = await self._context.peers.call(
            self._peer, operation, party, body, deadline=operation.deadline, query=query
        )
        return check_reply(self._peer.name, operation, reply)
