"""``scripts/bench``: measure, print the table, write it as JSON; or compare with another commit."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import orjson

from bench.bars import (
    authorize,
    crash,
    dashboard,
    events,
    pulls,
    pushes,
    replication,
    roundtrip,
    settlement,
    signed,
    standing,
    startup,
)
from bench.bench import Bench
from bench.compare import compare_commits
from bench.facts import collect_facts
from bench.table import Row, print_table, write_markdown

Measure = Callable[[Bench], list[Row]]
#: What measures which bars.
MEASUREMENTS: Mapping[tuple[int, ...], Measure] = MappingProxyType(
    {
        (1, 2): authorize.measure,
        (3,): signed.measure,
        (4,): roundtrip.measure,
        (5, 6): pushes.measure,
        (7, 9): pulls.measure,
        (8,): replication.measure,
        (9,): standing.measure,
        (10,): crash.measure,
        (11,): settlement.measure,
        (12,): startup.measure,
        (13,): events.measure,
        (14,): dashboard.measure,
    }
)


def main() -> int:
    """Run; 1 where a bar was missed, or a row is worse than at the commit that is compared with."""
    options = _options()
    # `timeout` ends a run by SIGTERM: servers and checkouts have to be cleaned up then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    groups = {bars: measure for bars, measure in MEASUREMENTS.items() if set(bars) & set(options.only or bars)}
    if options.compare:
        return compare_commits(
            options.compare, groups, pairs=options.pairs, quick=options.quick, directory=options.directory
        )
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="p2p-oicp-bench-", dir=options.directory) as folder:
        directory = Path(folder)
        bench = Bench(directory, options.quick, rounds=5, seconds=1.0 if options.quick else 3.0)
        facts = collect_facts(directory)
        for bars, measure in groups.items():
            print(f"measuring bar {', '.join(map(str, bars))} ...", end=" ", file=sys.stderr, flush=True)
            started = time.monotonic()
            rows += measure(bench)
            print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
    rows.sort(key=lambda row: row.bar)
    print_table(rows, facts)
    if options.json:
        options.json.write_bytes(orjson.dumps({"facts": facts, "rows": [row.as_json() for row in rows]}, option=2))
    if options.markdown:
        write_markdown(options.markdown, rows, facts)
    return int(any(row.passed is False for row in rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure a node against its bars.")
    parser.add_argument("--quick", action="store_true", help="shorter measurements, smaller tables: under 3 minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table for docs/performance.md")
    parser.add_argument("--only", type=_bars, metavar="1,2", help="measure only these bars")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="where the databases are put: the disk measured")
    parser.add_argument("--compare", metavar="COMMIT", help="measure this commit as well, in turns, and print ratios")
    parser.add_argument("--pairs", type=int, default=3, metavar="N", help="with --compare: runs of each commit")
    return parser.parse_args()


def _bars(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
