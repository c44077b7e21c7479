"""What replication sends: which parcels bring a peer's copy of a group forward."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Protocol

import orjson

from p2p_oicp.oicp.operations import Operation
from p2p_oicp.peers import Peer
from p2p_oicp.storage import Store
from p2p_oicp.storage.datasets import change_feed
from p2p_oicp.storage.datasets.change_feed import ChangedRecord, LaggingGroup, ReplicaScope
from p2p_oicp.storage.datasets.models import DatasetKind

# Half of the largest body that a node takes by default; a peer that takes less is sent less.
MAX_PUSH_BYTES = 16 * 1024 * 1024
_MIN_PUSH_BYTES = 64 * 1024
_MAX_BATCH_RECORDS = 10_000
_MAX_SINGLE_DELETES = 64


class Action(StrEnum):
    """OICP's ActionType."""

    FULL_LOAD = "fullLoad"
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"


class DatasetCodec(Protocol):
    """How one kind of state is written on the wire."""

    @property
    def dataset(self) -> DatasetKind:
        """Which kind it is."""

    @property
    def operation(self) -> Operation:
        """The push that brings it."""

    @property
    def wrapper_is_versioned(self) -> bool:
        """Whether the object around the records says something itself, so that a change of it must arrive."""

    def audiences_of(self, peer: Peer) -> Sequence[str] | None:
        """Return the audiences that this peer belongs to; None where everybody may see everything."""

    def push_body(self, wrapper: bytes, records: Sequence[bytes]) -> bytes:
        """Return a push's JSON from its second member to its end."""


@dataclass(slots=True)
class PushRequest:
    """One push to send; ``write`` makes the JSON behind the ActionType of its records.

    ``may_have_arrived``: an answer was lost. ``just_in_case``: the peer may well have none of it.
    """

    party: str
    action: Action
    records: Sequence[bytes]
    encode_records: Callable[[Sequence[bytes]], bytes]
    may_have_arrived: bool = False
    speculative: bool = False

    def body(self) -> bytes:
        """Return the whole push; the same at every attempt."""
        return b'{"ActionType":"%b",%b' % (self.action.encode(), self.encode_records(self.records))

    def fallback_after_conflict(self) -> list[PushRequest] | None:
        """Return what to send where the peer says 009; None where its copy is not what we thought."""
        if self.action is Action.INSERT:
            return [replace(self, action=Action.UPDATE)]
        if self.action is not Action.DELETE or not (self.may_have_arrived or self.speculative):
            return None
        if len(self.records) == 1:
            return []  # it is gone, and that is what was wanted
        if len(self.records) > _MAX_SINGLE_DELETES:
            return None
        return [replace(self, records=[record], speculative=True) for record in self.records]


@dataclass(slots=True)
class ChangeBatch:
    """Parcels for one group, and where the peer's copy stands afterwards (None: in the middle of a load)."""

    group: str
    requests: deque[PushRequest]
    record_count: int
    cursor_after: int | None
    is_delta: bool
    partially_sent: bool = False

    @property
    def may_be_partially_applied(self) -> bool:
        """Whether the peer has, or may have, some of it."""
        return self.partially_sent or any(request.may_have_arrived for request in self.requests)


@dataclass(slots=True)
class SnapshotTransfer:
    """A group on its way to a peer that has nothing of it: the records there were at ``reached``."""

    group: str
    party: str
    wrapper: bytes
    record_ids: array[int]
    last_change: int
    sent_count: int = 0


class BatchPlanner:
    """Finds what lies behind, and packs it."""

    def __init__(self, peer: Peer, codec: DatasetCodec, store: Store) -> None:
        audiences = codec.audiences_of(peer)
        audiences_json = None if audiences is None else orjson.dumps(list(audiences)).decode()
        self._scope = ReplicaScope(peer.name, codec.dataset, audiences_json)
        self._codec = codec
        self._store = store
        self._max_push_bytes = MAX_PUSH_BYTES
        self._snapshot_requested: set[str] = set()
        self._in_sync: set[str] = set()

    def halve_batch_size(self) -> bool:
        """Make smaller parcels from now on; False where they are small already."""
        if self._max_push_bytes // 2 < _MIN_PUSH_BYTES:
            return False
        self._max_push_bytes //= 2
        return True

    def mark_in_sync(self, group: str) -> None:
        """Remember that the peer has what its cursor says, and nothing else."""
        self._in_sync.add(group)
        self._snapshot_requested.discard(group)

    def mark_uncertain(self, group: str) -> None:
        """Remember that the peer may have more than its cursor says; so it is after every start of this node."""
        self._in_sync.discard(group)

    def request_snapshot(self, group: str) -> None:
        """Remember that the peer's copy of a group is not what we thought."""
        self._snapshot_requested.add(group)

    async def next_batch(self, excluded_groups: Collection[str] = ()) -> ChangeBatch | SnapshotTransfer | None:
        """Return what to send next, or a group that must be loaded; None if nothing is behind."""
        for group in change_feed.lagging_groups(self._store, self._scope):
            if group.group_key in excluded_groups:
                continue
            if self._needs_snapshot(group):
                record_ids = await change_feed.live_ids(self._store, self._scope, group.group_key, group.last_change)
                return SnapshotTransfer(group.group_key, group.party, group.wrapper, record_ids, group.last_change)
            return await self._next_delta(group, group.cursor or 0)
        return None

    def _needs_snapshot(self, group: LaggingGroup) -> bool:
        cursor = group.cursor
        return (
            cursor is None
            or cursor < group.purged_change
            or cursor > group.last_change
            or group.group_key in self._snapshot_requested
            or (self._codec.wrapper_is_versioned and group.wrapper_change > cursor)
        )

    async def next_snapshot_chunk(self, snapshot: SnapshotTransfer) -> ChangeBatch:
        """Return the next shipment of a load: the first one is a fullLoad, the others are inserts."""
        record_ids = snapshot.record_ids[snapshot.sent_count : snapshot.sent_count + _MAX_BATCH_RECORDS]
        rows = await change_feed.load_records(self._store, record_ids)
        records = self._take_up_to_limit([raw for _, raw in rows])
        if len(records) < len(rows):
            record_ids = record_ids[: record_ids.index(rows[len(records)][0])]
        action = Action.INSERT if snapshot.sent_count else Action.FULL_LOAD
        requests = [PushRequest(snapshot.party, action, records, partial(self._codec.push_body, snapshot.wrapper))]
        is_last = snapshot.sent_count + len(record_ids) >= len(snapshot.record_ids)
        cursor_after = snapshot.last_change if is_last else None
        requests = requests if records or not snapshot.sent_count else []
        return ChangeBatch(snapshot.group, deque(requests), len(record_ids), cursor_after, is_delta=False)

    def _take_up_to_limit(self, records: Sequence[bytes]) -> Sequence[bytes]:
        """Return as many records as go into one parcel, at least one."""
        size = 0
        for count, record in enumerate(records):
            size += len(record) + 1
            if count and size > self._max_push_bytes:
                return records[:count]
        return records

    async def _next_delta(self, group: LaggingGroup, cursor: int) -> ChangeBatch:
        rows = await change_feed.load_changes(self._store, self._scope, group.group_key, cursor, _MAX_BATCH_RECORDS)
        included = rows[: len(self._take_up_to_limit([row.raw for row in rows]))]
        is_complete = len(included) == len(rows) < _MAX_BATCH_RECORDS
        transient_deletes = [row.raw for row in included if row.deleted and not row.existed_at_cursor]
        by_action: dict[Action, list[bytes]] = {}
        for row in included:
            if row.existed_at_cursor or not row.deleted:
                by_action.setdefault(_action_for(row), []).append(row.raw)
        if by_action.keys() == {Action.DELETE} and is_complete and await self._is_emptied_group(group, by_action):
            by_action, transient_deletes = {Action.FULL_LOAD: []}, []
        encode_records = partial(self._codec.push_body, group.wrapper)
        requests = deque(
            PushRequest(group.party, action, records, encode_records) for action, records in by_action.items()
        )
        requests.extend(self._speculative_deletes(group, transient_deletes))
        last_change = included[-1].change if included else cursor
        cursor_after = max(last_change, group.last_change) if is_complete else last_change
        return ChangeBatch(group.group_key, requests, len(included), cursor_after, is_delta=True)

    def _speculative_deletes(self, group: LaggingGroup, transient_deletes: Sequence[bytes]) -> list[PushRequest]:
        """Return deletes of what came and went behind the cursor, where it may have been sent: one a parcel.

        A peer that never had one of them may refuse its delete, and that is as good.
        """
        if group.group_key in self._in_sync:
            return []
        return [
            PushRequest(
                group.party, Action.DELETE, [raw], partial(self._codec.push_body, group.wrapper), speculative=True
            )
            for raw in transient_deletes
        ]

    async def _is_emptied_group(self, group: LaggingGroup, deletes: Mapping[Action, Sequence[bytes]]) -> bool:
        """Say whether one empty fullLoad tells the same as many deletes."""
        return len(deletes[Action.DELETE]) > 1 and await change_feed.is_empty(self._store, self._scope, group.group_key)


def _action_for(row: ChangedRecord) -> Action:
    """Return what tells a peer of a record's newest state, by whether it had the record before."""
    if row.deleted:
        return Action.DELETE
    return Action.UPDATE if row.existed_at_cursor else Action.INSERT
