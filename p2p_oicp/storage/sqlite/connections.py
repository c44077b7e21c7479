"""Opening a database file: the lock of one process, and the connections of the writer and of the readers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiosqlite
from filelock import FileLock, Timeout

from p2p_oicp.errors import StoreUnavailable
from p2p_oicp.oicp.geo import great_circle_km

#: The checkpointer copies without holding up anybody; the writer's own checkpoint is the safety net should it fail.
AUTOCHECKPOINT_PAGES = 100_000
# How much of the database SQLite may keep in memory: its most used pages, at tens of millions of sessions too.
_CACHE_KIB = 32 * 1024
# The same for the inline reader: more than the largest page of a pull.
_INLINE_CACHE_KIB = 8 * 1024
# More statements than this package has; the driver's default of 128 would parse the others again at each use.
_CACHED_STATEMENTS = 512


def sqlite_uri(file: Path, mode: str) -> str:
    """Return SQLite's URI for ``file``, whatever characters its folders have; ``mode`` is ``ro`` or ``rw``."""
    return f"{file.absolute().as_uri()}?mode={mode}"


@contextmanager
def exclusive_lock(file: Path) -> Iterator[None]:
    """Hold the database for this process; raises StoreUnavailable where another node has it.

    Two nodes on one file would each trust what they have in memory of it: sessions in flight, cursors, nonces.
    """
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


def connect_writer(file: Path, synchronous: str) -> sqlite3.Connection:
    """Open the one connection that writes; ``synchronous`` as for `open_store`. Raises StoreUnavailable."""
    try:
        # No waiting inside SQLite (timeout): the writer waits for another program's lock without holding up the loop.
        connection = sqlite3.connect(
            file, isolation_level=None, check_same_thread=False, timeout=0, cached_statements=_CACHED_STATEMENTS
        )
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if synchronous == 'FULL' else 'NORMAL'}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {AUTOCHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{file}: cannot be opened for writing: {error}") from error
    return connection


def connect_inline_reader(file: Path) -> sqlite3.Connection:
    """Open the reader that is used in the event loop."""
    connection = sqlite3.connect(
        sqlite_uri(file, "ro"), uri=True, isolation_level=None, timeout=0, cached_statements=_CACHED_STATEMENTS
    )
    connection.row_factory = sqlite3.Row
    connection.execute(f"PRAGMA cache_size = -{_INLINE_CACHE_KIB}")
    return connection


async def connect_reader(file: Path) -> aiosqlite.Connection:
    """Open a reader with a thread of its own."""
    reader = await aiosqlite.connect(sqlite_uri(file, "ro"), uri=True)
    reader.row_factory = sqlite3.Row
    await reader.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    # For the radius search of `datasets.evse_search`.
    await reader.create_function("great_circle_km", 4, great_circle_km, deterministic=True)
    return reader
