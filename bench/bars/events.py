"""Bar 13: AuthorizeStart while 50 clients listen to 500 changes a second."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

import orjson

from bench import nodes
from bench.bench import Bench
from bench.load import Result, median
from bench.nodes import NodeSetup
from bench.processes import ROOT, BenchmarkError, Server
from bench.table import Row

_CLIENTS, _CHANGES_PER_SECOND = 50, 500
_REQUESTS_PER_SECOND = 300.0
_MAX_P99_MS = 15
# Of what was pushed, so much has to arrive: what is under way at the end does not count.
_MIN_RECEIVED = 0.95


def measure(bench: Bench) -> list[Row]:
    """Load a node at a fixed rate: with the changes alone, then with listeners as well."""
    node = nodes.prepare_node("emp", bench.directory / "events")
    nodes.configure_emp(node, nodes.prepare_node("cpo", bench.directory / "unused"))
    with nodes.emp_node(node) as server:
        alone = _measure(bench, node, server, clients=0)
        listened = _measure(bench, node, server, clients=_CLIENTS)
    note = (
        f"without listeners {alone.p99:.1f} ms; longest {listened.longest:.1f} ms; "
        f"CPU a request {alone.cpu:.0f} and {listened.cpu:.0f} µs, with the changes"
    )
    return [
        Row(
            bar=13, what=f"AuthorizeStart, FULL, {_REQUESTS_PER_SECOND:.0f}/s, {_CLIENTS} listeners, "
            f"{_CHANGES_PER_SECOND} changes/s: p99", limit=_MAX_P99_MS, unit="ms", measured=listened.p99,
            cpu=listened.cpu, p50=listened.p50, p99=listened.p99, note=note,
        )
    ]  # fmt: skip


def _measure(bench: Bench, node: NodeSetup, server: Server, clients: int) -> Result:
    with _listening(node, clients):
        return median(
            [
                bench.authorize_starts(bench.steady_seconds, rate=_REQUESTS_PER_SECOND).run(server)
                for _ in range(bench.rounds)
            ]
        )


@contextlib.contextmanager
def _listening(node: NodeSetup, clients: int) -> Iterator[None]:
    command = [sys.executable, "-m", "bench.listeners", str(node.backend_port), str(node.peer_port)]
    process = subprocess.Popen(
        [*command, str(clients), str(_CHANGES_PER_SECOND)], stdout=subprocess.PIPE, cwd=ROOT, text=True
    )
    try:
        if process.stdout is None or process.stdout.readline() != "listening\n":
            raise BenchmarkError("the listeners did not start")
        yield
        process.terminate()
        report = orjson.loads(process.communicate(timeout=30)[0])
    finally:
        process.kill()
        process.wait()
    _check(report["pushed"], report["received"])


def _check(pushed: int, received: list[int]) -> None:
    """Raise BenchmarkError unless every client has received what was pushed."""
    if not pushed or min(received, default=pushed) < _MIN_RECEIVED * pushed:
        raise BenchmarkError(f"{pushed} changes were pushed, and clients have received {sorted(received)[:5]} …")
