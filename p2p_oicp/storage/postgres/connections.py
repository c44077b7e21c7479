"""Connections to the server: each remembers the statements that it has prepared; a pool lends them.

The pool has a free list of its own: asyncpg's sends a RESET at each release, a round trip more, and nothing here leaves
anything to be reset. A connection that has failed is closed and replaced; between two attempts that fail, everybody
waits a moment, so that a server that comes back is not run down.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg  # type: ignore[import-untyped]

from p2p_oicp.errors import StoreError
from p2p_oicp.storage.statements import NumberedText
from p2p_oicp.storage.transactions import Row

#: What a connection raises when it, or the server, is gone; nobody knows what became of a statement under way.
LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    OSError,
    TimeoutError,
)
#: Everything that the driver raises.
FAILURES = (asyncpg.PostgresError, *LOST)
_CONNECT_SECONDS = 5.0
_COMMAND_SECONDS = 20.0
# Less than the 5 s in which an authorization is answered: "try again later" is an answer, too.
_ACQUIRE_SECONDS = 2.0
_RETRY_SECONDS = 0.2
_SETTINGS = {
    "application_name": "p2p-oicp",
    "jit": "off",  # what it compiles takes longer than what it saves
    "timezone": "UTC",
    "default_transaction_isolation": "read committed",
    # What a frozen process holds is free again.
    "idle_in_transaction_session_timeout": "10s",
}


class Connection:
    """One connection; `connect` opens it."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 - asyncpg has no types
        self._connection = connection
        self._prepared: dict[str, Any] = {}

    @property
    def is_usable(self) -> bool:
        """Whether the server may be asked something, outside of a transaction."""
        return not self._connection.is_closed() and not self._connection.is_in_transaction()

    async def execute(self, text: str) -> str:
        """Execute statements without parameters in one message; return what became of the last one."""
        return cast("str", await self._connection.execute(text))

    async def fetch(self, statement: NumberedText, values: Sequence[object]) -> list[Row]:
        """Execute a statement and return its rows."""
        return cast("list[Row]", await (await self.prepare(statement.text)).fetch(*values))

    async def run(self, statement: NumberedText, values: Sequence[object]) -> int:
        """Execute a statement and return how many rows it has changed."""
        prepared = await self.prepare(statement.text)
        await prepared.fetch(*values)
        return int(prepared.get_statusmsg().rpartition(" ")[2])

    async def run_many(self, statement: NumberedText, rows: Iterable[Sequence[object]]) -> None:
        """Execute a statement for each row."""
        await (await self.prepare(statement.text)).executemany(rows)

    async def cursor(self, statement: NumberedText, values: Sequence[object]) -> Any:  # noqa: ANN401 - as above
        """Return asyncpg's cursor of a query, within a transaction."""
        return await (await self.prepare(statement.text)).cursor(*values)

    async def prepare(self, text: str) -> Any:  # noqa: ANN401 - asyncpg has no types
        """Return the prepared statement of a text; the server is asked once."""
        prepared = self._prepared.get(text)
        if prepared is None:
            prepared = self._prepared[text] = await self._connection.prepare(text)
        return prepared

    async def close(self) -> None:
        """Close the connection; one that does not answer is cut off."""
        try:
            await self._connection.close(timeout=1.0)
        except FAILURES:
            self._connection.terminate()

    def terminate(self) -> None:
        """Cut the connection off."""
        self._connection.terminate()


async def connect(url: str) -> Connection:
    """Open a connection. Raises what `FAILURES` has, and ValueError for a URL that is none."""
    connection = await asyncpg.connect(
        url,
        timeout=_CONNECT_SECONDS,
        command_timeout=_COMMAND_SECONDS,
        statement_cache_size=0,  # `Connection` remembers them
        server_settings=_SETTINGS,
    )
    # Sums of whole numbers are of this type; nothing that is stored is.
    try:
        await connection.set_type_codec("numeric", schema="pg_catalog", encoder=str, decoder=_number, format="text")
    except BaseException:
        connection.terminate()
        raise
    return Connection(connection)


def _number(text: str) -> float:
    return float(text) if "." in text else int(text)


class Pool:
    """Lends connections.

    Args:
        url: of the database.
        size: how many connections there are at most.
    """

    def __init__(self, url: str, size: int) -> None:
        self._url = url
        self._size = size
        self._free: list[Connection] = []
        self._count = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._next_try_at = 0.0
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<Pool free={len(self._free)} of {self._count}>"

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection; one that is left within a transaction is closed. Raises StoreError, and `FAILURES`."""
        connection = await self._acquire()
        try:
            yield connection
        finally:
            if connection.is_usable and not self._is_closed:
                self._free.append(connection)
            else:
                connection.terminate()
                self._count -= 1
            self._wake_next()

    async def _acquire(self) -> Connection:
        try:
            async with asyncio.timeout(_ACQUIRE_SECONDS):
                while not self._free:
                    if self._count < self._size:
                        return await self._connect()
                    await self._wait()
        except TimeoutError as error:
            raise StoreError("the database is too busy or does not answer; try again in a moment") from error
        # The one that was used last: its statements are prepared, and those that are not needed stay idle.
        connection = self._free.pop()
        if connection.is_usable:
            return connection
        self._count -= 1
        return await self._acquire()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        if (pause := self._next_try_at - loop.time()) > 0:
            await asyncio.sleep(pause)
        self._count += 1
        try:
            return await connect(self._url)
        except BaseException:
            self._count -= 1
            self._next_try_at = loop.time() + _RETRY_SECONDS
            raise

    async def _wait(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(turn)

    def _wake_next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    async def close(self) -> None:
        """Close all connections; those that are lent are closed when they are given back."""
        self._is_closed = True
        while self._free:
            await self._free.pop().close()
            self._count -= 1
