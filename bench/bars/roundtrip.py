"""Bar 4: AuthorizeStart from backend to CPO's node to EMP's node and back, durable at both."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from bench import nodes
from bench.bars.authorize import check_authorized
from bench.bench import Bench
from bench.load import Result, cost, median
from bench.table import Row

_MAX_REF_REQUESTS = {"NORMAL": 11.0, "FULL": 13.0}
#: Of these, the part of the CPO's node: it receives a request and sends one.
_MAX_REF_REQUESTS_OF_CPO = {"NORMAL": 8.0, "FULL": 9.5}
_MIN_REUSE_RATIO = 0.99


def measure(bench: Bench) -> list[Row]:
    """Load REF and both nodes in turns, with each durability."""
    return [
        row
        for durability in (("FULL",) if bench.quick else ("NORMAL", "FULL"))
        for row in _measure_durability(bench, durability)
    ]


def _measure_durability(bench: Bench, durability: str) -> list[Row]:
    reference_results: list[Result] = []
    node_results: list[Result] = []
    cpo_results: list[Result] = []
    cpo, emp = (nodes.prepare_node(name, bench.directory / f"roundtrip-{durability}-{name}") for name in ("cpo", "emp"))
    nodes.configure_cpo(cpo, [emp], synchronous=durability)
    nodes.configure_emp(emp, cpo, synchronous=durability)
    with ExitStack() as stack:
        reference = stack.enter_context(nodes.reference(bench.directory))
        emp_server = stack.enter_context(nodes.emp_node(emp))
        cpo_server = stack.enter_context(nodes.cpo_node(cpo))
        for _ in range(bench.rounds):
            reference_results.append(bench.echoes().run(reference))
            cpu_before = cpo_server.cpu_seconds()
            result = bench.authorize_starts(bench.seconds, with_session_id=False).run(cpo_server, emp_server)
            cpu = 1e6 * (cpo_server.cpu_seconds() - cpu_before) / result.requests
            node_results.append(result)
            cpo_results.append(replace(result, cpu=cpu))
        connection_count = _connections_to(emp.peer_port)
        requests = sum(result.requests for result in node_results)
        for node in (cpo, emp):
            check_authorized(node, requests)
    return _rows(durability, node_results, cpo_results, reference_results, connection_count)


def _rows(
    durability: str,
    node_results: list[Result],
    cpo_results: list[Result],
    reference_results: list[Result],
    connection_count: int,
) -> list[Row]:
    node_median, requests = median(node_results), sum(result.requests for result in node_results)
    note = f"{node_median.rate:,.0f}/s; REF {median(reference_results).cpu:.0f} µs"
    return [
        Row(
            bar=4, what=f"AuthorizeStart through both nodes, {durability}: CPU of both",
            limit=_MAX_REF_REQUESTS[durability], unit="REF requests", measured=cost(node_results, reference_results),
            cpu=node_median.cpu, p50=node_median.p50, p99=node_median.p99, note=note,
        ),
        Row(
            bar=4, what=f"the same, {durability}: CPU of the CPO's node", limit=_MAX_REF_REQUESTS_OF_CPO[durability],
            unit="REF requests", measured=cost(cpo_results, reference_results), cpu=median(cpo_results).cpu,
            p50=node_median.p50, p99=node_median.p99,
        ),
        Row(
            bar=4, what=f"connections used again between the nodes, {durability}", limit=_MIN_REUSE_RATIO,
            at_least=True, measured=1 - connection_count / requests,
            note=f"{connection_count} connections for {requests:,} requests",
        ),
    ]  # fmt: skip


def _connections_to(port: int) -> int:
    """Return how many connections there were to a local port; the kernel lists closed ones (TIME_WAIT) for 60 s."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    endpoints = {(local.partition(":")[2], remote.partition(":")[2]) for _, local, remote, *_ in rows}
    server = f"{port:04X}"
    return len(
        {local for local, remote in endpoints if remote == server}
        | {remote_port for local_port, remote_port in endpoints if local_port == server} - {"0000"}
    )
