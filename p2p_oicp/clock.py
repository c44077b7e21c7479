"""Time, new ids and randomness, injected everywhere so that a test decides them.

Nothing else of the node reads a clock. Key material, nonces and salts come from the system's randomness instead.
"""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

from uuid_utils import uuid4, uuid7


class Clock(Protocol):
    """The time."""

    def time(self) -> float:
        """Return seconds since the epoch (UTC): for what is stored or written on the wire."""

    def monotonic(self) -> float:
        """Return the seconds of a clock that never jumps: for deadlines and intervals."""


class IdGenerator(Protocol):
    """Makes new identifiers."""

    def session_id(self) -> str:
        """Return a new SessionID, a UUID that cannot be guessed (OICP 2.3, SessionIDType)."""

    def process_id(self) -> str:
        """Return a new value of the ``Process-ID`` header."""

    def store_epoch(self) -> int:
        """Return the id of a new database: 48 bits, which stay exact in JSON numbers that are read as doubles."""


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's own clocks."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


@dataclass(frozen=True, slots=True)
class UuidGenerator:
    """UUIDs (RFC 9562): version 7, in the order of time, where they become keys of the database; else version 4."""

    def session_id(self) -> str:
        # Version 7 because sessions that begin together then stand together in every node's database. Random keys touch
        # a page of the index each: twice the time of storing a session, and 2.5 times the bytes (docs/performance.md).
        # With the time as an argument, all other 74 bits are random. Without it, the ids of one millisecond are counted
        # up, and the next one could be guessed.
        return str(uuid7(nanoseconds=time.time_ns()))

    def process_id(self) -> str:
        return str(uuid4())

    def store_epoch(self) -> int:
        return int.from_bytes(os.urandom(6))


def random_hex(size: int) -> str:
    """Return ``size`` random bytes as hexadecimal digits: the ids of traces."""
    return os.urandom(size).hex()


def jitter() -> float:
    """Return a random number in [0, 1), for backoff."""
    return random.random()  # noqa: S311 - no secret


# Each page of a pull writes the times of a few pushes again.
@lru_cache(maxsize=256)
def format_timestamp(seconds: float) -> str:
    """Return ``seconds`` since the epoch as OICP writes times: ISO 8601 with offset (CPO-01, Time zones)."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
