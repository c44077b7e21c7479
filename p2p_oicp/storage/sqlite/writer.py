"""Moves what was committed from SQLite's log (the ``-wal`` file) into the database, beside the writer.

SQLite does this inside a commit when the log has 1,000 pages: 14 to 60 ms in which nobody is answered. Here a second
connection copies while the writer goes on, and only the small rest is copied between two rounds of the writer, which
is what lets the log start anew instead of growing: 1 ms (docs/performance.md).

The one writer of a database: it commits in groups.

Jobs (callables that get a :class:`Transaction`) wait in two lanes. Each round takes all interactive jobs that wait,
up to a bound, and some bulk jobs, runs each behind a savepoint, commits once, and only then resolves every future. So
one fsync pays for many requests, and an answer is never given before its data is durable. Bulk jobs are added to a
round until an interactive job waits, and that one gets a round without any: so a large push holds an authorization up
for one of its jobs and a commit, and goes fast while nobody else writes. The reasons: docs/decisions/0002, 0006.

Interactive jobs run in the event loop, and must be short: a few statements of some microseconds each. Bulk jobs run in
a thread, and so does a commit that waits for the disk (``synchronous = FULL``). (A thread for all of it hands Python's
lock over at each statement, and waits for it up to 5 ms each time while the loop is busy.)
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from p2p_oicp.errors import StoreBusy, StoreError
from p2p_oicp.storage.statements import RowStatement, Statement

#: The second connection only copies; the safety net is the writer's own checkpoint, should this one fail for long.
AUTOCHECKPOINT_PAGES = 100_000
_CHECKPOINT_INTERVAL_SECONDS = 0.5
# Copying again what came meanwhile is worth it while the rest would hold up the writer for more than about a ms.
_SMALL_TAIL_PAGES = 250
_MAX_PASSES = 4


class WalCheckpointer:
    """Owned by the writer, which asks ``rest_is_due`` between rounds; ``pause``: seconds between two copies."""

    def __init__(self, file: Path, *, interval: float = _CHECKPOINT_INTERVAL_SECONDS) -> None:
        self._file = file
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._executor = ThreadPoolExecutor(1, "p2p-oicp-checkpoints")
        self._running_checkpoint: asyncio.Future[None] | None = None
        self._next_at = self._loop.time() + interval

    def tail_is_due(self) -> bool:
        """Start copying when it is time; True when a copy has ended, and the writer is to call ``finish``."""
        if self._running_checkpoint is None:
            if self._loop.time() >= self._next_at:
                self._running_checkpoint = self._loop.run_in_executor(self._executor, self._checkpoint)
            return False
        if not self._running_checkpoint.done():
            return False
        self._running_checkpoint = None
        self._next_at = self._loop.time() + self._interval
        return True

    def _checkpoint(self) -> None:
        # Whatever fails here (a full disk, a damaged file) fails the writer's own next commit, which tells.
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(self._file)) as connection:
            previously_checkpointed = 0
            for _ in range(_MAX_PASSES):
                _, wal_pages, checkpointed = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                if wal_pages - previously_checkpointed <= _SMALL_TAIL_PAGES:
                    return
                previously_checkpointed = checkpointed

    async def close(self) -> None:
        """Wait for a copy that is under way."""
        if self._running_checkpoint is not None:
            await self._running_checkpoint
        self._executor.shutdown()


def checkpoint_tail(connection: sqlite3.Connection) -> None:
    """Copy the rest, on the writer's own connection while it is between two rounds."""
    with contextlib.suppress(sqlite3.Error):
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()


T = TypeVar("T")

MAX_INTERACTIVE_JOBS_PER_COMMIT = 512
MAX_BULK_JOBS_PER_COMMIT = 8
# Less than the 5 s in which an authorization is answered: "try again later" is an answer, too.
_LOCK_TIMEOUT_SECONDS = 2.0
_LOCK_RETRY_SECONDS = 0.01
_SYNCHRONOUS_NORMAL = 1


class Lane(Enum):
    """How soon a job is taken, and where it runs."""

    INTERACTIVE = auto()
    """What a person or a car waits for: taken first, run in the event loop; at most some tens of statements."""
    BULK = auto()
    """Everything longer: run in a thread, a few in a round."""


class Transaction:
    """What a job may do to the database; it lives until the job returns."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, statement: Statement, **parameters: object) -> int:
        """Execute and return the number of rows changed."""
        return self._connection.execute(statement.text, statement.bind(parameters)).rowcount

    def insert(self, statement: RowStatement, row: Sequence[object]) -> int:
        """Insert a whole row; return how many rows that were."""
        return self._connection.execute(statement.text, row).rowcount

    def run_many(self, statement: Statement, rows: Iterable[dict[str, Any]]) -> None:
        """Execute once per row of parameters."""
        self._connection.executemany(statement.text, (statement.bind(row) for row in rows))

    def run_rows(self, statement: RowStatement, rows: Iterable[Sequence[object]]) -> None:
        """Execute once per whole row."""
        self._connection.executemany(statement.text, rows)

    def one(self, statement: Statement, **parameters: object) -> sqlite3.Row | None:
        """Execute and return the first row, if any."""
        cursor = self._connection.execute(statement.text, statement.bind(parameters))
        row = cursor.fetchone()
        cursor.close()
        return cast("sqlite3.Row | None", row)

    def all(self, statement: Statement, **parameters: object) -> list[sqlite3.Row]:
        """Execute and return all rows."""
        return self._connection.execute(statement.text, statement.bind(parameters)).fetchall()


class _QueuedJob(msgspec.Struct):
    job: Callable[[Transaction], Any]
    future: asyncio.Future[Any]
    outcome: Any = None
    failed: bool = False


class GroupCommitWriter:
    """Runs jobs in groups; opened and closed by the store.

    ``run`` raises StoreBusy when ``most_waiting`` jobs wait already, StoreError when the database cannot commit.
    """

    def __init__(
        self, connection: sqlite3.Connection, checkpointer: WalCheckpointer, *, queue_limit: int = 10_000
    ) -> None:
        self._connection = connection
        self._transaction = Transaction(connection)
        # With NORMAL, SQLite's 1, a commit only copies some pages to the system: a thread for that costs more.
        self._fsyncs_on_commit = connection.execute("PRAGMA synchronous").fetchone()[0] != _SYNCHRONOUS_NORMAL
        self._checkpointer = checkpointer
        self._queue_limit = queue_limit
        self._interactive: deque[_QueuedJob] = deque()
        self._bulk: deque[_QueuedJob] = deque()
        self._queues = {Lane.INTERACTIVE: self._interactive, Lane.BULK: self._bulk}
        self._work_available = asyncio.Event()
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._executor = ThreadPoolExecutor(1, "p2p-oicp-writer")
        self._task = self._loop.create_task(self._run_loop(), name="writer")

    def run(self, job: Callable[[Transaction], T], lane: Lane = Lane.INTERACTIVE) -> asyncio.Future[T]:
        """Run ``job`` in a transaction; its result comes after the commit."""
        if self._closing:
            raise StoreError("the database is closed: this node is shutting down")
        queue = self._queues[lane]
        if len(queue) >= self._queue_limit:
            raise StoreBusy(f"{self._queue_limit} writes are waiting already; try again in a moment")
        future: asyncio.Future[T] = self._loop.create_future()
        queue.append(_QueuedJob(job, future))
        self._work_available.set()
        return future

    async def close(self) -> None:
        """Finish what waits."""
        self._closing = True
        self._work_available.set()
        await self._task
        await self._checkpointer.close()
        self._executor.shutdown()

    async def _run_loop(self) -> None:
        bulk: list[_QueuedJob] = []
        while await self._wait_for_work():
            interactive = _pop_up_to(self._interactive, MAX_INTERACTIVE_JOBS_PER_COMMIT)
            # Who came during a bulk job does not wait for the next one; nobody waits for several.
            bulk_limit = MAX_BULK_JOBS_PER_COMMIT if not interactive else int(not bulk)
            bulk = []
            try:
                await self._commit_group(interactive, bulk, bulk_limit)
            except sqlite3.Error as error:
                # Nobody may be told "done": the whole group fails, and the writer lives on for the next.
                self._rollback()
                for queued in (*interactive, *bulk):
                    queued.outcome, queued.failed = _store_error(error), True
            _resolve(interactive)
            _resolve(bulk)
            if self._checkpointer.tail_is_due():
                await self._loop.run_in_executor(self._executor, checkpoint_tail, self._connection)

    async def _wait_for_work(self) -> bool:
        """Wait for work; False means: closing, and nothing is left."""
        while not (self._interactive or self._bulk or self._closing):
            self._work_available.clear()
            await self._work_available.wait()
        return bool(self._interactive or self._bulk)

    async def _commit_group(self, interactive: list[_QueuedJob], bulk: list[_QueuedJob], bulk_limit: int) -> None:
        """Run ``urgent`` and some of the bulk jobs, which are moved to ``bulk``; commit."""
        await self._begin()
        for queued in interactive:
            self._run(queued)
        if (bulk_limit and self._bulk) or self._fsyncs_on_commit:
            await self._loop.run_in_executor(self._executor, self._run_bulk_and_commit, bulk, bulk_limit)
        else:
            self._connection.execute("COMMIT")

    async def _begin(self) -> None:
        """Begin; another program that holds the database's lock is waited for, and the event loop goes on meanwhile."""
        deadline = self._loop.time() + _LOCK_TIMEOUT_SECONDS
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or self._loop.time() >= deadline:
                    raise
                await asyncio.sleep(_LOCK_RETRY_SECONDS)
            else:
                return

    def _run_bulk_and_commit(self, bulk: list[_QueuedJob], bulk_limit: int) -> None:
        while self._bulk and len(bulk) < bulk_limit and not (bulk and self._interactive):
            bulk.append(self._bulk.popleft())
            self._run(bulk[-1])
        self._connection.execute("COMMIT")

    def _run(self, queued: _QueuedJob) -> None:
        execute = self._connection.execute
        execute("SAVEPOINT job")
        try:
            queued.outcome = queued.job(self._transaction)
        except Exception as error:  # noqa: BLE001 - whatever a job raises belongs to its caller, not to the writer
            execute("ROLLBACK TO job")
            queued.outcome, queued.failed = _store_error(error), True
        execute("RELEASE job")

    def _rollback(self) -> None:
        # A full disk may have ended the transaction already, or refuse the ROLLBACK, which is then implied.
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


def _pop_up_to(queue: deque[_QueuedJob], limit: int) -> list[_QueuedJob]:
    return [queue.popleft() for _ in range(min(len(queue), limit))]


def _store_error(error: Exception) -> Exception:
    if not isinstance(error, sqlite3.Error):
        return error
    is_full = isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_FULL
    wrapped = StoreError(f"the database refused: {error}{'; free some space' if is_full else ''}")
    wrapped.__cause__ = error
    return wrapped


def _resolve(jobs: list[_QueuedJob]) -> None:
    for queued in jobs:
        if queued.future.done():  # its caller was cancelled; the data is durable all the same
            continue
        if queued.failed:
            queued.future.set_exception(queued.outcome)
        else:
            queued.future.set_result(queued.outcome)
