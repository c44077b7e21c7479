"""Pulls what a snapshot of `snapshots` has, from any OICP endpoint, by the requests that a node pulls its peers with.

EVSE data is pulled by delta, if there is a watermark: what has changed since then (OICP 2.3, eRoamingPullEvseData,
LastCall). An endpoint that refuses the delta, or does not say what has happened to a record (``deltaType``), is asked
for everything. Statuses, products and prices have no deletions in a delta: they are pulled as a whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import msgspec

from p2p_oicp.cli.common import echo
from p2p_oicp.cli.progress import show_progress
from p2p_oicp.cli.snapshots import ReadRecord, Records, records_in
from p2p_oicp.client import Endpoint, OicpClient, OicpReply
from p2p_oicp.errors import PeerProtocolError, PeerRejected
from p2p_oicp.oicp import DeltaType, EvseDataPage, InvalidMessage
from p2p_oicp.oicp.message import split_members
from p2p_oicp.oicp.operations import Operation
from p2p_oicp.roles.datasets.pull_specs import PULL_SPECS, check_reply, evse_data_request, fetch_pages
from p2p_oicp.storage.datasets.models import DatasetKind


@dataclass(slots=True)
class PulledData:
    """What was pulled of a dataset.

    Attributes:
        records: all of them, or those that have changed.
        deleted: of a delta, those that are not there any more.
        is_delta: whether it has only what has changed.
        watermark: the time of the other side before the first answer, in seconds since the epoch.
        unusable: digests of records that cannot be kept, for they have no id.
    """

    is_delta: bool = False
    records: Records = field(default_factory=dict)
    deleted: Records = field(default_factory=dict)
    watermark: float | None = None
    unusable: set[str] = field(default_factory=set)

    def add(self, each: ReadRecord) -> None:
        """Add a record, or a deletion; the newest counts."""
        if each.key is None:
            self.unusable.add(hashlib.sha256(each.record.raw).hexdigest())
        elif self.is_delta and each.delta_type == DeltaType.DELETE:
            self.records.pop(each.key, None)
            self.deleted[each.key] = each.record
        else:
            self.deleted.pop(each.key, None)
            self.records[each.key] = each.record

    def applied_to(self, old: Records) -> Records:
        """Return the snapshot after this pull."""
        if not self.is_delta:
            return self.records
        return {key: record for key, record in (old | self.records).items() if key not in self.deleted}


class _NoDeltaError(Exception):
    """The endpoint answers LastCall with records, and does not say what has happened to them."""


class SnapshotPuller:
    """Pulls datasets of one endpoint.

    Args:
        client: sends the requests.
        endpoint: who is pulled.
        provider: who asks.
        timeout: seconds for each request; None: as long as the operation may take.
        now: the time, for an endpoint that does not tell its own.
    """

    def __init__(
        self, client: OicpClient, endpoint: Endpoint, provider: str, timeout: float | None, now: Callable[[], float]
    ) -> None:
        self._client = client
        self._endpoint = endpoint
        self._provider = provider
        self._timeout = timeout
        self._now = now

    async def pull_evse_data(self, since: float | None) -> PulledData:
        """Pull what has changed since the watermark, or everything; raise PeerError."""
        if since is not None:
            try:
                return await self._pull_pages(since)
            except PeerRejected as error:
                echo(f"Changes since the last pull are refused ({error.reason}): everything is pulled.", err=True)
            except _NoDeltaError:
                echo(f"{self._endpoint.name} does not tell changes (no deltaType): everything is pulled.", err=True)
        return await self._pull_pages(None)

    async def pull_groups(self, dataset: DatasetKind, operators: Sequence[str]) -> PulledData:
        """Pull all records of a dataset, of some operators where it has to name them; raise PeerError."""
        spec, pulled = PULL_SPECS[dataset], PulledData()
        with show_progress(f"Pulling {dataset.label}", total=None, unit="records"):
            for party, body in spec.build_requests([self._provider], operators):
                reply = await self._call(spec.operation, party, body, {})
                self._add(dataset, reply, pulled)
        return pulled

    async def _pull_pages(self, since: float | None) -> PulledData:
        pulled = PulledData(is_delta=since is not None)
        replies = fetch_pages(self._call, self._provider, evse_data_request(self._provider, since))
        async for reply in _with_progress(replies):
            if pulled.watermark is None:
                pulled.watermark = reply.sent_at or self._now()
            self._add(DatasetKind.EVSE_DATA, reply, pulled)
        return pulled

    def _add(self, dataset: DatasetKind, reply: OicpReply, pulled: PulledData) -> None:
        # An object without any of a page's members passes for an empty page, and would remove everything.
        if dataset is DatasetKind.EVSE_DATA and "content" not in split_members(reply.body):
            raise PeerProtocolError(self._endpoint.name, "the answer is not OICP: it has no content")
        try:
            records = list(records_in(dataset, reply.body))
        except (InvalidMessage, msgspec.DecodeError) as error:
            raise PeerProtocolError(self._endpoint.name, f"the answer is not OICP: {error}") from error
        if pulled.is_delta and records and not any(each.delta_type for each in records):
            raise _NoDeltaError
        for each in records:
            pulled.add(each)

    async def _call(self, operation: Operation, party: str, body: bytes, query: Mapping[str, str]) -> OicpReply:
        deadline = self._timeout or operation.deadline
        reply = await self._client.call(self._endpoint, operation, party, body, deadline=deadline, query=query)
        return check_reply(self._endpoint.name, operation, reply)


async def _with_progress(replies: AsyncIterator[OicpReply]) -> AsyncIterator[OicpReply]:
    """Show how many of the records that the first page announces have come."""
    with ExitStack() as stack:
        advance = None
        async for reply in replies:
            page = reply.message
            if advance is None:
                total = page.total_elements if isinstance(page, EvseDataPage) else None
                advance = stack.enter_context(show_progress("Pulling EVSE data", total=total, unit="records"))
            yield reply
            advance(page.number_of_elements or 0 if isinstance(page, EvseDataPage) else 0)
