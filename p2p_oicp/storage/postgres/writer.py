"""Runs jobs in transactions: those that share a key one after the other, the others side by side.

**Order.** A job begins when no earlier job with one of its keys waits or runs. The transaction holds an advisory lock
of each key until its commit, so that the same is true between processes.

**Group commit.** While all transactions that may be open are under way, jobs wait; the next transaction takes all of
them that may begin. So a commit pays for many under load, and for one at once without. A group in which a job fails is
rolled back, and its jobs run again one by one: a job may be run again, and changes nothing but the database.

**Errors.** A deadlock and a connection that was lost before the commit are tried again. What became of a commit that
nobody confirmed is not known: its jobs fail with a StoreError, so that nothing of them is acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]
import msgspec
from sqlalchemy.util import await_only, greenlet_spawn

from p2p_oicp.concurrency import spawn
from p2p_oicp.errors import StoreBusy, StoreError
from p2p_oicp.storage import event_log
from p2p_oicp.storage.job_keys import JobKeys
from p2p_oicp.storage.postgres.connections import FAILURES, LOST, Connection, Pool
from p2p_oicp.storage.statements import RowStatement, Statement
from p2p_oicp.storage.transactions import Lane, Row, Transaction

T = TypeVar("T")

_MAX_JOBS = {Lane.INTERACTIVE: 128, Lane.BULK: 8}
# Bulk jobs leave connections for those that somebody waits for.
_MAX_TRANSACTIONS = {Lane.INTERACTIVE: 8, Lane.BULK: 3}
# So many jobs that wait are looked at for some that may begin.
_MAX_LOOKED_AT = 1_000
_MAX_ATTEMPTS = 5
_RETRY_SECONDS = 0.05
_LOCK_EVENTS = Statement("SELECT pg_advisory_xact_lock(:key)", {})


class PostgresTransaction:
    """`Transaction` on a connection; ``wait`` waits for what is awaited, in a function that awaits nothing."""

    def __init__(self, connection: Connection, wait: Callable[[Awaitable[Any]], Any] = await_only) -> None:
        self._connection = connection
        self._wait = wait
        self.pending_events: list[Any] = []

    def run(self, statement: Statement, **parameters: object) -> int:
        """Execute a statement and return the number of rows changed."""
        numbered = statement.numbered()
        return int(self._wait(self._connection.run(numbered, numbered.values(parameters))))

    def insert(self, statement: RowStatement, row: Sequence[object]) -> int:
        """Insert a whole row; return 0 where ``OR IGNORE`` left an existing row as it is, else 1."""
        return int(self._wait(self._connection.run(statement.numbered(), row)))

    def run_many(self, statement: Statement, rows: Iterable[dict[str, Any]]) -> None:
        """Execute a statement once per row of parameters."""
        numbered = statement.numbered()
        self._wait(self._connection.run_many(numbered, [numbered.values(row) for row in rows]))

    def run_rows(self, statement: RowStatement, rows: Iterable[Sequence[object]]) -> None:
        """Execute a statement once per whole row."""
        self._wait(self._connection.run_many(statement.numbered(), list(rows)))

    def one(self, statement: Statement, **parameters: object) -> Row | None:
        """Execute a query and return the first row, if any."""
        return next(iter(self.all(statement, **parameters)), None)

    def all(self, statement: Statement, **parameters: object) -> list[Row]:
        """Execute a query and return all rows."""
        numbered = statement.numbered()
        rows: list[Row] = self._wait(self._connection.fetch(numbered, numbered.values(parameters)))
        return rows


class _QueuedJob(msgspec.Struct, eq=False):
    job: Callable[[Transaction], Any]
    future: asyncio.Future[Any]
    about: frozenset[str]


class _JobError(Exception):
    """What a job has raised by itself; its cause."""


class KeyedWriter:
    """Runs jobs; opened and closed by the store.

    Args:
        pool: lends connections.
        salt: tells the keys of this schema from those of others in the same database.
        queue_limit: the number of jobs in one lane that may wait.
        on_commit: is called after each commit that has written events.
    """

    def __init__(self, pool: Pool, salt: str, *, queue_limit: int, on_commit: Callable[[], None]) -> None:
        self._pool = pool
        self._salt = salt
        self._queue_limit = queue_limit
        self._on_commit = on_commit
        self._queues: dict[Lane, deque[_QueuedJob]] = {lane: deque() for lane in Lane}
        self._running = dict.fromkeys(Lane, 0)
        self._busy: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        #: Why the last transaction could not be committed; None where it could.
        self.failure: str | None = None

    def __repr__(self) -> str:
        return f"<KeyedWriter waiting={sum(map(len, self._queues.values()))} running={len(self._tasks)}>"

    def run(self, job: Callable[[Transaction], T], lane: Lane, about: JobKeys) -> asyncio.Future[T]:
        """Queue ``job``; the future has its result after the commit. Raises and fails as `Store.write`."""
        if self._closing:
            raise StoreError("the database is closed: this node is shutting down")
        queue = self._queues[lane]
        if len(queue) >= self._queue_limit:
            raise StoreBusy(f"{self._queue_limit} writes are waiting already; try again in a moment")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        queue.append(_QueuedJob(job, future, frozenset(about)))
        self._begin_next()
        return future

    async def close(self) -> None:
        """Finish the jobs that wait, and refuse others."""
        self._closing = True
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _begin_next(self) -> None:
        for lane in Lane:
            while self._running[lane] < _MAX_TRANSACTIONS[lane] and (group := self._take(lane)):
                self._running[lane] += 1
                keys = frozenset[str]().union(*(queued.about for queued in group))
                self._busy |= keys
                task = spawn(self._run_group(group, keys, lane), name="transaction")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _take(self, lane: Lane) -> list[_QueuedJob]:
        """Take the jobs that may begin; what stays keeps its order."""
        queue, group, passed = self._queues[lane], list[_QueuedJob](), list[_QueuedJob]()
        blocked = set(self._busy)
        while queue and len(group) < _MAX_JOBS[lane] and len(passed) < _MAX_LOOKED_AT:
            queued = queue.popleft()
            if blocked.isdisjoint(queued.about):
                group.append(queued)
            else:
                passed.append(queued)
                blocked |= queued.about
        queue.extendleft(reversed(passed))
        return group

    async def _run_group(self, group: list[_QueuedJob], keys: frozenset[str], lane: Lane) -> None:
        try:
            if len(group) == 1 or not await self._try_together(group, keys):
                for queued in group:
                    await self._run_alone(queued)
        finally:
            self._busy -= keys
            self._running[lane] -= 1
            self._begin_next()

    async def _try_together(self, group: list[_QueuedJob], keys: frozenset[str]) -> bool:
        """Run a group in one transaction; return False where one of its jobs failed, and nothing is stored."""
        try:
            outcomes = await self._attempt(group, keys)
        except _JobError:
            return False
        except StoreError as error:
            for queued in group:
                _fail(queued, error)
            return True
        for queued, outcome in zip(group, outcomes, strict=True):
            if not queued.future.done():  # else its caller was cancelled; the data is durable even so
                queued.future.set_result(outcome)
        return True

    async def _run_alone(self, queued: _QueuedJob) -> None:
        try:
            (outcome,) = await self._attempt([queued], queued.about)
        except _JobError as error:
            _fail(queued, error.__cause__ or error)
        except StoreError as error:
            _fail(queued, error)
        else:
            if not queued.future.done():
                queued.future.set_result(outcome)

    async def _attempt(self, group: Sequence[_QueuedJob], keys: frozenset[str]) -> list[Any]:
        """Return the results of jobs after their commit. Raises StoreError, and _JobError for what a job raises."""
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            is_committing = False

            def on_committing() -> None:
                nonlocal is_committing
                is_committing = True

            try:
                outcomes = await self._transact(group, keys, on_committing)
            except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, *LOST) as error:
                if is_committing or attempt == _MAX_ATTEMPTS:
                    raise self._store_error(error) from error
                await asyncio.sleep(_RETRY_SECONDS * attempt)
            except asyncpg.PostgresError as error:
                if len(group) > 1:
                    raise _JobError from error
                raise self._store_error(error) from error
            else:
                self.failure = None
                return outcomes
        raise AssertionError("not reached")

    async def _transact(
        self, group: Sequence[_QueuedJob], keys: frozenset[str], on_committing: Callable[[], None]
    ) -> list[Any]:
        async with self._pool.connection() as connection:
            await connection.execute(self._begin_text(keys))
            try:
                transaction = PostgresTransaction(connection)
                outcomes = await greenlet_spawn(_run_all, transaction, [queued.job for queued in group])
                is_notable = await greenlet_spawn(self._write_events, transaction)
            except BaseException:
                with contextlib.suppress(*FAILURES):
                    await connection.execute("ROLLBACK")
                raise
            on_committing()
            # A transaction that has failed, by an error that a job has caught, is not committed by a COMMIT.
            if await connection.execute("COMMIT") != "COMMIT":
                raise StoreError("the database has not committed")
        if is_notable:
            self._on_commit()
        return outcomes

    def _write_events(self, transaction: PostgresTransaction) -> bool:
        if not transaction.pending_events:
            return False
        # Order: events get their numbers in the order of the commits. This lock is the last one, and held shortest.
        lock_events(transaction, self._salt)
        return event_log.write_pending(transaction)

    def _begin_text(self, keys: Iterable[str]) -> str:
        # Sorted: so no two transactions wait for each other.
        if locks := sorted(_lock_of(self._salt, key) for key in keys):
            numbers = ", ".join(map(str, locks))
            return f"BEGIN; SELECT pg_advisory_xact_lock(key) FROM unnest(ARRAY[{numbers}]::BIGINT[]) AS key"
        return "BEGIN"

    def _store_error(self, error: Exception) -> StoreError:
        self.failure = f"the database refused: {error or type(error).__name__}"
        return StoreError(self.failure)


def lock_events(transaction: Transaction, salt: str) -> None:
    """Let no other transaction number events until this one has ended."""
    transaction.all(_LOCK_EVENTS, key=_lock_of(salt, "events"))


def _lock_of(salt: str, key: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{salt}:{key}".encode(), digest_size=8).digest(), signed=True)


def _run_all(transaction: PostgresTransaction, jobs: Sequence[Callable[[Transaction], Any]]) -> list[Any]:
    outcomes = []
    for job in jobs:
        try:
            outcomes.append(job(transaction))
        except FAILURES:
            raise
        except Exception as error:
            raise _JobError from error
    return outcomes


def _fail(queued: _QueuedJob, error: BaseException) -> None:
    if not queued.future.done():
        queued.future.set_exception(error)
