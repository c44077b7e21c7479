"""The journal of large pushes: a request is kept whole, or not at all."""

import resource
from contextlib import contextmanager

import pytest

from p2p_oicp.errors import StoreError
from p2p_oicp.storage.spool import Spool

REQUEST = bytes(range(256)) * 4 * 900


@contextmanager
def disk_with_room_for(size: int):
    """No file can grow beyond this; what is written of the rest is cut short."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_request_is_kept_as_it_came(database):
    journal = Spool(database)
    journal.write(7, REQUEST)
    assert journal.read(7) == REQUEST


@pytest.mark.parametrize("room", [1, 700 * 1024], ids=["for nothing", "for a part"])
def test_a_request_for_which_there_is_no_room_is_refused_and_takes_none(database, room):
    journal = Spool(database)
    with disk_with_room_for(room), pytest.raises(StoreError, match="a push cannot be kept: File too large"):
        journal.write(7, REQUEST)
    assert list(database.parent.iterdir()) == []
