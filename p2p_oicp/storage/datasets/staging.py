"""What is kept of a push that is too large for one transaction, from its decision to its end; and parts of applying it.

The row of ``batches`` says what must be done; its records are in ``staged`` (pulls) or in the journal (pushes).

A pull, whose records come page by page: staged, decided, then applied piece by piece.

(1) The records are staged, which nobody sees. (2) When the last one is there, it is *decided*: from here on they will
be applied, whatever happens. (3) Pieces of it are applied, each a short job between those of others. (4) What was not
pulled is withdrawn. (5) The decision is carried out, and no longer stands; what was staged is cleared. A crash before
the decision leaves nothing, a crash after it is made good at the next start. So a pull is never half of one, and a
large one holds nobody up.

Only one change of a dataset and source may be under way; ``Keeper`` sees to it.

A push too large for one transaction: all of it is applied or nothing, and it holds nobody up.

(1) It is checked as a whole. (2) The request is written into the journal, as it came but without PINs. (3) It is
*decided*: from here on it will be applied, whatever happens. (4) Its records are applied some at a time, in short jobs
between those of others. (5) What it does not name is withdrawn, and the journal is cleared. A crash before the decision
leaves nothing; after it, the journal's requests are applied again at the next start, before anybody is served, which
changes only what was left to do.

What a crash interrupted: found at the next start, before anybody is served.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import orjson
import structlog
from msgspec.structs import astuple
from sqlalchemy import bindparam, delete, func, insert, select, update

from p2p_oicp.errors import StoreError
from p2p_oicp.storage.datasets.apply import (
    is_duplicate,
    mark_deleted,
    mark_keys_deleted,
    record_request,
    upsert_groups,
    upsert_records,
)
from p2p_oicp.storage.datasets.models import (
    ApplyResult,
    Changeset,
    DatasetKind,
    DatasetRecord,
    Precondition,
    RecordGroup,
    ReplaceScope,
    SourceRequest,
    index_row_from_values,
)
from p2p_oicp.storage.schema import counters, dataset_groups, dataset_records, import_rows, imports, spool
from p2p_oicp.storage.sqlite.writer import Lane, Transaction
from p2p_oicp.storage.statements import Statement, compiled, list_parameter, listed
from p2p_oicp.storage.store import Store

#: Records of one job: a millisecond, for which an authorization may have to wait.
CHUNK_SIZE = 50
# Jobs that wait at once, so that the writer can commit several of them together while nobody else writes.
_MAX_QUEUED_JOBS = 8
#: An id in ``staged`` is the batch's number and a place.
SEQUENCE_BITS = 32
STAGED, COMMITTED = "staged", "committed"
_SCAN_CHUNK_SIZE = 5_000

_MAX_CHANGE = 2**63 - 1

T = TypeVar("T")
Now = Callable[[], float]

_imports, _records = imports.c, dataset_records.c
_INSERT_IMPORT = Statement(
    "INSERT INTO imports (dataset, source, state, changeset) VALUES (:dataset, :source, 'staged', :changeset) "
    "RETURNING id",
    {},
)
ALL_IMPORTS = compiled(
    select(
        _imports.id,
        _imports.dataset,
        _imports.source,
        _imports.state,
        _imports.changeset,
        _imports.last_applied_row,
        _imports.committed_change,
    ).order_by(_imports.id)
)
_MARK_COMMITTED = compiled(
    update(imports)
    .where(_imports.id == bindparam("id_"))
    .values(state=COMMITTED, changeset=bindparam("changeset"), committed_change=bindparam("committed_change"))
)
_MARK_APPLIED = compiled(update(imports).where(_imports.id == bindparam("id_")).values(state=STAGED))
_DELETE_IMPORT = compiled(delete(imports).where(_imports.id == bindparam("id_")))
_DELETE_SPOOLED_REQUEST = compiled(delete(spool).where(spool.c.id == bindparam("id_")))
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


async def insert_import(store: Store, changeset: Changeset) -> int:
    """Begin; return the batch's number."""
    changeset_json = dump_changeset(changeset)
    row = await store.write(
        lambda tx: tx.one(_INSERT_IMPORT, dataset=changeset.dataset, source=changeset.source, changeset=changeset_json),
        Lane.BULK,
    )
    return int(row["id"]) if row else 0


def mark_committed(tx: Transaction, import_id: int, changeset: Changeset, now: float) -> tuple[int, int] | None:
    """From here on the push is applied, whatever happens; None for a repetition, of which nothing is done.

    Return the change number up to which everything is older, and how many groups are new or have another wrapper.
    """
    if is_duplicate(tx, changeset, now):
        return None
    changed_groups = upsert_groups(tx, changeset.dataset, changeset.source, changeset.groups, now)
    row = tx.one(_SELECT_LAST_CHANGE)
    last_change = int(row["value"] or 0) if row else 0
    tx.run(_MARK_COMMITTED, id_=import_id, changeset=dump_changeset(changeset), committed_change=last_change)
    return last_change, changed_groups


def mark_applied(tx: Transaction, import_id: int) -> None:
    """All of it is applied: what was staged is only to be cleared, and what is left of it is not applied again."""
    tx.run(_MARK_APPLIED, id_=import_id)


def delete_import(tx: Transaction, import_id: int) -> None:
    """Nothing is left to do."""
    tx.run(_DELETE_IMPORT, id_=import_id)
    tx.run(_DELETE_SPOOLED_REQUEST, id_=import_id)


async def missing_rows(
    store: Store, changeset: Changeset, present_keys: Collection[str], until: int = _MAX_CHANGE
) -> list[sqlite3.Row]:
    """Return what a push withdraws by not naming it: valid since a change up to ``until``, where the push replaces."""
    missing: list[sqlite3.Row] = []
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


async def delete_missing_rows(store: Store, changeset: Changeset, rows: Sequence[sqlite3.Row], now: Now) -> int:
    """Withdraw rows, some at a time; return how many that were."""

    def job(tx: Transaction, rows: Sequence[sqlite3.Row]) -> int:
        return mark_deleted(tx, changeset.dataset, changeset.source, rows, now())

    return await run_in_chunks(store, job, rows)


async def shield_until_done(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what ``work`` returns. Who is cancelled meanwhile waits for its end: the writer does it all the same."""
    task = asyncio.ensure_future(coroutine)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise


async def run_in_chunks(store: Store, job: Callable[..., int], rows: Sequence[object]) -> int:
    """Do a job (``tx``, ``rows``) with rows, some at a time; return how many that changed."""
    chunks = [rows[start : start + CHUNK_SIZE] for start in range(0, len(rows), CHUNK_SIZE)]
    changed = 0
    for first in range(0, len(chunks), _MAX_QUEUED_JOBS):
        jobs = [partial(job, rows=chunk) for chunk in chunks[first : first + _MAX_QUEUED_JOBS]]
        changed += sum(await asyncio.gather(*(store.write(each, Lane.BULK) for each in jobs)))
    return changed


async def _replaced_group_keys(store: Store, changeset: Changeset) -> list[str]:
    if changeset.replace_scope is ReplaceScope.GROUPS:
        return [group.key for group in changeset.groups]
    if changeset.replace_scope is ReplaceScope.SOURCE:
        rows = await store.query(_SELECT_GROUP_KEYS, dataset_=changeset.dataset, source_=changeset.source)
        return [row["group_key"] for row in rows]
    return []


def dump_changeset(changeset: Changeset) -> bytes:
    """Return what must be known of a push after a crash."""
    groups = [[group.key, group.party, group.wrapper.decode(), group.audience] for group in changeset.groups]
    return orjson.dumps(
        {
            "groups": groups,
            "precondition": changeset.precondition,
            "replace_scope": changeset.replace_scope,
            "digest": changeset.digest.hex() if changeset.digest is not None else None,
            "party": changeset.source_request.party if changeset.source_request is not None else None,
        }
    )


def load_changeset(row: sqlite3.Row) -> tuple[Changeset, str | None]:
    """Return the push that a row of ``batches`` is about, without its records; and its party, if it is journaled."""
    fields = orjson.loads(row["changeset"])
    changeset = Changeset(
        dataset=DatasetKind(row["dataset"]),
        source=row["source"],
        groups=tuple(
            RecordGroup(key, party, wrapper.encode(), audience) for key, party, wrapper, audience in fields["groups"]
        ),
        precondition=Precondition(fields["precondition"]) if fields["precondition"] else None,
        replace_scope=ReplaceScope(fields["replace_scope"]),
        digest=bytes.fromhex(fields["digest"]) if fields["digest"] else None,
    )
    return changeset, fields["party"]


_DELETE_CHUNK_SIZE = 2_000

_imports, _rows = imports.c, import_rows.c
_INSERT_ROW = compiled(insert(import_rows).values({name: bindparam(name) for name in _rows.keys()}))  # noqa: SIM118 - columns
_SET_PROGRESS = compiled(
    update(imports).where(_imports.id == bindparam("id_")).values(last_applied_row=bindparam("last_applied_row"))
)
_id_range = (_rows.id > bindparam("after"), _rows.id <= bindparam("until"))
_DELETE_ROWS = compiled(delete(import_rows).where(*_id_range))
_SELECT_NEXT_ROWS = compiled(
    select(_rows.id, _rows.key, _rows.group_key, _rows.filter_value, _rows.index_row, _rows.raw)
    .where(*_id_range)
    .order_by(_rows.id)
    .limit(CHUNK_SIZE)
)
_SELECT_LAST_ROW_ID = compiled(select(func.max(_rows.id).label("id")).where(*_id_range))
_SELECT_ROW_KEYS = compiled(select(_rows.key).where(*_id_range, _rows.raw.is_not(None)))


class StagedImport:
    """One pull on its way; ``push`` says everything but the records, which are staged."""

    def __init__(
        self,
        store: Store,
        import_id: int,
        changeset: Changeset,
        now: Now,
        *,
        committed_change: int | None = None,
        applied_row_id: int = 0,
    ) -> None:
        self._store = store
        self._import_id = import_id
        self._changeset = changeset
        self._now = now
        self._first_row_id = import_id << SEQUENCE_BITS
        self._last_row_id = self._first_row_id
        self._committed_at = committed_change
        self._applied_row_id = max(applied_row_id, self._first_row_id)

    @property
    def is_committed(self) -> bool:
        """Whether it will be applied, whatever happens, and is not wholly applied yet."""
        return self._committed_at is not None

    @classmethod
    async def create(cls, store: Store, changeset: Changeset, now: Now) -> StagedImport:
        """Begin."""
        return cls(store, await insert_import(store, changeset), changeset, now)

    async def stage(self, records: Iterable[DatasetRecord] = (), deleted_keys: Iterable[str] = ()) -> None:
        """Put records aside; ``deleted_keys`` are keys to withdraw."""
        rows = [_row_from_record(record) for record in records]
        rows += [
            {"key": key, "group_key": "", "filter_value": "", "index_row": None, "raw": None} for key in deleted_keys
        ]
        for start in range(0, len(rows), CHUNK_SIZE):
            chunk = [
                {"id": self._last_row_id + offset, **row}
                for offset, row in enumerate(rows[start : start + CHUNK_SIZE], start=1)
            ]
            self._last_row_id += len(chunk)
            await self._store.write(partial(_insert_rows, rows=chunk), Lane.BULK)

    async def discard(self) -> None:
        """Forget what was staged."""
        last_row_id = await self._find_last_row_id()
        for after in range(self._first_row_id, last_row_id, _DELETE_CHUNK_SIZE):
            job = partial(_delete_rows, after=after, until=min(after + _DELETE_CHUNK_SIZE, last_row_id))
            await self._store.write(job, Lane.BULK)
        await self._store.write(lambda tx: delete_import(tx, self._import_id), Lane.BULK)

    async def _find_last_row_id(self) -> int:
        """Return the id of the last record staged, in this or an earlier life of the program, or about to be."""
        rows = await self._store.query(
            _SELECT_LAST_ROW_ID, after=self._first_row_id, until=self._first_row_id + (1 << SEQUENCE_BITS) - 1
        )
        return max(int(rows[0]["id"] or 0), self._last_row_id)

    async def apply(self, groups: Sequence[RecordGroup]) -> ApplyResult:
        """Decide and apply; ``groups`` are those that the records are of."""
        self._changeset = replace(self._changeset, groups=tuple(groups))
        changed_groups = await shield_until_done(self._commit())
        return ApplyResult(changed_groups + await self.finish())

    async def _commit(self) -> int:
        """Decide, unless it is a repetition; return how many groups are new or have another wrapper."""
        committed = await self._store.write(
            lambda tx: mark_committed(tx, self._import_id, self._changeset, self._now()), Lane.BULK
        )
        self._committed_at, changed_groups = committed or (None, 0)
        return changed_groups

    async def finish(self) -> int:
        """Apply what is not done yet; return how many records changed. After an error it can be called again."""
        changed = 0 if self._committed_at is None else await self._apply_committed(self._committed_at)
        await self.discard()
        return changed

    async def _apply_committed(self, committed_change: int) -> int:
        changed, last_row_id = 0, await self._find_last_row_id()
        while self._applied_row_id < last_row_id:
            count, self._applied_row_id = await self._store.write(
                partial(self._apply_chunk, after=self._applied_row_id, until=last_row_id), Lane.BULK
            )
            changed += count
        present_keys = {
            row["key"]
            for row in await self._store.query_bulk(_SELECT_ROW_KEYS, after=self._first_row_id, until=last_row_id)
        }
        missing = await missing_rows(self._store, self._changeset, present_keys, committed_change)
        changed += await delete_missing_rows(self._store, self._changeset, missing, self._now)
        await self._store.write(self._mark_applied, Lane.BULK)
        self._committed_at = None  # what is left of the staged records names no longer all that stays
        return changed

    def _mark_applied(self, tx: Transaction) -> None:
        record_request(tx, self._changeset, self._now())
        mark_applied(tx, self._import_id)

    def _apply_chunk(self, tx: Transaction, after: int, until: int) -> tuple[int, int]:
        rows = tx.all(_SELECT_NEXT_ROWS, after=after, until=until)
        now, dataset, source = self._now(), self._changeset.dataset, self._changeset.source
        changed = upsert_records(
            tx, dataset, source, [_record_from_row(row, dataset) for row in rows if row["raw"] is not None], now
        )
        changed += mark_keys_deleted(tx, dataset, source, [row["key"] for row in rows if row["raw"] is None], now)
        last = int(rows[-1]["id"]) if rows else until
        tx.run(_SET_PROGRESS, id_=self._import_id, last_applied_row=last)
        return changed, last


def _delete_rows(tx: Transaction, after: int, until: int) -> int:
    return tx.run(_DELETE_ROWS, after=after, until=until)


def _insert_rows(tx: Transaction, rows: Sequence[dict[str, object]]) -> None:
    tx.run_many(_INSERT_ROW, rows)


def _row_from_record(record: DatasetRecord) -> dict[str, object]:
    return {
        "key": record.key,
        "group_key": record.group_key,
        "filter_value": record.filter_value,
        "index_row": None if record.index_row is None else orjson.dumps(astuple(record.index_row)),
        "raw": record.raw,
    }


def _record_from_row(row: sqlite3.Row, dataset: DatasetKind) -> DatasetRecord:
    index_row = None if row["index_row"] is None else index_row_from_values(dataset, orjson.loads(row["index_row"]))
    return DatasetRecord(row["key"], row["group_key"], row["raw"], row["filter_value"], index_row)


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


class LargeImport:
    """One large push whose records are all here; ``leaving`` are the rows that it does not name and withdraws."""

    def __init__(self, store: Store, changeset: Changeset, now: Now, missing_rows: Sequence[sqlite3.Row] = ()) -> None:
        self._store = store
        self._changeset = changeset
        self._now = now
        self._missing_rows: Sequence[sqlite3.Row] | None = missing_rows
        self._import_id = 0
        self._committed_at: int | None = None

    @classmethod
    def from_interrupted(
        cls, store: Store, changeset: Changeset, now: Now, *, import_id: int, committed_change: int | None = None
    ) -> LargeImport:
        """Return a push that a crash interrupted."""
        large_import = cls(store, changeset, now)
        large_import._import_id, large_import._committed_at, large_import._missing_rows = (
            import_id,
            committed_change,
            None,
        )
        return large_import

    @property
    def is_committed(self) -> bool:
        """Whether it will be applied, whatever happens."""
        return self._committed_at is not None

    async def apply(self) -> ApplyResult:
        """Check, decide and apply."""
        conflicts = await self._find_conflicts()
        if conflicts:
            return ApplyResult(conflicts=conflicts)
        try:
            changed_groups = await shield_until_done(self._commit())
        finally:
            if not self.is_committed:
                await asyncio.shield(self.discard())
        return ApplyResult(changed_groups + await self.finish()) if self.is_committed else ApplyResult()

    async def _commit(self) -> int:
        """Journal it and decide, unless it is a repetition; return how many groups are new or have another wrapper."""
        self._import_id = await insert_import(self._store, self._changeset)
        body = self._changeset.source_request.body if self._changeset.source_request is not None else b""
        await asyncio.to_thread(self._store.spool.write, self._import_id, body)
        committed = await self._store.write(
            lambda tx: mark_committed(tx, self._import_id, self._changeset, self._now()), Lane.BULK
        )
        self._committed_at, changed_groups = committed or (None, 0)
        return changed_groups

    async def _find_conflicts(self) -> tuple[str, ...]:
        if self._changeset.precondition is None or await self._store.write(self._is_duplicate, Lane.BULK):
            return ()  # a repetition meets its own records; nothing is done of it
        conflicts: set[str] = set()
        for start in range(0, len(self._changeset.records), _CHECK_CHUNK_SIZE):
            keys = {record.key for record in self._changeset.records[start : start + _CHECK_CHUNK_SIZE]}
            rows = await self._store.query_bulk(
                _SELECT_LIVE_KEYS,
                dataset_=self._changeset.dataset,
                source_=self._changeset.source,
                keys=list_parameter(keys),
            )
            live_keys = {row["key"] for row in rows}
            conflicts |= live_keys if self._changeset.precondition is Precondition.MUST_NOT_EXIST else keys - live_keys
        return tuple(sorted(conflicts))

    async def finish(self) -> int:
        """Apply it; return how many records changed. After an error, again: what is done already costs a comparison."""
        changed = await run_in_chunks(self._store, self._upsert_records, self._changeset.records)
        changed += await run_in_chunks(self._store, self._mark_keys_deleted, self._changeset.deleted_keys)
        changed += await delete_missing_rows(self._store, self._changeset, await self._find_missing_rows(), self._now)
        await self._store.write(self._delete_import, Lane.BULK)
        await asyncio.to_thread(self._store.spool.remove, self._import_id)
        return changed

    async def _find_missing_rows(self) -> Sequence[sqlite3.Row]:
        """Return what is left to withdraw; after an error or a crash, it is looked for anew."""
        remaining, self._missing_rows = self._missing_rows, None
        if remaining is not None:
            return remaining
        present_keys = {record.key for record in self._changeset.records}
        return await missing_rows(self._store, self._changeset, present_keys, self._committed_at or 0)

    def _is_duplicate(self, tx: Transaction) -> bool:
        return is_duplicate(tx, self._changeset, self._now())

    def _upsert_records(self, tx: Transaction, rows: Sequence[DatasetRecord]) -> int:
        return upsert_records(tx, self._changeset.dataset, self._changeset.source, rows, self._now())

    def _mark_keys_deleted(self, tx: Transaction, rows: Sequence[str]) -> int:
        return mark_keys_deleted(tx, self._changeset.dataset, self._changeset.source, rows, self._now())

    def _delete_import(self, tx: Transaction) -> None:
        record_request(tx, self._changeset, self._now())
        delete_import(tx, self._import_id)

    async def discard(self) -> None:
        """Forget it; nothing of it was applied. What cannot be removed now is removed at the next start."""
        await asyncio.to_thread(self._store.spool.remove, self._import_id)
        with contextlib.suppress(StoreError):
            await self._store.write(lambda tx: delete_import(tx, self._import_id), Lane.BULK)


log = structlog.get_logger(__name__)

_SELECT_SPOOLED_REQUEST = compiled(select(spool.c.request).where(spool.c.id == bindparam("number")))


@dataclass(frozen=True, slots=True)
class InterruptedImport:
    """A large push that was decided and not wholly applied: ``push`` lacks its records, which ``request`` has."""

    import_id: int
    changeset: Changeset
    source_request: SourceRequest
    committed_change: int


async def recover_imports(store: Store, now: Now) -> list[InterruptedImport]:
    """Apply the pulls that were decided, drop what was not; return the pushes that must be applied again."""
    interrupted: list[InterruptedImport] = []
    for row in await store.query(ALL_IMPORTS):
        changeset, party = load_changeset(row)
        import_id, is_committed = int(row["id"]), row["state"] == COMMITTED
        if party is None:
            committed_change = row["committed_change"] if is_committed else None
            staged_import = StagedImport(
                store,
                import_id,
                changeset,
                now,
                committed_change=committed_change,
                applied_row_id=row["last_applied_row"],
            )
            await (staged_import.finish() if is_committed else staged_import.discard())
        elif is_committed and (body := await _load_spooled_request(store, import_id)) is not None:
            interrupted.append(
                InterruptedImport(import_id, changeset, SourceRequest(party, body), row["committed_change"])
            )
        else:
            if is_committed:  # somebody removed its file: what was applied of it stays
                log.error(
                    "import.spool_missing",
                    source=changeset.source,
                    dataset=changeset.dataset.name,
                    todo="push everything again",
                )
            await LargeImport.from_interrupted(store, changeset, now, import_id=import_id).discard()
    await asyncio.to_thread(store.spool.purge_except, {item.import_id for item in interrupted})
    return interrupted


async def _load_spooled_request(store: Store, import_id: int) -> bytes | None:
    """Return the request of a decided push; a store that was restored has it within, whatever lies beside it."""
    rows = await store.query(_SELECT_SPOOLED_REQUEST, number=import_id)
    return rows[0]["request"] if rows else await asyncio.to_thread(store.spool.read, import_id)
