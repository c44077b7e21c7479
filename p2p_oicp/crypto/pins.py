"""PINs of drivers: hashes by bcrypt (EMP-02, PIN security), and what slows down who guesses them.

bcrypt is slow on purpose (some 50 ms at cost 10), and a PIN of four digits has 10,000 values. So

- wrong PINs are counted for each EvcoID at each caller, and for each caller over all EvcoIDs. After a few, further ones
  are refused without being looked at, for twice as long each time. A driver whose PIN is guessed at one peer's stations
  charges at the others';
- bcrypt runs in a lane of its own, a few threads wide, in which callers take turns: whoever sends many PINs, right or
  wrong, waits for its own.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import ParamSpec, Protocol, Self, TypeVar

import bcrypt
import structlog

from p2p_oicp.clock import Clock
from p2p_oicp.concurrency import offload
from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import Identification, StatusCodeValue

log = structlog.get_logger(__name__)

ParametersT = ParamSpec("ParametersT")
ResultT = TypeVar("ResultT")

# bcrypt's limit. A PIN has at most 20 characters, which may be 80 bytes in UTF-8.
_MAX_BCRYPT_BYTES = 72
# One more core than this is left for everything else on the smallest machines.
_LANE_THREADS = 2
_MAX_WAITING_PER_CALLER = 32
# The oldest counts are forgotten first; a caller may be wrong about this many EvcoIDs only slowly.
_MAX_COUNTERS = 10_000


def hash_pin(pin: str, rounds: int = 12) -> bytes:
    """Return the bcrypt hash of a PIN; ``rounds`` is the logarithm of the cost. Slow: to be called in a thread."""
    return bcrypt.hashpw(_encode_pin(pin), bcrypt.gensalt(rounds))


def pin_matches(pin: str, pin_hash: bytes) -> bool:
    """Return whether a PIN has this hash; false for a hash that is not bcrypt's. Slow: to be called in a thread."""
    try:
        return bcrypt.checkpw(_encode_pin(pin), pin_hash)
    except ValueError:
        return False


def _encode_pin(pin: str) -> bytes:
    return pin.encode()[:_MAX_BCRYPT_BYTES]


@dataclass(frozen=True, slots=True)
class _Limit:
    """How many wrong PINs are free; the first and the longest delay after them; when half of them are forgotten (s)."""

    free: int
    first_delay: float
    longest_delay: float
    half_life: float


_PER_EVCO_ID = _Limit(free=3, first_delay=10.0, longest_delay=3600.0, half_life=7 * 86400.0)
# Many drivers mistype at the stations of a large CPO: seven a minute, for ever, stay below it.
_PER_CALLER = _Limit(free=100, first_delay=1.0, longest_delay=60.0, half_life=600.0)


@dataclass(slots=True)
class _Counter:
    """The wrong PINs of one EvcoID at one caller, or of a caller; what is being looked at might be wrong, too."""

    limit: _Limit
    wrong: float = 0.0
    counted_at: float = 0.0
    refused_until: float = 0.0
    pending: int = 0

    def begin(self) -> None:
        self.pending += 1

    def end(self) -> None:
        self.pending -= 1

    def forgive(self) -> None:
        self.wrong = 0.0

    def remembered(self, now: float) -> float:
        return self.wrong * math.exp2((self.counted_at - now) / self.limit.half_life)

    def seconds_to_wait(self, now: float) -> float:
        if now < self.refused_until:
            return self.refused_until - now
        return self.limit.first_delay if self.pending >= max(1, self.limit.free - round(self.remembered(now))) else 0.0

    def add_wrong(self, now: float) -> float:
        """Count a wrong PIN; return for how many seconds others are refused now."""
        self.wrong, self.counted_at = self.remembered(now) + 1, now
        excess = round(self.wrong) - self.limit.free
        if excess < 0:
            return 0.0
        delay = min(self.limit.longest_delay, self.limit.first_delay * math.exp2(min(excess, 60)))
        self.refused_until = now + delay
        return delay


class PinAttempt(Protocol):
    """One PIN that is being looked at; a context manager."""

    def conclude(self, *, is_wrong: bool) -> None:
        """Say how it was; not called where that was not decided."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class _NoPin:
    """The attempt of an identification without a PIN, which is most of them."""

    __slots__ = ()

    def conclude(self, *, is_wrong: bool) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


class _CountedAttempt:
    def __init__(self, guard: PinGuard, evco_id: str, caller: str, counters: tuple[_Counter, ...]) -> None:
        self._is_wrong: bool | None = None
        self._guard = guard
        self._names = (evco_id, caller)
        self._counters = counters

    def __enter__(self) -> Self:
        for counter in self._counters:
            counter.begin()
        return self

    def conclude(self, *, is_wrong: bool) -> None:
        self._is_wrong = is_wrong

    def __exit__(self, *_: object) -> None:
        for counter in self._counters:
            counter.end()
        if self._is_wrong:
            self._guard.count_wrong(*self._names, self._counters)
        elif self._is_wrong is not None:
            self._counters[0].forgive()  # the driver's own; what others of this caller got wrong still counts


@dataclass(slots=True)
class _Turn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


def _ignore(_outcome: str, _caller: str) -> None:
    pass


class PinGuard:
    """Counts and slows down wrong PINs, and runs bcrypt in its lane; one for a node.

    Args:
        clock: what delays are counted by.
        observe: called with "wrong" or "refused" and the caller, for metrics.
    """

    def __init__(self, clock: Clock, observe: Callable[[str, str], None] = _ignore) -> None:
        self._clock = clock
        self._observe = observe
        self._counters: dict[tuple[str, ...], _Counter] = {}
        self._slots = asyncio.Semaphore(_LANE_THREADS)
        self._turns: dict[str, _Turn] = {}

    def __repr__(self) -> str:
        return f"<PinGuard counters={len(self._counters)}>"

    def attempt(self, identification: Identification, caller: str, caller_name: str = "") -> PinAttempt:
        """Return the context in which the PIN of an identification is looked at; does nothing for one without.

        Args:
            identification: of the request.
            caller: whose wrong PINs count together: a peer's id; empty for our own backend, over all EvcoIDs unlimited.
            caller_name: for the log and metrics.

        Raises:
            Refusal: 101, for there were too many wrong ones.
        """
        code = identification.qr_code
        if code is None:
            return _NoPin()
        evco_id = code.evco_id.key
        counters = self._counters_of((evco_id, caller), _PER_EVCO_ID)
        if caller:
            counters += self._counters_of((caller,), _PER_CALLER)
        now = self._clock.monotonic()
        if delay := max(counter.seconds_to_wait(now) for counter in counters):
            self._observe("refused", caller_name)
            info = f"too many wrong PINs; try again in {max(1, round(delay))} s"
            raise Refusal(StatusCodeValue.QR_CODE_INVALID, info)
        return _CountedAttempt(self, evco_id, caller_name, counters)

    def count_wrong(self, evco_id: str, caller_name: str, counters: tuple[_Counter, ...]) -> None:
        """Count a wrong PIN, and report it where it delays others."""
        now = self._clock.monotonic()
        self._observe("wrong", caller_name)
        delays = [counter.add_wrong(now) for counter in counters]
        if any(delays):
            log.warning(
                "pin.guessing",
                peer=caller_name or None,
                evco_id=f"{evco_id[:6]}…{evco_id[-2:]}",
                wrong_pins=[round(counter.wrong) for counter in counters],
                refused_for_seconds=max(delays),
            )

    async def run(
        self,
        caller: str,
        function: Callable[ParametersT, ResultT],
        /,
        *args: ParametersT.args,
        **kwargs: ParametersT.kwargs,
    ) -> ResultT:
        """Run a function that calls bcrypt, in a thread, when it is the caller's turn.

        Raises:
            Refusal: 021, for too many of this caller's wait.
        """
        turn = self._turns.setdefault(caller, _Turn())
        if turn.waiting >= _MAX_WAITING_PER_CALLER:
            raise Refusal(StatusCodeValue.SYSTEM_ERROR, "too many PINs wait to be looked at; try again in a moment")
        turn.waiting += 1
        try:
            # Order: one at a time for each caller, so that none has more than one place in the queue of all.
            async with turn.lock, self._slots:
                return await offload(function, *args, **kwargs)
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                self._turns.pop(caller, None)

    def _counters_of(self, key: tuple[str, ...], limit: _Limit) -> tuple[_Counter, ...]:
        counter = self._counters.pop(key, None) or _Counter(limit)
        if len(self._counters) >= _MAX_COUNTERS:
            del self._counters[next(iter(self._counters))]
        self._counters[key] = counter  # at the end: the first is the one that was not used for longest
        return (counter,)
