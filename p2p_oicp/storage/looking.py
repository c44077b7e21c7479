"""Looking into the store of a node, running or not, from another process: read only, row by row."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from p2p_oicp.errors import StoreUnusable
from p2p_oicp.storage.migrate import migrate, uri_of
from p2p_oicp.storage.statements import Statement
from p2p_oicp.storage.writer import Transaction

_PATIENCE_SECONDS = 10.0


class Reader:
    """One read-only connection; rows come as they are fetched, so that any number of them takes no memory."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, statement: Statement, **parameters: object) -> Iterator[sqlite3.Row]:
        """Return the rows of a query, one at each step."""
        return iter(self._connection.execute(statement.text, statement.bind(parameters)))


@contextmanager
def looking(file: Path) -> Iterator[Reader]:
    """Open the store read-only; raises StoreUnusable where there is none, or it is not one of this version."""
    if not file.exists():
        raise StoreUnusable(f"{file}: there is no database yet; it is made when the node is first run")
    try:
        with closing(_connected(uri_of(file, "ro"))) as connection:
            yield Reader(connection)
    except sqlite3.Error as error:
        raise StoreUnusable(f"{file}: cannot be read: {error}; is it the database of this version?") from error


@contextmanager
def changing(file: Path) -> Iterator[Transaction]:
    """Make one short change beside a node that may be running, creating the store where there is none.

    All of it is committed at the end, or none. Raises StoreUnusable.
    """
    migrate(file)
    try:
        with closing(_connected(uri_of(file, "rw"))) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield Transaction(connection)
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise StoreUnusable(f"{file}: cannot be changed: {error}") from error


def _connected(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_PATIENCE_SECONDS)
    connection.row_factory = sqlite3.Row
    return connection
