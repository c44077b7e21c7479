"""One run for requests that are repeated while the first is still being answered (box H4)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Runs the work of a key once at a time; whoever comes meanwhile gets its outcome."""

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Future[T]] = {}

    async def run(self, key: Hashable | None, work: Callable[[], Awaitable[T]]) -> T:
        """Return what ``work`` returns, or what the run of ``key`` that is under way returns; None is no key."""
        if key is None:
            return await work()
        running = self._running.get(key)
        if running is not None:
            return await asyncio.shield(running)
        future = self._running[key] = asyncio.get_running_loop().create_future()
        try:
            outcome = await work()
        except Exception as error:
            future.set_exception(error)
            # Retrieved here, so that nobody is told of an exception that only the first caller waited for.
            future.exception()
            raise
        else:
            future.set_result(outcome)
            return outcome
        finally:
            del self._running[key]
            future.cancel()
