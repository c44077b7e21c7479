"""The store of a node, running or not, from another process: for commands.

Queries open the file read-only and see the last commit; they neither need nor take the node's lock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from p2p_oicp.errors import StoreUnavailable
from p2p_oicp.storage.event_log import write_pending
from p2p_oicp.storage.sqlite.connections import absent_file, sqlite_uri
from p2p_oicp.storage.sqlite.migrate import migrate
from p2p_oicp.storage.sqlite.writer import SqliteTransaction
from p2p_oicp.storage.statements import Statement
from p2p_oicp.storage.transactions import Row, Transaction

# A command may wait; a running node holds the write lock for milliseconds.
_BUSY_TIMEOUT_SECONDS = 10.0


class FileReadOnlyStore:
    """One read-only connection; rows come as they are fetched, so that any number of them takes no memory."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, statement: Statement, **parameters: object) -> Iterator[Row]:
        """Return the rows of a query, one at each step."""
        return iter(self._connection.execute(statement.text, statement.bind(parameters)))


@contextmanager
def open_file_readonly(file: Path) -> Iterator[FileReadOnlyStore]:
    """Open the store read-only; raises StoreUnavailable where there is none, or it is not one of this version."""
    if not file.exists():
        raise StoreUnavailable(absent_file(file))
    try:
        with closing(_connect(sqlite_uri(file, "ro"))) as connection:
            yield FileReadOnlyStore(connection)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{file}: cannot be read: {error}; is it the database of this version?") from error


@contextmanager
def open_file_for_change(file: Path) -> Iterator[Transaction]:
    """Make one short change beside a node that may be running, creating the store where there is none.

    The change is committed at the end; if the block raises, nothing of it is stored. Raises StoreUnavailable.
    """
    migrate(file)
    try:
        with closing(_connect(sqlite_uri(file, "rw"))) as connection:
            # Immediate: the lock is taken here, where SQLite waits for it, and not at the first change.
            connection.execute("BEGIN IMMEDIATE")
            transaction = SqliteTransaction(connection)
            yield transaction
            write_pending(transaction)
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{file}: cannot be changed: {error}") from error


def _connect(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_BUSY_TIMEOUT_SECONDS)
    connection.row_factory = sqlite3.Row
    return connection
