"""Spool files: the records of one large import each, beside the database, until they are applied.

**Why files.** In the database, the 18 MB of a large push would be written twice and its pages freed again: 12 µs a
record, a quarter of the cost of taking it. Appended to a file they cost 2 µs (docs/performance.md).

**Format.** A sequence of frames, each preceded by its length (4 bytes, big-endian). What a frame means is the business
of `storage.datasets.staging`; each is applied in a transaction of its own.

**Lifetime.** A file counts only while a row of ``imports`` names it. All others are leftovers of a crash, which
:meth:`Spool.purge_except` removes at the next start.

The store owns the spool (`Store.spool`), for another database engine keeps it elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from p2p_oicp.concurrency import offload
from p2p_oicp.errors import StoreError

# A commit that waits for the disk waits for all dirty pages of the file system: 18 MB at once delay it by 100 ms.
_SYNC_BYTES = 512 * 1024
_LENGTH_BYTES = 4


class Spool:
    """The spool files of one database; ``database`` is its path."""

    def __init__(self, database: Path) -> None:
        self._directory = database.parent
        self._prefix = f"{database.name}-import-"

    def free_bytes(self) -> int:
        """Return how much room the disk of the database has left."""
        return shutil.disk_usage(self._directory).free

    async def create(self) -> SpoolFile:
        """Create an empty file with a name of its own. Raises StoreError."""
        return SpoolFile(await offload(self._create))

    def _create(self) -> Path:
        try:
            descriptor, path = tempfile.mkstemp(dir=self._directory, prefix=self._prefix)  # its mode is 0600
        except OSError as error:
            raise _store_error(self._directory, "no import can be stored", error) from error
        os.close(descriptor)
        return Path(path)

    def file(self, name: str) -> SpoolFile:
        """Return the file of that name, which need not exist."""
        return SpoolFile(self._directory / name)

    async def purge_except(self, names: Collection[str]) -> None:
        """Remove all spool files of this database but these."""
        await offload(self._purge_except, names)

    def _purge_except(self, names: Collection[str]) -> None:
        for path in self._directory.glob(f"{self._prefix}*"):
            if path.name not in names:
                path.unlink(missing_ok=True)


class SpoolFile:
    """One spool file. It is opened for each step only: an import that waits holds no file descriptor."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unsynced_bytes = 0

    def __repr__(self) -> str:
        return f"<SpoolFile {self.name}>"

    @property
    def name(self) -> str:
        """The file's name, as a row of ``imports`` has it."""
        return self._path.name

    async def append(self, frames: Iterable[bytes]) -> None:
        """Write frames behind those that are there; durable after :meth:`sync`. Raises StoreError.

        ``frames`` is iterated in another thread: what makes them takes no time of the event loop.
        """
        await offload(self._append, frames)

    def _append(self, frames: Iterable[bytes]) -> None:
        try:
            with self._path.open("r+b") as file:
                file.seek(0, os.SEEK_END)
                for frame in frames:
                    file.write(len(frame).to_bytes(_LENGTH_BYTES))
                    file.write(frame)
                    self._unsynced_bytes += len(frame)
                    if self._unsynced_bytes >= _SYNC_BYTES:
                        self._flush_to_disk(file)
        except OSError as error:
            self._remove()  # a full disk needs the room
            raise _store_error(self._path, "an import cannot be stored", error) from error

    async def sync(self) -> int:
        """Make everything durable, the file's name included; return its size in bytes. Raises StoreError."""
        return await offload(self._sync)

    def _sync(self) -> int:
        try:
            with self._path.open("r+b") as file:
                self._flush_to_disk(file)
                size = file.seek(0, os.SEEK_END)
            self._sync_directory()
        except OSError as error:
            raise _store_error(self._path, "an import cannot be stored", error) from error
        return size

    def _flush_to_disk(self, file: BinaryIO) -> None:
        file.flush()
        os.fsync(file.fileno())
        self._unsynced_bytes = 0

    def _sync_directory(self) -> None:
        with contextlib.suppress(PermissionError):  # Windows opens no directories, and needs no flush of them
            descriptor = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    async def read(self, offset: int, max_frames: int) -> tuple[list[bytes], int]:
        """Return up to ``max_frames`` frames from an offset in bytes on, and the offset behind them.

        Raises StoreError.
        """
        return await offload(self._read, offset, max_frames)

    def _read(self, offset: int, max_frames: int) -> tuple[list[bytes], int]:
        frames: list[bytes] = []
        try:
            with self._path.open("rb") as file:
                file.seek(offset)
                while len(frames) < max_frames and (length := file.read(_LENGTH_BYTES)):
                    frames.append(file.read(int.from_bytes(length)))
                return frames, file.tell()
        except OSError as error:
            raise _store_error(self._path, "cannot be read", error) from error

    async def size(self) -> int | None:
        """Return the size in bytes; None where there is no such file. Raises StoreError."""
        return await offload(self._size)

    def _size(self) -> int | None:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _store_error(self._path, "cannot be read", error) from error

    async def remove(self) -> None:
        """Remove the file. One that cannot be removed now is removed at the next start."""
        await offload(self._remove)

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def blocks(self, max_bytes: int) -> Iterator[bytes]:
        """Return the whole content, nothing if there is no file; this waits for the disk. Raises StoreError."""
        try:
            with contextlib.suppress(FileNotFoundError), self._path.open("rb") as file:
                while block := file.read(max_bytes):
                    yield block
        except OSError as error:
            raise _store_error(self._path, "cannot be read", error) from error

    async def restore(self, offset: int, block: bytes) -> None:
        """Write a block of a backup; the one at offset 0 replaces whatever lies there. Raises StoreError."""
        await offload(self._restore, offset, block)

    def _restore(self, offset: int, block: bytes) -> None:
        try:
            self._path.touch(mode=0o600)
            with self._path.open("r+b") as file:
                file.truncate(offset)
                file.seek(offset)
                file.write(block)
        except OSError as error:
            raise _store_error(self._path, "an import cannot be restored", error) from error


def _store_error(path: Path, problem: str, error: OSError) -> StoreError:
    return StoreError(f"{path}: {problem}: {error.strerror or error}")
