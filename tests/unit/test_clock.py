"""Ids and times that others rely on."""

import re
import uuid

import pytest

from p2p_oicp.clock import UuidGenerator

KINDS = {"a SessionID": (UuidGenerator().session_id, 7), "a Process-ID": (UuidGenerator().process_id, 4)}


@pytest.mark.parametrize(("mint", "version"), KINDS.values(), ids=KINDS)
def test_new_ids_are_uuids_and_never_the_same(mint, version):
    minted = [mint() for _ in range(1000)]
    assert len(set(minted)) == 1000
    for text in minted:
        read = uuid.UUID(text)
        assert (str(read), read.version, read.variant) == (text, version, uuid.RFC_4122)


def test_session_ids_stand_in_the_order_of_time(monkeypatch):
    times = iter([1_700_000_000_000, 1_700_000_000_001, 1_700_000_060_000, 1_900_000_000_000])
    monkeypatch.setattr("time.time_ns", lambda: next(times) * 1_000_000)
    minted = [UuidGenerator().session_id() for _ in range(4)]
    assert minted == sorted(minted)
    assert re.sub("[^0-9a-f]", "", minted[0])[:12] == f"{1_700_000_000_000:012x}"
