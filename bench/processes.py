"""Servers as processes of their own, with their CPU time and memory."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TIMEOUT_SECONDS = 60.0
ROOT = Path(__file__).parent.parent
#: Names another checkout whose package is measured by this benchmark (``bench.compare``).
PACKAGE_ROOT_VARIABLE = "BENCH_PACKAGE_ROOT"
PACKAGE_ROOT = Path(os.environ.get(PACKAGE_ROOT_VARIABLE, ROOT))


class BenchmarkError(Exception):
    """A measurement was not possible, or measured the wrong thing."""


@dataclass
class Server:
    """A running server: ``port`` takes the load."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    startup_seconds: float = 0.0

    def cpu_seconds(self) -> float:
        """Return the CPU time that all threads of the process have used."""
        # The kernel's clock of a process, in ns (clock_getcpuclockid): /proc counts in ticks of 10 ms.
        return time.clock_gettime_ns((~self.process.pid << 3) | 2) / 1e9

    def memory_bytes(self) -> int:
        """Return the resident memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES

    def reset_peak_memory(self) -> int:
        """Reset the peak of the resident memory; return the resident memory."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5", encoding="ascii")
        return self.memory_bytes()

    def peak_memory_bytes(self) -> int:
        """Return the peak of the resident memory since it was reset."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it with SIGTERM; raise BenchmarkError if its exit code is not 0."""
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(_TIMEOUT_SECONDS) != 0:
            raise BenchmarkError(f"{self.name} ended with {self.process.returncode}:\n{self.log_tail()}")

    def log_tail(self) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])


@contextlib.contextmanager
def run_server(
    name: str, arguments: Sequence[str], *, port: int, ready: str, directory: Path, root: Path = ROOT
) -> Iterator[Server]:
    """Run ``python ARGUMENTS`` in ``root`` until the block ends; it serves when ``ready`` answers 200."""
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / f"{name}.log"
    started = time.perf_counter()
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=root
        )
    server = Server(name, port, process, log)
    try:
        _wait_until_ready(server, ready)
        server.startup_seconds = time.perf_counter() - started
        yield server
        if process.poll() is None:
            server.stop()
    finally:
        if process.poll() is None:
            server.kill()


def _wait_until_ready(server: Server, url: str) -> None:
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise BenchmarkError(
                f"{server.name} ended with {server.process.returncode} while starting:\n{server.log_tail()}"
            )
        try:
            with urllib.request.urlopen(url, timeout=1):  # noqa: S310 - loopback
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.005)
    raise BenchmarkError(f"{server.name} is not ready after {_TIMEOUT_SECONDS:g} s:\n{server.log_tail()}")
