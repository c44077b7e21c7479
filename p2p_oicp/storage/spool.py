"""Requests that are being applied piece by piece, each in a file of its own beside the database.

In the database, 18 MB of a push would be written twice and its pages freed again: 12 µs a record, a quarter of what
taking one over costs (docs/performance.md). A file that nobody needs any more is removed at the next start.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from pathlib import Path

from p2p_oicp.errors import StoreError

# A commit that waits for the disk waits for what others have written, too: 18 MB at once hold it up for 100 ms.
_WRITE_CHUNK_BYTES = 512 * 1024


class Spool:
    """The journal of the database ``file``; its methods wait for the disk, so call them in a thread."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def _path(self, import_id: int) -> Path:
        return self._file.with_name(f"{self._file.name}-push-{import_id}")

    def write(self, import_id: int, request: bytes) -> None:
        """Keep a request; it is durable afterwards. Raises StoreError, and keeps nothing of it then."""
        path = self._path(import_id)
        try:
            path.touch(mode=0o600)
            with path.open("wb", buffering=0) as spool_file:
                remaining = memoryview(request)
                while remaining:
                    remaining = remaining[
                        spool_file.write(remaining[:_WRITE_CHUNK_BYTES]) :
                    ]  # a disk that is nearly full takes less
                    os.fsync(spool_file.fileno())
            self._flush_directory()
        except OSError as error:
            self.remove(import_id)  # its room is needed
            raise StoreError(f"{path}: a push cannot be kept: {error.strerror or error}") from error

    def _flush_directory(self) -> None:
        with contextlib.suppress(PermissionError):  # Windows opens no directories, and needs no flush of them
            descriptor = os.open(self._file.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def read(self, import_id: int) -> bytes | None:
        """Return a request; None where there is none. Raises StoreError."""
        try:
            return self._path(import_id).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self._path(import_id)}: cannot be read: {error.strerror or error}") from error

    def remove(self, import_id: int) -> None:
        """Forget a request."""
        with contextlib.suppress(OSError):  # it is removed at the next start
            self._path(import_id).unlink(missing_ok=True)

    def purge_except(self, import_ids: Collection[int]) -> None:
        """Forget all requests but these."""
        paths_in_use = {self._path(import_id) for import_id in import_ids}
        for path in self._file.parent.glob(f"{self._file.name}-push-*"):
            if path not in paths_in_use:
                path.unlink(missing_ok=True)
