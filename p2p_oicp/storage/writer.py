"""The one writer of a database: it commits in groups.

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
from typing import Any, TypeVar, cast

import msgspec

from p2p_oicp.errors import StoreBusy, StoreError
from p2p_oicp.storage.checkpoints import Checkpoints, finish
from p2p_oicp.storage.statements import RowStatement, Statement

T = TypeVar("T")

MOST_INTERACTIVE_JOBS_A_ROUND = 512
MOST_BULK_JOBS_A_ROUND = 8
# Less than the 5 s in which an authorization is answered: "try again later" is an answer, too.
_LOCK_PATIENCE_SECONDS = 2.0
_LOCK_PAUSE_SECONDS = 0.01
_NORMAL = 1


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


class _Waiting(msgspec.Struct):
    job: Callable[[Transaction], Any]
    future: asyncio.Future[Any]
    outcome: Any = None
    failed: bool = False


class Writer:
    """Runs jobs in groups; opened and closed by the store.

    ``run`` raises StoreBusy when ``most_waiting`` jobs wait already, StoreError when the database cannot commit.
    """

    def __init__(self, connection: sqlite3.Connection, checkpoints: Checkpoints, *, most_waiting: int = 10_000) -> None:
        self._connection = connection
        self._transaction = Transaction(connection)
        # With NORMAL, SQLite's 1, a commit only copies some pages to the system: a thread for that costs more.
        self._waits_for_disk = connection.execute("PRAGMA synchronous").fetchone()[0] != _NORMAL
        self._checkpoints = checkpoints
        self._most_waiting = most_waiting
        self._urgent: deque[_Waiting] = deque()
        self._bulk: deque[_Waiting] = deque()
        self._lanes = {Lane.INTERACTIVE: self._urgent, Lane.BULK: self._bulk}
        self._changed = asyncio.Event()
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "p2p-oicp-writer")
        self._task = self._loop.create_task(self._work(), name="writer")

    def run(self, job: Callable[[Transaction], T], lane: Lane = Lane.INTERACTIVE) -> asyncio.Future[T]:
        """Run ``job`` in a transaction; its result comes after the commit."""
        if self._closing:
            raise StoreError("the database is closed: this node is shutting down")
        waiting = self._lanes[lane]
        if len(waiting) >= self._most_waiting:
            raise StoreBusy(f"{self._most_waiting} writes are waiting already; try again in a moment")
        future: asyncio.Future[T] = self._loop.create_future()
        waiting.append(_Waiting(job, future))
        self._changed.set()
        return future

    async def close(self) -> None:
        """Finish what waits."""
        self._closing = True
        self._changed.set()
        await self._task
        await self._checkpoints.close()
        self._thread.shutdown()

    async def _work(self) -> None:
        bulk: list[_Waiting] = []
        while await self._has_work():
            urgent = _take(self._urgent, MOST_INTERACTIVE_JOBS_A_ROUND)
            # Who came during a bulk job does not wait for the next one; nobody waits for several.
            most = MOST_BULK_JOBS_A_ROUND if not urgent else int(not bulk)
            bulk = []
            try:
                await self._commit_together(urgent, bulk, most)
            except sqlite3.Error as error:
                # Nobody may be told "done": the whole group fails, and the writer lives on for the next.
                self._abandon()
                for waiting in (*urgent, *bulk):
                    waiting.outcome, waiting.failed = _store_error(error), True
            _resolve(urgent)
            _resolve(bulk)
            if self._checkpoints.rest_is_due():
                await self._loop.run_in_executor(self._thread, finish, self._connection)

    async def _has_work(self) -> bool:
        """Wait for work; False means: closing, and nothing is left."""
        while not (self._urgent or self._bulk or self._closing):
            self._changed.clear()
            await self._changed.wait()
        return bool(self._urgent or self._bulk)

    async def _commit_together(self, urgent: list[_Waiting], bulk: list[_Waiting], most_bulk: int) -> None:
        """Run ``urgent`` and some of the bulk jobs, which are moved to ``bulk``; commit."""
        await self._begin()
        for waiting in urgent:
            self._run(waiting)
        if (most_bulk and self._bulk) or self._waits_for_disk:
            await self._loop.run_in_executor(self._thread, self._finish, bulk, most_bulk)
        else:
            self._connection.execute("COMMIT")

    async def _begin(self) -> None:
        """Begin; another program that holds the database's lock is waited for, and the event loop goes on meanwhile."""
        until = self._loop.time() + _LOCK_PATIENCE_SECONDS
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or self._loop.time() >= until:
                    raise
                await asyncio.sleep(_LOCK_PAUSE_SECONDS)
            else:
                return

    def _finish(self, bulk: list[_Waiting], most_bulk: int) -> None:
        while self._bulk and len(bulk) < most_bulk and not (bulk and self._urgent):
            bulk.append(self._bulk.popleft())
            self._run(bulk[-1])
        self._connection.execute("COMMIT")

    def _run(self, waiting: _Waiting) -> None:
        execute = self._connection.execute
        execute("SAVEPOINT job")
        try:
            waiting.outcome = waiting.job(self._transaction)
        except Exception as error:  # noqa: BLE001 - whatever a job raises belongs to its caller, not to the writer
            execute("ROLLBACK TO job")
            waiting.outcome, waiting.failed = _store_error(error), True
        execute("RELEASE job")

    def _abandon(self) -> None:
        # A full disk may have ended the transaction already, or refuse the ROLLBACK, which is then implied.
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


def _take(lane: deque[_Waiting], most: int) -> list[_Waiting]:
    return [lane.popleft() for _ in range(min(len(lane), most))]


def _store_error(error: Exception) -> Exception:
    if not isinstance(error, sqlite3.Error):
        return error
    is_full = isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_FULL
    ours = StoreError(f"the database refused: {error}{'; free some space' if is_full else ''}")
    ours.__cause__ = error
    return ours


def _resolve(batch: list[_Waiting]) -> None:
    for waiting in batch:
        if waiting.future.done():  # its caller was cancelled; the data is durable all the same
            continue
        if waiting.failed:
            waiting.future.set_exception(waiting.outcome)
        else:
            waiting.future.set_result(waiting.outcome)
