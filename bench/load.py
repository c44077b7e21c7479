"""One load on one server, from another process, and what it took."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from bench import messages
from bench.processes import BenchFailed, Server

_LUA = Path(__file__).with_name("wrk.lua")
_ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Result:
    """What a load saw: times in ms, CPU in µs a request (None where the load did not measure its server)."""

    requests: int
    seconds: float
    p50: float
    p99: float
    longest: float
    cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


@dataclass(frozen=True, slots=True)
class Load:
    """A load that is ready to run: a file of requests, and how they are sent."""

    file: Path
    count: int
    seconds: float
    connections: int = 32
    rate: float | None = None
    tls: bool = False
    #: REF may get the same request again and again.
    repeatable: bool = False

    def start(self, port: int) -> subprocess.Popen[bytes]:
        """Start the generator: wrk where it can do it, else our own."""
        wrk = shutil.which("wrk")
        command = self._with_wrk(wrk, port) if wrk and self.rate is None else self._with_our_own(port)
        return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=_ROOT)  # noqa: S603 - our own programs

    def _with_wrk(self, wrk: str, port: int) -> list[str]:
        url = f"{'https' if self.tls else 'http'}://127.0.0.1:{port}/"
        how = ["-t1", f"-c{self.connections}", f"-d{self.seconds:g}s", "--timeout", "10s", "-s", str(_LUA)]
        return [wrk, *how, url, "--", str(self.file)]

    def _with_our_own(self, port: int) -> list[str]:
        how = ["--port", str(port), "--file", str(self.file), "--connections", str(self.connections)]
        how += ["--seconds", str(self.seconds), *(["--tls"] if self.tls else [])]
        return [sys.executable, "-m", "bench.generator", *how, *(["--rate", str(self.rate)] if self.rate else [])]

    def finish(self, generator: subprocess.Popen[bytes]) -> Result:
        """Wait for the generator; raise BenchFailed where an answer was not HTTP 200."""
        out, _ = generator.communicate()
        if generator.returncode != 0:
            raise BenchFailed(f"the load generator ended with {generator.returncode}: {out.decode()}")
        seen = orjson.loads(out.splitlines()[-1])
        if seen.pop("failed"):
            raise BenchFailed(f"some requests of {self.file.name} were not answered with HTTP 200: {out.decode()}")
        result = Result(**seen)
        if result.requests > self.count and not self.repeatable:
            raise BenchFailed(f"{self.file.name} has too few requests: {result.requests} were sent")
        return result

    def run(self, server: Server) -> Result:
        """Put the load on ``server``, and measure both."""
        before = server.cpu_seconds()
        result = self.finish(self.start(server.port))
        spent = server.cpu_seconds() - before
        return Result(
            result.requests, result.seconds, result.p50, result.p99, result.longest, 1e6 * spent / result.requests
        )


def prepare(file: Path, requests: Iterable[bytes], *, seconds: float, connections: int = 32, **how: object) -> Load:
    """Write the requests of a load."""
    count = messages.write(file, requests)
    return Load(file, count, seconds, connections, **how)  # type: ignore[arg-type]


def median(results: Sequence[Result]) -> Result:
    """Return the median of each column."""
    columns = ("requests", "seconds", "p50", "p99", "longest", "cpu")
    values = {name: statistics.median(getattr(result, name) for result in results) for name in columns}
    return Result(**{**values, "requests": int(values["requests"])})
