"""The store of one node: one SQLite file, one writer, readers beside it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeAlias, TypeVar

import aiosqlite
from filelock import FileLock, Timeout

from p2p_oicp.errors import StoreError, StoreUnavailable
from p2p_oicp.storage.datasets.geo_index import great_circle_km
from p2p_oicp.storage.migrate import migrate, sqlite_uri
from p2p_oicp.storage.spool import Spool
from p2p_oicp.storage.sqlite.writer import AUTOCHECKPOINT_PAGES, GroupCommitWriter, Lane, Transaction, WalCheckpointer
from p2p_oicp.storage.statements import Statement

T = TypeVar("T")
#: A row that was read: a mapping of its columns.
Row: TypeAlias = sqlite3.Row

# What the database may keep of itself in memory, in KiB: its most used pages, at tens of millions of sessions too.
_CACHE_KIB = 32 * 1024
# The same for short reads: more than the largest page of a pull.
_INLINE_CACHE_KIB = 8 * 1024


class Store:
    """Durable state; made by :func:`open_store`."""

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

    async def write(self, job: Callable[[Transaction], T], lane: Lane = Lane.INTERACTIVE) -> T:
        """Run ``job`` in a transaction; it returns after the commit. Raises StoreBusy, StoreError."""
        return await self._writer.run(job, lane)

    def query_inline(self, statement: Statement, **parameters: object) -> list[sqlite3.Row]:
        """Return a few rows that an index finds, as of the last commit, without leaving the event loop.

        A query in another thread costs ten times as much, for the threads take turns. Raises StoreError.
        """
        try:
            return self._inline_reader.execute(statement.text, statement.bind(parameters)).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"the database cannot be read: {error}") from error

    async def query(self, statement: Statement, **parameters: object) -> list[sqlite3.Row]:
        """Return all rows of a query, as of the last commit. Raises StoreError."""
        return await _fetch_rows(self._reader, statement, parameters)

    async def query_bulk(self, statement: Statement, **parameters: object) -> list[sqlite3.Row]:
        """Return all rows of a long query, which holds up no other reader. Raises StoreError."""
        return await _fetch_rows(self._bulk_reader, statement, parameters)


async def _fetch_rows(
    connection: aiosqlite.Connection, statement: Statement, parameters: dict[str, object]
) -> list[sqlite3.Row]:
    try:
        return list(await connection.execute_fetchall(statement.text, statement.bind(parameters)))
    except sqlite3.Error as error:
        raise StoreError(f"the database cannot be read: {error}") from error


@asynccontextmanager
async def open_store(file: Path, *, synchronous: str = "FULL", queue_limit: int = 10_000) -> AsyncIterator[Store]:
    """Open (and migrate) the database ``file``; drain the writer at the end.

    ``synchronous`` is SQLite's: FULL survives loss of power, NORMAL survives a crash of the program.
    Raises StoreUnusable, with what to do, before anything is changed.
    """
    with _exclusive_lock(file):
        async with _open_connections(file, synchronous, queue_limit) as store:
            yield store


@contextmanager
def _exclusive_lock(file: Path) -> Iterator[None]:
    """Hold the file for this process: two nodes on one file would each believe in their own memory of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{file}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise StoreUnavailable(
            f"{file}: another node uses it; every node has a database of its own ([node] data_dir)"
        ) from error
    except OSError as error:
        raise StoreUnavailable(f"{file}: cannot be opened or created: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()


@asynccontextmanager
async def _open_connections(file: Path, synchronous: str, queue_limit: int) -> AsyncIterator[Store]:
    migrate(file)
    connection = _connect(file, synchronous)
    inline_reader = sqlite3.connect(
        sqlite_uri(file, "ro"), uri=True, isolation_level=None, timeout=0, cached_statements=512
    )
    inline_reader.row_factory = sqlite3.Row
    inline_reader.execute(f"PRAGMA cache_size = -{_INLINE_CACHE_KIB}")
    reader, bulk_reader = await _open_reader(file), await _open_reader(file)
    writer = GroupCommitWriter(connection, WalCheckpointer(file), queue_limit=queue_limit)
    try:
        yield Store(writer, Spool(file), inline_reader, reader, bulk_reader)
    finally:
        await writer.close()
        await reader.close()
        await bulk_reader.close()
        inline_reader.close()
        connection.close()


async def _open_reader(file: Path) -> aiosqlite.Connection:
    reader = await aiosqlite.connect(sqlite_uri(file, "ro"), uri=True)
    reader.row_factory = sqlite3.Row
    await reader.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    await reader.create_function("great_circle_km", 4, great_circle_km, deterministic=True)
    return reader


def _connect(file: Path, synchronous: str) -> sqlite3.Connection:
    try:
        # No waiting inside SQLite (timeout): the writer waits for another program's lock without holding up the loop.
        connection = sqlite3.connect(
            file, isolation_level=None, check_same_thread=False, timeout=0, cached_statements=512
        )
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if synchronous == 'FULL' else 'NORMAL'}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {AUTOCHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{file}: cannot be opened for writing: {error}") from error
    return connection
