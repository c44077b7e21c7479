"""Opening a database file: the lock of one process, and the connections of the writer and of the readers."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import cast

import aiosqlite
import structlog
from filelock import FileLock, Timeout

from p2p_oicp.errors import StoreUnavailable
from p2p_oicp.oicp.geo import great_circle_km

try:
    import fcntl
except ImportError:  # Windows, where a locked file cannot be deleted
    fcntl = None  # type: ignore[assignment]

log = structlog.get_logger(__name__)

# The last two of these bytes say whether the database is written with a log beside it (WAL).
_HEADER_BYTES, _WITHOUT_LOG = 20, b"\x01\x01"
#: The checkpointer copies without holding up anybody; the writer's own checkpoint is the safety net should it fail.
AUTOCHECKPOINT_PAGES = 100_000
# How much of the database SQLite may keep in memory: its most used pages, at tens of millions of sessions too.
_CACHE_KIB = 32 * 1024
# The same for the inline reader: more than the largest page of a pull.
_INLINE_CACHE_KIB = 8 * 1024
# More statements than this package has; the driver's default of 128 would parse the others again at each use.
_CACHED_STATEMENTS = 512

# The driver asks None and bytes how they want to be stored each time that one is bound: it looks for two protocols that
# neither has, which costs more than storing them (a session's row has a dozen). These answer "as they are".
sqlite3.register_adapter(type(None), cast("Callable[[None], None]", {}.get))
sqlite3.register_adapter(bytes, bytes)


def create_private(file: Path) -> None:
    """Create an empty file that only its owner may read, for SQLite: what it puts beside it gets the same mode."""
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600))


def absent_file(file: Path) -> str:
    """Return why there is no database, for people."""
    folder = next((parent for parent in file.parents if parent.exists()), file.parent)
    if not folder.is_dir():
        return f"{folder}: is a file; expected a folder for the database ([node] data_dir)"
    return f"{file}: there is no database yet; start the node once with `p2p-oicp run`"


def unusable_file(file: Path, error: OSError) -> str:
    """Return why the database cannot be opened or created, for people: often it is its folder."""
    folder = next((parent for parent in file.parents if parent.exists()), file.parent)
    if not folder.is_dir():
        return f"{folder}: is a file; expected a folder for the database ([node] data_dir)"
    if folder != file.parent:
        return f"{file.parent}: this folder cannot be created: {error.strerror or error} ([node] data_dir)"
    return f"{file}: cannot be opened or created: {error.strerror or error}"


def sqlite_uri(file: Path, mode: str) -> str:
    """Return SQLite's URI for ``file``, whatever characters its folders have; ``mode`` is ``ro`` or ``rw``."""
    return f"{file.absolute().as_uri()}?mode={mode}"


@contextmanager
def exclusive_lock(file: Path) -> Iterator[None]:
    """Hold the database for this process; raises StoreUnavailable where another node has it.

    Two nodes on one file would each trust what they have in memory of it: sessions in flight, cursors, nonces.
    """
    with ExitStack() as stack:
        try:
            folder = file.resolve().parent
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            stack.enter_context(FileLock(f"{file}.lock", mode=0o600, timeout=0))
            stack.enter_context(_folder_lock(folder))
        except (Timeout, BlockingIOError) as error:
            raise StoreUnavailable(
                f"{file}: another node uses it, or its folder; every node has a folder of its own ([node] data_dir)"
            ) from error
        except OSError as error:
            raise StoreUnavailable(unusable_file(file, error)) from error
        yield


@contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """Lock the folder itself: somebody may delete the lock file, and the next node would make and lock another one.

    Not the database: closing any of its descriptors would end SQLite's own locks of this process (POSIX).
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if isinstance(error, BlockingIOError):
                raise
            # A file system without such locks: the lock file has to do.
        yield
    finally:
        os.close(descriptor)


def remove_log_of_another_database(file: Path) -> None:
    """Remove the log beside a backup that was copied over the database of a node that had crashed.

    SQLite would take the log for the backup's, and mix the two. No database of a node has a log and the header of a
    backup: it says that it has none. Raises StoreUnavailable.
    """
    wal = file.with_name(f"{file.name}-wal")
    try:
        if not (file.exists() and wal.exists()):
            return
        with file.open("rb") as stream:
            is_backup = stream.read(_HEADER_BYTES).endswith(_WITHOUT_LOG)
        if is_backup:
            wal.unlink()
            log.warning("store.log_removed", file=str(wal), meaning="it was that of the database before this backup")
            file.with_name(f"{file.name}-shm").unlink(missing_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"{file}: cannot be opened: {error.strerror or error}") from error


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
