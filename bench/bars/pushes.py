"""Bars 5 and 6: taking over PushEvseData, and authorizations beside it."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass

from bench import evses, nodes
from bench.bench import Bench
from bench.load import Load, median
from bench.model import plain
from bench.nodes import Place
from bench.processes import Server
from bench.table import Row
from p2p_oicp.oicp import EvseDataRecord

_SIZES = (1_000, 10_000)
_TAKEN = '"Result":true'
_RATE = 300.0
_MOST_P99 = {1_000: 15.0, 10_000: 50.0}


@dataclass(frozen=True, slots=True)
class _Turn:
    """µs of CPU a record, and what the node's memory grew by, in bodies."""

    cpu: float
    seconds: float
    growth: float


def measure(bench: Bench) -> list[Row]:
    """Push to a CPO's node as its backend does."""
    at = _place(bench, "cpo")
    with nodes.cpo_node(at) as server:
        new = {size: [_push(bench, server, turn, size) for turn in range(bench.rounds)] for size in _SIZES}
        unchanged = [_push(bench, server, turn, _SIZES[-1], action="update") for turn in range(bench.rounds)]
    alone = statistics.median(_parse_alone() for _ in range(bench.rounds))
    return [*_ingest_rows(new, unchanged, alone), *_beside(bench)]


def _place(bench: Bench, name: str) -> Place:
    cpo, emp = (nodes.place(kind, bench.directory / f"pushes-{kind}") for kind in ("cpo", "emp"))
    nodes.configure_cpo(cpo, [emp])
    nodes.configure_emp(emp, cpo)
    return cpo if name == "cpo" else emp


def _push(bench: Bench, server: Server, turn: int, size: int, *, action: str = "insert") -> _Turn:
    first = (turn + 1) * 1_000_000 + size
    request = evses.push_request(range(first, first + size), action)
    load = Load(file=bench.directory / "push", seconds=60, connections=1, one_by_one=True, expect=_TAKEN).filled(
        [request]
    )
    time.sleep(0.2)  # what the last push left to do is not this one's
    before = server.forget_peak_memory()
    result = load.run(server)
    growth = (server.peak_memory_bytes() - before) / len(request)
    return _Turn(result.cpu / size, result.seconds, growth)


def _parse_alone() -> float:
    """Return the µs of CPU that pydantic needs for a record, in plain models and nothing else."""
    records = [evses.evse(number) for number in range(2_000)]
    validate = plain(EvseDataRecord).model_validate_json
    began = time.process_time()
    for raw in records:
        validate(raw)
    return 1e6 * (time.process_time() - began) / len(records)


def _ingest_rows(new: dict[int, list[_Turn]], unchanged: list[_Turn], alone: float) -> list[Row]:
    costs = {size: statistics.median(turn.cpu for turn in turns) for size, turns in new.items()}
    few, many = (costs[size] for size in _SIZES)
    same = statistics.median(turn.cpu for turn in unchanged)
    growth = statistics.median(turn.growth for turn in new[_SIZES[-1]])
    seconds = statistics.median(turn.seconds for turn in new[_SIZES[-1]])
    told = f"µs a record; pydantic alone {alone:.1f} µs"
    return [
        Row(
            bar=5, what="PushEvseData, 10,000 new records: parsing alone / all", limit=0.30, at_least=True,
            measured=alone / many, note=f"{many:.1f} {told}; {_SIZES[-1] / seconds:,.0f} records/s",
        ),
        Row(
            bar=5, what="the same, unchanged records", limit=0.42, at_least=True,
            measured=alone / same, note=f"{same:.1f} {told}",
        ),
        Row(
            bar=5, what="CPU a record at 10,000 / at 1,000", limit=1.2, measured=many / few,
            note=f"{many:.1f} / {few:.1f} µs",
        ),
        Row(bar=5, what="memory growth at 10,000 records", limit=6, unit="bodies", measured=growth),
    ]  # fmt: skip


def _beside(bench: Bench) -> list[Row]:
    """Push to an EMP's node as its peer does, and authorize meanwhile."""
    rows = []
    for size in _SIZES:
        at = _place(bench, "emp")
        with ExitStack() as stack:
            server = stack.enter_context(nodes.emp_node(at))
            pushes = [evses.push_request(range(size), "fullLoad", revision) for revision in range(4)]
            back_to_back = Load(
                file=bench.directory / "pushes", seconds=(bench.rounds + 2) * bench.steady_seconds,
                connections=1, repeatable=True, one_by_one=True, expect=_TAKEN,
            ).filled(pushes)  # fmt: skip
            pushing = back_to_back.start(server.port)
            time.sleep(1.0)
            turns = [bench.authorize_starts(bench.steady_seconds, rate=_RATE).run(server) for _ in range(bench.rounds)]
            pushed = back_to_back.finish(pushing)
        seen = median(turns)
        what = f"AuthorizeStart, FULL, 300/s beside pushes of {size:,}: p99"
        note = f"{pushed.requests * size / pushed.seconds:,.0f} records/s beside; longest {seen.longest:.0f} ms"
        rows.append(Row(bar=6, what=what, limit=_MOST_P99[size], unit="ms", measured=seen.p99, p50=seen.p50, note=note))
    return rows
