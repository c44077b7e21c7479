"""The store in one SQLite file: jobs are written in groups, rows are read inline or in a thread."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

import aiosqlite

from p2p_oicp.errors import StoreError
from p2p_oicp.storage import event_log, job_keys
from p2p_oicp.storage.job_keys import JobKeys
from p2p_oicp.storage.sqlite.checkpoints import WalCheckpointer
from p2p_oicp.storage.sqlite.connections import (
    connect_inline_reader,
    connect_reader,
    connect_writer,
    exclusive_lock,
    remove_log_of_another_database,
)
from p2p_oicp.storage.sqlite.migrate import migrate
from p2p_oicp.storage.sqlite.spool import Spool
from p2p_oicp.storage.sqlite.writer import GroupCommitWriter
from p2p_oicp.storage.statements import Statement
from p2p_oicp.storage.store import WRITE_PROBE
from p2p_oicp.storage.transactions import Lane, Row, Transaction

T = TypeVar("T")
_MIN_FREE_BYTES = 64 * 1024


class SqliteStore:
    """`Store` in one file; made by `open_sqlite`."""

    def __init__(
        self,
        writer: GroupCommitWriter,
        spool: Spool,
        inline_reader: sqlite3.Connection,
        reader: aiosqlite.Connection,
        bulk_reader: aiosqlite.Connection,
    ) -> None:
        self._writer = writer
        self.spool = spool
        self._inline_reader = inline_reader
        self._reader = reader
        self._bulk_reader = bulk_reader

    def __repr__(self) -> str:
        return f"<SqliteStore {self._writer!r}>"

    async def failure(self) -> str | None:
        """Return why the database cannot be written to now; None where it can, or nothing has been tried yet."""
        if self._writer.failure is not None:
            # Nobody may write any more, and so find out that there is room again.
            with suppress(StoreError):
                await self.write(lambda tx: tx.run(WRITE_PROBE, name="write_probe", value=0), about=job_keys.ANY_ORDER)
        # SQLite's log may still have room for the probe and other small transactions when larger ones fail.
        if self._writer.failure is None and (free := self.spool.free_bytes()) < _MIN_FREE_BYTES:
            return f"the disk is full: {free} bytes are free; free some space"
        return self._writer.failure

    async def write(
        self, job: Callable[[Transaction], T], lane: Lane = Lane.INTERACTIVE, about: JobKeys = job_keys.ANY_ORDER
    ) -> T:
        """Run ``job`` in a transaction and return its result after the commit.

        The job changes nothing but the database: it runs between other jobs, its effects may be rolled back, and it
        may be run again. ``about`` names the jobs with which it has an order (`storage.job_keys`).
        Raises StoreBusy, StoreError, and what the job raises (then nothing of it is stored).
        """
        return await self._writer.run(job, lane, about)

    async def write_once(self, job: Callable[[Transaction], T], *, about: JobKeys = job_keys.ANY_ORDER) -> T:
        """Do what `write` does for a job that changes the database by one statement at most; a tenth less work.

        If it raises after a first change, everything that was to be committed with it fails with a StoreError.
        """
        return await self._writer.run(job, Lane.INTERACTIVE, about, has_one_write=True)

    def observe_events(self, on_commit: Callable[[], None] | None) -> None:
        """Call ``on_commit`` in the event loop after each commit that has written events; None: no more.

        Events of another process (a command) are not noticed.
        """
        self._writer.observe(on_commit)

    async def query_inline(self, statement: Statement, **parameters: object) -> list[Row]:
        """Return a few rows that an index finds, without leaving the event loop. Raises StoreError.

        5 to 10 µs; through a connection in another thread it is 100 µs, for Python's threads take turns.
        """
        try:
            return self._inline_reader.execute(statement.text, statement.bind(parameters)).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"the database cannot be read: {error}") from error

    async def query(self, statement: Statement, **parameters: object) -> list[Row]:
        """Return all rows of a query. Raises StoreError."""
        return await _fetch_rows(self._reader, statement, parameters)

    async def query_bulk(self, statement: Statement, **parameters: object) -> list[Row]:
        """Return all rows of a long query, which holds up no other reader. Raises StoreError."""
        return await _fetch_rows(self._bulk_reader, statement, parameters)


async def _fetch_rows(
    connection: aiosqlite.Connection, statement: Statement, parameters: dict[str, object]
) -> list[Row]:
    try:
        return list(await connection.execute_fetchall(statement.text, statement.bind(parameters)))
    except sqlite3.Error as error:
        raise StoreError(f"the database cannot be read: {error}") from error


@asynccontextmanager
async def open_sqlite(file: Path, *, synchronous: str, queue_limit: int) -> AsyncIterator[SqliteStore]:
    """Open the store in ``file``, as `open_store` says. Raises StoreUnavailable."""
    with exclusive_lock(file):
        # Order: lock, then migrate. Two nodes that start at once must not both create the tables.
        remove_log_of_another_database(file)
        migrate(file)
        connection, inline_reader = connect_writer(file, synchronous), connect_inline_reader(file)
        reader, bulk_reader = await connect_reader(file), await connect_reader(file)
        writer = GroupCommitWriter(
            connection, WalCheckpointer(file), queue_limit=queue_limit, before_commit=event_log.write_pending
        )
        try:
            yield SqliteStore(writer, Spool(file), inline_reader, reader, bulk_reader)
        finally:
            # Order: the writer first; jobs that wait are finished while everything is open.
            await writer.close()
            await reader.close()
            await bulk_reader.close()
            inline_reader.close()
            connection.close()
