"""Bar 8: replication of datasets: a burst of statuses to ten peers, and all EVSE data to a new one."""

from __future__ import annotations

import contextlib
import sqlite3
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack

from bench import evses, nodes
from bench.bars.pulls import fill
from bench.bench import Bench
from bench.load import Load
from bench.nodes import NodeSetup
from bench.processes import BenchmarkError
from bench.table import Row

_PEERS = 10
_CHANGES_PER_SECOND = 500.0
_TIMEOUT_SECONDS = 60.0
_STATUSES = "SELECT key, changed_at FROM dataset_records WHERE dataset = 2"
_COUNT_STATUSES = "SELECT count(*) FROM dataset_records WHERE dataset = 2"
_COUNT_DATA = "SELECT count(*) FROM dataset_records WHERE dataset = 1 AND deleted = 0"


def measure(bench: Bench) -> list[Row]:
    """Measure both with real nodes."""
    return [_status_burst_row(bench), _initial_sync_row(bench)]


def _status_burst_row(bench: Bench) -> Row:
    seconds = 4.0 if bench.quick else 20.0
    cpo = nodes.prepare_node("cpo", bench.directory / "burst")
    peers = [nodes.prepare_node(f"emp{number}", bench.directory / f"burst{number}") for number in range(_PEERS)]
    nodes.configure_cpo(cpo, peers)
    changes = [evses.status_request(number, "Available") for number in range(int(seconds * _CHANGES_PER_SECOND))]
    with ExitStack() as stack:
        for number, node in enumerate(peers):
            nodes.configure_emp(node, cpo, number=number)
            stack.enter_context(nodes.emp_node(node, with_tokens=False))
        server = stack.enter_context(nodes.cpo_node(cpo))
        load = Load(
            file=bench.directory / "statuses", seconds=seconds, rate=_CHANGES_PER_SECOND, expect='"Result":true'
        ).with_requests(changes)
        result = load.run(server)
        _wait_until(lambda: all(node.count(_COUNT_STATUSES) == len(changes) for node in peers), "statuses")
    due = {evses.evse_key(number): result.began + number / _CHANGES_PER_SECOND for number in range(len(changes))}
    delays = sorted(stored_at - due[key] for node in peers for key, stored_at in _stored_statuses(node).items())
    p50, p99 = statistics.median(delays), delays[int(len(delays) * 0.99)]
    return Row(
        bar=8, what=f"a status stored at {_PEERS} peers, {_CHANGES_PER_SECOND:.0f} changes/s: p99", limit=1, unit="s",
        measured=p99, cpu=result.cpu, p50=1e3 * p50, p99=1e3 * p99,
        note=f"from the time the backend has it; {len(delays):,} copies, {result.rate:.0f} changes/s",
    )  # fmt: skip


def _stored_statuses(node: NodeSetup) -> dict[str, float]:
    with contextlib.closing(sqlite3.connect(f"file:{node.database}?mode=ro", uri=True)) as database:
        return dict(database.execute(_STATUSES))


def _initial_sync_row(bench: Bench) -> Row:
    size = 20_000 if bench.quick else 100_000
    cpo, emp = (nodes.prepare_node(name, bench.directory / f"new-peer-{name}") for name in ("cpo", "emp"))
    nodes.configure_cpo(cpo, [emp])
    nodes.configure_emp(emp, cpo)
    with nodes.cpo_node(cpo) as server:
        fill(bench, server, range(size))
        with nodes.emp_node(emp, with_tokens=False):
            started = time.perf_counter()
            _wait_until(lambda: emp.count(_COUNT_DATA) == size, "EVSE data")
            seconds = time.perf_counter() - started
    what, note = f"replication of {size:,} EVSEs to a new peer", f"{seconds:.1f} s from its start on"
    return Row(bar=8, what=what, limit=10_000, at_least=True, unit="records/s", measured=size / seconds, note=note)


def _wait_until(condition: Callable[[], bool], description: str) -> None:
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.02)
    raise BenchmarkError(f"{description}: not all had arrived after {_TIMEOUT_SECONDS:g} s")
