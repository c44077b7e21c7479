"""Services that die are started again, and periodic jobs survive a store that fails."""

import asyncio
import threading

import pytest
from structlog.testing import capture_logs

from p2p_oicp.concurrency import SingleThreadExecutor, TaskSupervisor, offload, periodic, shield_until_done, spawn
from p2p_oicp.errors import StoreBusy


class Signal:
    """A wake-up that counts how long it was to wait."""

    def __init__(self) -> None:
        self.timeouts: list[float | None] = []

    async def wait(self, timeout: float | None) -> None:  # noqa: ASYNC109 - the seam's shape
        self.timeouts.append(timeout)
        await asyncio.sleep(0)


@pytest.fixture
def no_delay(monkeypatch):
    monkeypatch.setattr("p2p_oicp.concurrency._RESTART_DELAY_SECONDS", 0.0)


@pytest.mark.usefixtures("no_delay")
async def test_a_service_that_raises_is_logged_and_started_again():
    runs, is_third = [], asyncio.Event()

    async def work():
        runs.append(len(runs))
        if len(runs) == 3:
            is_third.set()
            await asyncio.Event().wait()
        raise RuntimeError("a bug")

    with capture_logs() as logs:
        async with asyncio.timeout(5), TaskSupervisor() as supervisor:
            supervisor.start_service("work", work)
            await is_third.wait()
    assert [entry["event"] for entry in logs] == ["worker.crashed"] * 2


async def test_a_task_that_takes_over_a_name_outlives_the_one_that_had_it():
    async with TaskSupervisor() as supervisor:
        for _ in range(2):
            supervisor.stop("work")
            supervisor.start_task("work", asyncio.Event().wait)
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert repr(supervisor) == "<TaskSupervisor tasks=1>"


@pytest.mark.parametrize(("at_start", "interval"), [(True, 7.0), (False, None)])
async def test_a_job_runs_again_after_a_store_error(at_start, interval):
    events, enough, signal = [], asyncio.Event(), Signal()

    async def job():
        events.append(len(signal.timeouts))
        if len(events) == 3:
            enough.set()
        raise StoreBusy("full")

    with capture_logs() as logs:
        task = spawn(periodic("clean-up", interval, job, wakeup=signal, at_start=at_start), name="test")
        await asyncio.wait_for(enough.wait(), 5)
        task.cancel()
    assert events[:3] == ([0, 1, 2] if at_start else [1, 2, 3])
    assert set(signal.timeouts) == {interval}
    assert {(entry["event"], entry["job"]) for entry in logs} == {("job.store_failed", "clean-up")}


async def test_a_bug_in_a_job_is_left_to_the_supervisor():
    async def job():
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        await periodic("clean-up", 1.0, job)


async def test_blocking_work_leaves_the_event_loops_thread():
    assert await offload(threading.get_ident) != threading.get_ident()


async def test_one_thread_runs_everything_in_the_order_of_submission():
    executor, order = SingleThreadExecutor("test"), []
    threads = await asyncio.gather(
        *(executor.submit(lambda number: (order.append(number), threading.get_ident())[1], n) for n in range(5))
    )
    executor.close()
    assert (order, len(set(threads))) == ([0, 1, 2, 3, 4], 1)


async def test_a_step_is_at_its_end_before_its_caller_is_cancelled_however_often_that_is_tried():
    is_done, go = False, asyncio.Event()

    async def step() -> None:
        nonlocal is_done
        await go.wait()
        is_done = True

    caller = asyncio.create_task(shield_until_done(step()))
    for _ in range(3):
        await asyncio.sleep(0)
        caller.cancel()
    asyncio.get_running_loop().call_later(0.01, go.set)
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert is_done
