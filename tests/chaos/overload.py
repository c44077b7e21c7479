"""Far more than a node can bear, for a while: it answers, or refuses soon, stays small, and is well afterwards.

``python -m tests.chaos.overload --seconds 30 --factor 20``, in two parts. A storm of statuses, from the own backend at
one node and from a peer at the other: no authorization is refused or late. Then the sustainable rate of AuthorizeStart
is measured, and 20 times as many are sent, whatever becomes of those before, while statuses go on: an authorization may
be refused like all the others, from the same backend, but nothing is late, and what its backend tells of sessions is
taken. Exit code 1 if a bound is broken, or so much could not be sent.
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

from tests.chaos.flood import Flood, as_bytes
from tests.chaos.testbed import World, world
from tests.support import messages

AUTHORIZE_DEADLINE = 5.0
# The deadline of an authorization, and some for what waited before it.
LONGEST_ANSWER = 10.0
MOST_MEGABYTES = 700
_CLIENTS_THAT_SUSTAIN = 16
_UNBOUNDED = 1e9
_CONNECTIONS_A_FACTOR = 40
# What may be missing to the factor: the rates are measured.
_NEARLY = 0.9
_RECOVERED_PART = 3
_BEARABLE = {200, 429, 503}


@dataclass
class Load:
    """What was answered: by HTTP status, and the seconds each answer took."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    without_retry_after: int = 0

    async def send(self, on: World, path: str, body: bytes, url: str = "") -> None:
        start = time.monotonic()
        answer = await on.csms.ask(path, body, url)
        self.note(answer.status, time.monotonic() - start, "\n".join(answer.headers).lower().encode())
        if answer.status in {429, 503}:
            await asyncio.sleep(0.05)  # the impatient: 20 times a second, not the second that was asked for

    def note(self, status: int, seconds: float, head: bytes) -> None:
        """Take down an answer; ``head`` is its headers in lower case."""
        self.seconds.append(seconds)
        self.statuses[status] += 1
        if status in {429, 503} and b"retry-after" not in head:
            self.without_retry_after += 1

    def __str__(self) -> str:
        if not self.seconds:
            return "nothing"
        p99 = statistics.quantiles(self.seconds, n=100)[98] if len(self.seconds) > 1 else self.seconds[0]
        times = f"p99 {p99 * 1000:.0f} ms, longest {max(self.seconds):.2f} s"
        return f"{len(self.seconds)} answers {dict(self.statuses)}, {times}"

    @property
    def turned_away(self) -> int:
        """How many were not answered with 200."""
        return sum(self.statuses.values()) - self.statuses[200]

    @property
    def late(self) -> int:
        """How many were answered later than an authorization may be."""
        return sum(seconds > AUTHORIZE_DEADLINE for seconds in self.seconds)


@dataclass
class Storm:
    """Statuses pushed as fast as they are taken, and authorizations meanwhile, at the backend API and the peer API."""

    backend: Load = field(default_factory=Load)
    peer: Load = field(default_factory=Load)
    calm: Load = field(default_factory=Load)
    calm_peer: Load = field(default_factory=Load)

    @property
    def faults(self) -> list[str]:
        checks = {
            f"{load.turned_away} authorizations turned away, {load.late} late, {name}": load.turned_away or load.late
            for name, load in (("backend API", self.calm), ("peer API", self.calm_peer))
        }
        return [text for text, is_broken in checks.items() if is_broken]

    def __str__(self) -> str:
        lines = [
            f"storm, backend API  {self.backend}",
            f"  authorizations    {self.calm}",
            f"storm, peer API     {self.peer}",
            f"  authorizations    {self.calm_peer}",
        ]
        return "\n".join([*lines, *(f"BROKEN: {fault}" for fault in self.faults)])


@dataclass
class Outcome:
    """``sustainable``, ``due``, ``sent`` and ``afterwards`` are authorizations a second."""

    sustainable: float
    due: float
    sent: float
    pressing: Load
    storm: Load
    calm: Load
    telling: Load
    afterwards: float
    megabytes: float
    faults: list[str] = field(default_factory=list)

    def judged(self) -> Outcome:
        every = self.pressing.statuses + self.storm.statuses + self.calm.statuses + self.telling.statuses
        strange = {status: count for status, count in every.items() if status not in _BEARABLE}
        checks = {
            f"answers other than 200, 429, 503: {strange}": not strange,
            f"{self.calm.late} calm authorizations were later than {AUTHORIZE_DEADLINE:g} s": not self.calm.late,
            f"an answer took {self.longest:.1f} s": self.longest < LONGEST_ANSWER,
            f"{self.telling.turned_away} notifications were turned away": not self.telling.turned_away,
            "a refusal came without Retry-After": not self.pressing.without_retry_after
            + self.storm.without_retry_after,
            f"{self.megabytes:.0f} MB of memory": self.megabytes < MOST_MEGABYTES,
            f"only {self.afterwards:.0f}/s afterwards, {self.sustainable:.0f}/s before": self.afterwards
            >= self.sustainable / _RECOVERED_PART,
        }
        self.faults = [text for text, holds in checks.items() if not holds]
        return self

    def check_load(self, factor: int) -> None:
        """Add a fault where less was sent than was to be."""
        if self.sent < _NEARLY * factor * self.sustainable:
            self.faults.append(f"only {self.sent / self.sustainable:.1f} times the sustainable load could be sent")

    @property
    def longest(self) -> float:
        """The seconds that the longest answer took, but for the pushes, whose client gives up after 15 s."""
        every = (self.pressing, self.calm, self.telling)
        return max(seconds for load in every for seconds in load.seconds or [0.0])

    def __str__(self) -> str:
        lines = [
            f"sustainable   {self.sustainable:.0f} authorizations/s",
            f"due           {self.due:.0f}/s, {self.due / self.sustainable:.1f} times as many",
            f"sent          {self.sent:.0f}/s, {self.sent / self.sustainable:.1f} times; the others waited to be sent",
            f"pressing      {self.pressing}",
            f"status storm  {self.storm}",
            f"calm client   {self.calm}",
            f"notifications {self.telling}",
            f"afterwards    {self.afterwards:.0f} authorizations/s",
            f"peak memory   {self.megabytes:.0f} MB (the larger node)",
        ]
        return "\n".join([*lines, *(f"BROKEN: {fault}" for fault in self.faults)])


async def weather(on: World, seconds: float, *, clients: int = 16) -> Storm:
    """Push statuses from both sides for a while, and ask for authorizations meanwhile."""
    storm, until = Storm(), time.monotonic() + seconds
    pushes = [_push(2000, status) for status in ("Available", "Occupied")]

    async def push(load: Load, url: str) -> None:
        while time.monotonic() < until:
            for body in pushes:
                await load.send(on, messages.PUSH_STATUS, body, url)

    async def ask(load: Load, url: str) -> None:
        while time.monotonic() < until:
            await load.send(on, messages.START, _start(), url)
            await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as tasks:
        for url, load, calm in (
            (on.a.backend_url, storm.backend, storm.calm),
            (on.b.peer_url, storm.peer, storm.calm_peer),
        ):
            tasks.create_task(ask(calm, url))
            for _ in range(clients):
                tasks.create_task(push(load, url))
    return storm


async def press(on: World, seconds: float, *, factor: int, storm_clients: int = 16, patience: float = 0.0) -> Outcome:
    """Measure, press, and measure again, for so many seconds of ``patience`` until the rate is as it should be."""
    sustainable = await rate(on, min(seconds / 4, 3.0))
    pressing, storm, calm, telling = Load(), Load(), Load(), Load()
    began = json.dumps(messages.notification("Start", await on.authorize(on.csms.evses[0]))).encode()
    until = time.monotonic() + seconds
    push = _push(2000, "Available")
    flood = Flood(as_bytes(messages.START, _start()), pressing.note)
    on.megabytes = 0.0

    async def watch() -> None:
        while time.monotonic() < until:
            on.measure()
            await asyncio.sleep(0.2)

    async def be_calm(load: Load, path: str, body: bytes | None) -> None:
        while time.monotonic() < until:
            await load.send(on, path, body or _start())
            await asyncio.sleep(0.2)

    async def keep_sending(load: Load, path: str, body: bytes | None) -> None:
        while time.monotonic() < until:
            await load.send(on, path, body or _start())

    async with asyncio.TaskGroup() as clients:
        clients.create_task(watch())
        clients.create_task(be_calm(calm, messages.START, None))
        clients.create_task(be_calm(telling, messages.NOTIFY, began))
        for _ in range(storm_clients):
            clients.create_task(keep_sending(storm, messages.PUSH_STATUS, push))
        many = flood.press(
            on.a.ports.backend, rate=factor * sustainable, seconds=seconds, connections=factor * _CONNECTIONS_A_FACTOR
        )
        clients.create_task(many)
    await asyncio.sleep(1.0)
    afterwards = await _recovered(on, min(seconds / 4, 3.0), sustainable / _RECOVERED_PART, patience)
    due, sent = flood.due / seconds, flood.sent / seconds
    return Outcome(sustainable, due, sent, pressing, storm, calm, telling, afterwards, on.megabytes).judged()


async def rate(on: World, seconds: float) -> float:
    """Return how many authorizations a second a few clients get who wait for each answer."""
    load = Load()
    flood = Flood(as_bytes(messages.START, _start()), load.note)
    await flood.press(on.a.ports.backend, rate=_UNBOUNDED, seconds=seconds, connections=_CLIENTS_THAT_SUSTAIN)
    return load.statuses[200] / seconds


async def _recovered(on: World, seconds: float, least: float, patience: float) -> float:
    """Measure the rate again and again until it is ``least``, or there is no more patience; return the last one."""
    until = time.monotonic() + patience
    while True:
        now = await rate(on, seconds)
        if now >= least or time.monotonic() > until:
            return now


def _start() -> bytes:
    return json.dumps(messages.authorize_start()).encode()


def _push(count: int, status: str) -> bytes:
    records = [{"EvseID": f"{messages.A_CPO}*EX{n:06}", "EvseStatus": status} for n in range(count)]
    group = {"OperatorID": messages.A_CPO, "OperatorName": "GEF", "EvseStatusRecord": records}
    return json.dumps({"ActionType": "fullLoad", "OperatorEvseStatus": group}).encode()


async def run(seconds: float, factor: int) -> int:
    with tempfile.TemporaryDirectory(prefix="p2p-oicp-overload-") as folder:
        async with world(Path(folder) / "storm") as on:
            storm = await weather(on, seconds)
            print(storm, flush=True)
        # Between nodes that prove most, so that one machine can ask 20 times what it can bear.
        async with world(Path(folder) / "pressing", secure="mixed") as on:
            outcome = await press(on, seconds, factor=factor)
    outcome.check_load(factor)
    print(outcome)
    return 1 if outcome.faults or storm.faults else 0


def main() -> None:
    parser = argparse.ArgumentParser(description="Far more than a node can bear; it must stay answerable.")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--factor", type=int, default=20)
    given = parser.parse_args()
    sys.exit(asyncio.run(run(given.seconds, given.factor)))


if __name__ == "__main__":
    main()
