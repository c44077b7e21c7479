"""Spool files: what was appended is read back as it was; what finds no room is refused, and takes none."""

import resource
from contextlib import contextmanager

import pytest

from p2p_oicp.errors import StoreError
from p2p_oicp.storage.sqlite.spool import Spool

pytestmark = pytest.mark.sqlite


FRAMES = [bytes(range(256)) * 400, b"", b"one", bytes(700 * 1024), b"last"]


@contextmanager
def disk_with_room_for(size: int):
    """No file can grow beyond this; what is written of the rest is cut short."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_frames_are_read_as_they_were_appended(database):
    file = await Spool(database).create()
    await file.append(FRAMES[:2])
    await file.append(FRAMES[2:])
    assert await file.sync() == await file.size() == sum(map(len, FRAMES)) + 4 * len(FRAMES)
    first, offset = await file.read(0, 3)
    rest, offset = await file.read(offset, 9)
    assert first + rest == FRAMES
    assert await file.read(offset, 9) == ([], offset)


@pytest.mark.parametrize("room", [1, 700 * 1024], ids=["for nothing", "for a part"])
async def test_frames_that_the_disk_has_no_room_for_are_refused_and_take_no_room(database, room):
    file = await Spool(database).create()
    with disk_with_room_for(room), pytest.raises(StoreError, match="an import cannot be stored: File too large"):
        await file.append(FRAMES)
    assert list(database.parent.iterdir()) == []


async def test_a_file_is_restored_from_the_blocks_of_a_backup_over_an_older_one(database, tmp_path):
    spool = Spool(database)
    file = await spool.create()
    await file.append(FRAMES)
    blocks = list(file.blocks(100_000))
    restored = Spool(tmp_path / "restored.sqlite3").file("restored.sqlite3-import-x")
    (tmp_path / restored.name).write_bytes(bytes(10_000_000))
    offset = 0
    for block in blocks:
        await restored.restore(offset, block)
        offset += len(block)
    assert (await restored.read(0, 9))[0] == FRAMES


async def test_only_leftover_files_of_this_database_are_purged(database):
    spool = Spool(database)
    named, leftover = await spool.create(), await spool.create()
    other = database.with_name("other.sqlite3-import-1")
    other.touch()
    await spool.purge_except({named.name})
    assert {path.name for path in database.parent.iterdir()} == {named.name, other.name}
    assert await leftover.size() is None
