"""Tiles of a PMTiles archive are found, and a file that is none is refused when the node starts."""

import gzip
import json

import pytest

from p2p_oicp.errors import ConfigurationError
from p2p_oicp.server.dashboard.tiles import open_tiles, tile_number

PNG, VECTOR, GZIP, PLAIN = 2, 1, 2, 1


def varint(value: int) -> bytes:
    parts = []
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def directory(*entries: tuple[int, int, int, int]) -> bytes:
    """Return a directory of entries (number, run, length, offset)."""
    numbers = [number for number, *_ in entries]
    steps = [number - before for number, before in zip(numbers, [0, *numbers], strict=False)]
    runs, lengths = [run for _, run, _, _ in entries], [length for _, _, length, _ in entries]
    offsets = [offset + 1 for *_, offset in entries]
    values = [len(entries), *steps, *runs, *lengths, *offsets]
    return gzip.compress(b"".join(map(varint, values)))


def archive(tile_type: int = PNG, *, compression: int = GZIP, metadata: bytes | None = None) -> bytes:
    """Return an archive: zoom 0 in its root, the first two tiles of zoom 1 as one in another directory."""
    tiles, leaf = b"worldocean", directory((1, 2, 5, 5))
    root = directory((0, 1, 5, 0), (1, 0, len(leaf), 0))
    about = gzip.compress(metadata or json.dumps({"attribution": "<a href='x'>Somebody</a>"}).encode())
    places = [127, len(root), 127 + len(root), len(about)]
    places += [places[2] + len(about), len(leaf), places[2] + len(about) + len(leaf), len(tiles)]
    numbers = b"".join(each.to_bytes(8, "little") for each in [*places, 0, 0, 0])
    header = b"PMTiles\x03" + numbers + bytes([1, compression, PLAIN, tile_type, 0, 1])
    return header.ljust(127, b"\0") + root + about + leaf + tiles


@pytest.fixture
def file(tmp_path):
    return tmp_path / "tiles.pmtiles"


TILES = {
    "of the root": ((0, 0, 0), b"world"),
    "of another directory": ((1, 0, 0), b"ocean"),
    "the same picture again": ((1, 0, 1), b"ocean"),
    "absent": ((1, 1, 1), None),
    "deeper than the archive": ((5, 1, 1), None),
    "outside of the earth": ((1, 2, 0), None),
    "of a negative zoom": ((-1, 0, 0), None),
    "of a zoom without end": ((10**9, 0, 0), None),
}


@pytest.mark.parametrize(("place", "expected"), TILES.values(), ids=TILES)
async def test_a_tile_is_found_by_its_zoom_column_and_row(file, place, expected):
    file.write_bytes(archive())
    tiles = open_tiles(file)
    assert await tiles.read(*place) == expected
    assert tiles.about == (0, 1, "<a href='x'>Somebody</a>", "image/png")


def test_tiles_are_numbered_along_the_hilbert_curve():
    places = [(0, 0, 0), (1, 0, 0), (1, 0, 1), (1, 1, 1), (1, 1, 0), (2, 0, 0), (2, 1, 0), (2, 1, 1), (2, 0, 1)]
    assert [tile_number(*place) for place in places] == list(range(9))
    # Of the specification's own library.
    assert [tile_number(12, 3423, 1763), tile_number(18, 140000, 86000)] == NUMBERS
    assert len({tile_number(4, x, y) for x in range(16) for y in range(16)}) == 256


NUMBERS = [19078479, 81374762751]

USELESS = {
    "absent": None,
    "empty": b"",
    "no archive": b"<html>" * 100,
    "of another version": archive().replace(b"PMTiles\x03", b"PMTiles\x02"),
    "vector tiles": archive(VECTOR),
    "cut off": archive()[:130],
    "compressed by another method": archive(compression=3),
    "with metadata that is no JSON": archive(metadata=b"{"),
}


@pytest.mark.parametrize("content", USELESS.values(), ids=USELESS)
def test_a_file_that_has_no_pictures_is_refused_with_its_name(file, content):
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"map_tiles: .*tiles\.pmtiles"):
        open_tiles(file)


async def test_a_damaged_directory_costs_its_tiles_alone(file):
    whole = archive()
    file.write_bytes(whole.replace(directory((1, 2, 5, 5)), b"\x1f\x8b" + b"\0" * (len(directory((1, 2, 5, 5))) - 2)))
    tiles = open_tiles(file)
    assert (await tiles.read(0, 0, 0), await tiles.read(1, 0, 0)) == (b"world", None)


def test_without_the_setting_there_are_none():
    assert open_tiles(None) is None
