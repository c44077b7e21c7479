"""What a job gets of its database, whichever it is: rows, and the transaction in which it runs.

A job is an ordinary function of a `Transaction`. With SQLite its statements run where it runs; with PostgreSQL each
of them waits for an answer, and other tasks go on meanwhile: a job holds nothing in memory that others change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, auto
from typing import Any, Protocol

from p2p_oicp.storage.statements import RowStatement, Statement


class Row(Protocol):
    """A row of a query: its values by name or place; iterating yields the values, and ``dict(row)`` has the names."""

    def __getitem__(self, key: Any, /) -> Any: ...  # noqa: ANN401 - what a column has
    def __iter__(self) -> Iterator[Any]: ...
    def __len__(self) -> int: ...
    def keys(self) -> Iterable[str]:
        """Return the names of the columns."""


class Lane(Enum):
    """How soon a job is taken, and where it runs."""

    #: What a driver or a backend waits for: taken first, run in the event loop; at most some tens of statements.
    INTERACTIVE = auto()
    #: Everything longer: with SQLite run in a thread, a few in a round.
    BULK = auto()


class Transaction(Protocol):
    """A job's access to the database, valid until the job returns."""

    @property
    def pending_events(self) -> list[Any]:
        """Return what the jobs of the group have added to the event log, which is written with the commit."""

    def run(self, statement: Statement, **parameters: object) -> int:
        """Execute a statement and return the number of rows changed."""

    def insert(self, statement: RowStatement, row: Sequence[object]) -> int:
        """Insert a whole row; return 0 where ``OR IGNORE`` left an existing row as it is, else 1."""

    def run_many(self, statement: Statement, rows: Iterable[dict[str, Any]]) -> None:
        """Execute a statement once per row of parameters."""

    def run_rows(self, statement: RowStatement, rows: Iterable[Sequence[object]]) -> None:
        """Execute a statement once per whole row."""

    def one(self, statement: Statement, **parameters: object) -> Row | None:
        """Execute a query and return the first row, if any."""

    def all(self, statement: Statement, **parameters: object) -> list[Row]:
        """Execute a query and return all rows."""
