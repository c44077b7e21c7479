"""What the figures depend on: machine, versions, disk."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import time
from importlib.metadata import version
from pathlib import Path

_SYNCS = 200
_PACKAGES = ("aiohttp", "uvloop", "pydantic", "orjson", "msgspec")


def collect_facts(directory: Path) -> dict[str, str]:
    """Return the facts, the disk's being that of ``directory``."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[0]:.2f} before the run",
        "versions": f"Python {platform.python_version()}, {packages}, SQLite {sqlite3.sqlite_version}",
        "disk": f"fdatasync {_fdatasync_ms(directory):.3f} ms (median of {_SYNCS}, after a write of 4 KiB)",
    }


def _fdatasync_ms(directory: Path) -> float:
    times = []
    with (directory / "sync").open("wb", buffering=0) as file:
        for _ in range(_SYNCS):
            file.write(b"x" * 4096)
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - started)
    return 1e3 * statistics.median(times)
