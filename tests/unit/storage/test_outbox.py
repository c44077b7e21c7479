"""The outbox: which messages are due, and in which order."""

from p2p_oicp.storage import outbox, peer_state
from p2p_oicp.storage.peer_state import Destination


async def enqueue(store, session: str, body: bytes) -> None:
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
    return [message.body for message in outbox.from_rows(rows)]


async def test_messages_of_one_session_go_in_their_order_and_sessions_do_not_wait_for_each_other(store):
    for session, body in (("s1", b"1a"), ("s1", b"1b"), ("s2", b"2a")):
        await enqueue(store, session, body)
    assert await due(store) == [b"1a", b"2a"]
    await store.write(lambda tx: outbox.delete(tx, 1))
    assert await due(store) == [b"1b", b"2a"]


async def test_a_rescheduled_message_blocks_only_its_own_session(store):
    for session, body in (("s1", b"1a"), ("s1", b"1b"), ("s2", b"2a")):
        await enqueue(store, session, body)
    await store.write(lambda tx: outbox.reschedule(tx, 1, 20.0, "no answer"))
    assert await due(store) == [b"2a"]
    assert await due(store, now=20.0) == [b"2a", b"1a"]


async def test_a_dead_lettered_message_does_not_block_its_successors(store):
    for body in (b"1a", b"1b"):
        await enqueue(store, "s1", body)
    await store.write(lambda tx: outbox.mark_dead(tx, 1, 11.0, "refused with 400"))
    assert await due(store) == [b"1b"]


async def test_a_message_due_later_than_any_backoff_is_due_now_because_the_clock_was_set_back(store):
    await enqueue(store, "s1", b"1a")
    await store.write(lambda tx: outbox.reschedule(tx, 1, 90_000.0, "no answer"))
    assert await due(store) == [b"1a"]


async def test_a_peer_that_is_alive_has_all_messages_due_and_its_circuit_closed(store):
    await enqueue(store, "s1", b"1a")
    await store.write(lambda tx: outbox.reschedule(tx, 1, 200.0, "no answer"))
    await store.write(lambda tx: peer_state.mark_failure(tx, Destination("b"), 5, 200.0, "no answer"))
    assert await due(store) == []
    await store.write(lambda tx: (peer_state.reset_health(tx, Destination("b")), outbox.make_due(tx, "b", 10.0)))
    assert await due(store) == [b"1a"]
    assert (await store.write(lambda tx: peer_state.health(tx, Destination("b")))).failures == 0
