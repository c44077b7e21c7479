"""Moves what was committed from SQLite's log (the ``-wal`` file) into the database, beside the writer.

SQLite does this inside a commit when the log has 1,000 pages: 14 to 60 ms in which nobody is answered. Here a second
connection copies while the writer goes on, and only the small rest is copied between two rounds of the writer, which
is what lets the log start anew instead of growing: 1 ms (docs/performance.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

#: The second connection only copies; the safety net is the writer's own checkpoint, should this one fail for long.
SAFETY_NET_PAGES = 100_000
_PAUSE_SECONDS = 0.5
# Copying again what came meanwhile is worth it while the rest would hold up the writer for more than about a ms.
_SMALL_REST_PAGES = 250
_MOST_COPIES = 4


class Checkpoints:
    """Owned by the writer, which asks ``rest_is_due`` between rounds; ``pause``: seconds between two copies."""

    def __init__(self, file: Path, *, pause: float = _PAUSE_SECONDS) -> None:
        self._file = file
        self._pause = pause
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "p2p-oicp-checkpoints")
        self._copying: asyncio.Future[None] | None = None
        self._next_at = self._loop.time() + pause

    def rest_is_due(self) -> bool:
        """Start copying when it is time; True when a copy has ended, and the writer is to call ``finish``."""
        if self._copying is None:
            if self._loop.time() >= self._next_at:
                self._copying = self._loop.run_in_executor(self._thread, self._copy)
            return False
        if not self._copying.done():
            return False
        self._copying = None
        self._next_at = self._loop.time() + self._pause
        return True

    def _copy(self) -> None:
        # Whatever fails here (a full disk, a damaged file) fails the writer's own next commit, which tells.
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(self._file)) as connection:
            copied = 0
            for _ in range(_MOST_COPIES):
                _, logged, done = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                if logged - copied <= _SMALL_REST_PAGES:
                    return
                copied = done

    async def close(self) -> None:
        """Wait for a copy that is under way."""
        if self._copying is not None:
            await self._copying
        self._thread.shutdown()


def finish(connection: sqlite3.Connection) -> None:
    """Copy the rest, on the writer's own connection while it is between two rounds."""
    with contextlib.suppress(sqlite3.Error):
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
