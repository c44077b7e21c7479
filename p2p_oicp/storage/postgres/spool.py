"""The records of large imports, until they are applied: in the table ``import_frames``, whose rows are frames.

Elsewhere they are in files beside the database; here the process that finishes an import may be on another machine.
An offset is the number of a frame, and so is a size.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Final

from p2p_oicp.clock import random_hex
from p2p_oicp.concurrency import offload
from p2p_oicp.errors import StoreError
from p2p_oicp.storage.postgres.connections import FAILURES, Connection, Pool
from p2p_oicp.storage.statements import NumberedText

CREATE_TABLE: Final = (
    'CREATE TABLE import_frames (name TEXT COLLATE "C" NOT NULL, position BIGINT NOT NULL, content BYTEA NOT NULL, '
    "PRIMARY KEY (name, position))"
)
_INSERT = NumberedText("INSERT INTO import_frames (name, position, content) VALUES ($1, $2, $3)")
_SELECT = NumberedText(
    "SELECT content FROM import_frames WHERE name = $1 AND position >= $2 ORDER BY position LIMIT $3"
)
_COUNT = NumberedText("SELECT count(*) AS frames FROM import_frames WHERE name = $1")
_DELETE = NumberedText("DELETE FROM import_frames WHERE name = $1")
_DELETE_OTHERS = NumberedText("DELETE FROM import_frames WHERE NOT (name = ANY($1::TEXT[]))")
_FRAMES_PER_MESSAGE = 50


class PostgresSpool:
    """`Spool` in a table."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def create(self) -> TableImport:
        """Return an import with a name of its own; its first frames make it."""
        return self.file(random_hex(12))

    def file(self, name: str) -> TableImport:
        """Return the import of that name, which need not exist."""
        return TableImport(self._pool, name)

    async def purge_except(self, names: Collection[str]) -> None:
        """Remove all but these. Raises StoreError."""
        async with _connection(self._pool) as connection:
            await connection.run(_DELETE_OTHERS, [list(names)])


class TableImport:
    """`SpooledImport` in a table."""

    def __init__(self, pool: Pool, name: str) -> None:
        self._pool = pool
        self._name = name
        self._count = 0

    def __repr__(self) -> str:
        return f"<TableImport {self._name}>"

    @property
    def name(self) -> str:
        """The name by which a row of ``imports`` has it."""
        return self._name

    async def append(self, frames: Iterable[bytes]) -> None:
        """Write frames behind those that are there. Raises StoreError."""
        remaining = iter(frames)
        while part := await offload(_take, remaining):
            async with _connection(self._pool) as connection:
                await connection.run_many(
                    _INSERT, [(self._name, self._count + number, frame) for number, frame in enumerate(part)]
                )
            self._count += len(part)

    async def sync(self) -> int:
        """Return the number of frames, which are durable."""
        return self._count

    async def read(self, offset: int, max_frames: int) -> tuple[list[bytes], int]:
        """Return up to ``max_frames`` frames from a number on, and the number behind them. Raises StoreError."""
        async with _connection(self._pool) as connection:
            rows = await connection.fetch(_SELECT, [self._name, offset, max_frames])
        return [row["content"] for row in rows], offset + len(rows)

    async def size(self) -> int | None:
        """Return the number of frames; None where there is none. Raises StoreError."""
        async with _connection(self._pool) as connection:
            (row,) = await connection.fetch(_COUNT, [self._name])
        return int(row["frames"]) or None

    async def remove(self) -> None:
        """Remove it. Raises StoreError."""
        async with _connection(self._pool) as connection:
            await connection.run(_DELETE, [self._name])

    async def restore(self, offset: int, block: bytes) -> None:
        """Refuse: backups of this database have all of it."""
        raise StoreError(f"{self._name}: no block at {offset} of {len(block)} bytes is restored into PostgreSQL")


def _take(frames: Iterable[bytes]) -> Sequence[bytes]:
    return list(islice(frames, _FRAMES_PER_MESSAGE))


@asynccontextmanager
async def _connection(pool: Pool) -> AsyncIterator[Connection]:
    try:
        async with pool.connection() as connection:
            yield connection
    except FAILURES as error:
        raise StoreError(f"an import cannot be stored or read: {error}") from error
