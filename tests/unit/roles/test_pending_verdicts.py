"""Who tells the CPO's node a verdict: exactly one request that waits for it, or a message later; never nobody."""

import asyncio

import pytest

from p2p_oicp.roles import verdicts
from p2p_oicp.roles.verdicts import PendingVerdicts

KEY = "f98efba4-02d8-4fa0-b810-9a9d50d2c527"
BACKEND = "backend:emp"


@pytest.fixture
def pending(store) -> PendingVerdicts:
    return PendingVerdicts(store, 0.01)


async def test_a_request_that_waits_tells_the_verdict(pending, monkeypatch):
    monkeypatch.setattr(pending, "_max_seconds", 60.0)
    with pending.expect(KEY) as waiting:
        task = asyncio.create_task(pending.wait(waiting, BACKEND))
        await asyncio.sleep(0)
        assert pending.take(KEY)
        pending.resolve(KEY, BACKEND)
        await task


async def test_a_verdict_after_all_requests_have_gone_is_sent_later(pending):
    with pending.expect(KEY) as waiting:
        await pending.wait(waiting, BACKEND)
    assert not pending.take(KEY)


@pytest.mark.parametrize("step", ["wait", "end"])
async def test_after_one_request_was_answered_pending_the_verdict_is_sent_later_whoever_waits(
    pending, step, monkeypatch
):
    with pending.expect(KEY) as first:
        monkeypatch.setattr(verdicts, "_MAX_WAITING", 0)
        with pending.expect(KEY) as second:
            await (pending.wait(second, BACKEND) if step == "wait" else pending.end(second))
        assert first is second
        assert not pending.take(KEY)


async def test_a_request_without_a_response_yet_waits_for_the_commit_of_a_verdict_that_was_given(pending):
    with pending.expect(KEY) as waiting:
        assert pending.take(KEY)
        task = asyncio.create_task(pending.end(waiting))
        await asyncio.sleep(0)
        assert not task.done()
        pending.resolve(KEY, BACKEND)
        await task


async def test_a_verdict_that_could_not_be_stored_is_sent_later(pending):
    with pending.expect(KEY) as waiting:
        assert pending.take(KEY)
        pending.resolve(KEY, BACKEND)  # the transaction has failed
        await pending.wait(waiting, BACKEND)
        assert not pending.take(KEY)


async def test_nobody_waits_for_a_backend_that_was_too_slow_until_it_has_answered(pending, monkeypatch):
    with pending.expect(KEY) as waiting:
        await pending.wait(waiting, BACKEND)
    monkeypatch.setattr(pending, "_max_seconds", 60.0)
    other = KEY.replace("f98", "000")
    with pending.expect(other) as waiting:
        await pending.wait(waiting, BACKEND)  # returns at once
        pending.resolve(KEY, BACKEND)
        task = asyncio.create_task(pending.wait(waiting, BACKEND))
        await asyncio.sleep(0)
        assert not task.done()
        pending.resolve(other, BACKEND)
        await task


async def test_not_more_than_64_requests_wait(pending, monkeypatch):
    monkeypatch.setattr(pending, "_max_seconds", 60.0)
    with pending.expect(KEY) as waiting:
        tasks = [asyncio.create_task(pending.wait(waiting, BACKEND)) for _ in range(64)]
        await asyncio.sleep(0)
        await pending.wait(waiting, BACKEND)  # returns at once
        assert not any(task.done() for task in tasks)
        pending.resolve(KEY, BACKEND)
        await asyncio.gather(*tasks)


async def test_a_backend_that_was_too_slow_is_no_reason_not_to_wait_for_another(pending, monkeypatch):
    with pending.expect(KEY) as waiting:
        await pending.wait(waiting, BACKEND)
        monkeypatch.setattr(pending, "_max_seconds", 60.0)
        task = asyncio.create_task(pending.wait(waiting, "backend:other"))
        await asyncio.sleep(0)
        assert not task.done()
        pending.resolve(KEY, "backend:other")
        await task
