"""Calls of our CSMS for remote operations, whose answers count also when they are late (DESIGN section 5, "Deadlines").

A car may charge when the CSMS says so too late. So a call is not cancelled at its deadline: whoever asked gets 310, and
the answer is read on for two minutes. A late answer decides the session; a call without one leaves it uncertain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias, cast

import structlog

from p2p_oicp.backends import OwnBackend
from p2p_oicp.clock import Clock
from p2p_oicp.concurrency import BackgroundTasks
from p2p_oicp.errors import PeerError, PeerTimeout
from p2p_oicp.oicp import Acknowledgement, Message
from p2p_oicp.oicp.operations import Operation

log = structlog.get_logger(__name__)

READ_ON_SECONDS = 120.0
# Each holds a connection. More of them than this: the CSMS hangs, and the oldest has waited longest in vain.
_MAX_LATE_CALLS = 512

#: Gets a late answer, or why there is none, and the seconds since the call.
LateAnswerHandler: TypeAlias = Callable[[Acknowledgement | PeerError, float], Awaitable[None]]


class CsmsCall:
    """One call. Whoever has given up waiting for ``answer`` calls ``read_on``."""

    def __init__(
        self, calls: CsmsCalls, own: OwnBackend, operation: Operation, task: asyncio.Task[Acknowledgement]
    ) -> None:
        self._calls = calls
        self._own = own
        self._operation = operation
        self._task = task
        self._started_at = calls.clock.monotonic()
        self._is_answered = False

    @property
    def is_answered(self) -> bool:
        """Whether the call has ended before its deadline: with an answer, or without one."""
        return self._is_answered

    async def answer(self) -> Acknowledgement:
        """Return the answer; raise PeerError where there is none within the deadline."""
        seconds = self._own.remote_timeout
        await asyncio.wait((self._task,), timeout=seconds)
        if not self._task.done():
            raise PeerTimeout("the CSMS", f"no answer to {self._operation.name} within {seconds:g} s")
        self._is_answered = True
        return self._task.result()

    def read_on(self, on_late_answer: LateAnswerHandler) -> None:
        """Have a late answer handled; what the caller has to do first is done."""
        self._calls.read_on(self._task, partial(self._read_on, on_late_answer))

    async def _read_on(self, on_late_answer: LateAnswerHandler) -> None:
        try:
            answer: Acknowledgement | PeerError = await self._task
        except PeerError as error:
            answer = error
        except asyncio.CancelledError:
            if self._task.cancelled():
                return  # too many are waited for
            raise
        await on_late_answer(answer, self._calls.clock.monotonic() - self._started_at)


class CsmsCalls:
    """Calls our CSMSs.

    Args:
        background: owns the calls: they go on when their request is answered.
        clock: measures how late an answer is.
    """

    def __init__(self, background: BackgroundTasks, clock: Clock) -> None:
        self.clock = clock
        self._background = background
        self._late: dict[asyncio.Task[Acknowledgement], None] = {}  # the oldest first

    def __repr__(self) -> str:
        return f"<CsmsCalls late={len(self._late)}>"

    def start(self, own: OwnBackend, operation: Operation, message: Message) -> CsmsCall:
        """Send a request to a CSMS, once."""
        task = self._background.start(f"{operation.name} at the CSMS", _call(own, operation, message))
        return CsmsCall(self, own, operation, task)

    def read_on(self, task: asyncio.Task[Acknowledgement], work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work`` in the background: it waits for the late answer of ``task``."""
        if len(self._late) >= _MAX_LATE_CALLS:
            oldest = next(iter(self._late))
            del self._late[oldest]
            oldest.cancel()
            log.warning("csms.too_many_late_calls", limit=_MAX_LATE_CALLS, meaning="the oldest is given up")
        self._late[task] = None
        task.add_done_callback(lambda finished: self._late.pop(finished, None))
        self._background.start_logged("late answer of the CSMS", work)


async def _call(own: OwnBackend, operation: Operation, message: Message) -> Acknowledgement:
    # All remote operations have this response (`oicp.operations`), and `Backend.call` has checked it.
    deadline = own.remote_timeout + READ_ON_SECONDS
    return cast("Acknowledgement", await own.backend.call(operation, message, deadline=deadline))
