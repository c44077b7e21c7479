"""Bars 1 and 2: AuthorizeStart at the peer API of an EMP's node."""

from __future__ import annotations

from contextlib import ExitStack

from bench import nodes
from bench.bench import Bench
from bench.load import Result, cost, median, ratio
from bench.nodes import NodeSetup
from bench.processes import BenchmarkError, Server
from bench.table import Row

_REQUESTS_PER_SECOND = 300.0
_MIN_RATIOS = {"NORMAL": 0.45, "FULL": 0.38}


def measure(bench: Bench) -> list[Row]:
    """Load REF and a node of each durability in turns; then a node at a fixed rate."""
    results: dict[str, list[Result]] = {durability: [] for durability in ("REF", *_MIN_RATIOS)}
    with ExitStack() as stack:
        reference = stack.enter_context(nodes.reference(bench.directory))
        node_setups = {durability: _prepare_node(bench, durability) for durability in _MIN_RATIOS}
        servers = {durability: stack.enter_context(nodes.emp_node(node)) for durability, node in node_setups.items()}
        for _ in range(bench.rounds):
            results["REF"].append(bench.echoes().run(reference))
            for durability, server in servers.items():
                results[durability].append(bench.authorize_starts(bench.seconds).run(server))
        for durability, node in node_setups.items():
            check_authorized(node, sum(result.requests for result in results[durability]))
        steady = _steady_row(bench, servers["FULL"])
    return [row for durability in _MIN_RATIOS for row in _rows(durability, results)] + [steady]


def _prepare_node(bench: Bench, durability: str) -> NodeSetup:
    node = nodes.prepare_node("emp", bench.directory / f"authorize-{durability}")
    nodes.configure_emp(node, nodes.prepare_node("cpo", bench.directory / "unused"), synchronous=durability)
    return node


def check_authorized(node: NodeSetup, requests: int) -> None:
    """Raise BenchmarkError if a node has fewer authorized sessions than it answered requests."""
    stored = node.count("SELECT count(*) FROM sessions WHERE state = 'authorized'")
    if stored < requests:
        raise BenchmarkError(f"{node.name} answered {requests} requests and has {stored} authorized sessions")


def _rows(durability: str, results: dict[str, list[Result]]) -> list[Row]:
    node_median, reference_median = median(results[durability]), median(results["REF"])
    cpu_ratio = 1 / cost(results[durability], results["REF"])
    return [
        Row(
            bar=1, what=f"AuthorizeStart, {durability}, 32 in flight", limit=_MIN_RATIOS[durability], at_least=True,
            unit="REF", measured=ratio(results[durability], results["REF"]),
            cpu=node_median.cpu, p50=node_median.p50, p99=node_median.p99,
            note=f"{node_median.rate:,.0f}/s against {reference_median.rate:,.0f}/s; "
            f"by CPU {cpu_ratio:.2f} (REF {reference_median.cpu:.0f} µs)",
        ),
        Row(bar=2, what=f"the same, {durability}: p99", limit=10, unit="ms", measured=node_median.p99,
            cpu=node_median.cpu, p50=node_median.p50, p99=node_median.p99),
    ]  # fmt: skip


def _steady_row(bench: Bench, server: Server) -> Row:
    results = [
        bench.authorize_starts(bench.steady_seconds, rate=_REQUESTS_PER_SECOND).run(server) for _ in range(bench.rounds)
    ]
    median_result = median(results)
    longest = max(result.longest for result in results)
    return Row(
        bar=2, what=f"AuthorizeStart, FULL, {_REQUESTS_PER_SECOND:.0f}/s: p99", limit=5, unit="ms",
        measured=median_result.p99, cpu=median_result.cpu, p50=median_result.p50, p99=median_result.p99,
        note=f"longest {longest:.1f} ms",
    )  # fmt: skip
