"""Bars 7 and 9: pulling from many EVSEs, and starting with them."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from datetime import UTC, datetime

from bench import evses, messages, nodes
from bench.bench import Bench
from bench.load import Load, Result, median, ratio
from bench.nodes import Place
from bench.processes import BenchFailed, Server
from bench.table import Row

_LARGE, _SMALL = 2_000, 20
_A_PUSH = 10_000
_CHANGED = 100
_PULLED = '"content":['


def measure(bench: Bench) -> list[Row]:
    """Fill an EMP's node, and pull from it as its backend does."""
    rows: list[Row] = []
    at = _place(bench)
    delta, filled = [], 0
    for size in (100_000,) if bench.quick else (100_000, 1_000_000):
        with nodes.emp_node(at, with_cards=False) as server:
            fill(bench, server, range(filled, size))
        filled = size
        with ExitStack() as stack:
            server = stack.enter_context(nodes.emp_node(at, with_cards=False))
            rows.append(_start_row(server, size))
            delta.append(_delta_seconds(bench, at, server, size))
            rows += _last_page_row(bench, at, size)
            if size == 100_000:
                rows += _page_rows(bench, at, server, stack)
    if len(delta) > 1:
        what = f"a delta of {_CHANGED} records: at 1,000,000 / at 100,000"
        rows.append(Row(bar=7, what=what, limit=2, measured=delta[1] / delta[0], note=f"{1e3 * delta[1]:.1f} ms"))
    return rows


def _place(bench: Bench) -> Place:
    at = nodes.place("emp", bench.directory / "pulls")
    nodes.configure_emp(at, nodes.place("cpo", bench.directory / "nobody"))
    return at


def fill(bench: Bench, server: Server, numbers: range) -> None:
    """Push charging spots to an EMP's node, as the CPO's node does."""
    requests = (
        evses.push_request(numbers[start : start + _A_PUSH], "insert") for start in range(0, len(numbers), _A_PUSH)
    )
    load = Load(file=bench.directory / "fill", seconds=3600, connections=1, one_by_one=True, expect='"Result":true')
    load.filled(requests).run(server)


def _start_row(server: Server, size: int) -> Row:
    note = f"{server.memory_bytes() / 1e6:.0f} MB then"
    return Row(bar=9, what=f"start with {size:,} EVSEs", limit=3, unit="s", measured=server.started_in, note=note)


def _pull(bench: Bench, port: int, request: bytes) -> float:
    """Return the seconds that one pull takes."""
    load = Load(file=bench.directory / "pull", seconds=60, connections=1, one_by_one=True, expect=_PULLED)
    load = load.filled([request])
    return load.finish(load.start(port)).p50 / 1e3


def _last_page_row(bench: Bench, at: Place, size: int) -> list[Row]:
    first, last = [], []
    for _ in range(bench.rounds):
        first.append(_pull(bench, at.backend, evses.pull_request(0, _LARGE)))
        last.append(_pull(bench, at.backend, evses.pull_request(size // _LARGE - 1, _LARGE)))
    earlier, later = statistics.median(first), statistics.median(last)
    what = f"last page / first page of {_LARGE:,} at {size:,} EVSEs"
    return [
        Row(bar=7, what=what, limit=2, measured=later / earlier, note=f"{1e3 * later:.0f} / {1e3 * earlier:.0f} ms")
    ]


def _delta_seconds(bench: Bench, at: Place, server: Server, size: int) -> float:
    """Return the seconds of a pull of what changed since now, after a few changes."""
    time.sleep(0.1)
    since = datetime.now(UTC).isoformat(timespec="milliseconds")
    time.sleep(0.1)
    load = Load(file=bench.directory / "change", seconds=60, connections=1, one_by_one=True, expect='"Result":true')
    load.filled([evses.push_request(range(_CHANGED), "update", size)]).run(server)
    request = evses.pull_request(0, _LARGE, since)
    return statistics.median(_pull(bench, at.backend, request) for _ in range(bench.rounds))


def _page_rows(bench: Bench, at: Place, server: Server, stack: ExitStack) -> list[Row]:
    """Load the node with pages in turns with REF: a static body of the same size, and the echo."""
    size = _body_bytes(at.backend, evses.pull_request(1, _LARGE))
    reference = stack.enter_context(nodes.reference(bench.directory, page_bytes=size))
    backend = Server(server.name, at.backend, server.process, server.log)
    static = _repeated(bench, "static", messages.post("/static", b"{}"), connections=4)
    large = _repeated(bench, "large", evses.pull_request(1, _LARGE), connections=4)
    small = _repeated(bench, "small", evses.pull_request(1, _SMALL), connections=8)
    seen: dict[str, list[Result]] = {"static": [], "large": [], "echo": [], "small": []}
    for _ in range(bench.rounds):
        seen["static"].append(static.run(reference))
        seen["large"].append(large.run(backend))
        seen["echo"].append(bench.echoes().run(reference))
        seen["small"].append(small.run(backend))
    return [
        _page_row(_LARGE, 0.14, seen["large"], seen["static"], f"of {size / 1e6:.1f} MB, against a static body"),
        _page_row(_SMALL, 0.40, seen["small"], seen["echo"], "against REF"),
    ]


def _page_row(size: int, limit: float, ours: list[Result], theirs: list[Result], against: str) -> Row:
    mine, other = median(ours), median(theirs)
    return Row(
        bar=7, what=f"PullEvseData, page of {size:,} {against}", limit=limit, at_least=True,
        measured=ratio(ours, theirs), cpu=mine.cpu, p50=mine.p50, p99=mine.p99,
        note=f"{mine.rate:,.0f}/s against {other.rate:,.0f}/s",
    )  # fmt: skip


def _repeated(bench: Bench, name: str, request: bytes, connections: int) -> Load:
    load = Load(file=bench.directory / name, seconds=bench.seconds, connections=connections, repeatable=True)
    return load.filled([request])


def _body_bytes(port: int, request: bytes) -> int:
    answer = messages.exchange(port, request)
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head[:20] or b'"content":[' not in body:
        raise BenchFailed(f"a page was not answered: {answer[:500].decode()}")
    return len(body)
