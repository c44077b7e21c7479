"""Ids and times that others rely on."""

import uuid

from p2p_oicp.clock import RandomMint


def test_new_ids_are_random_uuids_and_never_the_same():
    minted = [RandomMint().session_id() for _ in range(1000)] + [RandomMint().process_id() for _ in range(1000)]
    assert len(set(minted)) == 2000
    for text in minted:
        read = uuid.UUID(text)
        assert (str(read), read.version, read.variant) == (text, 4, uuid.RFC_4122)
