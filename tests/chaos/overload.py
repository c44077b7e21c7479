"""Overload: a node responds or refuses in time, its memory stays bounded, and it recovers.

``python -m tests.chaos.overload --seconds 30 --factor 20`` has two parts. First a burst of statuses, from the own
backend at one node and from a peer at the other: no authorization is refused or late. Then the sustainable rate of
AuthorizeStart is measured, and 20 times as many are sent in an open loop, while statuses continue: an authorization may
be refused, but no response is late, and notifications are accepted. Exit code 1 if a limit is exceeded, or that load
could not be sent.
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

from tests.chaos.open_loop import OpenLoop, encode_request
from tests.chaos.testbed import Testbed, start_testbed
from tests.support import messages

AUTHORIZE_DEADLINE = 5.0
# The deadline of an authorization, and the time that it may have waited before it.
MAX_RESPONSE_SECONDS = 10.0
MAX_MEGABYTES = 700
_SUSTAINABLE_CLIENTS = 16
_UNBOUNDED = 1e9
_CONNECTIONS_PER_FACTOR = 40
# The part of the factor that has to be reached: rates vary.
_MIN_FACTOR_PART = 0.9
_MAX_SLOWDOWN = 3
_EXPECTED_STATUSES = {200, 429, 503}


@dataclass
class Load:
    """Responses by HTTP status, and the seconds that each took."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    without_retry_after: int = 0

    async def send(self, testbed: Testbed, path: str, body: bytes, url: str = "") -> None:
        start = time.monotonic()
        reply = await testbed.csms.send(path, body, url)
        self.note(reply.status, time.monotonic() - start, "\n".join(reply.headers).lower().encode())
        if reply.status in {429, 503}:
            await asyncio.sleep(0.05)  # an impatient client: retries 20 times a second, not after Retry-After

    def note(self, status: int, seconds: float, head: bytes) -> None:
        """Record a response; ``head`` is its headers in lower case."""
        self.seconds.append(seconds)
        self.statuses[status] += 1
        if status in {429, 503} and b"retry-after" not in head:
            self.without_retry_after += 1

    def __str__(self) -> str:
        if not self.seconds:
            return "nothing"
        p99 = statistics.quantiles(self.seconds, n=100)[98] if len(self.seconds) > 1 else self.seconds[0]
        times = f"p99 {p99 * 1000:.0f} ms, longest {max(self.seconds):.2f} s"
        return f"{len(self.seconds)} responses {dict(self.statuses)}, {times}"

    @property
    def rejected(self) -> int:
        """How many responses were not 200."""
        return sum(self.statuses.values()) - self.statuses[200]

    @property
    def late(self) -> int:
        """How many took longer than the deadline of an authorization."""
        return sum(seconds > AUTHORIZE_DEADLINE for seconds in self.seconds)


@dataclass
class StatusBurst:
    """Responses to statuses pushed in a closed loop, and to authorizations beside them, at backend API and peer API."""

    backend: Load = field(default_factory=Load)
    peer: Load = field(default_factory=Load)
    interactive: Load = field(default_factory=Load)
    interactive_peer: Load = field(default_factory=Load)

    @property
    def faults(self) -> list[str]:
        checks = {
            f"{load.rejected} authorizations rejected, {load.late} late, {name}": load.rejected or load.late
            for name, load in (("backend API", self.interactive), ("peer API", self.interactive_peer))
        }
        return [text for text, is_broken in checks.items() if is_broken]

    def __str__(self) -> str:
        lines = [
            f"burst, backend API  {self.backend}",
            f"  authorizations    {self.interactive}",
            f"burst, peer API     {self.peer}",
            f"  authorizations    {self.interactive_peer}",
        ]
        return "\n".join([*lines, *(f"BROKEN: {fault}" for fault in self.faults)])


@dataclass
class Outcome:
    """``sustainable``, ``due``, ``sent`` and ``afterwards`` are authorizations a second."""

    sustainable: float
    due: float
    sent: float
    overload: Load
    burst: Load
    interactive: Load
    notifications: Load
    afterwards: float
    peak_megabytes: float
    faults: list[str] = field(default_factory=list)

    def with_faults(self) -> Outcome:
        every = self.overload.statuses + self.burst.statuses + self.interactive.statuses + self.notifications.statuses
        unexpected = {status: count for status, count in every.items() if status not in _EXPECTED_STATUSES}
        checks = {
            f"responses other than 200, 429, 503: {unexpected}": not unexpected,
            f"{self.interactive.late} authorizations took over {AUTHORIZE_DEADLINE:g} s": not self.interactive.late,
            f"a response took {self.longest:.1f} s": self.longest < MAX_RESPONSE_SECONDS,
            f"{self.notifications.rejected} notifications were rejected": not self.notifications.rejected,
            "a refusal had no Retry-After": not self.overload.without_retry_after + self.burst.without_retry_after,
            f"{self.peak_megabytes:.0f} MB of memory": self.peak_megabytes < MAX_MEGABYTES,
            f"only {self.afterwards:.0f}/s afterwards, {self.sustainable:.0f}/s before": self.afterwards
            >= self.sustainable / _MAX_SLOWDOWN,
        }
        self.faults = [text for text, holds in checks.items() if not holds]
        return self

    def check_load(self, factor: int) -> None:
        """Add a fault if less was sent than planned."""
        if self.sent < _MIN_FACTOR_PART * factor * self.sustainable:
            self.faults.append(f"only {self.sent / self.sustainable:.1f} times the sustainable load could be sent")

    @property
    def longest(self) -> float:
        """The longest response time in seconds, without pushes, whose client times out after 15 s."""
        every = (self.overload, self.interactive, self.notifications)
        return max(seconds for load in every for seconds in load.seconds or [0.0])

    def __str__(self) -> str:
        lines = [
            f"sustainable   {self.sustainable:.0f} authorizations/s",
            f"due           {self.due:.0f}/s, {self.due / self.sustainable:.1f} times as many",
            f"sent          {self.sent:.0f}/s, {self.sent / self.sustainable:.1f} times; the rest waited",
            f"overload      {self.overload}",
            f"status burst  {self.burst}",
            f"slow client   {self.interactive}",
            f"notifications {self.notifications}",
            f"afterwards    {self.afterwards:.0f} authorizations/s",
            f"peak memory   {self.peak_megabytes:.0f} MB (the larger node)",
        ]
        return "\n".join([*lines, *(f"BROKEN: {fault}" for fault in self.faults)])


async def run_status_burst(testbed: Testbed, seconds: float, *, clients: int = 16) -> StatusBurst:
    """Push statuses at both nodes for a while, and send authorizations beside them."""
    burst, until = StatusBurst(), time.monotonic() + seconds
    pushes = [_push(2000, status) for status in ("Available", "Occupied")]

    async def push(load: Load, url: str) -> None:
        while time.monotonic() < until:
            for body in pushes:
                await load.send(testbed, messages.PUSH_STATUS, body, url)

    async def ask(load: Load, url: str) -> None:
        while time.monotonic() < until:
            await load.send(testbed, messages.START, _start(), url)
            await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as tasks:
        for url, load, interactive in (
            (testbed.a.backend_url, burst.backend, burst.interactive),
            (testbed.b.peer_url, burst.peer, burst.interactive_peer),
        ):
            tasks.create_task(ask(interactive, url))
            for _ in range(clients):
                tasks.create_task(push(load, url))
    return burst


async def run_overload(
    testbed: Testbed, seconds: float, *, factor: int, burst_clients: int = 16, recovery_timeout: float = 0.0
) -> Outcome:
    """Measure the sustainable rate, send ``factor`` times as much, and measure until the rate has recovered.

    ``recovery_timeout`` is in seconds.
    """
    sustainable = await rate(testbed, min(seconds / 4, 3.0))
    overload, burst, interactive, notifications = Load(), Load(), Load(), Load()
    began = json.dumps(messages.notification("Start", await testbed.authorize(testbed.csms.evses[0]))).encode()
    until = time.monotonic() + seconds
    push = _push(2000, "Available")
    open_loop = OpenLoop(encode_request(messages.START, _start()), overload.note)
    testbed.peak_megabytes = 0.0

    async def watch() -> None:
        while time.monotonic() < until:
            testbed.record_memory()
            await asyncio.sleep(0.2)

    async def send_now_and_then(load: Load, path: str, body: bytes | None) -> None:
        while time.monotonic() < until:
            await load.send(testbed, path, body or _start())
            await asyncio.sleep(0.2)

    async def keep_sending(load: Load, path: str, body: bytes | None) -> None:
        while time.monotonic() < until:
            await load.send(testbed, path, body or _start())

    async with asyncio.TaskGroup() as clients:
        clients.create_task(watch())
        clients.create_task(send_now_and_then(interactive, messages.START, None))
        clients.create_task(send_now_and_then(notifications, messages.NOTIFY, began))
        for _ in range(burst_clients):
            clients.create_task(keep_sending(burst, messages.PUSH_STATUS, push))
        many = open_loop.run_overload(
            testbed.a.ports.backend,
            rate=factor * sustainable,
            seconds=seconds,
            connections=factor * _CONNECTIONS_PER_FACTOR,
        )
        clients.create_task(many)
    await asyncio.sleep(1.0)
    afterwards = await _wait_for_recovery(testbed, min(seconds / 4, 3.0), sustainable / _MAX_SLOWDOWN, recovery_timeout)
    due, sent = open_loop.due / seconds, open_loop.sent / seconds
    return Outcome(
        sustainable, due, sent, overload, burst, interactive, notifications, afterwards, testbed.peak_megabytes
    ).with_faults()


async def rate(testbed: Testbed, seconds: float) -> float:
    """Return the authorizations a second of a few clients in a closed loop."""
    load = Load()
    open_loop = OpenLoop(encode_request(messages.START, _start()), load.note)
    await open_loop.run_overload(
        testbed.a.ports.backend, rate=_UNBOUNDED, seconds=seconds, connections=_SUSTAINABLE_CLIENTS
    )
    return load.statuses[200] / seconds


async def _wait_for_recovery(testbed: Testbed, seconds: float, min_rate: float, recovery_timeout: float) -> float:
    """Measure the rate until it is at least ``min_rate``, or ``recovery_timeout`` is over; return the last one."""
    until = time.monotonic() + recovery_timeout
    while True:
        now = await rate(testbed, seconds)
        if now >= min_rate or time.monotonic() > until:
            return now


def _start() -> bytes:
    return json.dumps(messages.authorize_start()).encode()


def _push(count: int, status: str) -> bytes:
    records = [{"EvseID": f"{messages.A_CPO}*EX{n:06}", "EvseStatus": status} for n in range(count)]
    group = {"OperatorID": messages.A_CPO, "OperatorName": "GEF", "EvseStatusRecord": records}
    return json.dumps({"ActionType": "fullLoad", "OperatorEvseStatus": group}).encode()


async def run(seconds: float, factor: int) -> int:
    with tempfile.TemporaryDirectory(prefix="p2p-oicp-overload-") as folder:
        async with start_testbed(Path(folder) / "burst") as testbed:
            burst = await run_status_burst(testbed, seconds)
            print(burst, flush=True)
        # With all credentials required a request costs most, so that one machine can send 20 times what it can serve.
        async with start_testbed(Path(folder) / "overload", secure="mixed") as testbed:
            outcome = await run_overload(testbed, seconds, factor=factor)
    outcome.check_load(factor)
    print(outcome)
    return 1 if outcome.faults or burst.faults else 0


def main() -> None:
    parser = argparse.ArgumentParser(description="Overload: nodes must respond in time and recover.")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--factor", type=int, default=20)
    options = parser.parse_args()
    try:
        sys.exit(asyncio.run(run(options.seconds, options.factor)))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
