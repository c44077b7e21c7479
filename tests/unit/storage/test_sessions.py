"""Sessions: what a duplicate is, and when a session expires."""

import pytest
from msgspec.structs import replace

from p2p_oicp.storage import cdrs, sessions
from p2p_oicp.storage.cdrs import CdrRow
from p2p_oicp.storage.sessions import Session, SessionState

SESSION = Session(
    role="cpo",
    session_key="f98efba4-02d8-4fa0-b810-9a9d50d2c527",
    session_id="F98EFBA4-02d8-4fa0-b810-9a9d50d2c527",
    kind="authorize",
    state=SessionState.REQUESTED,
    peer="",
    request_digest=b"one",
    created_at=100.0,
    updated_at=100.0,
)


async def test_a_session_is_opened_once(store):
    assert await store.write(lambda tx: sessions.insert_or_get(tx, SESSION)) is None
    other = replace(SESSION, request_digest=b"two")
    assert await store.write(lambda tx: sessions.insert_or_get(tx, other)) == SESSION


async def test_both_roles_may_hold_the_same_session(store):
    await store.write(lambda tx: sessions.insert_or_get(tx, SESSION))
    assert await store.write(lambda tx: sessions.insert_or_get(tx, replace(SESSION, role="emp"))) is None


async def test_a_duplicate_request_is_found_within_its_window_only(store):
    session = replace(SESSION, id_generated_here=1)
    await store.write(lambda tx: sessions.insert_or_get(tx, session))
    assert await store.write(lambda tx: sessions.by_request(tx, "cpo", b"one", 99.0)) == session
    assert await store.write(lambda tx: sessions.by_request(tx, "cpo", b"one", 101.0)) is None
    assert await store.write(lambda tx: sessions.by_request(tx, "emp", b"one", 99.0)) is None


async def test_a_session_can_take_the_responders_id(store):
    await store.write(lambda tx: sessions.insert_or_get(tx, SESSION))
    await store.write(
        lambda tx: sessions.update(tx, "cpo", SESSION.session_key, 101.0, session_key="new", session_id="NEW")
    )
    assert await store.write(lambda tx: sessions.get(tx, "cpo", SESSION.session_key)) is None
    renamed = await store.write(lambda tx: sessions.get(tx, "cpo", "new"))
    assert renamed == replace(SESSION, session_key="new", session_id="NEW", updated_at=101.0)


async def stored(store, state: SessionState, updated_at: float = 100.0) -> None:
    await store.write(lambda tx: sessions.insert_or_get(tx, replace(SESSION, state=state, updated_at=updated_at)))


async def state_of(store) -> str:
    return (await store.query(sessions.GET, role_="cpo", key_=SESSION.session_key))[0]["state"]


async def expired(store, now: float) -> list[str]:
    return await store.write(lambda tx: sessions.expire(tx, now, authorize_ttl=10, session_ttl=100, limit=5))


async def test_a_late_event_does_not_take_a_session_back(store):
    await stored(store, SessionState.ENDED)
    await store.write(
        lambda tx: sessions.transition(tx, "cpo", SESSION.session_key, 101.0, SessionState.AUTHORIZED, progress_at=1.0)
    )
    assert await state_of(store) == SessionState.ENDED
    assert (await store.query(sessions.GET, role_="cpo", key_=SESSION.session_key))[0]["progress_at"] == 1.0


EXPIRES = {
    "requested": (SessionState.REQUESTED, 110.0),
    "authorized": (SessionState.AUTHORIZED, 110.0),
    "uncertain": (SessionState.UNCERTAIN, 200.0),
    "charging": (SessionState.CHARGING, 200.0),
    "ended without a CDR": (SessionState.ENDED, 200.0),
}


@pytest.mark.parametrize(("state", "at"), EXPIRES.values(), ids=EXPIRES)
async def test_a_session_expires_after_its_time_and_not_before(store, state, at):
    await stored(store, state)
    assert await expired(store, at) == []
    assert await expired(store, at + 0.1) == [SESSION.session_key]
    assert await state_of(store) == SessionState.EXPIRED


@pytest.mark.parametrize("state", [SessionState.SETTLED, SessionState.REFUSED, SessionState.EXPIRED])
async def test_what_is_over_does_not_expire(store, state):
    await stored(store, state)
    assert await expired(store, 1e9) == []


async def test_a_session_whose_cdr_waits_to_be_delivered_does_not_expire(store):
    await stored(store, SessionState.ENDED)
    record = CdrRow(
        role="cpo",
        session_key=SESSION.session_key,
        peer="p",
        operator_key="DEGEF",
        provider_key="DEGDF",
        session_end=1.0,
        body=b"{}",
    )
    await store.write(lambda tx: cdrs.insert(tx, record, 1.0))
    assert await expired(store, 1e9) == []
