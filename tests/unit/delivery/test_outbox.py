"""The dispatcher: messages are deleted on an acknowledged answer only, and no failure stops the others."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from p2p_oicp.delivery import ExponentialBackoff, OutboxDispatcher, PeerLiveness, WakeupRegistry
from p2p_oicp.errors import PeerBusy, PeerProtocolError, PeerRejected, PeerUnreachable, StoreUnavailable
from p2p_oicp.storage import outbox, peer_state
from p2p_oicp.storage.peer_state import Destination
from p2p_oicp.storage.statements import Statement

ALL = Statement("SELECT session_key, state, attempts, next_try_at, last_error FROM outbox ORDER BY id", {})


class FakeTarget:
    """A peer that fails as configured: one error per attempt, then it accepts."""

    name = "b"

    def __init__(self, **failures: list[Exception]) -> None:
        self.failures = failures
        self.attempts: list[bytes] = []
        self.accepted: list[bytes] = []
        self._settled: dict[int, str] = {}
        self.ended: list[str] = []
        self.changed = asyncio.Event()

    async def send(self, message) -> None:
        self.attempts.append(message.body)
        self.changed.set()
        planned = self.failures.get(message.session_key, [])
        if planned:
            raise planned.pop(0)
        self.accepted.append(message.body)

    @property
    def settled(self) -> list[str]:
        return [*self._settled.values()]

    def on_delivered(self, _tx, message, _verdict, _now) -> None:
        self._settled[message.id] = message.session_key  # once, however often the job runs

    def on_dead(self, _tx, message, error, now) -> None: ...

    def on_ended(self, message) -> None:
        self.ended.append(message.session_key)
        self.changed.set()

    async def until(self, condition) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def working(store, clock, target):
    wakeups = WakeupRegistry()
    wakeup = wakeups.register(Destination("b"))
    backoff = ExponentialBackoff(1.0, 300.0, jitter=lambda: 0.0)
    worker = OutboxDispatcher(target, store=store, wakeup=wakeup, clock=clock, backoff=backoff)
    task = asyncio.create_task(worker.run())
    try:
        yield PeerLiveness(wakeups, store, clock), wakeups
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def enqueue(store, clock, *messages: tuple[str, bytes]) -> None:
    def job(tx) -> None:
        for session, body in messages:
            outbox.enqueue(
                tx,
                destination="b",
                operation="Op",
                sender_id=None,
                role="cpo",
                session_key=session,
                body=body,
                now=clock.now,
            )

    await store.write(job)


async def rows(store):
    return [dict(row) for row in await store.query(ALL)]


async def until_empty(store) -> None:
    async with asyncio.timeout(5):
        while await rows(store):
            await asyncio.sleep(0.001)


async def until_tried(store, attempts: int):
    async with asyncio.timeout(5):
        while not any(row["attempts"] == attempts for row in await rows(store)):
            await asyncio.sleep(0.001)


async def test_messages_that_waited_before_the_start_are_delivered(store, clock):
    await enqueue(store, clock, ("s1", b"1a"), ("s1", b"1b"), ("s2", b"2a"))
    target = FakeTarget()
    async with working(store, clock, target):
        await until_empty(store)
    assert sorted(target.accepted) == [b"1a", b"1b", b"2a"]
    assert target.accepted.index(b"1a") < target.accepted.index(b"1b")
    assert sorted(target.settled) == ["s1", "s1", "s2"]


async def test_a_failed_message_is_rescheduled_and_sent_again_when_it_is_due(store, clock):
    await enqueue(store, clock, ("s1", b"1a"))
    target = FakeTarget(s1=[PeerUnreachable("b", "connection refused")])
    async with working(store, clock, target) as (_, wakeups):
        await until_tried(store, 1)
        assert (await rows(store))[0]["next_try_at"] == clock.now + 1.0
        clock.now += 1.0
        wakeups.notify_all("b")
        await until_empty(store)
    assert target.accepted == [b"1a"]


async def test_a_refused_message_is_dead_lettered_with_its_reason_and_the_next_one_goes(store, clock):
    await enqueue(store, clock, ("s1", b"1a"), ("s1", b"1b"))
    target = FakeTarget(s1=[PeerRejected("b", "answered 400", http_status=200, code="400")])
    async with working(store, clock, target):
        await target.until(lambda: target.accepted == [b"1b"])
    dead = (await rows(store))[0]
    assert (dead["state"], dead["last_error"]) == ("dead", "b: answered 400")


async def test_a_message_that_meets_a_bug_is_sent_later_and_the_others_go(store, clock):
    await enqueue(store, clock, ("s1", b"1a"), ("s2", b"2a"))
    target = FakeTarget(s1=[KeyError("a bug")])
    async with working(store, clock, target):
        await target.until(lambda: target.accepted == [b"2a"])
        await until_tried(store, 1)
        async with asyncio.timeout(5):
            while [row["session_key"] for row in await rows(store)] != ["s1"]:
                await asyncio.sleep(0.001)
    assert "a bug of this node: KeyError" in (await rows(store))[0]["last_error"]


async def test_a_message_that_always_fails_does_not_block_other_sessions(store, clock):
    await enqueue(store, clock, ("s1", b"1a"), ("s2", b"2a"), ("s3", b"3a"))
    target = FakeTarget(s1=[PeerProtocolError("b", "HTTP 500")] * 9)
    async with working(store, clock, target):
        await target.until(lambda: set(target.accepted) == {b"2a", b"3a"})


async def test_three_failures_in_a_row_open_the_circuit_and_a_live_peer_closes_it(store, clock):
    await enqueue(store, clock, *((f"s{n}", b"%d" % n) for n in range(3)))
    target = FakeTarget(**{f"s{n}": [PeerUnreachable("b", "connection refused")] for n in range(3)})
    async with working(store, clock, target) as (liveness, _):
        await target.until(lambda: len(target.attempts) == 3)
        async with asyncio.timeout(5):
            while (await store.write(lambda tx: peer_state.health(tx, Destination("b")))).failures < 3:
                await asyncio.sleep(0.001)
        health = await store.write(lambda tx: peer_state.health(tx, Destination("b")))
        assert health.next_try_at > clock.now
        async with asyncio.timeout(5):
            while len(target.accepted) < 3:
                await liveness.mark_alive("b")
                await asyncio.sleep(0.001)
        await until_empty(store)


@pytest.mark.parametrize(("retry_after", "wait"), [(None, 1.0), (0.1, 1.0), (60.0, 60.0), (9999.0, 300.0)])
async def test_retry_after_is_honoured_up_to_the_longest_wait(store, clock, retry_after, wait):
    await enqueue(store, clock, ("s1", b"1a"))
    target = FakeTarget(s1=[PeerBusy("b", "HTTP 429", retry_after=retry_after)])
    async with working(store, clock, target):
        await until_tried(store, 1)
    assert (await rows(store))[0]["next_try_at"] == clock.now + wait


async def until_attempts(store, **attempts: int) -> None:
    async with asyncio.timeout(5):
        while {row["session_key"]: row["attempts"] for row in await rows(store)} != attempts:
            await asyncio.sleep(0)


async def test_404_of_a_web_server_is_no_refusal_and_404_with_a_code_is_one(store, clock):
    """A proxy whose peer is being replaced says 404 (H3: a refusal has an OICP code)."""
    target = FakeTarget(
        s1=[PeerRejected("b", "HTTP 404", http_status=404)],
        s2=[PeerRejected("b", "HTTP 404: 400", http_status=404, code="400")],
    )
    await enqueue(store, clock, ("s1", b"proxy"), ("s2", b"peer"))
    async with working(store, clock, target):
        await until_attempts(store, s1=1, s2=1)
    assert {row["session_key"]: row["state"] for row in await rows(store)} == {"s1": "waiting", "s2": "dead"}


async def test_an_open_circuit_is_not_always_probed_with_the_same_message(store, clock):
    target = FakeTarget(bad=[PeerProtocolError("b", "HTTP 500")] * 50)
    await enqueue(store, clock, ("bad", b"bad"))
    async with working(store, clock, target) as (_, wakeups):
        for tried in (1, 2):
            await until_attempts(store, bad=tried)
            clock.now += 10
            wakeups.notify_all("b")
        await until_attempts(store, bad=3)
        await enqueue(store, clock, ("good", b"good"))
        clock.now += 1000
        wakeups.notify_all("b")
        await target.until(lambda: b"good" in target.accepted)


async def test_the_target_learns_of_a_transaction_that_has_failed(store, clock, monkeypatch):
    await enqueue(store, clock, ("s", b"1"))
    target, write = FakeTarget(), store.write

    async def fail(job, about):
        del job, about
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(store, "write", fail)
    async with working(store, clock, target):
        await target.until(lambda: target.ended)
    monkeypatch.setattr(store, "write", write)
    assert target.settled == []
    assert [row["state"] for row in await store.query(ALL)] == ["waiting"]
