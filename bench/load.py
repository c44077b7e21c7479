"""A load on a server, from another process, and its result."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import orjson

from bench import messages
from bench.processes import ROOT, BenchmarkError, Server

_LUA = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True, slots=True)
class Result:
    """Latencies in ms, CPU of the server in µs a request (0 if not measured).

    ``began`` is in seconds since the epoch; only our own generator reports it.
    """

    requests: int
    seconds: float
    p50: float
    p99: float
    longest: float
    cpu: float = 0.0
    began: float = 0.0

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Requests in a file, and how they are sent.

    Args:
        file: where the requests are written, for the generator to read.
        seconds: how long they are sent.
        connections: how many requests are in flight at once.
        rate: requests a second; None sends the next one as soon as one is answered. Needs our own generator.
        repeatable: requests may be sent again when the file is used up.
        own_generator: not wrk, which sends no few large requests.
        expect: a text that every response contains (checked by our own generator only).
    """

    file: Path
    seconds: float
    connections: int = 32
    rate: float | None = None
    tls: bool = False
    repeatable: bool = False
    own_generator: bool = False
    expect: str = ""
    count: int = 0

    def with_requests(self, requests: Iterable[bytes]) -> Load:
        """Write the requests into the file."""
        return replace(self, count=messages.write_requests(self.file, requests))

    def start(self, port: int) -> subprocess.Popen[bytes]:
        """Start the generator: wrk if it is installed and able to, else our own."""
        wrk = shutil.which("wrk")
        command = (
            self._wrk_command(wrk, port)
            if wrk and self.rate is None and not self.own_generator
            else self._own_generator_command(port)
        )
        return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)

    def _wrk_command(self, wrk: str, port: int) -> list[str]:
        url = f"{'https' if self.tls else 'http'}://127.0.0.1:{port}/"
        options = ["-t1", f"-c{self.connections}", f"-d{round(self.seconds)}s", "--timeout", "10s", "-s", str(_LUA)]
        return [wrk, *options, url, "--", str(self.file)]

    def _own_generator_command(self, port: int) -> list[str]:
        options = ["--port", str(port), "--file", str(self.file), "--connections", str(self.connections)]
        options += ["--seconds", str(self.seconds), *(["--rate", str(self.rate)] if self.rate else [])]
        options += ["--expect", self.expect]
        options += [*(["--tls"] if self.tls else []), *(["--repeat"] if self.repeatable else [])]
        return [sys.executable, "-m", "bench.generator", *options]

    def finish(self, generator: subprocess.Popen[bytes]) -> Result:
        """Wait for the generator; raise BenchmarkError if a response was not HTTP 200."""
        out, _ = generator.communicate()
        if generator.returncode != 0:
            raise BenchmarkError(f"the load generator ended with {generator.returncode}: {out.decode()}")
        report = orjson.loads(out.splitlines()[-1])
        unexpected = report.pop("unexpected", "")
        if report.pop("failed"):
            raise BenchmarkError(f"{self.file.name}: not all responses were as expected: {report}\n{unexpected}")
        if report["requests"] > self.count and not self.repeatable:
            raise BenchmarkError(f"{self.file.name} has too few requests: {report['requests']} were sent")
        return Result(**report)

    def run(self, *servers: Server) -> Result:
        """Send the load to the first server; measure the CPU time of all of them."""
        cpu_before = sum(server.cpu_seconds() for server in servers)
        result = self.finish(self.start(servers[0].port))
        cpu_used = sum(server.cpu_seconds() for server in servers) - cpu_before
        return replace(result, cpu=1e6 * cpu_used / result.requests)


def median(results: Sequence[Result]) -> Result:
    """Return the median of each column."""
    values = {
        column.name: statistics.median(getattr(result, column.name) for result in results) for column in fields(Result)
    }
    return Result(**values)


def ratio(results: Sequence[Result], baseline: Sequence[Result]) -> float:
    """Return the median of the turns' ratios of requests a second."""
    return statistics.median(result.rate / reference.rate for result, reference in zip(results, baseline, strict=True))


def cost(results: Sequence[Result], baseline: Sequence[Result]) -> float:
    """Return the median of the turns' ratios of CPU time a request."""
    return statistics.median(result.cpu / reference.cpu for result, reference in zip(results, baseline, strict=True))
