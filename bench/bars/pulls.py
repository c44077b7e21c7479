"""Bars 7 and 9: pulls from, and the start of, a node with many EVSEs."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from datetime import UTC, datetime

from bench import evses, messages, nodes
from bench.bench import Bench
from bench.load import Load, Result, median, ratio
from bench.nodes import NodeSetup
from bench.processes import BenchmarkError, Server
from bench.table import Row

_LARGE_PAGE, _SMALL_PAGE = 2_000, 20
_RECORDS_PER_PUSH = 10_000
_DELTA_RECORDS = 100
_EXPECTED_CONTENT = '"content":['


def measure(bench: Bench) -> list[Row]:
    """Fill an EMP's node, and pull from it as its backend does."""
    rows: list[Row] = []
    node = _prepare_node(bench)
    delta_seconds, stored_records = [], 0
    for size in (100_000,) if bench.quick else (100_000, 1_000_000):
        with nodes.emp_node(node, with_tokens=False) as server:
            fill(bench, server, range(stored_records, size))
        stored_records = size
        with ExitStack() as stack:
            server = stack.enter_context(nodes.emp_node(node, with_tokens=False))
            rows.append(_start_row(server, size))
            delta_seconds.append(_delta_seconds(bench, node, server, size))
            rows += _last_page_row(bench, node, size)
            if size == 100_000:
                rows += _page_rows(bench, node, server, stack)
    if len(delta_seconds) > 1:
        what = f"a delta of {_DELTA_RECORDS} records: at 1,000,000 / at 100,000"
        rows.append(
            Row(
                bar=7,
                what=what,
                limit=2,
                measured=delta_seconds[1] / delta_seconds[0],
                note=f"{1e3 * delta_seconds[1]:.1f} ms",
            )
        )
    return rows


def _prepare_node(bench: Bench) -> NodeSetup:
    node = nodes.prepare_node("emp", bench.directory / "pulls")
    nodes.configure_emp(node, nodes.prepare_node("cpo", bench.directory / "unused"))
    return node


def fill(bench: Bench, server: Server, numbers: range) -> None:
    """Push charging spots to an EMP's node, as the CPO's node does."""
    requests = (
        evses.push_request(numbers[start : start + _RECORDS_PER_PUSH], "insert")
        for start in range(0, len(numbers), _RECORDS_PER_PUSH)
    )
    load = Load(file=bench.directory / "fill", seconds=3600, connections=1, own_generator=True, expect='"Result":true')
    load.with_requests(requests).run(server)


def _start_row(server: Server, size: int) -> Row:
    note = f"{server.memory_bytes() / 1e6:.0f} MB then"
    return Row(bar=9, what=f"start with {size:,} EVSEs", limit=3, unit="s", measured=server.startup_seconds, note=note)


def _pull_seconds(bench: Bench, port: int, request: bytes) -> float:
    """Return the seconds that one pull takes."""
    load = Load(file=bench.directory / "pull", seconds=60, connections=1, own_generator=True, expect=_EXPECTED_CONTENT)
    load = load.with_requests([request])
    return load.finish(load.start(port)).p50 / 1e3


def _last_page_row(bench: Bench, node: NodeSetup, size: int) -> list[Row]:
    first_page_times, last_page_times = [], []
    for _ in range(bench.rounds):
        first_page_times.append(_pull_seconds(bench, node.backend_port, evses.pull_request(0, _LARGE_PAGE)))
        last_page_times.append(
            _pull_seconds(bench, node.backend_port, evses.pull_request(size // _LARGE_PAGE - 1, _LARGE_PAGE))
        )
    first_page_seconds, last_page_seconds = statistics.median(first_page_times), statistics.median(last_page_times)
    what = f"last page / first page of {_LARGE_PAGE:,} at {size:,} EVSEs"
    return [
        Row(
            bar=7,
            what=what,
            limit=2,
            measured=last_page_seconds / first_page_seconds,
            note=f"{1e3 * last_page_seconds:.0f} / {1e3 * first_page_seconds:.0f} ms",
        )
    ]


def _delta_seconds(bench: Bench, node: NodeSetup, server: Server, size: int) -> float:
    """Return the seconds of a delta pull (LastCall) after a few changes."""
    time.sleep(0.1)
    since = datetime.now(UTC).isoformat(timespec="milliseconds")
    time.sleep(0.1)
    load = Load(file=bench.directory / "change", seconds=60, connections=1, own_generator=True, expect='"Result":true')
    load.with_requests([evses.push_request(range(_DELTA_RECORDS), "update", size)]).run(server)
    request = evses.pull_request(0, _LARGE_PAGE, since)
    return statistics.median(_pull_seconds(bench, node.backend_port, request) for _ in range(bench.rounds))


def _page_rows(bench: Bench, node: NodeSetup, server: Server, stack: ExitStack) -> list[Row]:
    """Load the node with pulls, in turns with REF: a static body of the same size, and the echo."""
    size = _body_bytes(node.backend_port, evses.pull_request(1, _LARGE_PAGE))
    reference = stack.enter_context(nodes.reference(bench.directory, page_bytes=size))
    backend = Server(server.name, node.backend_port, server.process, server.log)
    static = _repeated_load(bench, "static", messages.post("/static", b"{}"), connections=4)
    large = _repeated_load(bench, "large", evses.pull_request(1, _LARGE_PAGE), connections=4)
    small = _repeated_load(bench, "small", evses.pull_request(1, _SMALL_PAGE), connections=8)
    results: dict[str, list[Result]] = {"static": [], "large": [], "echo": [], "small": []}
    for _ in range(bench.rounds):
        results["static"].append(static.run(reference))
        results["large"].append(large.run(backend))
        results["echo"].append(bench.echoes().run(reference))
        results["small"].append(small.run(backend))
    return [
        _page_row(
            _LARGE_PAGE, 0.16, results["large"], results["static"], f"of {size / 1e6:.1f} MB, against a static body"
        ),
        _page_row(_SMALL_PAGE, 0.30, results["small"], results["echo"], "against REF"),
    ]


def _page_row(size: int, limit: float, results: list[Result], baseline: list[Result], description: str) -> Row:
    node_median, baseline_median = median(results), median(baseline)
    return Row(
        bar=7, what=f"PullEvseData, page of {size:,} {description}", limit=limit, at_least=True,
        measured=ratio(results, baseline), cpu=node_median.cpu, p50=node_median.p50, p99=node_median.p99,
        note=f"{node_median.rate:,.0f}/s against {baseline_median.rate:,.0f}/s",
    )  # fmt: skip


def _repeated_load(bench: Bench, name: str, request: bytes, connections: int) -> Load:
    load = Load(file=bench.directory / name, seconds=bench.seconds, connections=connections, repeatable=True)
    return load.with_requests([request])


def _body_bytes(port: int, request: bytes) -> int:
    response = messages.send_request(port, request)
    head, _, body = response.partition(b"\r\n\r\n")
    if b" 200 " not in head[:20] or b'"content":[' not in body:
        raise BenchmarkError(f"a page was not answered: {response[:500].decode()}")
    return len(body)
