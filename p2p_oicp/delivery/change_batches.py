"""Planning of replication: which pushes bring the copy of a group at a peer, or at a backend of ours, up to date.

`BatchPlanner` finds a group whose cursor lags behind and returns a `ChangeBatch` (a delta), or a `SnapshotTransfer`
whose chunks it then packs into batches. A batch is a queue of `PushRequest`, each at most `MAX_PUSH_BYTES` large.

The newest state of each record is sent once, however often it changed behind the cursor; nothing is queued.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from p2p_oicp.errors import PeerError
from p2p_oicp.oicp.enums import ActionType
from p2p_oicp.oicp.operations import Operation
from p2p_oicp.storage import Store
from p2p_oicp.storage.datasets import change_feed
from p2p_oicp.storage.datasets.change_feed import ChangedRecord, LaggingGroup, RecordView, ReplicaScope
from p2p_oicp.storage.datasets.models import DatasetKind
from p2p_oicp.storage.peer_state import STALE

#: A web server in front of a peer or backend takes 1 MB, if nobody has set it otherwise; who takes less is sent less.
MAX_PUSH_BYTES = 900_000
_MIN_PUSH_BYTES = 64 * 1024
_MAX_BATCH_RECORDS = 10_000
_MAX_SINGLE_DELETES = 64


class DatasetCodec(Protocol):
    """Wire format of one dataset."""

    @property
    def dataset(self) -> DatasetKind:
        """Return the dataset."""

    @property
    def operation(self) -> Operation:
        """Return the push operation of the dataset."""

    @property
    def wrapper_is_versioned(self) -> bool:
        """Return whether the object around the records has content of its own, so that a change of it must be sent."""

    @property
    def allows_empty_push(self) -> bool:
        """Return whether a fullLoad without records may be sent."""

    async def pushed_wrapper(self, wrapper: bytes) -> bytes:
        """Return the object around the records of a group as this copy gets it. Raises StoreError."""

    def push_body(self, wrapper: bytes, records: Sequence[bytes]) -> bytes:
        """Return the JSON of a push from its second member (behind ActionType) to its end."""


@dataclass(slots=True)
class PushRequest:
    """One push to send; mutable, for it is sent again until it is acknowledged.

    Attributes:
        party: the publishing party, for the URL's path.
        encode_records: returns the JSON behind the ActionType for some records.
        may_have_arrived: a response was lost, so the peer may have applied the push.
        speculative: the peer may well have none of the records, so a conflict (009) is no failure.

    """

    party: str
    action: ActionType
    records: Sequence[bytes]
    encode_records: Callable[[Sequence[bytes]], bytes]
    may_have_arrived: bool = False
    speculative: bool = False

    def body(self) -> bytes:
        """Return the JSON of the push.

        Invariant: the same bytes at every attempt; our own nodes recognize a duplicate by its bytes.
        """
        return b'{"ActionType":"%b",%b' % (self.action.encode(), self.encode_records(self.records))

    def record_failure(self, error: PeerError) -> None:
        """Record that an attempt failed, and whether the peer may have applied it nevertheless."""
        self.may_have_arrived |= error.may_have_arrived

    def fallback_after_conflict(self) -> list[PushRequest] | None:
        """Return the pushes to send instead after a conflict (009), None where only a snapshot helps."""
        if self.action is ActionType.INSERT:
            # "Exists already": after a lost response the insert may have been applied.
            return [replace(self, action=ActionType.UPDATE)]
        if self.action is not ActionType.DELETE or not (self.may_have_arrived or self.speculative):
            return None
        if len(self.records) == 1:
            return []  # it does not exist there, which is the state to reach
        if len(self.records) > _MAX_SINGLE_DELETES:
            return None
        # A push is all or nothing: one by one, those that exist are deleted and the others are skipped.
        return [replace(self, records=[record], speculative=True) for record in self.records]


@dataclass(slots=True)
class ChangeBatch:
    """Pushes for one group, in order.

    Attributes:
        cursor_key: the key of the group's cursor.
        group_change: the group's newest change when the batch was planned.
        record_count: the records of a snapshot that the batch covers.
        cursor_after: the cursor once all pushes are acknowledged; None in the middle of a snapshot.
        is_delta: whether it is a delta, not a part of a snapshot.
        is_withdrawal: the copy has nothing of the group afterwards.
        moves_view: an EVSE has come into the copy's view, or gone out of it: its status and prices follow.
        is_complete: the copy is what its cursor says afterwards. Between the batches of a long delta it is not: a
            record that was sent, and was deleted and created again since, comes with a later batch only.
        partially_sent: some of its pushes were acknowledged.

    """

    group: str
    cursor_key: str
    group_change: int
    requests: deque[PushRequest]
    record_count: int
    cursor_after: int | None
    is_delta: bool
    is_withdrawal: bool = False
    moves_view: bool = False
    is_complete: bool = True
    partially_sent: bool = False

    def acknowledge_first(self) -> None:
        """Drop the first push, which the peer has acknowledged."""
        self.requests.popleft()
        self.partially_sent = True

    @property
    def may_be_partially_applied(self) -> bool:
        """Return whether the peer has, or may have, some of the changes."""
        return self.partially_sent or any(request.may_have_arrived for request in self.requests)


@dataclass(slots=True)
class SnapshotTransfer:
    """Transfer of a whole group: the records that were alive at its ``last_change``, sent in chunks."""

    group: LaggingGroup
    record_ids: array[int]
    sent_count: int = 0

    def count_sent(self, records: int) -> None:
        """Move on by the records that the peer has acknowledged."""
        self.sent_count += records


class BatchPlanner:
    """Finds the groups that lag behind the cursors of a copy, and packs their changes into batches.

    Its memory is a hint: after a restart all groups are uncertain, which costs some speculative deletes.
    """

    def __init__(self, scope: ReplicaScope, codec: DatasetCodec, store: Store, max_push_bytes: int) -> None:
        self._scope = scope
        self._codec = codec
        self._store = store
        self._max_push_bytes = max_push_bytes
        self._snapshot_requested: set[str] = set()
        self._in_sync: set[str] = set()

    def __repr__(self) -> str:
        return f"<BatchPlanner {self._scope.dataset.name} to={self._scope.peer!r} max_bytes={self._max_push_bytes}>"

    def halve_batch_size(self) -> bool:
        """Halve the size of pushes from now on; return False where they are at the minimum."""
        if self._max_push_bytes // 2 < _MIN_PUSH_BYTES:
            return False
        self._max_push_bytes //= 2
        return True

    def mark_in_sync(self, cursor_key: str) -> None:
        """Record that the copy of a group is exactly what its cursor says."""
        self._in_sync.add(cursor_key)
        self._snapshot_requested.discard(cursor_key)

    def mark_uncertain(self, cursor_key: str) -> None:
        """Record that the copy may have more than its cursor says, as after every start of this node."""
        self._in_sync.discard(cursor_key)

    def request_snapshot(self, cursor_key: str) -> None:
        """Send a snapshot of a group next, since the copy is other than its cursor says."""
        self._snapshot_requested.add(cursor_key)

    async def next_batch(self, is_suspended: Callable[[str, int], bool]) -> ChangeBatch | SnapshotTransfer | None:
        """Return a delta, or the snapshot of a group that needs one; None if nothing lags behind.

        ``is_suspended`` says of a group, by its cursor's key and its newest change, that it must wait.
        """
        for group in await change_feed.lagging_groups(self._store, self._scope):
            if is_suspended(group.cursor_key, group.last_change):
                continue
            return await self._batch_of(replace(group, wrapper=await self._codec.pushed_wrapper(group.wrapper)))
        return None

    async def _batch_of(self, group: LaggingGroup) -> ChangeBatch | SnapshotTransfer:
        if group.is_withdrawn:
            return await self._withdrawal(group)
        if self._needs_snapshot(group):
            return await self._snapshot_of(group)
        return await self._next_delta(group, group.cursor or 0) or await self._snapshot_of(group)

    async def _snapshot_of(self, group: LaggingGroup) -> ChangeBatch | SnapshotTransfer:
        record_ids = await change_feed.live_ids(self._store, self._scope, group, group.last_change)
        if self._scope.view is None:
            return SnapshotTransfer(group, record_ids)
        return await self._filtered_snapshot(group, record_ids, self._scope.view)

    async def _filtered_snapshot(
        self, group: LaggingGroup, record_ids: array[int], view: RecordView
    ) -> ChangeBatch | SnapshotTransfer:
        """Return the snapshot of what the copy may have of a group, which empties a copy that may have nothing."""
        shown = await self._shown_ids(record_ids, view)
        if shown or (group.cursor is not None and self._codec.allows_empty_push):
            return SnapshotTransfer(group, shown)
        requests: deque[PushRequest] = deque()
        if group.cursor is not None and view.is_changed:
            # Only what it was sent before: nothing else may be named to it.
            earlier = record_ids if view.earlier is None else await self._shown_ids(record_ids, view.earlier)
            records = [raw for _, raw in await change_feed.load_records(self._store, earlier)]
            requests = self._delete_requests(group, records)
        change = group.last_change
        return ChangeBatch(group.group_key, group.cursor_key, change, requests, 0, change, is_delta=True)

    async def _shown_ids(self, record_ids: array[int], view: RecordView) -> array[int]:
        shown = array("q")
        for start in range(0, len(record_ids), _MAX_BATCH_RECORDS):
            rows = await change_feed.load_keyed_records(self._store, record_ids[start : start + _MAX_BATCH_RECORDS])
            visible = await view.shown([(key, raw) for _, key, raw in rows])
            shown.extend(number for (number, _, _), is_shown in zip(rows, visible, strict=True) if is_shown)
        return shown

    async def _withdrawal(self, group: LaggingGroup) -> ChangeBatch:
        """Return the pushes that empty a group: its owner is a peer no more."""
        encode_records = partial(self._codec.push_body, group.wrapper)
        requests = deque([PushRequest(group.party, ActionType.FULL_LOAD, [], encode_records)])
        if not self._codec.allows_empty_push:
            record_ids = await change_feed.live_ids(self._store, self._scope, group, group.last_change)
            records = [raw for _, raw in await change_feed.load_records(self._store, record_ids)]
            requests = self._delete_requests(group, records)
        return ChangeBatch(
            group.group_key,
            group.cursor_key,
            group.last_change,
            requests,
            0,
            cursor_after=0,
            is_delta=True,
            is_withdrawal=True,
        )

    def _delete_requests(self, group: LaggingGroup, records: Sequence[bytes]) -> deque[PushRequest]:
        encode_records = partial(self._codec.push_body, group.wrapper)
        requests: deque[PushRequest] = deque()
        while records:
            included = self._take_up_to_limit(records)
            requests.append(PushRequest(group.party, ActionType.DELETE, included, encode_records, speculative=True))
            records = records[len(included) :]
        return requests

    def _needs_snapshot(self, group: LaggingGroup) -> bool:
        cursor = group.cursor
        return (
            cursor is None  # a new peer
            or cursor == STALE  # its copy was made by another filter
            or cursor < group.purged_change  # tombstones behind the cursor were purged
            or cursor > group.last_change
            or group.cursor_key in self._snapshot_requested
            or (self._codec.wrapper_is_versioned and group.wrapper_change > cursor)
        )

    async def next_snapshot_chunk(self, snapshot: SnapshotTransfer) -> ChangeBatch:
        """Return the next batch of a snapshot: the first push is a fullLoad, the others are inserts."""
        record_ids = snapshot.record_ids[snapshot.sent_count : snapshot.sent_count + _MAX_BATCH_RECORDS]
        rows = await change_feed.load_records(self._store, record_ids)
        records = self._take_up_to_limit([raw for _, raw in rows])
        # ``rows`` may be fewer than the ids (records deleted meanwhile), so the chunk ends by id, not by count.
        if len(records) < len(rows):
            record_ids = record_ids[: record_ids.index(rows[len(records)][0])]
        action = ActionType.INSERT if snapshot.sent_count else ActionType.FULL_LOAD
        group = snapshot.group
        requests = [PushRequest(group.party, action, records, partial(self._codec.push_body, group.wrapper))]
        is_last = snapshot.sent_count + len(record_ids) >= len(snapshot.record_ids)
        cursor_after = group.last_change if is_last else None
        # An empty fullLoad empties the group at the peer; an empty insert changes nothing.
        if not records and (snapshot.sent_count or not self._codec.allows_empty_push):
            requests = []
        return ChangeBatch(
            group.group_key,
            group.cursor_key,
            group.last_change,
            deque(requests),
            len(record_ids),
            cursor_after,
            is_delta=False,
        )

    def _take_up_to_limit(self, records: Sequence[bytes]) -> Sequence[bytes]:
        """Return as many of the records as fit into one push, at least one."""
        size = 0
        for count, record in enumerate(records):
            size += len(record) + 1
            if count and size > self._max_push_bytes:
                return records[:count]
        return records

    async def _next_delta(self, group: LaggingGroup, cursor: int) -> ChangeBatch | None:
        """Return the changes behind the cursor; None where a snapshot costs less."""
        rows = await change_feed.load_changes(self._store, self._scope, group, cursor, _MAX_BATCH_RECORDS)
        included = rows[: len(self._take_up_to_limit([row.raw for row in rows]))]
        is_complete = len(included) == len(rows) < _MAX_BATCH_RECORDS
        last_change, count, moves_view = included[-1].change if included else cursor, len(included), False
        if self._scope.view is not None:
            included, moves_view = await self._as_shown(group, cursor, included, self._scope.view)
        transient_deletes = [row.raw for row in included if row.deleted and not row.existed_at_cursor]
        by_action: dict[ActionType, list[bytes]] = {}
        for row in included:
            if row.existed_at_cursor or not row.deleted:
                by_action.setdefault(_action_for(row), []).append(row.raw)
        # Deletes carry whole records; an empty fullLoad carries none.
        if by_action.keys() == {ActionType.DELETE} and is_complete and await self._is_emptied_group(group, by_action):
            by_action, transient_deletes = {ActionType.FULL_LOAD: []}, []
        encode_records = partial(self._codec.push_body, group.wrapper)
        requests = deque(
            PushRequest(group.party, action, records, encode_records) for action, records in by_action.items()
        )
        speculative_deletes = self._speculative_deletes(group, transient_deletes)
        if len(speculative_deletes) > _MAX_SINGLE_DELETES:
            return None
        requests.extend(speculative_deletes)
        # Changes of records that this peer may not see move the cursor as well, or the group would lag for ever.
        cursor_after = max(last_change, group.last_change) if is_complete else last_change
        batch = ChangeBatch(
            group.group_key, group.cursor_key, group.last_change, requests, count, cursor_after, is_delta=True
        )
        return replace(batch, moves_view=moves_view, is_complete=is_complete)

    async def _as_shown(
        self, group: LaggingGroup, cursor: int, rows: Sequence[ChangedRecord], view: RecordView
    ) -> tuple[list[ChangedRecord], bool]:
        """Return the changes as the copy may see them, and whether a record came into view or went out of it."""
        shown = await view.shown([(row.key, row.raw) for row in rows])
        before, was_shown = dict[str, bytes](), dict[str, bool]()
        if view.follows_evse_data:
            keys = [row.key for row in rows if row.existed_at_cursor]
            before = await change_feed.load_raw_at_cursor(self._store, self._scope, group, cursor, keys)
            was_shown = dict(zip(before, await view.shown([*before.items()]), strict=True))
        changes, moves_view = list[ChangedRecord](), False
        for row, is_shown in zip(rows, shown, strict=True):
            was = row.existed_at_cursor and was_shown.get(row.key, is_shown)
            now = is_shown and not row.deleted
            moves_view |= was is not now
            if was and not now:
                # With the bytes that the copy has: it may not see those of now.
                changes.append(replace(row, deleted=True, existed_at_cursor=True, raw=before.get(row.key, row.raw)))
            elif is_shown:
                changes.append(replace(row, existed_at_cursor=was))
        return changes, moves_view

    def _speculative_deletes(self, group: LaggingGroup, transient_deletes: Sequence[bytes]) -> list[PushRequest]:
        """Return a delete for each record that was created and deleted behind the cursor, if it may have been sent.

        One push each: a peer that never had the record refuses its delete, and is as far as one that accepts it.
        """
        if group.cursor_key in self._in_sync:
            return []
        return [
            PushRequest(
                group.party, ActionType.DELETE, [raw], partial(self._codec.push_body, group.wrapper), speculative=True
            )
            for raw in transient_deletes
        ]

    async def _is_emptied_group(self, group: LaggingGroup, deletes: Mapping[ActionType, Sequence[bytes]]) -> bool:
        """Return whether one empty fullLoad has the same effect as the (more than one) deletes."""
        return (
            self._codec.allows_empty_push
            and len(deletes[ActionType.DELETE]) > 1
            and await change_feed.is_empty(self._store, self._scope, group)
        )


def _action_for(row: ChangedRecord) -> ActionType:
    """Return the action that brings a record's newest state to a peer whose copy is at the cursor."""
    if row.deleted:
        return ActionType.DELETE
    return ActionType.UPDATE if row.existed_at_cursor else ActionType.INSERT
