"""The one writer of a database: a thread that commits in groups.

Jobs (callables that get a :class:`Transaction`) wait in two lanes. Each round takes all interactive jobs that wait,
up to a bound, and at most two bulk jobs, runs each behind a savepoint, commits once, and only then resolves every
future. So one fsync pays for many requests, an answer is never given before its data is durable, and a large push
cannot hold back authorizations. Measured reasons: docs/decisions/0002.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeVar, cast

from p2p_oicp.errors import StoreBusy, StoreError
from p2p_oicp.storage.statements import Statement

T = TypeVar("T")

MOST_INTERACTIVE_JOBS_A_ROUND = 512
MOST_BULK_JOBS_A_ROUND = 2


class Lane(Enum):
    """How soon a job is taken."""

    INTERACTIVE = auto()
    BULK = auto()


class Transaction:
    """What a job may do to the database; it lives until the job returns."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, statement: Statement, **parameters: object) -> int:
        """Execute and return the number of rows changed."""
        return self._connection.execute(statement.text, statement.bind(parameters)).rowcount

    def run_many(self, statement: Statement, rows: Iterable[dict[str, Any]]) -> None:
        """Execute once per row of parameters."""
        self._connection.executemany(statement.text, (statement.bind(row) for row in rows))

    def one(self, statement: Statement, **parameters: object) -> sqlite3.Row | None:
        """Execute and return the first row, if any."""
        cursor = self._connection.execute(statement.text, statement.bind(parameters))
        row = cursor.fetchone()
        cursor.close()
        return cast("sqlite3.Row | None", row)

    def all(self, statement: Statement, **parameters: object) -> list[sqlite3.Row]:
        """Execute and return all rows."""
        return self._connection.execute(statement.text, statement.bind(parameters)).fetchall()


@dataclass(slots=True)
class _Waiting:
    job: Callable[[Transaction], Any]
    future: asyncio.Future[Any]
    outcome: Any = None
    failed: bool = False


class Writer:
    """Runs jobs in the writer thread; open and closed by the store.

    ``run`` raises StoreBusy when ``most_waiting`` jobs wait already, StoreError when the database cannot commit.
    """

    def __init__(self, connection: sqlite3.Connection, *, most_waiting: int = 10_000) -> None:
        self._connection = connection
        self._most_waiting = most_waiting
        self._loop = asyncio.get_running_loop()
        self._lanes: dict[Lane, deque[_Waiting]] = {lane: deque() for lane in Lane}
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="p2p-oicp-writer", daemon=True)
        self._thread.start()

    async def run(self, job: Callable[[Transaction], T], lane: Lane = Lane.INTERACTIVE) -> T:
        """Run ``job`` in a transaction and return its result after the commit."""
        waiting = _Waiting(job, self._loop.create_future())
        with self._changed:
            if self._closing:
                raise StoreError("the database is closed: this node is shutting down")
            if len(self._lanes[lane]) >= self._most_waiting:
                raise StoreBusy(f"{self._most_waiting} writes are waiting already; try again in a moment")
            self._lanes[lane].append(waiting)
            self._changed.notify()
        return cast("T", await waiting.future)

    async def close(self) -> None:
        """Finish what waits, then end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        transaction = Transaction(self._connection)
        while batch := self._next_batch():
            self._commit_together(transaction, batch)
            self._loop.call_soon_threadsafe(_resolve, batch)

    def _next_batch(self) -> list[_Waiting]:
        """Wait for work; an empty batch means: closing, and nothing is left."""
        urgent, bulk = self._lanes[Lane.INTERACTIVE], self._lanes[Lane.BULK]
        with self._changed:
            self._changed.wait_for(lambda: urgent or bulk or self._closing)
            batch = [urgent.popleft() for _ in range(min(len(urgent), MOST_INTERACTIVE_JOBS_A_ROUND))]
            batch += [bulk.popleft() for _ in range(min(len(bulk), MOST_BULK_JOBS_A_ROUND))]
            return batch

    def _commit_together(self, transaction: Transaction, batch: list[_Waiting]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for waiting in batch:
                self._run_one(transaction, waiting)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            # Nobody may be told "done": the whole group fails, and the writer lives on for the next.
            self._abandon()
            for waiting in batch:
                waiting.outcome, waiting.failed = _store_error(error), True

    def _run_one(self, transaction: Transaction, waiting: _Waiting) -> None:
        self._connection.execute("SAVEPOINT job")
        try:
            waiting.outcome = waiting.job(transaction)
        except Exception as error:  # noqa: BLE001 - whatever a job raises belongs to its caller, not to this thread
            self._connection.execute("ROLLBACK TO job")
            waiting.outcome, waiting.failed = _store_error(error), True
        self._connection.execute("RELEASE job")

    def _abandon(self) -> None:
        # A full disk may have ended the transaction already, or refuse the ROLLBACK, which is then implied.
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


def _store_error(error: Exception) -> Exception:
    if not isinstance(error, sqlite3.Error):
        return error
    ours = StoreError(f"the database refused: {error}")
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
