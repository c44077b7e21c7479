"""A node's database, opened beside the node."""

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
