"""What every bar gets: how long to measure, how often, and where its files may be."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

#: No server of ours is faster, so a load of this many requests a second is never used up.
MOST_A_SECOND = 25_000


@dataclass(frozen=True)
class Bench:
    """One run of the benchmark."""

    directory: Path
    quick: bool
    rounds: int
    seconds: float
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def numbers(self, seconds: float) -> Iterator[int]:
        """Return numbers for the requests of one load, never the same twice in a run."""
        return itertools.islice(self._numbers, int(MOST_A_SECOND * seconds))
