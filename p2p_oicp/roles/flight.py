"""One run for requests that are repeated while the first is still being answered (box H4)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from p2p_oicp.errors import Refusal

T = TypeVar("T")
_SYSTEM_ERROR = "021"


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
        except BaseException as error:
            whole = (
                error if isinstance(error, Exception) else Refusal(_SYSTEM_ERROR, "the first such request was given up")
            )
            future.set_exception(whole)
            future.exception()  # seen, whether or not somebody waits
            raise
        else:
            future.set_result(outcome)
            return outcome
        finally:
            del self._running[key]
