"""Sessions, CDRs and the outbox: what a repetition is, and what leaves no trace."""

import pytest
from msgspec.structs import replace

from p2p_oicp.storage import cdrs, outbox, peer_state, sessions, tokens
from p2p_oicp.storage.cdrs import CdrRow, InsertResult
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


async def test_a_repeated_request_is_found_within_its_window_only(store):
    named_here = replace(SESSION, id_generated_here=1)
    await store.write(lambda tx: sessions.insert_or_get(tx, named_here))
    assert await store.write(lambda tx: sessions.by_request(tx, "cpo", b"one", 99.0)) == named_here
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


async def keep(store, body: bytes) -> InsertResult:
    record = CdrRow(
        role="cpo", session_key="s", peer="p", operator_key="DEGEF", provider_key="DEGDF", session_end=1.0, body=body
    )
    return await store.write(lambda tx: cdrs.insert(tx, record, 1.0))


async def test_one_record_per_session_and_a_different_one_is_told_apart(store):
    assert [await keep(store, b"a"), await keep(store, b"a"), await keep(store, b"b")] == [
        InsertResult.NEW,
        InsertResult.DUPLICATE,
        InsertResult.CONFLICT,
    ]


async def owe(store, session: str, body: bytes) -> None:
    await store.write(
        lambda tx: outbox.enqueue(
            tx,
            destination="b",
            operation="Op",
            sender_id="DE*ABC",
            role="cpo",
            session_key=session,
            body=body,
            now=10.0,
        )
    )


async def due(store, now: float = 10.0) -> list[bytes]:
    rows = await store.query(outbox.DUE, destination_="b", now_=now, too_far_=now + 300, limit=10)
    return [letter.body for letter in outbox.from_rows(rows)]


async def test_letters_of_one_session_go_in_their_order_and_sessions_do_not_wait_for_each_other(store):
    for session, body in (("s1", b"1a"), ("s1", b"1b"), ("s2", b"2a")):
        await owe(store, session, body)
    assert await due(store) == [b"1a", b"2a"]
    await store.write(lambda tx: outbox.delete(tx, 1))
    assert await due(store) == [b"1b", b"2a"]


async def test_a_postponed_letter_holds_only_its_own_session(store):
    for session, body in (("s1", b"1a"), ("s1", b"1b"), ("s2", b"2a")):
        await owe(store, session, body)
    await store.write(lambda tx: outbox.reschedule(tx, 1, 20.0, "no answer"))
    assert await due(store) == [b"2a"]
    assert await due(store, now=20.0) == [b"2a", b"1a"]


async def test_a_dead_letter_lets_its_successors_go(store):
    for body in (b"1a", b"1b"):
        await owe(store, "s1", body)
    await store.write(lambda tx: outbox.mark_dead(tx, 1, 11.0, "refused with 400"))
    assert await due(store) == [b"1b"]


async def test_a_letter_postponed_beyond_any_backoff_is_due_because_the_clock_was_set_back(store):
    await owe(store, "s1", b"1a")
    await store.write(lambda tx: outbox.reschedule(tx, 1, 90_000.0, "no answer"))
    assert await due(store) == [b"1a"]


async def test_a_sign_of_life_makes_everything_due_and_closes_the_circuit(store):
    await owe(store, "s1", b"1a")
    await store.write(lambda tx: outbox.reschedule(tx, 1, 200.0, "no answer"))
    await store.write(lambda tx: peer_state.mark_failure(tx, "b", 5, 200.0, "no answer"))
    assert await due(store) == []
    await store.write(lambda tx: (peer_state.reset_health(tx, "b"), outbox.make_due(tx, "b", 10.0)))
    assert await due(store) == [b"1a"]
    assert (await store.write(lambda tx: peer_state.health(tx, "b"))).failures == 0


async def stored(store, state: SessionState, updated_at: float = 100.0) -> None:
    await store.write(lambda tx: sessions.insert_or_get(tx, replace(SESSION, state=state, updated_at=updated_at)))


async def state_of(store) -> str:
    return (await store.query(sessions.GET, role_="cpo", key_=SESSION.session_key))[0]["state"]


async def expired(store, now: float) -> list[str]:
    return await store.write(lambda tx: sessions.expire(tx, now, authorize_ttl=10, session_ttl=100, limit=5))


async def test_an_event_that_comes_late_does_not_take_a_session_back(store):
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
    "ended without a record": (SessionState.ENDED, 200.0),
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


async def test_a_session_whose_record_waits_to_be_delivered_does_not_expire(store):
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


async def test_who_said_yes_to_a_card_last_is_remembered(store):
    await store.write(lambda tx: tokens.set_preferred_peer(tx, "1234ABCD", "node b", 1.0))
    await store.write(lambda tx: tokens.set_preferred_peer(tx, "1234ABCD", "node c", 2.0))
    assert await store.write(lambda tx: tokens.preferred_peer(tx, "1234ABCD")) == "node c"
    await store.write(lambda tx: tokens.clear_preferred_peer(tx, "1234ABCD"))
    assert await store.write(lambda tx: tokens.preferred_peer(tx, "1234ABCD")) is None
