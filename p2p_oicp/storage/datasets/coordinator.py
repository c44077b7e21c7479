"""Serializes the changes of each dataset and source, and chooses how each changeset is applied.

Invariant: all changes of ``dataset_records`` and ``dataset_groups`` go through this module, but for what retention
removes. So within one (dataset, source), changes have one order.

A changeset takes one of three ways:

- **queued**: a few records, nothing replaced. Its write is queued, and the next change of the source need not wait for
  the commit; many such changes share one.
- **inline**: up to `MAX_INLINE_RECORDS` changes. One transaction, before the next change of the source begins.
- **staged**: more than that. A `StagedImport`, whose commit point makes it whole.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import structlog
from sqlalchemy import bindparam, select

from p2p_oicp.concurrency import shield_until_done, spawn
from p2p_oicp.errors import StoreError
from p2p_oicp.storage import job_keys
from p2p_oicp.storage.datasets.apply import (
    MAX_INLINE_RECORDS,
    apply_in_transaction,
    conflicting_keys,
    is_duplicate,
)
from p2p_oicp.storage.datasets.models import (
    UNCHANGED,
    ApplyResult,
    Changeset,
    DatasetKind,
    DatasetRecord,
    RecordGroup,
    ReplaceScope,
)
from p2p_oicp.storage.datasets.queries import IN_OTHER_GROUPS
from p2p_oicp.storage.datasets.staging import Now, StagedImport, find_missing_rows, load_interrupted_imports
from p2p_oicp.storage.schema import dataset_records
from p2p_oicp.storage.statements import compiled, list_parameter, listed, written
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.transactions import Lane, Row, Transaction

log = structlog.get_logger(__name__)

# So few records are not delayed by bulk work: a change of status arrives while a full load is applied.
_MAX_INTERACTIVE_RECORDS = 10
_CHECK_CHUNK_SIZE = 5_000

_records = dataset_records.c
_SELECT_LIVE_KEYS = compiled(
    select(_records.key).where(
        _records.dataset == bindparam("dataset_"),
        _records.source == bindparam("source_"),
        _records.deleted == 0,
        _records.key.in_(listed("keys")),
    )
)
# A thousand records in one row: with a row each, the reading thread hands Python's lock over at every one.
_ENTRY_SEPARATOR = "\x1f"
_DIGEST_HEX_LENGTH = 32
_SELECT_DIGESTS = written(
    lambda d: (
        f"""
    SELECT max(change) AS last_change, {d.joined_texts(f"{d.hex('digest')} || key", _ENTRY_SEPARATOR)} AS entries FROM (
      SELECT change, digest, key FROM dataset_records
      WHERE dataset = :dataset AND source = :source AND group_key = :group AND deleted = 0 AND change > :after
      ORDER BY change LIMIT 1000
    ) AS part"""
    )
)


class _SourceState:
    """What is under way for one dataset and source: who holds it, queued writes, an interrupted import."""

    def __init__(self, dataset: DatasetKind, source: str) -> None:
        self.dataset = dataset
        self.source = source
        self._lock = asyncio.Lock()
        self._queued: set[asyncio.Task[ApplyResult]] = set()
        self._interrupted: StagedImport | None = None

    @property
    def is_interrupted(self) -> bool:
        return self._interrupted is not None

    async def acquire(self) -> None:
        """Wait for the exclusive right. Raises StoreError; then it is free again."""
        await self._lock.acquire()
        try:
            # Order: an import that an error stopped behind its commit point is older than anything that comes now.
            if self._interrupted is not None:
                await self._interrupted.finish()
                self._interrupted = None
        except BaseException:
            self._lock.release()
            raise

    def release(self) -> None:
        self._lock.release()

    def add_queued(self, write: asyncio.Task[ApplyResult]) -> None:
        self._queued.add(write)
        write.add_done_callback(self._queued.discard)

    async def wait_for_queued(self) -> None:
        """Wait until the queued writes are committed, so that a query sees them."""
        if self._queued:
            await asyncio.wait(self._queued)

    def mark_interrupted(self, staged: StagedImport) -> None:
        self._interrupted = staged


class ExclusiveUpdate:
    """The right to change one dataset of one source: read what is there, then apply one changeset to it."""

    def __init__(self, store: Store, now: Now, state: _SourceState) -> None:
        self._store = store
        self._now = now
        self._state = state
        self._is_held = True
        self._live_keys: Mapping[str, set[str]] = {}

    def release(self) -> None:
        """Let the next change of this dataset and source begin."""
        if self._is_held:
            self._is_held = False
            self._state.release()

    async def load_digests(self, group_key: str) -> dict[bytes, str]:
        """Return the keys of all live records of a group by their digests. Raises StoreError."""
        await self._state.wait_for_queued()
        keys_by_digest: dict[bytes, str] = {}
        after = 0
        dataset, source = self._state.dataset, self._state.source
        while True:
            (row,) = await self._store.query_bulk(
                _SELECT_DIGESTS, dataset=dataset, source=source, group=group_key, after=after
            )
            if row["entries"] is None:
                break
            after = row["last_change"]
            keys_by_digest.update(map(_parse_digest_entry, row["entries"].split(_ENTRY_SEPARATOR)))
        self._live_keys = {group_key: set(keys_by_digest.values())}
        return keys_by_digest

    async def records_of_other_groups(self, group_key: str, keys: Sequence[str]) -> dict[str, str]:
        """Return those of the keys that stay in another group, each with that group's party. Raises StoreError.

        A record of an EVSE moves only to the group of its own operator; otherwise the first one keeps it, until it
        withdraws it. So two operators whose pushes contain the same EVSE do not take it from each other for ever.
        """
        query = self._store.query if len(keys) <= MAX_INLINE_RECORDS else self._store.query_bulk
        scope = {"dataset_": self._state.dataset, "source_": self._state.source, "group_": group_key}
        rows = await query(IN_OTHER_GROUPS, keys=list_parameter(keys), **scope)
        others = [(row["key"], row["group_key"], row["party"]) for row in rows]
        return {key: party for key, other, party in others if key.startswith(other) or not key.startswith(group_key)}

    async def apply(self, changeset: Changeset) -> ApplyResult:
        """Apply a changeset, as a whole or, if it violates its precondition, not at all.

        This is the last step of an update: a changeset that is queued gives up the exclusive right before it is
        committed. A caller that is cancelled does not take its changeset back.

        Raises:
            StoreError: nothing is changed, or an import is committed that will be finished before the next change.
            StoreBusy: nothing is changed; too many writes are queued.

        """
        changed_count = len(changeset.records) + len(changeset.deleted_keys)
        if changed_count <= _MAX_INTERACTIVE_RECORDS and changeset.replace_scope is ReplaceScope.NOTHING:
            return await self._apply_queued(changeset)
        # Order: what is looked up from here on has to contain the queued writes.
        await self._state.wait_for_queued()
        missing_rows = await self._find_missing_rows(changeset)
        inline = replace(changeset, records=[record for record in changeset.records if record.raw != UNCHANGED])
        changed_count = len(inline.records) + len(inline.deleted_keys) + len(missing_rows)
        if changed_count > MAX_INLINE_RECORDS:
            return await self._stage_and_apply(changeset, inline, missing_rows)
        lane = Lane.INTERACTIVE if changed_count <= _MAX_INTERACTIVE_RECORDS else Lane.BULK
        job = self._apply_job(inline, missing_rows)
        return await shield_until_done(self._store.write(job, lane, job_keys.of_changeset(changeset)))

    async def _apply_queued(self, changeset: Changeset) -> ApplyResult:
        job = self._apply_job(changeset, ())
        write = spawn(self._store.write(job, about=job_keys.of_changeset(changeset)), name="apply changeset")
        self._state.add_queued(write)
        # Order: the task is created first, so its write is in the queue before one of the next update's.
        self.release()
        return await asyncio.shield(write)

    def _apply_job(self, changeset: Changeset, missing_rows: Sequence[Row]) -> Callable[[Transaction], ApplyResult]:
        return lambda tx: apply_in_transaction(tx, changeset, missing_rows, self._now())

    async def _find_missing_rows(self, changeset: Changeset) -> Sequence[Row]:
        if changeset.replace_scope is ReplaceScope.NOTHING:
            return ()
        present_keys = {record.key for record in changeset.records}
        # A fullLoad that contains all live records, as nearly all do, needs no query to find those that it lacks.
        if changeset.replace_scope is ReplaceScope.GROUPS and all(
            group.key in self._live_keys and self._live_keys[group.key] <= present_keys for group in changeset.groups
        ):
            return ()
        return await find_missing_rows(self._store, changeset, present_keys)

    async def _stage_and_apply(
        self, changeset: Changeset, changed: Changeset, missing_rows: Sequence[Row]
    ) -> ApplyResult:
        """Apply ``changeset``; ``changed`` is the same without the records that the store has already."""
        job = partial(is_duplicate, changeset=changeset, now=self._now())
        if await self._store.write(job, Lane.BULK, job_keys.of_changeset(changeset)):
            return ApplyResult()
        # Order: a repeated request meets its own records, so duplicates come before conflicts.
        if conflicts := await self._find_conflicts(changed):
            return ApplyResult(conflicts=conflicts)
        staged = await StagedImport.create(self._store, self._now)
        try:
            await staged.append(changeset.records, changeset.deleted_keys)
        except BaseException:
            await shield_until_done(staged.discard())
            raise
        return await self.apply_staged(staged, changeset, missing_rows)

    async def _find_conflicts(self, changeset: Changeset) -> tuple[str, ...]:
        if changeset.precondition is None:
            return ()
        conflicts: set[str] = set()
        for start in range(0, len(changeset.records), _CHECK_CHUNK_SIZE):
            keys = {record.key for record in changeset.records[start : start + _CHECK_CHUNK_SIZE]}
            rows = await self._store.query_bulk(
                _SELECT_LIVE_KEYS, dataset_=changeset.dataset, source_=changeset.source, keys=list_parameter(keys)
            )
            conflicts |= conflicting_keys(changeset.precondition, keys, {row["key"] for row in rows})
        return tuple(sorted(conflicts))

    async def apply_staged(
        self, staged: StagedImport, changeset: Changeset, missing_rows: Sequence[Row] | None = None
    ) -> ApplyResult:
        """Apply a changeset whose records are staged; the arguments are those of `StagedImport.commit_and_apply`."""
        await self._state.wait_for_queued()
        try:
            return await staged.commit_and_apply(changeset, missing_rows)
        except BaseException:
            if staged.is_committed:
                self._state.mark_interrupted(staged)
            else:
                await shield_until_done(staged.discard())
            raise


def _parse_digest_entry(entry: str) -> tuple[bytes, str]:
    return bytes.fromhex(entry[:_DIGEST_HEX_LENGTH]), entry[_DIGEST_HEX_LENGTH:]


class DatasetCoordinator:
    """Gives one caller at a time the right to change a dataset of a source.

    Args:
        store: the store with the datasets.
        now: returns the time in seconds since the epoch.

    """

    def __init__(self, store: Store, now: Now) -> None:
        self._store = store
        # Times on the wire have milliseconds; LastCall is compared with what is stored.
        self._now: Now = lambda: round(now(), 3)
        self._states: dict[tuple[DatasetKind, str], _SourceState] = {}

    def __repr__(self) -> str:
        interrupted = sum(state.is_interrupted for state in self._states.values())
        return f"<DatasetCoordinator sources={len(self._states)} interrupted={interrupted}>"

    @asynccontextmanager
    async def exclusive(self, dataset: DatasetKind, source: str) -> AsyncIterator[ExclusiveUpdate]:
        """Wait for the right to change this dataset of this source. Raises StoreError."""
        state = self._states.setdefault((dataset, source), _SourceState(dataset, source))
        await state.acquire()
        update = ExclusiveUpdate(self._store, self._now, state)
        try:
            yield update
        finally:
            update.release()

    async def apply(self, changeset: Changeset) -> ApplyResult:
        """Apply a changeset that does not depend on what the store has; see `ExclusiveUpdate.apply`."""
        async with self.exclusive(changeset.dataset, changeset.source) as update:
            return await update.apply(changeset)

    async def apply_staged(self, staged: StagedImport, changeset: Changeset) -> ApplyResult:
        """Apply a changeset whose records are staged; see `StagedImport.commit_and_apply`."""
        async with self.exclusive(changeset.dataset, changeset.source) as update:
            return await update.apply_staged(staged, changeset)

    async def create_import(self) -> StagedImport:
        """Begin an import whose records arrive little by little; it needs no exclusive right until it is applied."""
        return await StagedImport.create(self._store, self._now)

    async def recover(self, find_name: Callable[[str], str | None]) -> None:
        """Finish what a crash interrupted; call it once, before anything is served.

        An import that cannot be finished is given up, and what is applied of it stays: its spool file was removed, or
        its source is not known any more, and so what that peer may publish is not known either. The peer has not got
        an answer to its push: it will push again if it is paired again.

        Args:
            find_name: returns the name of a source for the log; None if the source is not known any more.

        Raises:
            StoreError: the database cannot be written, or a spool file cannot be read.

        """
        for staged in await load_interrupted_imports(self._store, self._now):
            changeset = staged.changeset
            name = find_name(changeset.source)
            event_log = log.bind(dataset=changeset.dataset.label, source=name or changeset.source)
            if not await staged.has_whole_file():
                await staged.discard()
                event_log.error("import.spool_missing", todo="push everything again")
            elif name is None:
                await staged.discard()
                event_log.warning("import.orphaned")
            else:
                event_log.warning("import.resumed", changed=await staged.finish())


class PullImport:
    """Collects the records of one pull: few in memory, many in a staged import.

    End it with ``apply``, or after any error with ``discard``.

    Args:
        coordinator: what the pull is applied by.
        dataset: the dataset that is pulled.
        source: the peer that it is pulled from.
        replace_scope: ``SOURCE`` for a full pull, ``NOTHING`` for a delta.

    """

    def __init__(
        self, coordinator: DatasetCoordinator, dataset: DatasetKind, source: str, replace_scope: ReplaceScope
    ) -> None:
        self._coordinator = coordinator
        self._changeset = Changeset(dataset=dataset, source=source, groups=(), replace_scope=replace_scope)
        # By key, None for a deletion: of a record that changes twice during a pull, the last state counts.
        self._pending: dict[str, DatasetRecord | None] = {}
        self._staged: StagedImport | None = None

    def __repr__(self) -> str:
        changeset = self._changeset
        return f"<PullImport {changeset.dataset.label} from {changeset.source} pending={len(self._pending)}>"

    async def add_record(self, record: DatasetRecord) -> None:
        """Add a record to insert or update. Raises StoreError."""
        self._pending[record.key] = record
        await self._stage_if_full()

    async def add_deletion(self, key: str) -> None:
        """Add the key of a record to delete. Raises StoreError."""
        self._pending[key] = None
        await self._stage_if_full()

    async def apply(self, groups: Sequence[RecordGroup]) -> ApplyResult:
        """Apply the pull as one change; ``groups`` are those that its records belong to. Raises StoreError."""
        changeset = replace(self._changeset, groups=tuple(groups))
        if self._staged is None:
            records, deleted_keys = self._take_pending()
            return await self._coordinator.apply(replace(changeset, records=records, deleted_keys=deleted_keys))
        await self._stage(self._staged)
        return await self._coordinator.apply_staged(self._staged, changeset)

    async def discard(self) -> None:
        """Give up what is staged, unless it is committed."""
        if self._staged is not None and not self._staged.is_committed:
            with contextlib.suppress(StoreError):  # the next start removes it
                await self._staged.discard()

    async def _stage_if_full(self) -> None:
        if len(self._pending) > MAX_INLINE_RECORDS:
            if self._staged is None:
                self._staged = await self._coordinator.create_import()
            await self._stage(self._staged)

    async def _stage(self, staged: StagedImport) -> None:
        await staged.append(*self._take_pending())

    def _take_pending(self) -> tuple[list[DatasetRecord], list[str]]:
        records = [record for record in self._pending.values() if record is not None]
        deleted_keys = [key for key, record in self._pending.items() if record is None]
        self._pending.clear()
        return records, deleted_keys
