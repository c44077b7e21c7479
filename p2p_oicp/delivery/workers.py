"""Keeps workers running: a worker that dies of a bug is reported and started again, never silently gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Protocol, Self

import structlog

log = structlog.get_logger(__name__)

_RESTART_DELAY_SECONDS = 5.0


class Worker(Protocol):
    """Something that works until it is cancelled."""

    async def run(self) -> None:
        """Work."""


class TaskSupervisor:
    """Owns the tasks of the workers; an async context manager that ends them all."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def start_service(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work`` again and again until the supervisor ends."""
        self._start(name, self._restart_forever(name, work))

    def stop(self, name: str) -> None:
        """End the work of that name, if there is any."""
        if (task := self._tasks.get(name)) is not None:
            task.cancel()

    def start_task(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work`` once; a bug in it is reported."""
        self._start(name, self._log_failure(name, work))

    def _start(self, name: str, coroutine: Coroutine[None, None, None]) -> None:
        task = self._tasks[name] = asyncio.create_task(coroutine, name=name)
        task.add_done_callback(lambda finished: self._remove_finished(name, finished))

    def _remove_finished(self, name: str, finished: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is finished:
            del self._tasks[name]

    async def _restart_forever(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._log_failure(name, work)
            await asyncio.sleep(_RESTART_DELAY_SECONDS)

    async def _log_failure(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception:
            log.exception("worker.crashed", worker=name)
