"""What a start looks up: it is known where `find_start` would find something, and never for another role."""

import pytest
from msgspec.structs import replace

from p2p_oicp.storage import sessions, starts, tokens
from p2p_oicp.storage.sessions import IDEMPOTENCY_WINDOW_SECONDS, Session, SessionState

NOW = 1_000_000.0
ID = "f98efba4-02d8-4fa0-b810-9a9d50d2c527"
SESSION = Session(
    role="cpo", session_key=ID, session_id=ID, kind="authorize", state=SessionState.AUTHORIZED, peer="b",
    request_digest=b"one", created_at=NOW, updated_at=NOW, id_generated_here=1,
)  # fmt: skip


async def look_up(store, **changes) -> starts.StartFacts:
    since = NOW - IDEMPOTENCY_WINDOW_SECONDS
    arguments = {"digest": None, "since": since, "session_key": None, "uid": None, "evco_id": None, **changes}
    return await starts.look_up(store, arguments.pop("role", "cpo"), **arguments)


@pytest.mark.parametrize(
    ("stored", "keys", "is_known"),
    [
        (SESSION, {"digest": b"one"}, True),
        (SESSION, {"digest": b"two"}, False),
        (SESSION, {}, False),
        (SESSION, {"digest": b"one", "role": "emp"}, False),
        (replace(SESSION, created_at=NOW - IDEMPOTENCY_WINDOW_SECONDS - 1), {"digest": b"one"}, False),
        (replace(SESSION, id_generated_here=0), {"digest": b"one"}, False),
        (SESSION, {"session_key": ID}, True),
        (SESSION, {"session_key": ID, "role": "emp"}, False),
        (SESSION, {"session_key": ID.replace("f", "a")}, False),
    ],
    ids=[
        "the same request", "another request", "nothing to compare", "the same request in the other role",
        "the same request, long ago", "the same request with an id of its own", "the id in use",
        "the id in use in the other role", "another id",
    ],
)  # fmt: skip
async def test_a_start_is_known_by_its_request_or_its_session_id(store, stored, keys, is_known):
    await store.write(lambda tx: sessions.insert_or_get(tx, stored))
    assert (await look_up(store, **keys)).is_known is is_known


async def test_the_peer_that_authorized_a_uid_last_is_preferred(store):
    await store.write(lambda tx: tokens.set_preferred_peer(tx, "1234ABCD", "node b", NOW))
    await store.write(lambda tx: tokens.set_preferred_peer(tx, "1234ABCD", "node c", NOW))
    assert await look_up(store, uid="1234ABCD") == (False, False, "node c")
    assert await look_up(store, uid="AABBCCDD") == (False, False, None)
    await store.write(lambda tx: tokens.clear_preferred_peer(tx, "1234ABCD"))
    assert await look_up(store, uid="1234ABCD") == (False, False, None)
