"""Time, new ids and randomness, injected everywhere, so that tests decide them."""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the program knows of time."""

    def time(self) -> float:
        """Seconds since the epoch, UTC; for what is stored or written on the wire."""

    def monotonic(self) -> float:
        """Seconds of a clock that never jumps; for deadlines."""


class IdGenerator(Protocol):
    """Source of new identifiers."""

    def session_id(self) -> str:
        """Return a new SessionID: a UUID that cannot be guessed (OICP 2.3, SessionIDType)."""

    def process_id(self) -> str:
        """Return a new value of the ``Process-ID`` header."""

    def store_epoch(self) -> int:
        """Return the id of a new database: 48 bits, which stay exact in JSON numbers that are read as doubles."""


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's own clocks."""

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since an arbitrary start."""
        return time.monotonic()


@dataclass(frozen=True, slots=True)
class UuidGenerator:
    """UUIDs: in the order of time (version 7) where they become keys of the database, else random (version 4)."""

    def session_id(self) -> str:
        """Return a new SessionID."""
        return _uuid7()

    def process_id(self) -> str:
        """Return a new Process-ID."""
        return _uuid4()

    def store_epoch(self) -> int:
        """Return the id of a new database."""
        return int.from_bytes(os.urandom(6))


def jitter() -> float:
    """Return a random number in [0, 1), for backoff."""
    return random.random()  # noqa: S311 - no secret


def _uuid4() -> str:
    """Return a version 4 UUID (RFC 9562, 5.4) as text; half the cost of ``str(uuid.uuid4())``."""
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def _uuid7() -> str:
    """Return a version 7 UUID (RFC 9562, 5.7) as text: 48 bits of milliseconds, then 74 random ones.

    Sessions that begin together stand together in every node's database. Random keys touch a page of the index each:
    twice the time of storing a session, and 2.5 times the bytes (docs/performance.md).
    """
    digits = f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-7{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def format_timestamp(seconds: float) -> str:
    """Return ``seconds`` since the epoch as OICP writes times: ISO 8601 with offset (CPO-01, Time zones)."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
