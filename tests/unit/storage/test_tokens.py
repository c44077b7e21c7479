"""Uid routes: the peer that authorized a UID last time."""

from p2p_oicp.storage import tokens


async def test_the_peer_that_authorized_a_uid_last_is_preferred(store):
    await store.write(lambda tx: tokens.set_preferred_peer(tx, "1234ABCD", "node b", 1.0))
    await store.write(lambda tx: tokens.set_preferred_peer(tx, "1234ABCD", "node c", 2.0))
    assert await tokens.preferred_peer(store, "1234ABCD") == "node c"
    await store.write(lambda tx: tokens.clear_preferred_peer(tx, "1234ABCD"))
    assert await tokens.preferred_peer(store, "1234ABCD") is None
