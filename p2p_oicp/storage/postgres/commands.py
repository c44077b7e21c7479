"""The store of a node, running or not, from another process: for commands, which have no event loop of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from p2p_oicp.concurrency import CommandLoop
from p2p_oicp.errors import StoreUnavailable
from p2p_oicp.storage.event_log import write_pending
from p2p_oicp.storage.postgres.connections import FAILURES, Connection
from p2p_oicp.storage.postgres.tables import open_checked, shown
from p2p_oicp.storage.postgres.writer import PostgresTransaction, lock_events
from p2p_oicp.storage.statements import NumberedText, Statement
from p2p_oicp.storage.transactions import Row, Transaction

_SCHEMA = NumberedText("SELECT current_schema() AS name")
# So many rows are fetched at a time: any number of them takes no memory.
_PORTION = 500


class UrlReadOnlyStore:
    """One connection, for reading."""

    def __init__(self, connection: Connection, loop: CommandLoop) -> None:
        self._connection = connection
        self._loop = loop

    def rows(self, statement: Statement, **parameters: object) -> Iterator[Row]:
        """Return the rows of a query, some at a time, all as of the same moment."""
        numbered = statement.numbered()
        cursor = self._loop.run(self._connection.cursor(numbered, numbered.values(parameters)))
        while rows := self._loop.run(cursor.fetch(_PORTION)):
            yield from rows


@contextmanager
def open_url_readonly(url: str) -> Iterator[UrlReadOnlyStore]:
    """Open the store read-only; raises StoreUnavailable."""
    with _connection(url) as (connection, loop):
        loop.run(connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        yield UrlReadOnlyStore(connection, loop)


@contextmanager
def open_url_for_change(url: str) -> Iterator[Transaction]:
    """Make one short change, committed at the end; raises StoreUnavailable."""
    with _connection(url) as (connection, loop):
        (schema,) = loop.run(connection.fetch(_SCHEMA, []))
        loop.run(connection.execute("BEGIN"))
        transaction = PostgresTransaction(connection, loop.run)
        yield transaction
        if transaction.pending_events:
            lock_events(transaction, schema["name"])
            write_pending(transaction)
        if loop.run(connection.execute("COMMIT")) != "COMMIT":
            raise StoreUnavailable(f"{shown(url)}: the change was not committed")


@contextmanager
def _connection(url: str) -> Iterator[tuple[Connection, CommandLoop]]:
    with CommandLoop() as loop:
        connection = loop.run(open_checked(url))
        try:
            yield connection, loop
        except FAILURES as error:
            raise StoreUnavailable(f"{shown(url)}: cannot be read or changed: {error}") from error
        finally:
            loop.run(connection.close())
