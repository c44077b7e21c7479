"""The replay cache: each signature is accepted once.

Nonces are stored in buckets of one minute, by the creation time of the signature. A bucket is dropped when signatures
of its minute are too old to be accepted, by the wall clock and by the monotonic clock: a wall clock that jumps ahead
and back must not drop nonces that are still valid.

Each nonce is also appended to a file of its bucket (a few microseconds, no fsync), so that a node that was killed has
them when it starts again. After a power failure the last ones may be missing, for requests that are seconds old.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from p2p_oicp.crypto.http_signatures import VALIDITY_WINDOW_SECONDS, VerifiedSignature
from p2p_oicp.errors import StoreError, StoreUnavailable, VerificationError, reason_of

_BUCKET_SECONDS = 60


class ReplayCache:
    """The nonces of the last minutes; a context manager that reads and closes its files.

    Args:
        directory: Where the files of the buckets are; None: in memory only.
        monotonic: Returns seconds of a clock that never jumps.
    """

    def __init__(self, directory: Path | None, monotonic: Callable[[], float]) -> None:
        self._directory = directory
        self._monotonic = monotonic
        self._buckets: dict[int, set[str]] = {}
        self._last_stored_at: dict[int, float] = {}
        self._file_descriptors: dict[int, int] = {}
        self._last_purge_minute = 0

    def __repr__(self) -> str:
        return f"<ReplayCache nonces={self.nonce_count}>"

    def __enter__(self) -> Self:
        """Read the stored nonces; raises StoreUnavailable."""
        if self._directory is not None:
            try:
                for folder in (self._directory.parent, self._directory):  # parents get the default mode
                    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                for file in self._directory.glob("*.nonces"):
                    minute = int(file.stem)
                    self._buckets[minute] = set(file.read_text("utf-8").split("\n"))
                    self._last_stored_at[minute] = self._monotonic()
            except (OSError, ValueError) as exc:
                raise StoreUnavailable(
                    f"{self._directory}: the nonces of the last minutes cannot be kept: {reason_of(exc)}"
                ) from exc
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for fd in self._file_descriptors.values():
            os.close(fd)
        self._file_descriptors.clear()

    def check(self, signature: VerifiedSignature) -> None:
        """Raise VerificationError if the signature was stored before; for a request whose body is not read yet."""
        bucket = self._buckets.get(signature.created // _BUCKET_SECONDS)
        if bucket is not None and _entry(signature) in bucket:
            raise VerificationError("this very request was received before (nonce)")

    def check_and_store(self, signature: VerifiedSignature, now: float) -> None:
        """Store a verified signature, so that it is accepted once.

        Args:
            signature: The signature of a request whose body was verified too.
            now: Seconds since the epoch.

        Raises:
            VerificationError: It was stored before.
            StoreError: It cannot be stored; the request must not be processed.
        """
        self.check(signature)
        minute, entry = signature.created // _BUCKET_SECONDS, _entry(signature)
        bucket = self._buckets.get(minute)
        if bucket is None:
            bucket = self._buckets[minute] = set()
        bucket.add(entry)
        self._last_stored_at[minute] = self._monotonic()
        if self._directory is not None:
            # The line break comes first: after half a line, which a full disk leaves, this is still a line of its own.
            self._append(minute, f"\n{entry}".encode())
        if int(now) // _BUCKET_SECONDS != self._last_purge_minute:
            self._purge_expired(now)

    @property
    def nonce_count(self) -> int:
        """The number of nonces in memory."""
        return sum(len(bucket) for bucket in self._buckets.values())

    def _append(self, minute: int, line: bytes) -> None:
        try:
            is_complete = os.write(self._open_file(minute), line) == len(line)
        except OSError as exc:
            raise StoreError(f"{self._path(minute)}: a nonce cannot be kept: {exc.strerror}") from exc
        if not is_complete:
            raise StoreError(f"{self._path(minute)}: a nonce cannot be kept: no space")

    def _open_file(self, minute: int) -> int:
        fd = self._file_descriptors.get(minute)
        if fd is None:
            file = self._path(minute)
            fd = self._file_descriptors[minute] = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return fd

    def _path(self, minute: int) -> Path:
        assert self._directory is not None  # noqa: S101 - for the type checker: only called with a directory
        return self._directory / f"{minute}.nonces"

    def _purge_expired(self, now: float) -> None:
        """Drop the buckets whose signatures are all too old to be accepted."""
        # A bucket's minute is its oldest creation time: add a minute for its newest.
        self._last_purge_minute = int(now) // _BUCKET_SECONDS
        oldest_creation = now - VALIDITY_WINDOW_SECONDS - _BUCKET_SECONDS
        oldest_storage = self._monotonic() - VALIDITY_WINDOW_SECONDS - _BUCKET_SECONDS
        expired = [
            bucket_minute
            for bucket_minute, last_stored_at in self._last_stored_at.items()
            if bucket_minute * _BUCKET_SECONDS < oldest_creation and last_stored_at < oldest_storage
        ]
        for minute in expired:
            del self._buckets[minute], self._last_stored_at[minute]
            if (fd := self._file_descriptors.pop(minute, None)) is not None:
                os.close(fd)
            if self._directory is not None:
                self._path(minute).unlink(missing_ok=True)


def _entry(signature: VerifiedSignature) -> str:
    return f"{signature.key.key_id} {signature.nonce}"
