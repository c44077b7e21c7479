"""Bars 5 and 6: ingest of PushEvseData, and authorizations beside it."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass

from bench import evses, nodes
from bench.bench import Bench
from bench.load import Load, median
from bench.model import plain
from bench.nodes import NodeSetup
from bench.processes import Server
from bench.table import Row
from p2p_oicp.oicp import EvseDataRecord

_SIZES = (1_000, 10_000)
_EXPECTED_RESULT = '"Result":true'
_REQUESTS_PER_SECOND = 300.0
_MAX_P99_MS = {1_000: 12.0, 10_000: 50.0}


@dataclass(frozen=True, slots=True)
class _PushResult:
    """µs of CPU a record, and what the node's memory grew by, in bodies."""

    cpu: float
    seconds: float
    growth: float


def measure(bench: Bench) -> list[Row]:
    """Push to a CPO's node as its backend does."""
    node = _prepare_node(bench, "cpo")
    with nodes.cpo_node(node) as server:
        new_records = {
            size: [_push(bench, server, round_number, size) for round_number in range(bench.rounds)] for size in _SIZES
        }
        unchanged = [
            _push(bench, server, round_number, _SIZES[-1], action="update") for round_number in range(bench.rounds)
        ]
    parse_only = statistics.median(_parse_only() for _ in range(bench.rounds))
    return [*_ingest_rows(new_records, unchanged, parse_only), *_authorize_during_pushes(bench)]


def _prepare_node(bench: Bench, name: str) -> NodeSetup:
    cpo, emp = (nodes.prepare_node(role, bench.directory / f"pushes-{role}") for role in ("cpo", "emp"))
    nodes.configure_cpo(cpo, [emp])
    nodes.configure_emp(emp, cpo)
    return cpo if name == "cpo" else emp


def _push(bench: Bench, server: Server, round_number: int, size: int, *, action: str = "insert") -> _PushResult:
    first_number = (round_number + 1) * 1_000_000 + size
    request = evses.push_request(range(first_number, first_number + size), action)
    load = Load(
        file=bench.directory / "push", seconds=60, connections=1, own_generator=True, expect=_EXPECTED_RESULT
    ).with_requests([request])
    time.sleep(0.2)  # the checkpoint after the last push is not this one's
    memory_before = server.reset_peak_memory()
    result = load.run(server)
    growth = (server.peak_memory_bytes() - memory_before) / len(request)
    return _PushResult(result.cpu / size, result.seconds, growth)


def _parse_only() -> float:
    """Return the µs of CPU that pydantic needs for a record, in plain models and nothing else."""
    records = [evses.evse(number) for number in range(2_000)]
    validate = plain(EvseDataRecord).model_validate_json
    started = time.process_time()
    for raw in records:
        validate(raw)
    return 1e6 * (time.process_time() - started) / len(records)


def _ingest_rows(
    new_records: dict[int, list[_PushResult]], unchanged: list[_PushResult], parse_only: float
) -> list[Row]:
    costs = {size: statistics.median(result.cpu for result in results) for size, results in new_records.items()}
    small_push, large_push = (costs[size] for size in _SIZES)
    unchanged_cost = statistics.median(result.cpu for result in unchanged)
    growth = statistics.median(result.growth for result in new_records[_SIZES[-1]])
    seconds = statistics.median(result.seconds for result in new_records[_SIZES[-1]])
    unit_note = f"µs a record; pydantic alone {parse_only:.1f} µs"
    return [
        Row(
            bar=5, what="PushEvseData, 10,000 new records: parsing alone / all", limit=0.30, at_least=True,
            measured=parse_only / large_push,
            note=f"{large_push:.1f} {unit_note}; {_SIZES[-1] / seconds:,.0f} records/s",
        ),
        Row(
            bar=5, what="the same, unchanged records", limit=0.42, at_least=True,
            measured=parse_only / unchanged_cost, note=f"{unchanged_cost:.1f} {unit_note}",
        ),
        Row(
            bar=5, what="CPU a record at 10,000 / at 1,000", limit=1.2, measured=large_push / small_push,
            note=f"{large_push:.1f} / {small_push:.1f} µs",
        ),
        Row(bar=5, what="memory growth at 10,000 records", limit=6, unit="bodies", measured=growth),
    ]  # fmt: skip


def _authorize_during_pushes(bench: Bench) -> list[Row]:
    """Push to an EMP's node as its peer does, and authorize at the same time."""
    rows: list[Row] = []
    for size in _SIZES:
        node = _prepare_node(bench, "emp")
        with ExitStack() as stack:
            server = stack.enter_context(nodes.emp_node(node))
            pushes = [evses.push_request(range(size), "fullLoad", revision) for revision in range(4)]
            push_load = Load(
                file=bench.directory / "pushes", seconds=(bench.rounds + 2) * bench.steady_seconds,
                connections=1, repeatable=True, own_generator=True, expect=_EXPECTED_RESULT,
            ).with_requests(pushes)  # fmt: skip
            push_generator = push_load.start(server.port)
            time.sleep(1.0)
            results = [
                bench.authorize_starts(bench.steady_seconds, rate=_REQUESTS_PER_SECOND).run(server)
                for _ in range(bench.rounds)
            ]
            push_result = push_load.finish(push_generator)
        median_result = median(results)
        records_per_second = push_result.requests * size / push_result.seconds
        rows += [
            Row(
                bar=6, what=f"AuthorizeStart, FULL, 300/s beside pushes of {size:,}: p99", limit=_MAX_P99_MS[size],
                unit="ms", measured=median_result.p99, p50=median_result.p50, p99=median_result.p99,
                note=f"{records_per_second:,.0f} records/s beside; longest {median_result.longest:.0f} ms",
            ),
        ]  # fmt: skip
    return rows
