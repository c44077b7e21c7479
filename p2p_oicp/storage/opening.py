"""Opening the store of a node: the one place that knows which databases there are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Protocol, TypeAlias

from p2p_oicp.errors import StoreUnavailable
from p2p_oicp.storage.sqlite.readonly import open_file_for_change, open_file_readonly
from p2p_oicp.storage.sqlite.store import open_sqlite
from p2p_oicp.storage.statements import Statement
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.transactions import Row, Transaction

#: Where a store is: a file of SQLite, or the URL of a database of PostgreSQL.
Location: TypeAlias = Path | str


class ReadOnlyStore(Protocol):
    """The store of a node, running or not, from another process; rows come a few at a time."""

    def rows(self, statement: Statement, **parameters: object) -> Iterator[Row]:
        """Return the rows of a query."""


@asynccontextmanager
async def open_store(
    location: Location, *, synchronous: str = "FULL", queue_limit: int = 10_000
) -> AsyncIterator[Store]:
    """Create or upgrade the database, lock it for this process, and open it; finish queued jobs at the end.

    Args:
        location: a file, whose folder is created, with ``FILE.lock`` and pushes that are being applied beside it; or
            the URL of a database.
        synchronous: SQLite's ``synchronous``: FULL survives a loss of power, NORMAL a crash of the program.
        queue_limit: the number of jobs in one lane that may wait; above it, `Store.write` raises StoreBusy.

    Raises:
        StoreUnavailable: the database is damaged, foreign, newer than this program, in use or not to be reached;
            nothing was changed.

    """
    if isinstance(location, Path):
        async with open_sqlite(location, synchronous=synchronous, queue_limit=queue_limit) as file:
            yield file
    else:
        _require_driver()
        from p2p_oicp.storage.postgres.store import open_postgres  # noqa: PLC0415 - an extra, which few nodes need

        async with open_postgres(location, queue_limit=queue_limit) as store:
            yield store


@contextmanager
def open_readonly(location: Location) -> Iterator[ReadOnlyStore]:
    """Open the store read-only, for commands; raises StoreUnavailable where there is none, or of another version."""
    if isinstance(location, Path):
        with open_file_readonly(location) as file:
            yield file
    else:
        _require_driver()
        from p2p_oicp.storage.postgres.commands import open_url_readonly  # noqa: PLC0415 - as above

        with open_url_readonly(location) as store:
            yield store


@contextmanager
def open_for_change(location: Location) -> Iterator[Transaction]:
    """Make one short change beside a node that may be running, creating the store where there is none.

    The change is committed at the end; if the block raises, nothing of it is stored. Raises StoreUnavailable.
    """
    if isinstance(location, Path):
        with open_file_for_change(location) as tx:
            yield tx
    else:
        _require_driver()
        from p2p_oicp.storage.postgres.commands import open_url_for_change  # noqa: PLC0415 - as above

        with open_url_for_change(location) as tx:
            yield tx


def query_once(location: Location, statement: Statement, **parameters: object) -> list[Row]:
    """Return all rows of one query; raises StoreUnavailable as `open_readonly`."""
    with open_readonly(location) as store:
        return list(store.rows(statement, **parameters))


def _require_driver() -> None:
    try:
        import p2p_oicp.storage.postgres.connections  # noqa: F401, PLC0415 - an extra, which few nodes need
    except ModuleNotFoundError as error:
        raise StoreUnavailable(
            f"PostgreSQL needs {error.name}, which is not installed; pip install 'p2p-oicp[postgresql]'"
        ) from error
