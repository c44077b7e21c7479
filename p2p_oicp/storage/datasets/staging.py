"""The crash-safe import of more records than one transaction may change.

Pushes and pulls take the same way; pages of a pull are staged as they arrive, a push all at once.

(1) **Stage.** The records are appended to a spool file, which nothing refers to yet.
(2) **Commit point.** The file is made durable; then one transaction inserts the row of ``imports`` that names it. From
    here on the import will be applied, whatever happens.
(3) **Apply** the chunks of the file, each in a short transaction, between which other jobs of the writer run.
(4) **Delete** the records that the import replaces by not containing them.
(5) **End.** One transaction removes the row; then the file is removed.

A crash before (2) leaves a file that no row names; it is removed at the next start. After a crash behind (2), or an
error of the disk, (3) begins again at the first chunk: records that are applied already cost a comparison of digests.

Invariant: only one import of a dataset and source is under way. `DatasetCoordinator` sees to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import msgspec
from sqlalchemy import bindparam, delete, func, insert, select

from p2p_oicp.concurrency import shield_until_done
from p2p_oicp.storage import job_keys
from p2p_oicp.storage.datasets.apply import (
    mark_deleted,
    mark_keys_deleted,
    record_request,
    upsert_groups,
    upsert_records,
)
from p2p_oicp.storage.datasets.models import UNCHANGED, ApplyResult, Changeset, DatasetRecord, ReplaceScope
from p2p_oicp.storage.schema import counters, dataset_groups, dataset_records, imports, spool
from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.store import SpooledImport, Store
from p2p_oicp.storage.transactions import Lane, Row, Transaction

#: Returns the time in seconds since the epoch. Jobs call it when they run: a delta pull finds changes by their time, so
#: a record must not be much older than the commit that makes it visible.
Now = Callable[[], float]

#: Records of one transaction: about a millisecond, for which an authorization may have to wait.
CHUNK_SIZE = 50
# Transactions that are queued at once: the writer commits several together while nothing else is written.
_MAX_QUEUED_JOBS = 8
_SCAN_CHUNK_SIZE = 5_000
_MAX_CHANGE = 2**63 - 1

_imports, _records, _spool = imports.c, dataset_records.c, spool.c
_INSERT_IMPORT = compiled(
    insert(imports)
    .values({name: bindparam(name) for name in ("changeset", "last_change", "spool_name", "spool_size")})
    .returning(_imports.id)
)
#: All imports behind their commit point, the oldest first.
ALL_IMPORTS = compiled(select(imports).order_by(_imports.id))
_DELETE_IMPORT = compiled(delete(imports).where(_imports.id == bindparam("id_")))
_SELECT_SPOOL_BLOCK = compiled(
    select(_spool.content).where(_spool.import_id == bindparam("import_"), _spool.position == bindparam("position_"))
)
_DELETE_SPOOL_BLOCKS = compiled(delete(spool).where(_spool.import_id == bindparam("import_")))
_SELECT_LAST_CHANGE = compiled(select(func.max(counters.c.value).label("value")).where(counters.c.name == "change"))
_SELECT_RECORDS_UNTIL = compiled(
    select(_records.id, _records.key, _records.group_key, _records.change)
    .where(
        _records.dataset == bindparam("dataset_"),
        _records.source == bindparam("source_"),
        _records.group_key == bindparam("group_"),
        _records.change > bindparam("after"),
        _records.change <= bindparam("until"),
        _records.deleted == 0,
    )
    .order_by(_records.change)
    .limit(_SCAN_CHUNK_SIZE)
)
_SELECT_GROUP_KEYS = compiled(
    select(dataset_groups.c.group_key).where(
        dataset_groups.c.dataset == bindparam("dataset_"), dataset_groups.c.source == bindparam("source_")
    )
)


class _Chunk(msgspec.Struct, array_like=True, gc=False):
    """One frame of a spool file: the changes of one transaction, and keys of records that stay as they are."""

    records: Sequence[DatasetRecord] = ()
    deleted_keys: Sequence[str] = ()
    unchanged_keys: Sequence[str] = ()


_encode = msgspec.msgpack.Encoder().encode
_decode_chunk = msgspec.msgpack.Decoder(_Chunk).decode
_decode_changeset = msgspec.msgpack.Decoder(Changeset).decode


@dataclass(frozen=True, slots=True)
class _CommittedImport:
    """A row of ``imports``.

    ``changeset`` is without its records and keys, which the spool file of ``spool_size`` bytes has. Records up to
    ``last_change`` are older than the import.
    """

    id: int
    changeset: Changeset
    last_change: int
    spool_size: int


class StagedImport:
    """One import in its spool file: append to it, then commit and apply it, or discard it.

    Args:
        store: the store that it is applied to.
        now: returns the time in seconds since the epoch.
        spool_file: the file of its records.
        committed: its row, if it is behind its commit point.

    """

    def __init__(
        self, store: Store, now: Now, spool_file: SpooledImport, committed: _CommittedImport | None = None
    ) -> None:
        self._store = store
        self._now = now
        self._spool_file = spool_file
        self._committed = committed

    @classmethod
    async def create(cls, store: Store, now: Now) -> StagedImport:
        """Begin an import. Raises StoreError."""
        return cls(store, now, await store.spool.create())

    def __repr__(self) -> str:
        return f"<StagedImport {self._spool_file.name} committed={self.is_committed}>"

    @property
    def is_committed(self) -> bool:
        """Whether the import is behind its commit point and not wholly applied yet."""
        return self._committed is not None

    @property
    def changeset(self) -> Changeset:
        """The committed changeset, without its records."""
        return self._require_committed().changeset

    async def has_whole_file(self) -> bool:
        """Return whether the file of a committed import is there in its whole length. Raises StoreError."""
        return await self._spool_file.size() == self._require_committed().spool_size

    async def append(self, records: Sequence[DatasetRecord], deleted_keys: Sequence[str] = ()) -> None:
        """Stage records and deletions. Raises StoreError; then only ``discard`` is left to do."""
        await self._spool_file.append(map(_encode, _chunks(records, deleted_keys)))

    async def commit_and_apply(self, changeset: Changeset, missing_rows: Sequence[Row] | None = None) -> ApplyResult:
        """Apply all that is staged, as one change.

        After an error behind the commit point (`is_committed`), call :meth:`finish`; before it, :meth:`discard`.

        Args:
            changeset: what the staged records belong to. Its own records and keys are those that are staged, or none.
            missing_rows: the rows to delete because the import does not contain them, if the caller knows them.

        Raises:
            StoreError: the database or the spool file cannot be written or read.

        """
        # A cancelled caller waits for the commit: what it does next has to know whether there is one.
        changed_groups = await shield_until_done(self._commit(replace(changeset, records=(), deleted_keys=())))
        # Records at hand are not read back: that costs 2 µs a record, a tenth of applying it.
        chunks = [*_chunks(changeset.records, changeset.deleted_keys)]
        return ApplyResult(
            changed_groups + await self._apply(self._at_hand(chunks) if chunks else self._read_back(), missing_rows)
        )

    async def _commit(self, changeset: Changeset) -> int:
        # Order: the file is durable before the row that names it.
        size = await self._spool_file.sync()
        job = partial(
            commit_import, changeset=changeset, spool_name=self._spool_file.name, spool_size=size, now=self._now
        )
        self._committed, changed_groups = await self._store.write(job, Lane.BULK, job_keys.of_changeset(changeset))
        return changed_groups

    async def finish(self) -> int:
        """Apply a committed import from its file, from the beginning; return the number of changed records.

        Raises:
            StoreError: the database cannot be written, or the spool file cannot be read.

        """
        return await self._apply(self._read_back())

    async def _apply(
        self, batches: AsyncIterator[Sequence[_Chunk | bytes]], missing_rows: Sequence[Row] | None = None
    ) -> int:
        committed = self._require_committed()
        changeset, changed, present_keys = committed.changeset, 0, set[str]()
        about = job_keys.of_changeset(changeset)
        async for batch in batches:
            jobs = (partial(apply_chunk, changeset=changeset, chunk=chunk, now=self._now) for chunk in batch)
            for count, keys in await asyncio.gather(*(self._store.write(job, Lane.BULK, about) for job in jobs)):
                changed += count
                present_keys.update(keys)
        if missing_rows is None:
            missing_rows = await find_missing_rows(self._store, changeset, present_keys, committed.last_change)
        changed += await self._delete_rows(changeset, missing_rows)
        await self._store.write(partial(end_import, committed=committed, now=self._now), Lane.BULK, about)
        self._committed = None
        await self._spool_file.remove()
        return changed

    async def _read_back(self) -> AsyncIterator[Sequence[bytes]]:
        offset = 0
        while True:
            frames, offset = await self._spool_file.read(offset, _MAX_QUEUED_JOBS)
            if not frames:
                return
            yield frames

    async def _at_hand(self, chunks: Sequence[_Chunk]) -> AsyncIterator[Sequence[_Chunk]]:
        for start in range(0, len(chunks), _MAX_QUEUED_JOBS):
            yield chunks[start : start + _MAX_QUEUED_JOBS]

    async def discard(self) -> None:
        """Remove the import; what is applied of a committed one stays. Raises StoreError."""
        if self._committed is not None:
            job = partial(_delete_import, import_id=self._committed.id)
            await self._store.write(job, Lane.BULK, job_keys.of_changeset(self.changeset))
            self._committed = None
        await self._spool_file.remove()

    async def _delete_rows(self, changeset: Changeset, rows: Sequence[Row]) -> int:
        chunks = [rows[start : start + CHUNK_SIZE] for start in range(0, len(rows), CHUNK_SIZE)]
        changed, about = 0, job_keys.of_changeset(changeset)
        for first in range(0, len(chunks), _MAX_QUEUED_JOBS):
            jobs = (
                partial(_delete_chunk, changeset=changeset, rows=chunk, now=self._now)
                for chunk in chunks[first : first + _MAX_QUEUED_JOBS]
            )
            changed += sum(await asyncio.gather(*(self._store.write(job, Lane.BULK, about) for job in jobs)))
        return changed

    def _require_committed(self) -> _CommittedImport:
        if self._committed is None:
            raise RuntimeError(f"{self!r}: not committed")
        return self._committed


def _chunks(records: Sequence[DatasetRecord], deleted_keys: Sequence[str]) -> Iterator[_Chunk]:
    changed = [record for record in records if record.raw != UNCHANGED]
    for start in range(0, len(changed), CHUNK_SIZE):
        yield _Chunk(records=changed[start : start + CHUNK_SIZE])
    for start in range(0, len(deleted_keys), CHUNK_SIZE):
        yield _Chunk(deleted_keys=deleted_keys[start : start + CHUNK_SIZE])
    # Records that the store has already are kept by their keys: after a crash, nothing else tells that they stay.
    if len(changed) < len(records):
        yield _Chunk(unchanged_keys=[record.key for record in records if record.raw == UNCHANGED])


def commit_import(
    tx: Transaction, changeset: Changeset, spool_name: str, spool_size: int, now: Now
) -> tuple[_CommittedImport, int]:
    """Pass the commit point of an import; return it, and the number of changed groups."""
    changed_groups = upsert_groups(tx, changeset.dataset, changeset.source, changeset.groups, now())
    counter = tx.one(_SELECT_LAST_CHANGE)
    last_change = int(counter["value"] or 0) if counter else 0
    row = tx.one(
        _INSERT_IMPORT,
        changeset=_encode(changeset),
        last_change=last_change,
        spool_name=spool_name,
        spool_size=spool_size,
    )
    return _CommittedImport(int(row["id"]) if row else 0, changeset, last_change, spool_size), changed_groups


def apply_chunk(tx: Transaction, changeset: Changeset, chunk: _Chunk | bytes, now: Now) -> tuple[int, list[str]]:
    """Apply a chunk, decoded or as the spool file has it.

    Return the number of changed records, and the keys that the import contains.
    """
    if isinstance(chunk, bytes):
        chunk = _decode_chunk(chunk)
    changed = upsert_records(tx, changeset.dataset, changeset.source, chunk.records, now())
    changed += mark_keys_deleted(tx, changeset.dataset, changeset.source, chunk.deleted_keys, now())
    return changed, [record.key for record in chunk.records] + list(chunk.unchanged_keys)


def _delete_chunk(tx: Transaction, changeset: Changeset, rows: Sequence[Row], now: Now) -> int:
    return mark_deleted(tx, changeset.dataset, changeset.source, rows, now())


def end_import(tx: Transaction, committed: _CommittedImport, now: Now) -> None:
    """Remove the row of an import that is applied."""
    record_request(tx, committed.changeset, now())
    _delete_import(tx, committed.id)


def _delete_import(tx: Transaction, import_id: int) -> None:
    tx.run(_DELETE_IMPORT, id_=import_id)


async def find_missing_rows(
    store: Store, changeset: Changeset, present_keys: Collection[str], until: int = _MAX_CHANGE
) -> list[Row]:
    """Return the live rows that a changeset replaces and does not contain.

    Args:
        store: the store to look in.
        changeset: what is applied; its ``replace_scope`` says which groups count.
        present_keys: the keys that it contains.
        until: the last change that is older than the changeset.

    """
    missing: list[Row] = []
    for group in await _replaced_group_keys(store, changeset):
        after = 0
        while rows := await store.query_bulk(
            _SELECT_RECORDS_UNTIL,
            dataset_=changeset.dataset,
            source_=changeset.source,
            group_=group,
            after=after,
            until=until,
        ):
            after = int(rows[-1]["change"])
            missing += (row for row in rows if row["key"] not in present_keys)
    return missing


async def _replaced_group_keys(store: Store, changeset: Changeset) -> list[str]:
    if changeset.replace_scope is ReplaceScope.GROUPS:
        return [group.key for group in changeset.groups]
    if changeset.replace_scope is ReplaceScope.SOURCE:
        rows = await store.query(_SELECT_GROUP_KEYS, dataset_=changeset.dataset, source_=changeset.source)
        return [row["group_key"] for row in rows]
    return []


async def load_interrupted_imports(store: Store, now: Now) -> list[StagedImport]:
    """Return the imports that a crash interrupted behind their commit point, and remove all other spool files."""
    interrupted: list[StagedImport] = []
    rows = await store.query(ALL_IMPORTS)
    await store.spool.purge_except({row["spool_name"] for row in rows})
    for row in rows:
        spool_file = store.spool.file(row["spool_name"])
        await _restore_spool_file(store, row["id"], spool_file)
        committed = _CommittedImport(
            row["id"], _decode_changeset(row["changeset"]), row["last_change"], row["spool_size"]
        )
        interrupted.append(StagedImport(store, now, spool_file, committed))
    return interrupted


async def _restore_spool_file(store: Store, import_id: int, spool_file: SpooledImport) -> None:
    """Write the spool file that a backup has within, if this database was restored from one; it is the true one."""
    offset = 0
    while rows := await store.query(_SELECT_SPOOL_BLOCK, import_=import_id, position_=offset):
        await spool_file.restore(offset, rows[0]["content"])
        offset += len(rows[0]["content"])
    if offset:
        # Order: the file is durable before the database forgets its content.
        await spool_file.sync()
        await store.write(partial(_delete_spool_blocks, import_id=import_id), Lane.BULK, job_keys.ANY_ORDER)


def _delete_spool_blocks(tx: Transaction, import_id: int) -> None:
    tx.run(_DELETE_SPOOL_BLOCKS, import_=import_id)
