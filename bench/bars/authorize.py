"""Bars 1 and 2: AuthorizeStart at the peer API of an EMP's node."""

from __future__ import annotations

from contextlib import ExitStack

from bench import nodes
from bench.bench import Bench
from bench.load import Result, cost, median, ratio
from bench.nodes import Place
from bench.processes import BenchFailed, Server
from bench.table import Row

_RATE = 300.0
_WANTED = {"NORMAL": 0.45, "FULL": 0.38}


def measure(bench: Bench) -> list[Row]:
    """Load REF and a node of each durability in turns; then a node at a fixed rate."""
    seen: dict[str, list[Result]] = {kind: [] for kind in ("REF", *_WANTED)}
    with ExitStack() as stack:
        reference = stack.enter_context(nodes.reference(bench.directory))
        places = {kind: _place(bench, kind) for kind in _WANTED}
        servers = {kind: stack.enter_context(nodes.emp_node(at)) for kind, at in places.items()}
        for _ in range(bench.rounds):
            seen["REF"].append(bench.echoes().run(reference))
            for kind, server in servers.items():
                seen[kind].append(bench.authorize_starts(bench.seconds).run(server))
        for kind, at in places.items():
            check_authorized(at, sum(result.requests for result in seen[kind]))
        steady = _steady(bench, servers["FULL"])
    return [row for kind in _WANTED for row in _rows(kind, seen)] + [steady]


def _place(bench: Bench, kind: str) -> Place:
    at = nodes.place("emp", bench.directory / f"authorize-{kind}")
    nodes.configure_emp(at, nodes.place("cpo", bench.directory / "nobody"), synchronous=kind)
    return at


def check_authorized(at: Place, requests: int) -> None:
    """Raise BenchFailed where a node has fewer authorized sessions than it answered requests."""
    stored = at.count("SELECT count(*) FROM sessions WHERE state = 'authorized'")
    if stored < requests:
        raise BenchFailed(f"{at.name} answered {requests} requests and has {stored} authorized sessions")


def _rows(kind: str, seen: dict[str, list[Result]]) -> list[Row]:
    ours, theirs = median(seen[kind]), median(seen["REF"])
    by_cpu = 1 / cost(seen[kind], seen["REF"])
    return [
        Row(
            bar=1, what=f"AuthorizeStart, {kind}, 32 in flight", limit=_WANTED[kind], at_least=True, unit="REF",
            measured=ratio(seen[kind], seen["REF"]), cpu=ours.cpu, p50=ours.p50, p99=ours.p99,
            note=f"{ours.rate:,.0f}/s against {theirs.rate:,.0f}/s; by CPU {by_cpu:.2f} (REF {theirs.cpu:.0f} µs)",
        ),
        Row(bar=2, what=f"the same, {kind}: p99", limit=10, unit="ms", measured=ours.p99),
    ]  # fmt: skip


def _steady(bench: Bench, server: Server) -> Row:
    turns = [bench.authorize_starts(bench.steady_seconds, rate=_RATE).run(server) for _ in range(bench.rounds)]
    seen = median(turns)
    return Row(
        bar=2, what=f"AuthorizeStart, FULL, {_RATE:.0f}/s: p99", limit=5, unit="ms", measured=seen.p99,
        cpu=seen.cpu, p50=seen.p50, p99=seen.p99, note=f"longest {max(turn.longest for turn in turns):.1f} ms",
    )  # fmt: skip
