"""Ids and times that others rely on."""

import re
import uuid

import pytest

from p2p_oicp.clock import UuidGenerator

KINDS = {"a SessionID": (UuidGenerator().session_id, 7), "a Process-ID": (UuidGenerator().process_id, 4)}


@pytest.mark.parametrize(("new_id", "version"), KINDS.values(), ids=KINDS)
def test_new_ids_are_uuids_and_never_the_same(new_id, version):
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    for text in ids:
        read = uuid.UUID(text)
        assert (str(read), read.version, read.variant) == (text, version, uuid.RFC_4122)


def test_session_ids_of_one_millisecond_cannot_be_guessed_from_one_another(monkeypatch):
    monkeypatch.setattr("time.time_ns", lambda: 1_700_000_000_000_000_000)
    numbers = [uuid.UUID(UuidGenerator().session_id()).int & ((1 << 62) - 1) for _ in range(1000)]
    assert numbers != sorted(numbers)
    # Each of the 62 bits behind the variant is set about as often as not.
    assert all(350 < sum(number >> bit & 1 for number in numbers) < 650 for bit in range(62))


def test_session_ids_stand_in_the_order_of_time(monkeypatch):
    times = iter([1_700_000_000_000, 1_700_000_000_001, 1_700_000_060_000, 1_900_000_000_000])
    monkeypatch.setattr("time.time_ns", lambda: next(times) * 1_000_000)
    ids = [UuidGenerator().session_id() for _ in range(4)]
    assert ids == sorted(ids)
    assert re.sub("[^0-9a-f]", "", ids[0])[:12] == f"{1_700_000_000_000:012x}"
