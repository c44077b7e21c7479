"""The one writer of a database: it commits in groups.

**Group commit.** Jobs (callables that get a `Transaction`) wait in two lanes. Each round takes all interactive jobs
that wait, up to a bound, and some bulk jobs, runs each behind a savepoint, commits once, and only then resolves every
future. So one fsync pays for many requests, and an answer is never given before its data is durable.

**Lanes.** Bulk jobs are added to a round until an interactive job waits, and that one gets a round without any: so a
large push holds an authorization up for one of its jobs and a commit, and goes fast while nothing else is written.

**Threads.** Interactive jobs run in the event loop, and must be short: a few statements of some microseconds each.
Bulk jobs run in a thread, and so does a commit that waits for the disk (``synchronous = FULL``). A thread for all of
it hands Python's lock over at each statement, and waits for it up to 5 ms each time while the loop is busy.

The reasons and numbers: docs/decisions/0002, 0006.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, cast

import msgspec

from p2p_oicp.concurrency import SingleThreadExecutor, spawn
from p2p_oicp.errors import StoreBusy, StoreError
from p2p_oicp.storage.job_keys import JobKeys
from p2p_oicp.storage.sqlite.checkpoints import WalCheckpointer, checkpoint_tail
from p2p_oicp.storage.statements import RowStatement, Statement
from p2p_oicp.storage.transactions import Lane, Row, Transaction

T = TypeVar("T")

# Bounds of a round: an interactive job takes some tens of µs, a bulk job about a ms, so a round ends after some ms.
MAX_INTERACTIVE_JOBS_PER_COMMIT = 512
MAX_BULK_JOBS_PER_COMMIT = 8
# Less than the 5 s in which an authorization is answered: "try again later" is an answer, too.
_LOCK_TIMEOUT_SECONDS = 2.0
_LOCK_RETRY_SECONDS = 0.01
_SYNCHRONOUS_NORMAL = 1


class SqliteTransaction:
    """`Transaction` on the one connection that writes.

    Attributes:
        pending_events: what the jobs of the group have added to the event log, which is written with the commit.
    """

    __slots__ = ("_connection", "_execute", "pending_events")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        # One cursor for all: `Connection.execute` makes one for each statement. No result outlives its method here.
        self._execute = connection.cursor().execute
        self.pending_events: list[Any] = []

    def run(self, statement: Statement, **parameters: object) -> int:
        """Execute a statement and return the number of rows changed."""
        return self._execute(statement.text, statement.bind(parameters)).rowcount

    def insert(self, statement: RowStatement, row: Sequence[object]) -> int:
        """Insert a whole row; return 0 where ``OR IGNORE`` left an existing row as it is, else 1."""
        return self._execute(statement.text, row).rowcount

    def run_many(self, statement: Statement, rows: Iterable[dict[str, Any]]) -> None:
        """Execute a statement once per row of parameters."""
        self._connection.executemany(statement.text, (statement.bind(row) for row in rows))

    def run_rows(self, statement: RowStatement, rows: Iterable[Sequence[object]]) -> None:
        """Execute a statement once per whole row."""
        self._connection.executemany(statement.text, rows)

    def one(self, statement: Statement, **parameters: object) -> Row | None:
        """Execute a query and return the first row, if any."""
        cursor = self._execute(statement.text, statement.bind(parameters))
        row = cursor.fetchone()
        if row is not None and cursor.fetchone() is not None:
            # A query that is not read to its end stays open, and would be compiled anew at its next use.
            cursor.fetchall()
        return cast("Row | None", row)

    def all(self, statement: Statement, **parameters: object) -> list[Row]:
        """Execute a query and return all rows."""
        return self._execute(statement.text, statement.bind(parameters)).fetchall()


# A Struct and no data class: one is made for each job, in an eighth of the time (docs/performance.md).
class _QueuedJob(msgspec.Struct):
    job: Callable[[Transaction], Any]
    future: asyncio.Future[Any]
    has_one_write: bool = False
    outcome: Any = None
    failed: bool = False


class GroupCommitWriter:
    """Runs jobs in groups; opened and closed by the store.

    Args:
        connection: the only connection that writes; the writer does not close it.
        checkpointer: is asked after each round whether the log is to be shortened; closed with the writer.
        before_commit: writes what belongs to a group of jobs as a whole; returns whether observers are to be notified.
        queue_limit: the number of jobs in one lane that may wait.

    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        checkpointer: WalCheckpointer,
        *,
        queue_limit: int = 10_000,
        before_commit: Callable[[Transaction], bool] = lambda _tx: False,
    ) -> None:
        self._connection = connection
        self._transaction = SqliteTransaction(connection)
        # A cursor of their own: `Connection.execute` makes one for each statement.
        self._savepoints = connection.cursor()
        # With NORMAL, SQLite's 1, a commit only copies some pages to the system: a thread for that costs more.
        self._fsyncs_on_commit = connection.execute("PRAGMA synchronous").fetchone()[0] != _SYNCHRONOUS_NORMAL
        self._checkpointer = checkpointer
        self._before_commit = before_commit
        self._is_notable = False
        self._on_commit: Callable[[], None] | None = None
        self._queue_limit = queue_limit
        self._interactive: deque[_QueuedJob] = deque()
        self._bulk: deque[_QueuedJob] = deque()
        self._queues = {Lane.INTERACTIVE: self._interactive, Lane.BULK: self._bulk}
        self._work_available = asyncio.Event()
        self._closing = False
        self._failure: str | None = None
        #: Why the last round could not be written whole, such as a full disk; None where it could.
        self.failure: str | None = None
        self._loop = asyncio.get_running_loop()
        self._executor = SingleThreadExecutor("p2p-oicp-writer")
        self._task = spawn(self._run_loop(), name="writer")

    def __repr__(self) -> str:
        return f"<GroupCommitWriter interactive={len(self._interactive)} bulk={len(self._bulk)}>"

    def run(
        self,
        job: Callable[[Transaction], T],
        lane: Lane = Lane.INTERACTIVE,
        about: JobKeys = (),  # noqa: ARG002 - one writer has one order for all jobs
        *,
        has_one_write: bool = False,
    ) -> asyncio.Future[T]:
        """Queue ``job``; the future has its result after the commit. ``has_one_write``: see `Store.write_once`.

        Raises StoreBusy where `queue_limit` jobs wait already, StoreError where the writer is closed. The future
        raises StoreError where the database cannot commit, and whatever the job raises.
        """
        if self._closing:
            raise StoreError("the database is closed: this node is shutting down")
        queue = self._queues[lane]
        if len(queue) >= self._queue_limit:
            raise StoreBusy(f"{self._queue_limit} writes are waiting already; try again in a moment")
        future: asyncio.Future[T] = self._loop.create_future()
        queue.append(_QueuedJob(job, future, has_one_write))
        self._work_available.set()
        return future

    def observe(self, on_commit: Callable[[], None] | None) -> None:
        """Call ``on_commit`` in the event loop after each commit of which `before_commit` says so; None: no more."""
        self._on_commit = on_commit

    async def close(self) -> None:
        """Finish the jobs that wait, and refuse others."""
        self._closing = True
        self._work_available.set()
        await self._task
        await self._checkpointer.close()
        self._executor.close()

    async def _run_loop(self) -> None:
        bulk: list[_QueuedJob] = []
        while await self._wait_for_work():
            interactive = _pop_up_to(self._interactive, MAX_INTERACTIVE_JOBS_PER_COMMIT)
            # Order: interactive jobs that arrived during a bulk job run before the next bulk job (a round with both
            # takes one, and none if the round before had some), so that each waits for at most one.
            bulk_limit = MAX_BULK_JOBS_PER_COMMIT if not interactive else int(not bulk)
            bulk = []
            self._failure = None
            self._is_notable = False
            try:
                await self._commit_group(interactive, bulk, bulk_limit)
            except sqlite3.Error as error:
                # Nothing of the group is durable: all its jobs fail, and the writer goes on with the next group.
                self._rollback()
                for queued in (*interactive, *bulk):
                    self._fail(queued, error)
            self.failure = self._failure
            # Invariant: no future is resolved before the commit, so that what is answered is durable.
            _resolve(interactive)
            _resolve(bulk)
            if self._is_notable and self._on_commit is not None:
                self._on_commit()
            if self._checkpointer.tail_is_due():
                await self._executor.submit(checkpoint_tail, self._connection)

    async def _wait_for_work(self) -> bool:
        """Wait for jobs; return False where the writer is closing and none is left."""
        while not (self._interactive or self._bulk or self._closing):
            self._work_available.clear()
            await self._work_available.wait()
        return bool(self._interactive or self._bulk)

    async def _commit_group(self, interactive: list[_QueuedJob], bulk: list[_QueuedJob], bulk_limit: int) -> None:
        """Run the interactive jobs and up to ``bulk_limit`` bulk jobs, which are moved to ``bulk``; commit."""
        await self._begin()
        for queued in interactive:
            self._run(queued)
        if (bulk_limit and self._bulk) or self._fsyncs_on_commit:
            await self._executor.submit(self._run_bulk_and_commit, bulk, bulk_limit)
        else:
            self._commit()

    async def _begin(self) -> None:
        """Begin; while another program (a command) holds the write lock, the event loop goes on."""
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
        # Read in this thread while the event loop appends: safe, for deques are, and a job more or less is no harm.
        while self._bulk and len(bulk) < bulk_limit and not (bulk and self._interactive):
            bulk.append(self._bulk.popleft())
            self._run(bulk[-1])
        self._commit()

    def _commit(self) -> None:
        is_notable = self._before_commit(self._transaction)
        self._connection.execute("COMMIT")
        self._is_notable = is_notable

    def _run(self, queued: _QueuedJob) -> None:
        if queued.has_one_write:
            self._run_single_write(queued)
            return
        # Behind a savepoint: a job that raises takes back its own changes only, and the others of its group commit.
        execute = self._savepoints.execute
        pending_events = self._transaction.pending_events
        event_count = len(pending_events)
        execute("SAVEPOINT job")
        try:
            queued.outcome = queued.job(self._transaction)
        except Exception as error:  # noqa: BLE001 - whatever a job raises belongs to its caller, not to the writer
            execute("ROLLBACK TO job")
            del pending_events[event_count:]
            self._fail(queued, error)
        execute("RELEASE job")

    def _run_single_write(self, queued: _QueuedJob) -> None:
        # Without a savepoint, which copies each page that is written: a statement that fails takes itself back.
        pending_events, changes_before = self._transaction.pending_events, self._connection.total_changes
        event_count = len(pending_events)
        try:
            queued.outcome = queued.job(self._transaction)
        except Exception as error:
            if self._connection.total_changes != changes_before or not self._connection.in_transaction:
                # It has written more than once after all, or a full disk has ended the transaction: none is committed.
                raise sqlite3.DatabaseError(f"a job failed between two writes: {error}") from error
            del pending_events[event_count:]
            self._fail(queued, error)

    def _fail(self, queued: _QueuedJob, error: Exception) -> None:
        queued.outcome, queued.failed = _store_error(error), True
        if isinstance(error, sqlite3.OperationalError):
            self._failure = str(queued.outcome)

    def _rollback(self) -> None:
        self._transaction.pending_events.clear()
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
        if queued.future.done():  # its caller was cancelled; the data is durable even so
            continue
        if queued.failed:
            queued.future.set_exception(queued.outcome)
        else:
            queued.future.set_result(queued.outcome)
