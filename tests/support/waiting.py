"""Waiting for what another task or process does."""

import asyncio
import inspect
import socket
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(
    predicate: Callable[[], T | Awaitable[T]],
    timeout: float = 10.0,  # noqa: ASYNC109 - the same for every use
    interval: float = 0.01,
) -> T:
    """Wait until ``predicate``, a function or a coroutine function, returns something true, and return that.

    Raises ``TimeoutError`` after ``timeout`` seconds.
    """
    async with asyncio.timeout(timeout):
        while not (value := await _value(predicate)):
            await asyncio.sleep(interval)
        return value


async def eventually_equals(
    read: Callable[[], T | Awaitable[T]],
    expected: T,
    timeout: float = 10.0,  # noqa: ASYNC109 - as above
) -> None:
    """Wait until ``read`` returns what is expected."""

    async def is_equal() -> bool:
        return await _value(read) == expected

    await eventually(is_equal, timeout)


def eventually_blocking(predicate: Callable[[], bool], timeout: float, failure: str) -> None:
    """As ``eventually``, for tests without an event loop; fails with the text ``failure``."""
    deadline = time.monotonic() + timeout
    while not predicate():
        assert time.monotonic() < deadline, failure
        time.sleep(0.05)


async def _value(read: Callable[[], T | Awaitable[T]]) -> T:
    value = read()
    return await value if inspect.isawaitable(value) else value


def listens(port: int) -> bool:
    """Return whether somebody listens at a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
