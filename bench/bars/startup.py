"""Bar 12: what a node costs before it has done anything: its start, its memory, the start of a command, an import."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from bench import nodes
from bench.bench import Bench
from bench.nodes import NodeSetup
from bench.processes import PACKAGE_ROOT
from bench.table import Row

_MEGABYTE = 1_000_000
#: What a node does right after its start (garbage collection, first look for work) has ended by then.
_SETTLE_SECONDS = 1.0


def measure(bench: Bench) -> list[Row]:
    """Start a node with an empty database several times, and a command that only prints its help."""
    node = nodes.prepare_node("emp", bench.directory / "startup")
    nodes.configure_emp(node, nodes.prepare_node("cpo", bench.directory / "unused"))
    _start_once(node)  # makes the database, and Python's caches of compiled modules
    starts = [_start_once(node) for _ in range(bench.rounds)]
    seconds, cpu_seconds, memory = (statistics.median(values) for values in zip(*starts, strict=True))
    help_seconds = _median_seconds(2 * bench.rounds, "-m", "p2p_oicp", "--help")
    import_seconds = _median_seconds(bench.rounds, "-c", "import p2p_oicp.oicp")
    return [
        Row(bar=12, what="start of an empty node until it serves", limit=2.5, unit="s", measured=seconds),
        Row(bar=12, what="CPU time of that start", limit=2.5, unit="s", measured=cpu_seconds),
        Row(bar=12, what="memory of an empty node", limit=120, unit="MB", measured=memory / _MEGABYTE),
        Row(bar=12, what="p2p-oicp --help", limit=0.5, unit="s", measured=help_seconds),
        Row(bar=12, what="import p2p_oicp.oicp", limit=1.0, unit="s", measured=import_seconds),
    ]


def _start_once(node: NodeSetup) -> tuple[float, float, float]:
    """Return the seconds until the node serves, its CPU seconds until then, and its memory a moment later."""
    with nodes.emp_node(node, with_tokens=False) as server:
        cpu_seconds = server.cpu_seconds()
        time.sleep(_SETTLE_SECONDS)
        return server.startup_seconds, cpu_seconds, float(server.memory_bytes())


def _median_seconds(times: int, *arguments: str) -> float:
    return statistics.median(_run_seconds(*arguments) for _ in range(times))


def _run_seconds(*arguments: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, cwd=PACKAGE_ROOT)
    return time.perf_counter() - started
