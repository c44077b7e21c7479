"""Bars 1 and 2: AuthorizeStart at the peer API of an EMP's node."""

from __future__ import annotations

import statistics
from contextlib import ExitStack

from bench import messages, nodes
from bench.bench import Bench
from bench.load import Load, Result, median, prepare
from bench.nodes import Place
from bench.processes import BenchFailed, Server
from bench.table import Row

_IN_FLIGHT = 32
_RATE = 300.0
_WANTED = {"NORMAL": 0.45, "FULL": 0.38}


def measure(bench: Bench) -> list[Row]:
    """Load REF and a node of each durability in turns; then a node at a fixed rate."""
    seen: dict[str, list[Result]] = {"REF": [], **{kind: [] for kind in _WANTED}}
    with ExitStack() as stack:
        reference = stack.enter_context(nodes.reference(bench.directory))
        places = {kind: _place(bench, kind) for kind in _WANTED}
        servers = {kind: stack.enter_context(nodes.emp_node(at)) for kind, at in places.items()}
        echo = prepare(bench.directory / "echo", [messages.echo()], seconds=bench.seconds, repeatable=True)
        for _ in range(bench.rounds):
            seen["REF"].append(echo.run(reference))
            for kind, server in servers.items():
                seen[kind].append(_load(bench).run(server))
        for kind, at in places.items():
            _check(at, sum(result.requests for result in seen[kind]))
        steady = _steady(bench, servers["FULL"])
    rows = [row for kind in _WANTED for row in _rows(kind, seen)]
    return [*rows, steady]


def _place(bench: Bench, kind: str) -> Place:
    at = nodes.place(f"emp-{kind.lower()}", bench.directory / f"authorize-{kind.lower()}")
    nodes.configure(at, cpo=False, other=nodes.place("cpo", bench.directory / "nobody"), synchronous=kind)
    return at


def _load(bench: Bench) -> Load:
    requests = messages.authorize_starts(bench.numbers(bench.seconds))
    return prepare(bench.directory / "starts", requests, seconds=bench.seconds, connections=_IN_FLIGHT)


def _check(at: Place, requests: int) -> None:
    stored = at.count("SELECT count(*) FROM sessions WHERE role = 'emp' AND state = 'authorized'")
    if stored < requests:
        raise BenchFailed(f"{at.name} answered {requests} requests and has {stored} authorized sessions")


def _rows(kind: str, seen: dict[str, list[Result]]) -> list[Row]:
    pairs = list(zip(seen[kind], seen["REF"], strict=True))
    ratio = statistics.median(ours.rate / theirs.rate for ours, theirs in pairs)
    by_cpu = statistics.median(theirs.cpu / ours.cpu for ours, theirs in pairs)
    ours, theirs = median(seen[kind]), median(seen["REF"])
    note = f"{ours.rate:,.0f}/s against {theirs.rate:,.0f}/s; by CPU {by_cpu:.2f} ({theirs.cpu:.1f} µs)"
    what = f"AuthorizeStart, {kind}, {_IN_FLIGHT} in flight"
    times = {"cpu": ours.cpu, "p50": ours.p50, "p99": ours.p99}
    return [
        Row(bar=1, what=what, limit=_WANTED[kind], at_least=True, unit="REF", measured=ratio, note=note, **times),
        Row(bar=2, what=f"the same, {kind}: p99", limit=10, unit="ms", measured=ours.p99),
    ]


def _steady(bench: Bench, server: Server) -> Row:
    requests = messages.authorize_starts(bench.numbers(bench.seconds))
    load = prepare(bench.directory / "starts", requests, seconds=2 * bench.seconds, rate=_RATE)
    result = median([load_again.run(server) for load_again in [load]])
    return Row(
        bar=2, what="AuthorizeStart, FULL, 300/s: p99", limit=5, unit="ms", measured=result.p99,
        cpu=result.cpu, p50=result.p50, p99=result.p99, note=f"longest {result.longest:.1f} ms",
    )  # fmt: skip
