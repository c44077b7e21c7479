"""The store in PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeVar

from p2p_oicp.errors import StoreError, StoreUnavailable
from p2p_oicp.storage import job_keys
from p2p_oicp.storage.job_keys import JobKeys
from p2p_oicp.storage.postgres.connections import FAILURES, Connection, Pool
from p2p_oicp.storage.postgres.spool import PostgresSpool
from p2p_oicp.storage.postgres.tables import open_checked, shown
from p2p_oicp.storage.postgres.writer import KeyedWriter
from p2p_oicp.storage.statements import NumberedText, Statement
from p2p_oicp.storage.store import WRITE_PROBE
from p2p_oicp.storage.transactions import Lane, Row, Transaction

T = TypeVar("T")
_CONNECTIONS: Final = 16
_LONG_QUERIES: Final = 4
_TRY_LOCK = NumberedText(
    "SELECT pg_try_advisory_lock(hashtextextended('p2p-oicp node ' || current_schema(), 0)) AS held, "
    "current_schema() AS schema"
)


class DatabaseLock:
    """Holds a database for this process alone: a lock that the server releases when the connection ends.

    Two nodes on one database would each trust what they have in memory of it: sessions in flight, cursors, nonces.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Connection | None = None
        self._turn = asyncio.Lock()
        self.schema = ""

    async def acquire(self) -> None:
        """Take the database, unless it is held. Raises StoreUnavailable."""
        async with self._turn:
            if self._connection is not None and self._connection.is_usable:
                return
            await self.release()
            self._connection = await open_checked(self._url)
            try:
                (row,) = await self._connection.fetch(_TRY_LOCK, [])
            except FAILURES as error:
                raise StoreUnavailable(f"{shown(self._url)}: cannot be locked: {error}") from error
            self.schema = row["schema"]
            if not row["held"]:
                await self.release()
                raise StoreUnavailable(f"{shown(self._url)}: another node uses it; each has a database of its own")

    @property
    def is_held(self) -> bool:
        """Whether nobody else can have it."""
        return self._connection is not None and self._connection.is_usable

    async def release(self) -> None:
        """Let others have the database."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None


class PostgresStore:
    """`Store` in PostgreSQL; made by `open_postgres`.

    Args:
        pool: for what is short.
        long_queries: for the others, so that they hold up nothing.
        lock: holds the database; without it nothing is written.
        queue_limit: of the writer.
    """

    def __init__(self, pool: Pool, long_queries: Pool, lock: DatabaseLock, *, queue_limit: int) -> None:
        self._pool = pool
        self._long_queries = long_queries
        self._lock = lock
        self._on_commit: Callable[[], None] | None = None
        self._writer = KeyedWriter(pool, lock.schema, queue_limit=queue_limit, on_commit=self._notify)
        self._spool = PostgresSpool(pool)

    def __repr__(self) -> str:
        return f"<PostgresStore {self._writer!r}>"

    @property
    def spool(self) -> PostgresSpool:
        """Where the records of large imports are."""
        return self._spool

    async def failure(self) -> str | None:
        """Return why the database cannot be written to now; None where it can, or nothing has been tried yet."""
        if self._writer.failure is not None:
            # Nobody may write any more, and so find out that the database is there again.
            with suppress(StoreError):
                await self.write(lambda tx: tx.run(WRITE_PROBE, name="write_probe", value=0), about=job_keys.ANY_ORDER)
        return self._writer.failure

    async def write(
        self, job: Callable[[Transaction], T], lane: Lane = Lane.INTERACTIVE, about: JobKeys = job_keys.ANY_ORDER
    ) -> T:
        """Run ``job`` in a transaction and return its result after the commit, as `Store.write` says."""
        if not self._lock.is_held:  # the connection was lost: another process may have taken the database meanwhile
            await self._lock.acquire()
        return await self._writer.run(job, lane, about)

    async def write_once(self, job: Callable[[Transaction], T], *, about: JobKeys = job_keys.ANY_ORDER) -> T:
        """Do what `write` does."""
        return await self.write(job, about=about)

    def observe_events(self, on_commit: Callable[[], None] | None) -> None:
        """Call ``on_commit`` in the event loop after each commit of this process that has written events."""
        self._on_commit = on_commit

    def _notify(self) -> None:
        if self._on_commit is not None:
            self._on_commit()

    async def query_inline(self, statement: Statement, **parameters: object) -> list[Row]:
        """Return a few rows that an index finds. Raises StoreError."""
        return await _fetch(self._pool, statement, parameters)

    async def query(self, statement: Statement, **parameters: object) -> list[Row]:
        """Return all rows of a query. Raises StoreError."""
        return await _fetch(self._pool, statement, parameters)

    async def query_bulk(self, statement: Statement, **parameters: object) -> list[Row]:
        """Return all rows of a long query, which holds up no other reader. Raises StoreError."""
        return await _fetch(self._long_queries, statement, parameters)

    async def close(self) -> None:
        """Finish the jobs that wait, and close all connections."""
        await self._writer.close()
        await self._pool.close()
        await self._long_queries.close()


async def _fetch(pool: Pool, statement: Statement, parameters: dict[str, object]) -> list[Row]:
    numbered = statement.numbered()
    try:
        async with pool.connection() as connection:
            return await connection.fetch(numbered, numbered.values(parameters))
    except FAILURES as error:
        raise StoreError(f"the database cannot be read: {error or type(error).__name__}") from error


@asynccontextmanager
async def open_postgres(url: str, *, queue_limit: int) -> AsyncIterator[PostgresStore]:
    """Open the store at ``url`` for this process alone, and make its tables where there are none.

    Raises:
        StoreUnavailable: the server cannot be reached, or the database is another version's or in use.

    """
    lock = DatabaseLock(url)
    await lock.acquire()
    try:
        store = PostgresStore(Pool(url, _CONNECTIONS), Pool(url, _LONG_QUERIES), lock, queue_limit=queue_limit)
        try:
            yield store
        finally:
            await store.close()
    finally:
        await lock.release()
