"""Bar 4: AuthorizeStart on its whole way: backend → CPO's node → EMP's node → back, durable at both."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from bench import nodes
from bench.bars.authorize import check_authorized
from bench.bench import Bench
from bench.load import Result, cost, median
from bench.table import Row

_MOST_REF_REQUESTS = 8.5
_LEAST_REUSE = 0.99


def measure(bench: Bench) -> list[Row]:
    """Load REF and both nodes in turns, with each durability."""
    return [row for kind in (("FULL",) if bench.quick else ("NORMAL", "FULL")) for row in _measured(bench, kind)]


def _measured(bench: Bench, kind: str) -> list[Row]:
    theirs: list[Result] = []
    ours: list[Result] = []
    cpo, emp = (nodes.place(name, bench.directory / f"roundtrip-{kind}-{name}") for name in ("cpo", "emp"))
    nodes.configure_cpo(cpo, [emp], synchronous=kind)
    nodes.configure_emp(emp, cpo, synchronous=kind)
    with ExitStack() as stack:
        reference = stack.enter_context(nodes.reference(bench.directory))
        emp_server = stack.enter_context(nodes.emp_node(emp))
        cpo_server = stack.enter_context(nodes.cpo_node(cpo))
        for _ in range(bench.rounds):
            theirs.append(bench.echoes().run(reference))
            ours.append(bench.authorize_starts(bench.seconds, named=False).run(cpo_server, emp_server))
        opened = _connections_to(emp.peer)
        requests = sum(result.requests for result in ours)
        for at in (cpo, emp):
            check_authorized(at, requests)
    return _rows(kind, ours, theirs, opened)


def _rows(kind: str, ours: list[Result], theirs: list[Result], opened: int) -> list[Row]:
    seen, requests = median(ours), sum(result.requests for result in ours)
    note = f"{seen.rate:,.0f}/s; REF {median(theirs).cpu:.0f} µs"
    return [
        Row(
            bar=4, what=f"AuthorizeStart through both nodes, {kind}: CPU of both", limit=_MOST_REF_REQUESTS,
            unit="REF requests", measured=cost(ours, theirs), cpu=seen.cpu, p50=seen.p50, p99=seen.p99, note=note,
        ),
        Row(
            bar=4, what=f"connections used again between the nodes, {kind}", limit=_LEAST_REUSE, at_least=True,
            measured=1 - opened / requests, note=f"{opened} connections for {requests:,} requests",
        ),
    ]  # fmt: skip


def _connections_to(port: int) -> int:
    """Return how many connections there were to a port of this machine: the system remembers closed ones for 60 s."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    ends = {(local.partition(":")[2], remote.partition(":")[2]) for _, local, remote, *_ in rows}
    server = f"{port:04X}"
    return len(
        {local for local, remote in ends if remote == server} | {r for own, r in ends if own == server} - {"0000"}
    )
