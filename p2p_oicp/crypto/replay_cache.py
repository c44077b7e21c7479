"""The replay guard: a signature is accepted once.

Nonces are remembered, in buckets of a minute by the time the signature was made, for as long as a signature of that
minute would still be accepted; then the bucket is dropped. (As long by a clock that nobody sets as well: a clock that
jumps ahead and back must not make a node forget.) Each is appended to a small file of its bucket as well
(a few microseconds, no fsync), so that a node that was killed and started again still knows them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from p2p_oicp.crypto.http_signatures import VALIDITY_WINDOW_SECONDS, VerifiedSignature
from p2p_oicp.errors import StoreError, StoreUnavailable, VerificationError

_BUCKET_SECONDS = 60


class ReplayCache:
    """Remembers nonces; ``directory`` keeps them over a restart, None forgets them. A context manager.

    ``monotonic`` returns seconds, as `time.monotonic` does.
    """

    def __init__(self, directory: Path | None = None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory
        self._monotonic = monotonic
        self._buckets: dict[int, set[str]] = {}
        self._last_stored_at: dict[int, float] = {}
        self._file_descriptors: dict[int, int] = {}
        self._last_purge_minute = 0

    def __enter__(self) -> Self:
        """Read what is remembered; raises StoreUnusable."""
        if self._directory is not None:
            try:
                self._directory.mkdir(parents=True, exist_ok=True)
                for file in self._directory.glob("*.nonces"):
                    minute = int(file.stem)
                    self._buckets[minute] = set(file.read_text("utf-8").split("\n"))
                    self._last_stored_at[minute] = self._monotonic()
            except (OSError, ValueError) as exc:
                raise StoreUnavailable(
                    f"{self._directory}: the nonces of the last minutes cannot be kept: {exc}"
                ) from exc
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for fd in self._file_descriptors.values():
            os.close(fd)
        self._file_descriptors.clear()

    def check(self, signature: VerifiedSignature) -> None:
        """Raise VerificationError if the signature was stored before; store nothing."""
        bucket = self._buckets.get(signature.created // _BUCKET_SECONDS)
        if bucket is not None and _entry(signature) in bucket:
            raise VerificationError("this very request was received before (nonce)")

    def check_and_store(self, signature: VerifiedSignature, now: float) -> None:
        """Store a verified signature, so that it is accepted once.

        Raises:
            VerificationError: it was stored before.
            StoreError: it cannot be stored.
        """
        self.check(signature)
        minute, entry = signature.created // _BUCKET_SECONDS, _entry(signature)
        bucket = self._buckets.get(minute)
        if bucket is None:
            bucket = self._buckets[minute] = set()
        bucket.add(entry)
        self._last_stored_at[minute] = self._monotonic()
        if self._directory is not None:
            # The line break comes first: behind half a line of a full disk, this is a line all the same.
            self._append(minute, f"\n{entry}".encode())
        if int(now) // _BUCKET_SECONDS != self._last_purge_minute:
            self._purge_expired(now)

    @property
    def nonce_count(self) -> int:
        """How many nonces are remembered now."""
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
        assert self._directory is not None  # noqa: S101 - for the type checker: only called where there is one
        return self._directory / f"{minute}.nonces"

    def _purge_expired(self, now: float) -> None:
        """Drop the buckets whose last signature is too old by now."""
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
