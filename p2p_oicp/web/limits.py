"""How many requests may be inside at once, so that overload is refused early and costs no memory.

Two lanes at each listener. Everything a driver waits for goes through the first one at once, or is sent away with 503.
State (pushes and pulls of many records) goes through the second one, a few at a time; a bounded number waits before its
body is read. So a storm of statuses never stands in the way of an authorization. Beside that, no peer may fill a
listener alone (429), and the bodies that are being read have a common bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from p2p_oicp.web.problems import HttpProblem

T = TypeVar("T")

# At a few hundred requests a second, what is inside is answered in a second: before its caller has given up.
_MOST_INSIDE: Final = 256
_MOST_BULK_INSIDE: Final = 8
_MOST_BULK_WAITING: Final = 256
_LONGEST_BULK_WAIT_SECONDS: Final = 10.0
_MOST_OF_ONE_PEER: Final = 200
_BODIES_AT_ONCE: Final = 2  # of the largest allowed size; many more of the usual size
_SYSTEM_ERROR = "021"
#: The HTTP statuses of a node that has too much to do.
BUSY = frozenset({429, 503})
_BULK_SERVICES = frozenset({"evsepush", "evsepull", "dynamicpricing", "authdata"})


def busy(info: str, *, http_status: int = 503) -> HttpProblem:
    """Return the answer of a node that has too much to do."""
    return HttpProblem(http_status, _SYSTEM_ERROR, f"{info}; try again in a moment", {"Retry-After": "1"})


class Doorkeeper:
    """Of one listener; ``max_body`` is the largest body of one request, in bytes; ``turned_away`` counts."""

    def __init__(self, max_body: int, turned_away: Callable[[], None]) -> None:
        self._max_body = max_body
        self._turned_away = turned_away
        self._most_bytes = _BODIES_AT_ONCE * max_body
        self._inside = 0
        self._bytes = 0
        self._bulk = asyncio.Semaphore(_MOST_BULK_INSIDE)
        self._waiting = 0

    async def admit(self, service: str, length: int | None, work: Callable[[], Awaitable[T]]) -> T:
        """Do the ``work`` of one request, or raise HttpProblem; ``length`` is that of its body, where it is known."""
        if service not in _BULK_SERVICES:
            return await self._with_room(length, work)
        await self._queue()
        try:
            return await self._with_room(length, work)
        finally:
            self._bulk.release()

    async def _with_room(self, length: int | None, work: Callable[[], Awaitable[T]]) -> T:
        size = self._reserve(length)
        try:
            return await work()
        finally:
            self._inside -= 1
            self._bytes -= size

    def _busy(self, info: str, *, http_status: int = 503) -> HttpProblem:
        self._turned_away()
        return busy(info, http_status=http_status)

    def _reserve(self, length: int | None) -> int:
        size = min(self._max_body if length is None else length, self._max_body)
        if self._inside >= _MOST_INSIDE:
            raise self._busy(f"{_MOST_INSIDE} requests are being answered")
        if self._bytes + size > self._most_bytes:
            raise self._busy(f"requests of {self._bytes} bytes are being read")
        self._inside += 1
        self._bytes += size
        return size

    async def _queue(self) -> None:
        if not self._bulk.locked():  # the usual case: nothing to wait for, and no bound on the time to set
            await self._bulk.acquire()
            return
        if self._waiting >= _MOST_BULK_WAITING:
            raise self._busy(f"{_MOST_BULK_WAITING} pushes and pulls are waiting", http_status=429)
        self._waiting += 1
        try:
            async with asyncio.timeout(_LONGEST_BULK_WAIT_SECONDS):
                await self._bulk.acquire()
        except TimeoutError as error:
            raise self._busy("pushes and pulls take long", http_status=429) from error
        finally:
            self._waiting -= 1


class Crowd:
    """How many requests of each peer are being answered."""

    def __init__(self) -> None:
        self._of: dict[str, int] = {}

    def enter(self, peer: str, most: int | None = None) -> None:
        """Count one in; raises HttpProblem 429 where the peer has too many already (``most``, if it has its own)."""
        limit = _MOST_OF_ONE_PEER if most is None else most
        inside = self._of.get(peer, 0)
        if inside >= limit:
            raise busy(f"{limit} requests of {peer} are being answered", http_status=429)
        self._of[peer] = inside + 1

    def leave(self, peer: str) -> None:
        """Count one out."""
        self._of[peer] -= 1
        if not self._of[peer]:
            del self._of[peer]
