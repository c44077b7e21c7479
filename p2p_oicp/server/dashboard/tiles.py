"""Map tiles of a file: a PMTiles archive (version 3 of its specification) with pictures.

The file has a header, directories and tiles. A directory is a list of tile numbers, in the order of a Hilbert curve,
with where each tile is; an entry without a run leads to another directory. It is read as it is asked for: a directory
once, a tile each time. Archives with vector tiles are refused: to draw them takes a library as large as all the others.
"""

from __future__ import annotations

import bisect
import gzip
import zlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import orjson

from p2p_oicp.concurrency import offload
from p2p_oicp.errors import ConfigurationError, reason_of

_HEADER_BYTES = 127
_MAGIC = b"PMTiles\x03"
_PLAIN, _GZIP = 1, 2
_MEDIA_TYPES: Mapping[int, str] = MappingProxyType({2: "image/png", 3: "image/jpeg", 4: "image/webp", 5: "image/avif"})
_MAX_DEPTH = 4
_MAX_ZOOM = 24
# The specification has directories of some ten thousand bytes; a tile of a picture is smaller still.
_MAX_PART_BYTES = 8 * 1024 * 1024
_MAX_CACHED_DIRECTORIES = 64


class TilesAbout(NamedTuple):
    """What an archive says of itself: its zoom levels, whom its pictures are of, and what they are."""

    min_zoom: int
    max_zoom: int
    attribution: str
    media_type: str


class _Entry(NamedTuple):
    """Tiles from a number on (``run`` of them are the same), or a directory (no run)."""

    number: int
    run: int
    offset: int
    length: int


class TileArchive:
    """Reads tiles of one file.

    Args:
        file: the archive.

    Raises:
        ConfigurationError: it cannot be read, or has no pictures.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            header = self._read_part(0, _HEADER_BYTES)
            numbers = [int.from_bytes(header[at : at + 8], "little") for at in range(8, 72, 8)]
            self._root, self._leaves, self._tiles = numbers[0:2], numbers[4], numbers[6]
            self._compression, tile_type = header[97], header[99]
            metadata = self._read_directory_bytes(numbers[2], numbers[3]) if numbers[3] else b"{}"
            attribution = _attribution(metadata)
        except (OSError, ValueError, IndexError, EOFError, zlib.error) as error:
            raise ConfigurationError(f"[dashboard] map_tiles: {file} is no PMTiles archive: {error}") from error
        if header[:8] != _MAGIC or tile_type not in _MEDIA_TYPES or header[98] not in {0, _PLAIN}:
            expected = "expected a PMTiles archive (version 3) of PNG, JPEG, WebP or AVIF pictures"
            raise ConfigurationError(f"[dashboard] map_tiles: {file}: {expected}")
        self.about = TilesAbout(header[100], header[101], attribution, _MEDIA_TYPES[tile_type])
        self._directory = lru_cache(_MAX_CACHED_DIRECTORIES)(self._load_directory)

    def __repr__(self) -> str:
        return f"<TileArchive {self._file} {self.about.media_type}>"

    async def read(self, zoom: int, column: int, row: int) -> bytes | None:
        """Return a tile; None where the archive has none there, or cannot be read any more."""
        if not 0 <= zoom <= _MAX_ZOOM or not (0 <= column < 1 << zoom and 0 <= row < 1 << zoom):
            return None
        return await offload(self._find, tile_number(zoom, column, row))

    def _find(self, number: int) -> bytes | None:
        try:
            offset, length = self._root
            for _ in range(_MAX_DEPTH):
                entry = _entry_of(self._directory(offset, length), number)
                if entry is None:
                    return None
                if entry.run:
                    return self._read_part(self._tiles + entry.offset, entry.length)
                offset, length = self._leaves + entry.offset, entry.length
        except (OSError, ValueError, IndexError, EOFError, zlib.error):
            return None
        return None

    def _load_directory(self, offset: int, length: int) -> tuple[_Entry, ...]:
        return tuple(_parse_directory(self._read_directory_bytes(offset, length)))

    def _read_directory_bytes(self, offset: int, length: int) -> bytes:
        part = self._read_part(offset, length)
        if self._compression == _GZIP:
            return gzip.decompress(part)
        if self._compression != _PLAIN:
            raise ValueError("its directories are compressed by another method than gzip")
        return part

    def _read_part(self, offset: int, length: int) -> bytes:
        if length > _MAX_PART_BYTES:
            raise ValueError(f"a part of {length} bytes is too large")
        with self._file.open("rb") as file:
            file.seek(offset)
            part = file.read(length)
        if len(part) < length:
            raise ValueError("it ends too early")
        return part


def open_tiles(file: Path | None) -> TileArchive | None:
    """Return the archive of ``[dashboard] map_tiles``; raise ConfigurationError where it is of no use."""
    return None if file is None else TileArchive(file)


def tile_number(zoom: int, column: int, row: int) -> int:
    """Return the number of a tile: those of lower zoom levels first, then along the Hilbert curve."""
    number = ((1 << (2 * zoom)) - 1) // 3
    x, y = column, row
    for level in range(zoom - 1, -1, -1):
        side = 1 << level
        right, lower = int(bool(x & side)), int(bool(y & side))
        number += side * side * ((3 * right) ^ lower)
        if not lower:
            if right:
                x, y = side - 1 - x, side - 1 - y
            x, y = y, x
    return number


def _parse_directory(content: bytes) -> Iterator[_Entry]:
    """Yield the entries of a directory: all numbers, then all runs, lengths and offsets, each as a varint."""
    values = _varints(content)
    count = next(values)
    number, numbers = 0, []
    for _ in range(count):
        number += next(values)
        numbers.append(number)
    runs = [next(values) for _ in range(count)]
    lengths = [next(values) for _ in range(count)]
    end = 0
    for number, run, length in zip(numbers, runs, lengths, strict=True):
        # 0: behind the tile before.
        offset = next(values)
        begin = end if offset == 0 else offset - 1
        end = begin + length
        yield _Entry(number, run, begin, length)


def _varints(content: bytes) -> Iterator[int]:
    value = shift = 0
    for byte in content:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004 - the last byte of a varint
            yield value
            value = shift = 0
    raise ValueError("a directory ends too early")


def _entry_of(entries: tuple[_Entry, ...], number: int) -> _Entry | None:
    index = bisect.bisect_right(entries, number, key=lambda entry: entry.number) - 1
    if index < 0:
        return None
    entry = entries[index]
    return entry if entry.run == 0 or number < entry.number + entry.run else None


def _attribution(metadata: bytes) -> str:
    try:
        found = orjson.loads(metadata)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"its metadata is no JSON: {reason_of(error)}") from error
    text = found.get("attribution") if isinstance(found, dict) else None
    return text if isinstance(text, str) else ""
