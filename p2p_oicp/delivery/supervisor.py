"""Keeps workers running: a worker that dies of a bug is reported and started again, never silently gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Protocol, Self

import structlog

log = structlog.get_logger(__name__)

_PAUSE_AFTER_A_BUG_SECONDS = 5.0


class Worker(Protocol):
    """Something that works until it is cancelled."""

    async def run(self) -> None:
        """Work."""


class Supervisor:
    """Owns the tasks of the workers; an async context manager that ends them all."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def keep_running(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work`` again and again until the supervisor ends."""
        self._start(name, self._again_and_again(name, work))

    def stop(self, name: str) -> None:
        """End the work of that name, if there is any."""
        if (task := self._tasks.get(name)) is not None:
            task.cancel()

    def run_once(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work`` once; a bug in it is reported."""
        self._start(name, self._reported(name, work))

    def _start(self, name: str, coroutine: Coroutine[None, None, None]) -> None:
        task = self._tasks[name] = asyncio.create_task(coroutine, name=name)
        task.add_done_callback(lambda ended: self._forget(name, ended))

    def _forget(self, name: str, ended: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is ended:
            del self._tasks[name]

    async def _again_and_again(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._reported(name, work)
            await asyncio.sleep(_PAUSE_AFTER_A_BUG_SECONDS)

    async def _reported(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception:
            log.exception("worker.died", worker=name)
