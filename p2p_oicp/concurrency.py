"""Tasks, threads and periodic jobs: the one module that starts them.

Together with ``clock`` (time and ids) and ``runner`` (the event loop) this is the seam between the program and the
machine: no other module of the node creates a task or a thread, so a test can run a whole cluster deterministically.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from contextvars import copy_context
from types import TracebackType
from typing import Any, Generic, ParamSpec, Protocol, Self, TypeVar

import structlog

from p2p_oicp.errors import StoreError

log = structlog.get_logger(__name__)

_RESTART_DELAY_SECONDS = 5.0

ParametersT = ParamSpec("ParametersT")
ResultT = TypeVar("ResultT")


class Worker(Protocol):
    """A background task of the node; ``run`` returns only when it is cancelled."""

    async def run(self) -> None: ...


class WakeupSignal(Protocol):
    """What a waiting loop can be woken by (``delivery.wakeup.Wakeup``)."""

    async def wait(self, timeout_seconds: float | None) -> object:
        """Return when notified, or after ``timeout_seconds`` (None: only when notified)."""


def spawn(coroutine: Coroutine[Any, Any, ResultT], *, name: str) -> asyncio.Task[ResultT]:
    """Start a task that the caller owns: it has to keep the reference, and to await or cancel the task."""
    return asyncio.create_task(coroutine, name=name)


async def offload(
    function: Callable[ParametersT, ResultT], /, *args: ParametersT.args, **kwargs: ParametersT.kwargs
) -> ResultT:
    """Run a blocking function in a thread of the shared pool, so that the event loop serves others meanwhile."""
    return await asyncio.to_thread(function, *args, **kwargs)


async def first_accepted(
    calls: Iterable[Coroutine[Any, Any, ResultT]], accept: Callable[[ResultT], bool]
) -> list[ResultT]:
    """Run coroutines side by side; return the first accepted result alone and cancel the others, or else all results.

    The coroutines raise nothing.
    """
    pending = {asyncio.create_task(call) for call in calls}
    results: list[ResultT] = []
    try:
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            results += [task.result() for task in done]
            accepted = next(filter(accept, results), None)
            if accepted is not None:
                return [accepted]
        return results
    finally:
        # Cancelled and awaited: none outlives the answer.
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


class SingleThreadExecutor:
    """One thread of its own, in which functions run one after the other, in the order of submission.

    For objects that may be used by one thread at a time, such as the writer's database connection.
    """

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, name)

    def submit(self, function: Callable[..., ResultT], *args: object) -> asyncio.Future[ResultT]:
        """Queue ``function(*args)``; the future belongs to the running event loop."""
        return asyncio.get_running_loop().run_in_executor(self._executor, function, *args)

    def close(self) -> None:
        """Wait until everything submitted has run, and end the thread."""
        self._executor.shutdown()


class SingleFlight(Generic[ResultT]):
    """Runs the work of a key once at a time; concurrent calls with the same key share its result or its exception.

    Args:
        cancelled: makes the exception that the others get if the run is cancelled.
    """

    def __init__(self, cancelled: Callable[[], Exception]) -> None:
        self._cancelled = cancelled
        self._running: dict[Hashable, asyncio.Future[ResultT]] = {}

    def __repr__(self) -> str:
        return f"<SingleFlight running={len(self._running)}>"

    async def run(self, key: Hashable | None, work: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """Return the result of ``work``, or of the run of ``key`` that is under way; a key of None is never shared."""
        if key is None:
            return await work()
        running = self._running.get(key)
        if running is not None:
            # Shielded: a client that hangs up must not cancel the run that others wait for.
            return await asyncio.shield(running)
        future = self._running[key] = asyncio.get_running_loop().create_future()
        try:
            result = await work()
        except BaseException as error:
            future.set_exception(error if isinstance(error, Exception) else self._cancelled())
            future.exception()  # marks it as retrieved: asyncio logs an exception that no call has waited for
            raise
        else:
            future.set_result(result)
            return result
        finally:
            del self._running[key]


class BackgroundTasks:
    """Owns tasks that may outlast whoever waits for them; an async context manager that cancels them on exit."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __repr__(self) -> str:
        return f"<BackgroundTasks tasks={len(self._tasks)}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def start(self, name: str, coroutine: Coroutine[Any, Any, ResultT]) -> asyncio.Task[ResultT]:
        """Start a task; whoever awaits it gets its exception."""
        task = spawn(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def start_logged(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Start a task that nobody awaits; an exception is logged."""
        self.start(name, _log_failure(name, work))

    async def run_for(self, seconds: float, name: str, coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Return the coroutine's result; raise TimeoutError after ``seconds``, while it goes on."""
        task = self.start(name, coroutine)
        await asyncio.wait((task,), timeout=seconds)
        if not task.done():
            raise TimeoutError
        return task.result()

    def _forget(self, finished: asyncio.Task[Any]) -> None:
        self._tasks.discard(finished)
        if not finished.cancelled():
            finished.exception()  # marks it as retrieved: asyncio logs an exception that nobody has waited for


class TaskSupervisor:
    """Owns background tasks by name; an async context manager that cancels all of them on exit.

    They run in the context in which it was made, whoever starts them: no task is a part of a request.

    A service that ends or raises is logged and restarted after 5 s: a bug in one worker costs its own work for a
    moment, and never stops it silently.
    """

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._context = copy_context()

    def __repr__(self) -> str:
        return f"<TaskSupervisor tasks={len(self._tasks)}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # A copy: each task that ends removes itself.
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def start_service(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work`` for ever: whenever it ends, it is started again."""
        self._start(name, _restart_forever(name, work))

    def start_task(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work`` once; an exception is logged."""
        self._start(name, _log_failure(name, work))

    def stop(self, name: str) -> None:
        """Cancel the task of that name, if there is one."""
        if (task := self._tasks.get(name)) is not None:
            task.cancel()

    def _start(self, name: str, coroutine: Coroutine[None, None, None]) -> None:
        # A worker that is started by a request (a pairing) must not carry that request's Process-ID for ever.
        task = self._tasks[name] = asyncio.create_task(coroutine, name=name, context=self._context.copy())
        task.add_done_callback(lambda finished: self._remove_finished(name, finished))

    def _remove_finished(self, name: str, finished: asyncio.Task[None]) -> None:
        # A peer that changes is stopped and started in one step: its new task may have the name already.
        if self._tasks.get(name) is finished:
            del self._tasks[name]


async def _restart_forever(name: str, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await _log_failure(name, work)
        # A worker that fails at once must not fill the log or a processor.
        await asyncio.sleep(_RESTART_DELAY_SECONDS)


async def _log_failure(name: str, work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except StoreError as error:
        log.error("worker.store_failed", worker=name, error=error)  # noqa: TRY400 - the text says it all
    except Exception:
        # Any exception is a bug here: workers handle the errors that they expect.
        log.exception("worker.crashed", worker=name)


async def periodic(
    name: str,
    interval: float | None,
    job: Callable[[], Awaitable[object]],
    *,
    wakeup: WakeupSignal | None = None,
    at_start: bool = True,
) -> None:
    """Run ``job`` again and again until cancelled; a `StoreError` is logged, and the next run is at its usual time.

    Args:
        name: the job's name in the log.
        interval: seconds between the end of one run and the next; None: only when ``wakeup`` is notified (without
            one: a single run).
        job: what to do; its result is not used.
        wakeup: ends a wait early when it is notified.
        at_start: run at once; otherwise wait first.
    """
    is_due = at_start
    while True:
        if is_due:
            try:
                await job()
            except StoreError as error:
                log.warning("job.store_failed", job=name, error=error)
        is_due = True
        if wakeup is not None:
            await wakeup.wait(interval)
        elif interval is not None:
            await asyncio.sleep(interval)
        else:
            return


async def close_together(*stacks: AsyncExitStack) -> None:
    """Close the stacks at the same time; raise the first error when all are closed."""
    outcomes = await asyncio.gather(*(stack.aclose() for stack in stacks), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


async def shield_until_done(coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Return the coroutine's result; a caller that is cancelled meanwhile waits for its end before it is.

    For steps that cannot be taken back, such as a queued write: their caller has to know whether they happened.
    """
    task = spawn(coroutine, name="shielded")
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():  # whoever is cancelled may be cancelled again
            with suppress(asyncio.CancelledError):
                await asyncio.wait((task,))
        raise


class CommandLoop:
    """An event loop for a function that is called from none, such as a command; a context manager."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._runner.close()

    def run(self, awaitable: Awaitable[ResultT]) -> ResultT:
        """Run the loop until ``awaitable`` has its result, and return that."""

        async def awaited() -> ResultT:
            return await awaitable

        return self._runner.run(awaited())
