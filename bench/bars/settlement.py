"""Bar 11: a charging notification and a CDR, from the CPO's backend until the EMP's node has them.

They come one by one, at a fixed rate: each wakes the workers of its destination by itself, so that a wake-up of a
worker that has nothing to do shows in the CPU time of a message. (At 32 in flight, many messages share a wake-up.)
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import ExitStack

from bench import messages, nodes
from bench.bench import Bench
from bench.load import Load, Result, median
from bench.nodes import NodeSetup
from bench.processes import BenchmarkError, Server
from bench.table import Row

_MESSAGES_PER_SECOND = 200.0
_EXPECTED_RESULT = '"Result":true'
_DELIVERY_TIMEOUT_SECONDS = 30.0
#: µs of CPU of both nodes.
_MAX_CPU = {"notification": 3_000.0, "CDR": 3_500.0}


def measure(bench: Bench) -> list[Row]:
    """Authorize sessions, then send the notifications and the CDRs of all of them."""
    cpo, emp = (nodes.prepare_node(name, bench.directory / f"settlement-{name}") for name in ("cpo", "emp"))
    nodes.configure_cpo(cpo, [emp], synchronous="NORMAL")
    nodes.configure_emp(emp, cpo, synchronous="NORMAL")
    results: dict[str, list[Result]] = {"notification": [], "CDR": []}
    with ExitStack() as stack:
        emp_server = stack.enter_context(nodes.emp_node(emp))
        cpo_server = stack.enter_context(nodes.cpo_node(cpo))
        for _ in range(bench.rounds):
            numbers = list(bench.numbers(bench.seconds * _MESSAGES_PER_SECOND))
            _authorize(bench, cpo_server, numbers)
            for name, requests in (("notification", messages.notifications), ("CDR", messages.cdrs)):
                results[name].append(_load(bench, requests(numbers)).run(cpo_server, emp_server))
        _check_delivered(cpo, emp, sum(result.requests for result in results["CDR"]))
    return [_row(name, results[name]) for name in results]


def _authorize(bench: Bench, server: Server, numbers: Iterable[int]) -> None:
    load = Load(file=bench.directory / "sessions", seconds=60, own_generator=True, expect='"Authorized"')
    load.with_requests(messages.authorize_starts(numbers)).run(server)


def _load(bench: Bench, requests: Iterable[bytes]) -> Load:
    load = Load(
        file=bench.directory / "settlement", seconds=bench.seconds, rate=_MESSAGES_PER_SECOND, expect=_EXPECTED_RESULT
    )
    return load.with_requests(requests)


def _check_delivered(cpo: NodeSetup, emp: NodeSetup, cdrs: int) -> None:
    """Raise BenchmarkError where the EMP's node has not got all CDRs in time."""
    deadline = time.monotonic() + _DELIVERY_TIMEOUT_SECONDS
    while _count(cpo, "outbox") or _count(emp, "cdrs") < cdrs:
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{_count(emp, 'cdrs')} of {cdrs} CDRs arrived, {_count(cpo, 'outbox')} wait")
        time.sleep(0.05)


def _count(node: NodeSetup, table: str) -> int:
    return node.count(f"SELECT count(*) FROM {table}")


def _row(name: str, results: list[Result]) -> Row:
    result = median(results)
    return Row(
        bar=11, what=f"a {name} from backend to peer, {_MESSAGES_PER_SECOND:.0f}/s: CPU of both",
        limit=_MAX_CPU[name], unit="µs", measured=result.cpu, p50=result.p50, p99=result.p99,
    )  # fmt: skip
