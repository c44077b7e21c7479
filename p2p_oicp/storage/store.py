"""The store of one node as the rest of it sees it, whichever database it is in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Final, Protocol, TypeVar

from p2p_oicp.storage import job_keys
from p2p_oicp.storage.job_keys import JobKeys
from p2p_oicp.storage.schema import counters
from p2p_oicp.storage.statements import Statement, inserting_named
from p2p_oicp.storage.transactions import Lane, Row, Transaction

T = TypeVar("T")
#: A change by which a store finds out whether it can be written to.
WRITE_PROBE: Final = inserting_named(counters, "name", "value", instead="OR REPLACE")


class SpooledImport(Protocol):
    """The records of one large import, until they are applied: a sequence of frames of bytes."""

    @property
    def name(self) -> str:
        """Return the name by which a row of ``imports`` has it."""

    async def append(self, frames: Iterable[bytes]) -> None:
        """Write frames behind those that are there; durable after :meth:`sync`. Raises StoreError."""

    async def sync(self) -> int:
        """Make everything durable; return its size in bytes. Raises StoreError."""

    async def read(self, offset: int, max_frames: int) -> tuple[list[bytes], int]:
        """Return up to ``max_frames`` frames from an offset on, and the offset behind them. Raises StoreError."""

    async def size(self) -> int | None:
        """Return the size in bytes; None where there is nothing of that name. Raises StoreError."""

    async def remove(self) -> None:
        """Remove it. What cannot be removed now is removed at the next start."""

    async def restore(self, offset: int, block: bytes) -> None:
        """Write a block of a backup; the one at offset 0 replaces whatever is there. Raises StoreError."""


class Spool(Protocol):
    """Where the records of large imports are until they are applied."""

    async def create(self) -> SpooledImport:
        """Create an empty one with a name of its own. Raises StoreError."""

    def file(self, name: str) -> SpooledImport:
        """Return the one of that name, which need not exist."""

    async def purge_except(self, names: Collection[str]) -> None:
        """Remove all but these."""


class Store(Protocol):
    """The node's access to its database; made by `open_store`.

    Reads see the last commit. Which of the three to use: `query_inline` for a few rows that an index finds,
    `query` for everything else that is short, `query_bulk` for what may take long (a page, an export).
    """

    @property
    def spool(self) -> Spool:
        """Return where the records of large imports are."""

    async def failure(self) -> str | None:
        """Return why the database cannot be written to now; None where it can, or nothing has been tried yet."""

    async def write(
        self, job: Callable[[Transaction], T], lane: Lane = Lane.INTERACTIVE, about: JobKeys = job_keys.ANY_ORDER
    ) -> T:
        """Run ``job`` in a transaction and return its result after the commit.

        The job changes nothing but the database: it runs between other jobs, its effects may be rolled back, and it
        may be run again. ``about`` names the jobs with which it has an order (`storage.job_keys`).
        Raises StoreBusy, StoreError, and what the job raises (then nothing of it is stored).
        """

    async def write_once(self, job: Callable[[Transaction], T], *, about: JobKeys = job_keys.ANY_ORDER) -> T:
        """Do what `write` does for a job that changes the database by one statement at most; a tenth less work.

        If it raises after a first change, everything that was to be committed with it fails with a StoreError.
        """

    def observe_events(self, on_commit: Callable[[], None] | None) -> None:
        """Call ``on_commit`` in the event loop after each commit that has written events; None: no more.

        Events of another process (a command) are not noticed.
        """

    async def query_inline(self, statement: Statement, **parameters: object) -> list[Row]:
        """Return a few rows that an index finds. Raises StoreError."""

    async def query(self, statement: Statement, **parameters: object) -> list[Row]:
        """Return all rows of a query. Raises StoreError."""

    async def query_bulk(self, statement: Statement, **parameters: object) -> list[Row]:
        """Return all rows of a long query, which holds up no other reader. Raises StoreError."""
