"""The outbox: which messages are due, and in which order."""

import pytest

from p2p_oicp.storage import outbox, outbox_lists, peer_state
from p2p_oicp.storage.peer_state import Destination
from p2p_oicp.storage.statements import list_parameter


async def enqueue(store, session: str, body: bytes, destination: str = "b") -> None:
    await store.write(
        lambda tx: outbox.enqueue(
            tx,
            destination=destination,
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
    await store.write(lambda tx: peer_state.mark_failure(tx, Destination("b"), 5, 200.0, "no answer", now=10.0))
    assert await due(store) == []
    await store.write(lambda tx: (peer_state.reset_health(tx, Destination("b")), outbox.make_due(tx, "b", 10.0)))
    assert await due(store) == [b"1a"]
    assert (await store.write(lambda tx: peer_state.health(tx, Destination("b")))).failures == 0


GONE, NEW = "backend:gone", "backend:new"


async def states(store) -> list[tuple[str, str]]:
    page, parameters = outbox_lists.MESSAGES.page(limit=9, backends=list_parameter([NEW]))
    rows = await store.query(page.statement, **parameters)
    return [(row["destination"], row["state"]) for row in rows]


async def test_what_waits_for_a_backend_that_is_configured_no_more_is_held(store):
    for destination in (GONE, NEW, "b"):
        await enqueue(store, "s1", b"1", destination)
    assert await states(store) == [(GONE, "held"), (NEW, "waiting"), ("b", "waiting")]
    page, parameters = outbox_lists.MESSAGES.page(state_="held", limit=9, backends=list_parameter([NEW]))
    rows = await store.query(page.statement, **parameters)
    assert [row["destination"] for row in rows] == [GONE]


MOVES = {
    "all that are held": ({}, [NEW, NEW, NEW, "b"]),
    "all of a backend": ({"source": "backend:busy"}, [GONE, NEW, NEW, "b"]),
    "one message": ({"message_id": 1}, [NEW, NEW, "backend:busy", "b"]),
    "one message of a peer": ({"message_id": 4}, [GONE, NEW, "backend:busy", "b"]),
}


@pytest.mark.parametrize(("which", "destinations"), MOVES.values(), ids=MOVES)
async def test_messages_of_our_backends_are_moved_and_due_at_once_and_those_of_peers_stay(store, which, destinations):
    for destination in (GONE, NEW, "backend:busy", "b"):
        await enqueue(store, "s1", b"1", destination)
    await store.write(lambda tx: outbox.reschedule(tx, 1, 200.0, "no answer"))
    backends = [NEW] if not which else [NEW, "backend:busy"]
    moved = await store.write(lambda tx: outbox.move(tx, to=NEW, backends=backends, now=10.0, **which))
    found = [destination for destination, _ in await states(store)]
    assert found == destinations
    assert moved == sum(before != after for before, after in zip([GONE, NEW, "backend:busy", "b"], found, strict=True))


async def test_a_moved_message_is_due_now_and_its_new_backends_circuit_is_closed(store):
    await enqueue(store, "s1", b"1a", GONE)
    await store.write(lambda tx: outbox.reschedule(tx, 1, 200.0, "no answer"))
    await store.write(lambda tx: peer_state.mark_failure(tx, Destination(NEW), 5, 200.0, TimeoutError(), now=10.0))
    await store.write(lambda tx: outbox.move(tx, to=NEW, backends=[NEW], now=10.0))
    rows = await store.query(outbox.DUE, destination_=NEW, now_=10.0, too_far_=310.0, limit=10)
    assert [(message.body, message.attempts) for message in outbox.from_rows(rows)] == [(b"1a", 0)]
    assert (await peer_state.health_now(store, Destination(NEW))).failures == 0
