"""Far more than a node can bear, for a while: it answers, or refuses soon, stays small, and is well afterwards.

``python -m tests.faults.overload --seconds 30 --factor 20``: first the sustainable rate of AuthorizeStart is measured,
then clients press far beyond it as hard as they can, while a storm of status pushes runs and one calm client asks for
authorizations. Exit code 1 if a bound is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.world import World, world
from tests.node import messages

AUTHORIZE_DEADLINE = 5.0
MOST_MEGABYTES = 700
_CLIENTS_THAT_SUSTAIN = 8
_CLIENTS_A_FACTOR = 40
_BEARABLE = {200, 429, 503}


@dataclass
class Load:
    """What was answered: by HTTP status, and the seconds each answer took."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    without_retry_after: int = 0

    async def send(self, on: World, path: str, body: bytes) -> None:
        start = time.monotonic()
        answer = await on.csms.ask(path, body)
        self.seconds.append(time.monotonic() - start)
        self.statuses[answer.status] += 1
        if answer.status in {429, 503} and "Retry-After" not in answer.headers:
            self.without_retry_after += 1
        if answer.status in {429, 503}:
            await asyncio.sleep(0.05)  # the impatient: 20 times a second, not the second that was asked for

    def __str__(self) -> str:
        if not self.seconds:
            return "nothing"
        p99 = statistics.quantiles(self.seconds, n=100)[98] if len(self.seconds) > 1 else self.seconds[0]
        times = f"p99 {p99 * 1000:.0f} ms, longest {max(self.seconds):.2f} s"
        return f"{len(self.seconds)} answers {dict(self.statuses)}, {times}"


@dataclass
class Outcome:
    sustainable: float
    pressing: Load
    storm: Load
    calm: Load
    afterwards: float
    megabytes: float
    faults: list[str] = field(default_factory=list)

    def judged(self) -> Outcome:
        every = self.pressing.statuses + self.storm.statuses + self.calm.statuses
        strange = {status: count for status, count in every.items() if status not in _BEARABLE}
        late = sum(seconds > AUTHORIZE_DEADLINE for seconds in self.calm.seconds)
        checks = {
            f"answers other than 200, 429, 503: {strange}": not strange,
            f"{late} calm authorizations were later than {AUTHORIZE_DEADLINE:g} s": not late,
            "a refusal came without Retry-After": not self.pressing.without_retry_after
            + self.storm.without_retry_after,
            f"{self.megabytes:.0f} MB of memory": self.megabytes < MOST_MEGABYTES,
            f"only {self.afterwards:.0f}/s afterwards, {self.sustainable:.0f}/s before": self.afterwards
            > self.sustainable / 3,
        }
        self.faults = [text for text, holds in checks.items() if not holds]
        return self

    def __str__(self) -> str:
        lines = [
            f"sustainable   {self.sustainable:.0f} authorizations/s",
            f"pressing      {self.pressing}",
            f"status storm  {self.storm}",
            f"calm client   {self.calm}",
            f"afterwards    {self.afterwards:.0f} authorizations/s",
            f"peak memory   {self.megabytes:.0f} MB (the larger node)",
        ]
        return "\n".join([*lines, *(f"BROKEN: {fault}" for fault in self.faults)])


async def press(on: World, seconds: float, *, factor: int, storm_clients: int = 16) -> Outcome:
    """Measure, press, and measure again."""
    sustainable = await rate(on, min(seconds / 4, 3.0))
    pressing, storm, calm = Load(), Load(), Load()
    until = time.monotonic() + seconds
    push = _push(on, 2000)
    on.megabytes = 0.0

    async def watch() -> None:
        while time.monotonic() < until:
            on.measure()
            await asyncio.sleep(0.2)

    async def be_calm() -> None:
        while time.monotonic() < until:
            await calm.send(on, messages.START, _start())
            await asyncio.sleep(0.2)

    async def keep_sending(load: Load, path: str, body: bytes | None) -> None:
        while time.monotonic() < until:
            await load.send(on, path, body or _start())

    async with asyncio.TaskGroup() as clients:
        clients.create_task(watch())
        clients.create_task(be_calm())
        for _ in range(storm_clients):
            clients.create_task(keep_sending(storm, messages.PUSH_STATUS, push))
        for _ in range(factor * _CLIENTS_A_FACTOR):
            clients.create_task(keep_sending(pressing, messages.START, None))
    await asyncio.sleep(1.0)
    afterwards = await rate(on, min(seconds / 4, 3.0))
    return Outcome(sustainable, pressing, storm, calm, afterwards, on.megabytes).judged()


async def rate(on: World, seconds: float) -> float:
    """Return how many authorizations a second a few clients get who wait for each answer."""
    load, until = Load(), time.monotonic() + seconds

    async def client() -> None:
        while time.monotonic() < until:
            await load.send(on, messages.START, _start())

    await asyncio.gather(*(client() for _ in range(_CLIENTS_THAT_SUSTAIN)))
    return load.statuses[200] / seconds


def _start() -> bytes:
    return json.dumps(messages.authorize_start()).encode()


def _push(on: World, count: int) -> bytes:
    records = [{"EvseID": f"{messages.A_CPO}*EX{n:06}", "EvseStatus": "Available"} for n in range(count)]
    del on
    group = {"OperatorID": messages.A_CPO, "OperatorName": "GEF", "EvseStatusRecord": records}
    return json.dumps({"ActionType": "fullLoad", "OperatorEvseStatus": group}).encode()


async def run(seconds: float, factor: int) -> int:
    with tempfile.TemporaryDirectory(prefix="p2p-oicp-overload-") as folder:
        async with world(Path(folder)) as on:
            outcome = await press(on, seconds, factor=factor)
    print(outcome)
    return 1 if outcome.faults else 0


def main() -> None:
    parser = argparse.ArgumentParser(description="Far more than a node can bear; it must stay answerable.")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--factor", type=int, default=20)
    given = parser.parse_args()
    sys.exit(asyncio.run(run(given.seconds, given.factor)))


if __name__ == "__main__":
    main()
