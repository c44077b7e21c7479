"""The one door to state: one push of a dataset and source after the other, however large they are.

Records of a pull on their way in: a few are kept in memory, many are staged while the others are still coming.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from p2p_oicp.errors import StoreError
from p2p_oicp.storage.datasets.apply import MAX_INLINE_RECORDS, apply_in_transaction
from p2p_oicp.storage.datasets.models import (
    UNCHANGED,
    ApplyResult,
    Changeset,
    DatasetKind,
    DatasetRecord,
    RecordGroup,
    ReplaceScope,
)
from p2p_oicp.storage.datasets.staging import (
    InterruptedImport,
    LargeImport,
    Now,
    StagedImport,
    missing_rows,
    recover_imports,
    shield_until_done,
)
from p2p_oicp.storage.sqlite.writer import Lane
from p2p_oicp.storage.statements import Statement
from p2p_oicp.storage.store import Store

# A change of a single status is not held up by bulk work.
_MAX_INTERACTIVE_RECORDS = 10

DatasetSource = tuple[DatasetKind, str]

# Some records in one row: for rows of their own, Python's lock would change hands at each one.
_ENTRY_SEPARATOR = "\x1f"
_DIGEST_HEX_LENGTH = 32
_SELECT_DIGESTS = Statement(
    """
    SELECT max(change) AS last_change, group_concat(hex(digest) || key, char(31)) AS entries FROM (
      SELECT change, digest, key FROM dataset_records
      WHERE dataset = :dataset AND source = :source AND group_key = :group AND deleted = 0 AND change > :after
      ORDER BY change LIMIT 1000
    )
    """,
    {},
)


class ExclusiveUpdate:
    """The time in which nobody else begins to change the state of one dataset and source.

    ``under_way`` are changes of few records that are in the writer's queue already, in their order.
    """

    def __init__(
        self,
        store: Store,
        now: Now,
        pending_imports: dict[DatasetSource, StagedImport | LargeImport],
        in_flight: set[asyncio.Future[ApplyResult]],
    ) -> None:
        self._store = store
        self._now = now
        self._pending_imports = pending_imports
        self._live_keys: Mapping[str, set[str]] = {}
        self._in_flight = in_flight

    async def load_digests(self, dataset: DatasetKind, source: str, group_key: str) -> dict[bytes, str]:
        """Return the key of every valid record of a group by its digest."""
        await self._wait_for_in_flight()
        keys_by_digest: dict[bytes, str] = {}
        after = 0
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

    async def submit(self, changeset: Changeset) -> Awaitable[ApplyResult]:
        """Begin to apply a push; what is returned tells when that is done, and the turn need not wait for it.

        So many changes of single records share one commit. What needs more than one job is done when this returns.
        """
        if (
            len(changeset.records) + len(changeset.deleted_keys) <= _MAX_INTERACTIVE_RECORDS
            and changeset.replace_scope is ReplaceScope.NOTHING
        ):
            task = asyncio.ensure_future(
                self._store.write(lambda tx: apply_in_transaction(tx, changeset, (), self._now()))
            )
            self._in_flight.add(task)
            task.add_done_callback(self._in_flight.discard)
            return asyncio.shield(task)  # a caller that gives up does not take it back
        future = asyncio.get_running_loop().create_future()
        future.set_result(await self._apply(changeset))
        return future

    async def _apply(self, changeset: Changeset) -> ApplyResult:
        """Apply a push, all or nothing; contradictions are returned, and nothing is changed then."""
        await self._wait_for_in_flight()
        omitted_rows = await self._find_omitted_rows(changeset)
        changeset = replace(changeset, records=[record for record in changeset.records if record.raw != UNCHANGED])
        size = len(changeset.records) + len(changeset.deleted_keys) + len(omitted_rows)
        if size <= MAX_INLINE_RECORDS:
            lane = Lane.INTERACTIVE if size <= _MAX_INTERACTIVE_RECORDS else Lane.BULK
            return await shield_until_done(
                self._store.write(lambda tx: apply_in_transaction(tx, changeset, omitted_rows, self._now()), lane)
            )
        large_import = LargeImport(self._store, changeset, self._now, omitted_rows)
        return await self._run_import(changeset, large_import, large_import.apply())

    async def _find_omitted_rows(self, changeset: Changeset) -> Sequence[sqlite3.Row]:
        """Return what a push withdraws by not naming it."""
        if changeset.replace_scope is ReplaceScope.NOTHING:
            return ()
        changeset_keys = {record.key for record in changeset.records}
        if changeset.replace_scope is ReplaceScope.GROUPS and all(
            group.key in self._live_keys and self._live_keys[group.key] <= changeset_keys for group in changeset.groups
        ):
            return ()
        return await missing_rows(self._store, changeset, changeset_keys)

    async def apply_staged(
        self, changeset: Changeset, staged_import: StagedImport, groups: Sequence[RecordGroup]
    ) -> ApplyResult:
        """Apply what was staged, all or nothing."""
        await self._wait_for_in_flight()
        return await self._run_import(changeset, staged_import, staged_import.apply(groups))

    async def _wait_for_in_flight(self) -> None:
        """Wait until what is read is what was pushed."""
        if self._in_flight:
            await asyncio.wait(self._in_flight)

    async def _run_import(
        self, changeset: Changeset, pending_import: StagedImport | LargeImport, result: Awaitable[ApplyResult]
    ) -> ApplyResult:
        try:
            return await result
        except BaseException:
            if pending_import.is_committed:
                self._pending_imports[changeset.dataset, changeset.source] = pending_import
            raise


def _parse_digest_entry(entry: str) -> tuple[bytes, str]:
    return bytes.fromhex(entry[:_DIGEST_HEX_LENGTH]), entry[_DIGEST_HEX_LENGTH:]


class DatasetCoordinator:
    """Gives turns; ``now`` gives seconds since the epoch."""

    def __init__(self, store: Store, now: Now) -> None:
        self._store = store
        # What is written on the wire with milliseconds is compared with what is stored (LastCall).
        self._now: Now = lambda: round(now(), 3)
        self._locks: defaultdict[DatasetSource, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._pending_imports: dict[DatasetSource, StagedImport | LargeImport] = {}
        self._in_flight: defaultdict[DatasetSource, set[asyncio.Future[ApplyResult]]] = defaultdict(set)

    @asynccontextmanager
    async def exclusive(self, dataset: DatasetKind, source: str) -> AsyncIterator[ExclusiveUpdate]:
        """Wait until nobody else changes the state of this dataset and source."""
        async with self._locks[dataset, source]:
            if (dataset, source) in self._pending_imports:  # an error interrupted it: before anything newer
                await self._pending_imports[dataset, source].finish()
                del self._pending_imports[dataset, source]
            yield ExclusiveUpdate(self._store, self._now, self._pending_imports, self._in_flight[dataset, source])

    async def apply(self, changeset: Changeset) -> ApplyResult:
        """Apply a push in a turn of its own."""
        async with self.exclusive(changeset.dataset, changeset.source) as update:
            return await (await update.submit(changeset))

    async def recover(self) -> list[InterruptedImport]:
        """Make good what a crash interrupted; return the pushes that must be read again. Call it before serving."""
        return await recover_imports(self._store, self._now)

    async def resume(
        self, interrupted: InterruptedImport, records: Sequence[DatasetRecord], deleted_keys: Sequence[str]
    ) -> int:
        """Apply a push that a crash interrupted; return how many records that changed."""
        changeset = replace(interrupted.changeset, records=records, deleted_keys=deleted_keys)
        import_id, committed_change = interrupted.import_id, interrupted.committed_change
        return await LargeImport.from_interrupted(
            self._store, changeset, self._now, import_id=import_id, committed_change=committed_change
        ).finish()

    async def discard(self, interrupted: InterruptedImport) -> None:
        """Leave a push that a crash interrupted as it is: what was applied of it stays."""
        await LargeImport.from_interrupted(
            self._store, interrupted.changeset, self._now, import_id=interrupted.import_id
        ).discard()

    async def create_import(self, changeset: Changeset) -> StagedImport:
        """Begin a pull, whose records come little by little and need no turn yet."""
        return await StagedImport.create(self._store, changeset, self._now)

    async def apply_staged(
        self, changeset: Changeset, staged_import: StagedImport, groups: Sequence[RecordGroup]
    ) -> ApplyResult:
        """Apply what was staged, in a turn of its own."""
        async with self.exclusive(changeset.dataset, changeset.source) as update:
            return await update.apply_staged(changeset, staged_import, groups)


class PullImport:
    """Takes the records of one pull, one by one; end it with ``apply``, and with ``drop`` after any error."""

    def __init__(self, coordinator: DatasetCoordinator, changeset: Changeset) -> None:
        self._coordinator = coordinator
        self._changeset = changeset
        self._records: list[DatasetRecord] = []
        self._deleted_keys: list[str] = []
        self._staged_import: StagedImport | None = None

    async def add_record(self, record: DatasetRecord) -> None:
        """Take a record that is to be there."""
        self._records.append(record)
        await self._stage_if_full()

    async def add_deletion(self, key: str) -> None:
        """Take the key of a record that is to go."""
        self._deleted_keys.append(key)
        await self._stage_if_full()

    async def apply(self, groups: Sequence[RecordGroup]) -> ApplyResult:
        """Apply everything, all or nothing."""
        if self._staged_import is None:
            self._staged_import = await self._coordinator.create_import(self._changeset)
        await self._stage(self._staged_import)
        return await self._coordinator.apply_staged(self._changeset, self._staged_import, groups)

    async def discard(self) -> None:
        """Forget everything, unless it is decided; what cannot be cleared now is cleared at the next start."""
        if self._staged_import is not None and not self._staged_import.is_committed:
            with contextlib.suppress(StoreError):
                await self._staged_import.discard()

    async def _stage_if_full(self) -> None:
        if len(self._records) + len(self._deleted_keys) <= MAX_INLINE_RECORDS:
            return
        if self._staged_import is None:
            self._staged_import = await self._coordinator.create_import(self._changeset)
        await self._stage(self._staged_import)

    async def _stage(self, staged_import: StagedImport) -> None:
        await staged_import.stage(self._records, self._deleted_keys)
        self._records, self._deleted_keys = [], []
