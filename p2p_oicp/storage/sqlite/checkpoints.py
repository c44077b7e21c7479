"""Checkpoints beside the writer: moving what was committed from SQLite's log (the ``-wal`` file) into the database.

SQLite does this inside a commit when the log has 1,000 pages: 14 to 60 ms in which nothing is answered. Here a second
connection copies while the writer goes on, and only the small rest is copied between two rounds of the writer, which
lets the log start anew instead of growing: 1 ms (docs/performance.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

from p2p_oicp.concurrency import SingleThreadExecutor

_CHECKPOINT_INTERVAL_SECONDS = 0.5
# Another pass is worth it while the pages written meanwhile would hold up the writer for more than about a ms.
_SMALL_TAIL_PAGES = 250
_MAX_PASSES = 4
_CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)"


class WalCheckpointer:
    """Copies the log in a thread; owned by the writer, which asks `tail_is_due` between two rounds.

    Args:
        file: the database.
        interval: seconds between the end of one copy and the start of the next.

    """

    def __init__(self, file: Path, *, interval: float = _CHECKPOINT_INTERVAL_SECONDS) -> None:
        self._file = file
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._executor = SingleThreadExecutor("p2p-oicp-checkpoints")
        self._running_checkpoint: asyncio.Future[None] | None = None
        self._next_at = self._loop.time() + interval
        # Opened by the first copy: a new connection would read the whole schema each time.
        self._connection: sqlite3.Connection | None = None

    def tail_is_due(self) -> bool:
        """Start copying when it is time; return True once a copy has ended, and `checkpoint_tail` is to be called."""
        if self._running_checkpoint is None:
            if self._loop.time() >= self._next_at:
                self._running_checkpoint = self._executor.submit(self._checkpoint)
            return False
        if not self._running_checkpoint.done():
            return False
        self._running_checkpoint = None
        self._next_at = self._loop.time() + self._interval
        return True

    def _checkpoint(self) -> None:
        # Whatever fails here (a full disk, a damaged file) fails the writer's own next commit, which reports it.
        with contextlib.suppress(sqlite3.Error):
            if self._connection is None:
                self._connection = sqlite3.connect(self._file, isolation_level=None)
            previously_checkpointed = 0
            for _ in range(_MAX_PASSES):
                _, wal_pages, checkpointed = self._connection.execute(_CHECKPOINT).fetchone()
                if wal_pages - previously_checkpointed <= _SMALL_TAIL_PAGES:
                    return
                previously_checkpointed = checkpointed

    async def close(self) -> None:
        """Wait for a copy that is under way."""
        if self._running_checkpoint is not None:
            await self._running_checkpoint
        if self._connection is not None:
            # In the thread that has opened it: the driver allows no other.
            await self._executor.submit(self._connection.close)
        self._executor.close()


def checkpoint_tail(connection: sqlite3.Connection) -> None:
    """Copy the rest on the writer's own connection, between two rounds: only then can the log start anew."""
    with contextlib.suppress(sqlite3.Error):
        connection.execute(_CHECKPOINT).fetchone()
