"""A writer that promises no more than `storage.job_keys` says: what runs on it needs no other order.

It is SQLite's, behind the same seam. Jobs of different keys reach it in a random order, jobs that share a key in the
order in which they were handed over; and every job runs twice, the first time rolled back, as after a deadlock or a
lost connection. So it finds a job that forgot a key, and one that changes something other than the database.
"""

import asyncio
import contextlib
from collections.abc import Callable
from random import Random

import pytest

from p2p_oicp.concurrency import spawn
from p2p_oicp.errors import StoreBusy, StoreError
from p2p_oicp.storage import Lane, Transaction
from p2p_oicp.storage.sqlite.writer import GroupCommitWriter
from p2p_oicp.storage.statements import Statement

# Rounds of the event loop, and seconds, by which a job may be late.
MAX_ROUNDS = 8
MAX_SECONDS = 0.004
SAVEPOINT, ROLLBACK, RELEASE = (
    Statement(text, {}) for text in ("SAVEPOINT rehearsal", "ROLLBACK TO rehearsal", "RELEASE rehearsal")
)


class UnfairWriter(GroupCommitWriter):
    """`GroupCommitWriter` without the promises that only one writer can keep."""

    def __init__(self, *args, queue_limit: int = 10_000, **named) -> None:
        super().__init__(*args, queue_limit=queue_limit, **named)
        self._random = Random(seed)
        self._limit = queue_limit
        self._waiting: set[asyncio.Task] = set()
        self._last_by_key: dict[str, asyncio.Task] = {}
        self._is_closing = False

    def run(self, job, lane=Lane.INTERACTIVE, about=(), *, has_one_write=False) -> asyncio.Future:
        del has_one_write  # a job that runs twice has two writes
        if self._is_closing:
            raise StoreError("the database is closed: this node is shutting down")
        if len(self._waiting) >= self._limit:
            raise StoreBusy(f"{self._limit} writes are waiting already; try again in a moment")
        result = asyncio.get_running_loop().create_future()
        earlier = {self._last_by_key[key] for key in about if key in self._last_by_key}
        task = spawn(self._run_late(job, lane, earlier, result), name="unfair write")
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)
        self._last_by_key.update(dict.fromkeys(about, task))
        return result

    async def _run_late(self, job, lane, earlier: set[asyncio.Task], result: asyncio.Future) -> None:
        if earlier:
            await asyncio.wait(earlier)
        if self._random.random() < 0.25:
            await asyncio.sleep(self._random.random() * MAX_SECONDS)
        for _ in range(self._random.randrange(MAX_ROUNDS)):
            await asyncio.sleep(0)
        try:
            outcome = await super().run(twice(job), lane)
        except Exception as error:  # noqa: BLE001 - whatever a job raises belongs to its caller
            if not result.done():
                result.set_exception(error)
        else:
            if not result.done():  # else its caller was cancelled
                result.set_result(outcome)

    async def close(self) -> None:
        self._is_closing = True
        if self._waiting:
            await asyncio.wait(self._waiting)
        await super().close()


def twice(job: Callable[[Transaction], object]) -> Callable[[Transaction], object]:
    def run(tx: Transaction) -> object:
        event_count = len(tx.pending_events)
        tx.run(SAVEPOINT)
        with contextlib.suppress(Exception):  # the second time tells
            job(tx)
        tx.run(ROLLBACK)
        tx.run(RELEASE)
        del tx.pending_events[event_count:]
        try:
            return job(tx)
        except StopIteration as error:  # which no future can raise
            raise RuntimeError("a job has used up an iterator") from error

    return run


#: Of the order of jobs; another one finds other things.
seed = 0


def use(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let all stores that are opened from now on be unfair."""
    monkeypatch.setattr("p2p_oicp.storage.sqlite.store.GroupCommitWriter", UnfairWriter)
    monkeypatch.setattr("tests.support.unfair_store.seed", number)
