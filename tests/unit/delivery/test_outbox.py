"""The outbox worker: letters leave on an acknowledged answer only, and no failure stops the others."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from p2p_oicp.delivery import ExponentialBackoff, OutboxDispatcher, PeerLiveness, WakeupRegistry
from p2p_oicp.errors import PeerBusy, PeerProtocolError, PeerRejected, PeerUnreachable
from p2p_oicp.storage import outbox, peer_state
from p2p_oicp.storage.statements import Statement

ALL = Statement("SELECT session_key, state, attempts, next_try_at, last_error FROM outbox ORDER BY id", {})


class Destination:
    """A peer that fails as told: one error per attempt, then it accepts."""

    def __init__(self, **failures: list[Exception]) -> None:
        self.failures = failures
        self.tried: list[bytes] = []
        self.accepted: list[bytes] = []
        self.settled: list[str] = []
        self.changed = asyncio.Event()

    async def send(self, letter) -> None:
        self.tried.append(letter.body)
        self.changed.set()
        planned = self.failures.get(letter.session_key, [])
        if planned:
            raise planned.pop(0)
        self.accepted.append(letter.body)

    def on_delivered(self, _tx, letter, _now) -> None:
        self.settled.append(letter.session_key)

    async def until(self, condition) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def working(store, clock, destination):
    bells = WakeupRegistry()
    bell = bells.register("b", "b")
    backoff = ExponentialBackoff(1.0, 300.0, jitter=lambda: 0.0)
    worker = OutboxDispatcher(destination, store=store, wakeup=bell, clock=clock, backoff=backoff)
    task = asyncio.create_task(worker.run())
    try:
        yield PeerLiveness(bells, store, clock), bells
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def owe(store, clock, *letters: tuple[str, bytes]) -> None:
    def job(tx) -> None:
        for session, body in letters:
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


async def test_letters_that_waited_before_the_start_are_delivered(store, clock):
    await owe(store, clock, ("s1", b"1a"), ("s1", b"1b"), ("s2", b"2a"))
    destination = Destination()
    async with working(store, clock, destination):
        await until_empty(store)
    assert sorted(destination.accepted) == [b"1a", b"1b", b"2a"]
    assert destination.accepted.index(b"1a") < destination.accepted.index(b"1b")
    assert sorted(destination.settled) == ["s1", "s1", "s2"]


async def test_a_failed_letter_is_postponed_and_tried_again_when_its_time_has_come(store, clock):
    await owe(store, clock, ("s1", b"1a"))
    destination = Destination(s1=[PeerUnreachable("b", "connection refused")])
    async with working(store, clock, destination) as (_, bells):
        await until_tried(store, 1)
        assert (await rows(store))[0]["next_try_at"] == clock.now + 1.0
        clock.now += 1.0
        bells.notify_all("b")
        await until_empty(store)
    assert destination.accepted == [b"1a"]


async def test_a_refused_letter_becomes_a_dead_letter_with_its_reason_and_the_next_goes(store, clock):
    await owe(store, clock, ("s1", b"1a"), ("s1", b"1b"))
    destination = Destination(s1=[PeerRejected("b", "answered 400", http_status=200, code="400")])
    async with working(store, clock, destination):
        await destination.until(lambda: destination.accepted == [b"1b"])
    dead = (await rows(store))[0]
    assert (dead["state"], dead["last_error"]) == ("dead", "b: answered 400")


async def test_a_letter_that_meets_a_bug_is_tried_later_and_the_others_go(store, clock):
    await owe(store, clock, ("s1", b"1a"), ("s2", b"2a"))
    destination = Destination(s1=[KeyError("a bug")])
    async with working(store, clock, destination):
        await destination.until(lambda: destination.accepted == [b"2a"])
        await until_tried(store, 1)
    assert [row["session_key"] for row in await rows(store)] == ["s1"]
    assert "a bug of this node: KeyError" in (await rows(store))[0]["last_error"]


async def test_a_letter_that_always_fails_does_not_hold_back_other_sessions(store, clock):
    await owe(store, clock, ("s1", b"1a"), ("s2", b"2a"), ("s3", b"3a"))
    destination = Destination(s1=[PeerProtocolError("b", "HTTP 500")] * 9)
    async with working(store, clock, destination):
        await destination.until(lambda: set(destination.accepted) == {b"2a", b"3a"})


async def test_after_three_failures_in_a_row_the_circuit_opens_and_a_sign_of_life_closes_it(store, clock):
    await owe(store, clock, *((f"s{n}", b"%d" % n) for n in range(3)))
    destination = Destination(**{f"s{n}": [PeerUnreachable("b", "connection refused")] for n in range(3)})
    async with working(store, clock, destination) as (signs, _):
        await destination.until(lambda: len(destination.tried) == 3)
        async with asyncio.timeout(5):
            while (await store.write(lambda tx: peer_state.health(tx, "b"))).failures < 3:
                await asyncio.sleep(0.001)
        health = await store.write(lambda tx: peer_state.health(tx, "b"))
        assert health.next_try_at > clock.now
        async with asyncio.timeout(5):
            while len(destination.accepted) < 3:
                await signs.mark_alive("b")
                await asyncio.sleep(0.001)
        await until_empty(store)


@pytest.mark.parametrize(("asked", "wait"), [(None, 1.0), (0.1, 1.0), (60.0, 60.0), (9999.0, 300.0)])
async def test_retry_after_is_honoured_up_to_the_longest_wait(store, clock, asked, wait):
    await owe(store, clock, ("s1", b"1a"))
    destination = Destination(s1=[PeerBusy("b", "HTTP 429", retry_after=asked)])
    async with working(store, clock, destination):
        await until_tried(store, 1)
    assert (await rows(store))[0]["next_try_at"] == clock.now + wait


async def until_attempts(store, **attempts: int) -> None:
    async with asyncio.timeout(5):
        while {row["session_key"]: row["attempts"] for row in await rows(store)} != attempts:
            await asyncio.sleep(0)


async def test_404_of_a_web_server_is_no_verdict_and_404_with_a_code_is_one(store, clock):
    """A proxy whose peer is being replaced says 404 (H3: a refusal has an OICP code)."""
    destination = Destination(
        s1=[PeerRejected("b", "HTTP 404", http_status=404)],
        s2=[PeerRejected("b", "HTTP 404: 400", http_status=404, code="400")],
    )
    await owe(store, clock, ("s1", b"proxy"), ("s2", b"peer"))
    async with working(store, clock, destination):
        await until_attempts(store, s1=1, s2=1)
    assert {row["session_key"]: row["state"] for row in await rows(store)} == {"s1": "waiting", "s2": "dead"}


async def test_an_open_circuit_is_not_probed_with_the_same_letter_for_ever(store, clock):
    destination = Destination(bad=[PeerProtocolError("b", "HTTP 500")] * 50)
    await owe(store, clock, ("bad", b"bad"))
    async with working(store, clock, destination) as (_, bells):
        for tried in (1, 2):
            await until_attempts(store, bad=tried)
            clock.now += 10
            bells.notify_all("b")
        await until_attempts(store, bad=3)
        await owe(store, clock, ("good", b"good"))
        clock.now += 1000
        bells.notify_all("b")
        await destination.until(lambda: b"good" in destination.accepted)
