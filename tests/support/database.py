"""A node's database, opened beside the node."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path


def read(file: Path, sql: str) -> list[tuple]:
    """Query a database that is opened for reading only."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=20)) as connection:
        return connection.execute(sql).fetchall()


def execute(file: Path, sql: str, parameters: Sequence = ()) -> list[tuple]:
    """Execute and commit one statement, and return its rows; only tests change a node's database beside the node."""
    with closing(sqlite3.connect(file, timeout=20)) as connection, connection:
        return connection.execute(sql, parameters).fetchall()


class HandlersWrites:
    """What the handlers of a node write, without its other workers; held back from the start if ``hold`` is set."""

    def __init__(self, store, *, hold: bool = False) -> None:
        self.count, self.reached, self._released = 0, asyncio.Event(), asyncio.Event()
        self._write, store.write = store.write, self._counted
        if not hold:
            self.release()

    async def _counted(self, job, *args, **named):
        if getattr(job, "__module__", "").startswith("p2p_oicp.roles."):
            self.count += 1
            self.reached.set()
            await self._released.wait()
        return await self._write(job, *args, **named)

    def release(self) -> None:
        self._released.set()
