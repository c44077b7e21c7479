"""Time as a story tells it: charging takes half an hour there, and no time here."""

from __future__ import annotations

import time
from datetime import datetime, tzinfo


class StoryClock:
    """A Clock whose wall time moves only by ``advance``; its monotonic time is the machine's."""

    def __init__(self, start: datetime) -> None:
        self._time = start.timestamp()
        self._zone: tzinfo | None = start.tzinfo

    def time(self) -> float:
        """Seconds since the epoch, in the story."""
        return self._time

    def monotonic(self) -> float:
        """Seconds since an arbitrary start, real."""
        return time.monotonic()

    def now(self) -> datetime:
        """Return the story's time, aware, in the time zone it was started in."""
        return datetime.fromtimestamp(self._time, self._zone)

    def advance(self, seconds: float) -> None:
        """Let time pass in the story."""
        self._time += seconds
