"""Recorded exchanges in files: a ring that survives the process.

**Format.** A folder of files, each named after the number of its first exchange, with one exchange a line (JSON). A
file is written to until it has an eighth of what may be kept; the oldest is removed before there would be too much.

**Crash.** A line counts when it ends: what a crash has left of the last one is cut off at the next start. Nothing waits
for the disk, so a loss of power may take the last seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, pairwise
from pathlib import Path

import msgspec

from p2p_oicp.storage.exchanges import Exchange, ExchangeFilter, ExchangePage, RecordedBody, RingLimits, encode, select

_FILES = 8
_SUFFIX = ".jsonl"
_NUMBER_DIGITS = 15
_decode = msgspec.json.Decoder(Exchange).decode


class FileExchangeRing:
    """A ring of files; one process writes it. Raises OSError where the folder cannot be used.

    Args:
        folder: is created; only its owner may read it.
        limits: how much is kept, all files together.
    """

    def __init__(self, folder: Path, limits: RingLimits) -> None:
        self._folder = folder
        self._limits = limits
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._sizes = {path: path.stat().st_size for path in _files(folder)}
        self._entries = 0  # of the newest file
        self._next_number = 1
        if self._sizes:
            self._open_last(next(reversed(self._sizes)))
            self._remove_surplus()

    def __repr__(self) -> str:
        return f"<FileExchangeRing {self._folder} next={self._next_number}>"

    def _open_last(self, path: Path) -> None:
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(path, len(whole))
            self._sizes[path] = len(whole)
        self._entries = whole.count(b"\n")
        self._next_number = _first_number(path) + self._entries

    def _remove_surplus(self) -> None:
        """Remove the oldest files where the limits are lower than they were."""
        while len(self._sizes) > 1:
            oldest = next(iter(self._sizes))
            is_within = self._next_number - _first_number(oldest) <= self._limits.entries
            if is_within and sum(self._sizes.values()) <= self._limits.bytes and len(self._sizes) <= _FILES:
                return
            self._remove(oldest)

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        del self._sizes[path]

    def append(self, exchanges: Sequence[Exchange]) -> None:
        lines: list[bytes] = []
        size = entries = 0
        for exchange in exchanges:
            line = self._line_of(exchange, self._next_number + entries)
            if self._is_full(size + len(line), entries + 1):
                self._write(lines)
                self._start_file()
                size = entries = 0
                line = self._line_of(exchange, self._next_number)
            lines.append(line)
            size, entries = size + len(line), entries + 1
        self._write(lines)

    def _line_of(self, exchange: Exchange, number: int) -> bytes:
        line = encode(msgspec.structs.replace(exchange, number=number)) + b"\n"
        if len(line) <= self._limits.bytes // _FILES:
            return line
        sizes = [body and RecordedBody(body.bytes) for body in (exchange.request, exchange.response)]
        return encode(msgspec.structs.replace(exchange, number=number, request=sizes[0], response=sizes[1])) + b"\n"

    def _is_full(self, more_bytes: int, more_entries: int) -> bool:
        """Whether the newest file has no room for so much more."""
        if not self._sizes:
            return True
        size = next(reversed(self._sizes.values()))
        return size + more_bytes > self._limits.bytes // _FILES or self._entries + more_entries > self._max_entries

    @property
    def _max_entries(self) -> int:
        return max(1, self._limits.entries // _FILES)

    def _start_file(self) -> None:
        # Each is full when the next one begins: with so many, and the new one, the ring is full.
        while len(self._sizes) >= _FILES:
            self._remove(next(iter(self._sizes)))
        path = self._path_of(self._next_number)
        path.unlink(missing_ok=True)
        self._sizes[path], self._entries = 0, 0

    def _path_of(self, first_number: int) -> Path:
        return self._folder / f"{first_number:0{_NUMBER_DIGITS}}{_SUFFIX}"

    def _write(self, lines: list[bytes]) -> None:
        """Append lines to the newest file; what cannot be written whole is taken back."""
        if not lines:
            return
        path, size = next(reversed(self._sizes.items()))
        content = b"".join(lines)
        lines.clear()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            written = os.write(descriptor, content)
            if written < len(content):
                os.ftruncate(descriptor, size)
                raise OSError(f"{path}: only {written} of {len(content)} bytes could be written")
        finally:
            os.close(descriptor)
        count = content.count(b"\n")
        self._sizes[path] += len(content)
        self._entries += count
        self._next_number += count

    def clear(self) -> None:
        # The name of an empty file has the next number, also after a restart.
        empty = self._path_of(self._next_number)
        empty.touch(mode=0o600)
        for path in [*self._sizes]:
            if path != empty:
                self._remove(path)
        self._sizes, self._entries = {empty: 0}, 0

    def read(self, selection: ExchangeFilter) -> ExchangePage:
        return read_files(self._folder, selection)


def read_files(folder: Path, selection: ExchangeFilter) -> ExchangePage:
    """Return exchanges of a folder, also while its node writes to it."""
    paths = _files(folder)
    if not paths:
        return ExchangePage([], 1, 0)
    after = selection.after or 0
    # Once: more may be written to it meanwhile.
    last = _read(paths[-1])
    newest = _first_number(paths[-1]) + last.count(b"\n") - 1
    page = ExchangePage([], _first_number(paths[0]), newest)
    if selection.after is not None:
        later = (path for path, following in pairwise(paths) if _first_number(following) > after + 1)
        contents = chain(map(_read, later), (last,))
        return page._replace(exchanges=select(chain.from_iterable(map(_exchanges, contents)), selection))
    # The newest: from the last file back, as far as is needed.
    for content in chain((last,), map(_read, reversed(paths[:-1]))):
        matches = select(_exchanges(content), selection)
        page = page._replace(exchanges=[*matches, *page.exchanges][-selection.limit :])
        if len(page.exchanges) >= selection.limit:
            break
    return page


def _files(folder: Path) -> list[Path]:
    """Return the files of a folder, the oldest first."""
    return sorted(path for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal())


def _first_number(path: Path) -> int:
    return int(path.stem)


def _exchanges(content: bytes) -> Iterator[Exchange]:
    for line in content.split(b"\n")[:-1]:
        # A loss of power may leave anything.
        with suppress(msgspec.DecodeError):
            yield _decode(line)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:  # it was the oldest, and is removed
        return b""
