"""One run of the benchmark: how long each bar measures, how often, and where its files are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench import messages
from bench.load import Load
from bench.nodes import MAX_REQUESTS_PER_SECOND


@dataclass(frozen=True)
class Bench:
    """One run of the benchmark.

    Args:
        directory: for configurations, databases and requests; its disk is the one that is measured.
        quick: smaller tables, shorter loads.
        rounds: how many turns a figure is the median of.
        seconds: how long one load lasts.
    """

    directory: Path
    quick: bool
    rounds: int
    seconds: float
    _number_source: Iterator[int] = field(default_factory=itertools.count)

    @property
    def steady_seconds(self) -> float:
        """How long a load at a fixed rate lasts: it sends so few requests that its p99 needs the time."""
        return self.seconds if self.quick else 2 * self.seconds

    def numbers(self, count: float) -> Iterator[int]:
        """Return ``count`` numbers of requests; no number is returned twice in a run."""
        return itertools.islice(self._number_source, int(count))

    def authorize_starts(
        self,
        seconds: float,
        *,
        connections: int = 32,
        rate: float | None = None,
        with_session_id: bool = True,
        tls: bool = False,
    ) -> Load:
        """Return a load of different AuthorizeStarts; those with a SessionID are as a CPO's node sends them."""
        numbers = self.numbers(seconds * (rate or MAX_REQUESTS_PER_SECOND))
        load = Load(file=self.directory / "starts", seconds=seconds, connections=connections, rate=rate, tls=tls)
        return load.with_requests(messages.authorize_starts(numbers, with_session_id=with_session_id))

    def echoes(self) -> Load:
        """Return the load of REF."""
        load = Load(file=self.directory / "echo", seconds=self.seconds, repeatable=True)
        return load.with_requests([messages.echo_request()])
