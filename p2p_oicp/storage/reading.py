"""One look into the database of a node, running or not, without opening a store: for commands."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from p2p_oicp.errors import StoreUnusable
from p2p_oicp.storage.migrate import uri_of
from p2p_oicp.storage.statements import Statement

_PATIENCE_SECONDS = 5.0


def read_once(file: Path, statement: Statement, **parameters: object) -> list[sqlite3.Row]:
    """Return all rows of a query; raises StoreUnusable where there is no database that can be read."""
    if not file.exists():
        raise StoreUnusable(f"{file}: there is no database yet; start the node once with `p2p-oicp run`")
    try:
        with closing(sqlite3.connect(uri_of(file, "ro"), uri=True, timeout=_PATIENCE_SECONDS)) as connection:
            connection.row_factory = sqlite3.Row
            return connection.execute(statement.text, statement.bind(parameters)).fetchall()
    except sqlite3.Error as error:
        raise StoreUnusable(f"{file}: cannot be read: {error}") from error
