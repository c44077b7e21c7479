"""``scripts/bench --compare COMMIT``: the working tree against a commit, row by row, as ratios.

Each commit is measured by its own benchmark, from its own checkout, with the same interpreter and packages. The two are
run in turns, one group of bars after the other, so that a pair of runs lies a minute or two apart; every second pair
runs in the opposite order, so that a machine that slows down or speeds up favours neither. A bar that the other
commit's benchmark does not have is measured by this one with the other commit's package.

Rows are compared by their bar and their text. A row is *worse* if the median of its ratios is, by more than
``TOLERANCE``, and every single pair says so as well; if a pair disagrees, the row is *unclear* and needs more pairs.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from bench.processes import PACKAGE_ROOT_VARIABLE, ROOT, BenchmarkError

#: What a row may be worse by: more than the noise of a quiet machine over three pairs, less than anybody would notice.
TOLERANCE = 0.03
#: Bar 10 counts lost requests: no ratio can be made of its zeros.
_BARS_WITHOUT_RATIO = {10}

RowKey = tuple[int, str]
Rows = dict[RowKey, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Checkout:
    """A commit, and the folder that holds its files."""

    name: str
    root: Path


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of a row at both commits: a value for each pair of runs."""

    bar: int
    what: str
    unit: str
    at_least: bool
    old: tuple[float, ...]
    new: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """New over old, pair by pair."""
        return [_ratio(new, old) for new, old in zip(self.new, self.old, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the ratios."""
        return statistics.median(self.ratios)

    @property
    def verdict(self) -> str:
        """``worse``, ``better`` or ``unclear`` beyond the tolerance, else nothing."""
        costs = [_ratio(1.0, ratio) if self.at_least else ratio for ratio in self.ratios]
        cost = statistics.median(costs)
        if cost > 1 + TOLERANCE:
            return "worse" if min(costs) > 1 else "unclear"
        return "better" if _ratio(1.0, cost) > 1 + TOLERANCE and max(costs) < 1 else ""


def compare_commits(
    commit: str, groups: Iterable[Sequence[int]], *, pairs: int, quick: bool, directory: Path | None
) -> int:
    """Measure and print; 1 where a row is worse.

    Args:
        commit: what the working tree is compared with, as git names it.
        groups: the bars that are measured together.
        pairs: how many runs of each commit a row is made of.
        quick: pass ``--quick`` to both benchmarks.
        directory: where the databases are put; the system's temporary folder if None.
    """
    pairs_of_rows: list[tuple[Rows, Rows]] = []
    with (
        tempfile.TemporaryDirectory(prefix="p2p-oicp-compare-", dir=directory) as folder,
        _checkout(commit, Path(folder)) as old,
    ):
        new = Checkout(_git("describe", "--always", "--dirty"), ROOT)
        for bars in _disjoint(groups):
            for number in range(pairs):
                order = (old, new) if number % 2 == 0 else (new, old)
                rows = {}
                for checkout in order:
                    print(f"bar {_joined(bars)}, pair {number + 1} of {pairs}: {checkout.name}", file=sys.stderr)
                    rows[checkout.name] = _measure(checkout, bars, quick=quick, directory=Path(folder))
                pairs_of_rows.append((rows[old.name], rows[new.name]))
        comparisons = compare_rows(pairs_of_rows)
        print_comparisons(comparisons, old.name, new.name)
    return int(any(comparison.verdict == "worse" for comparison in comparisons))


def compare_rows(pairs: Iterable[tuple[Rows, Rows]]) -> list[Comparison]:
    """Return the figures that both commits have in every pair, in the order of bars."""
    values: dict[tuple[RowKey, str], list[tuple[dict[str, Any], float, float]]] = {}
    for old, new in pairs:
        for key in old.keys() & new.keys():
            for column in ("measured", "cpu"):
                if old[key][column] is not None and new[key][column] is not None:
                    values.setdefault((key, column), []).append((new[key], old[key][column], new[key][column]))
    return sorted(
        (
            Comparison(
                bar=bar, what=what, unit=entries[0][0]["unit"] if column == "measured" else "µs CPU",
                at_least=entries[0][0]["at_least"] and column == "measured",
                old=tuple(old for _, old, _ in entries), new=tuple(new for _, _, new in entries),
            )
            for ((bar, what), column), entries in values.items()
        ),
        key=lambda comparison: (comparison.bar, comparison.what, comparison.unit),
    )  # fmt: skip


def print_comparisons(comparisons: Iterable[Comparison], old: str, new: str) -> None:
    """Print a row for each figure: medians, the ratio new/old, and its spread over the pairs."""
    console = Console(width=150)
    table = Table(title=f"{new} against {old}; a ratio is new/old, its spread from the lowest to the highest pair")
    for heading in ("bar", "what", "old", "new", "unit", "better is", "ratio", "spread", ""):
        table.add_column(heading, justify="right" if heading in {"bar", "old", "new", "ratio", "spread"} else "left")
    for row in comparisons:
        spread = f"{min(row.ratios):.3f} - {max(row.ratios):.3f}"
        table.add_row(
            str(row.bar), row.what, f"{statistics.median(row.old):.4g}", f"{statistics.median(row.new):.4g}", row.unit,
            "more" if row.at_least else "less", f"{row.ratio:.3f}", spread, row.verdict,
        )  # fmt: skip
    console.print(table)


@contextlib.contextmanager
def _checkout(commit: str, folder: Path) -> Iterator[Checkout]:
    """Check a commit out into a worktree of its own, which is gone afterwards."""
    name, root = _git("describe", "--always", commit), folder / "commit"
    _git("worktree", "prune")  # of runs that were killed
    _git("worktree", "add", "--detach", str(root), commit)
    try:
        yield Checkout(name, root)
    finally:
        _git("worktree", "remove", "--force", str(root))


def _measure(checkout: Checkout, bars: Sequence[int], *, quick: bool, directory: Path) -> Rows:
    rows = _run_benchmark(checkout.root, bars, {}, quick=quick, directory=directory)
    if not rows:
        # The other commit's benchmark is older than the bar: ours, with the other commit's package.
        package = {PACKAGE_ROOT_VARIABLE: str(checkout.root)}
        rows = _run_benchmark(ROOT, bars, package, quick=quick, directory=directory)
    return rows


def _run_benchmark(
    root: Path, bars: Sequence[int], environment: dict[str, str], *, quick: bool, directory: Path
) -> Rows:
    report = directory / "rows.json"
    report.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "bench",
        "--only",
        _joined(bars),
        "--json",
        str(report),
        "--directory",
        str(directory),
    ]
    # PYTHONPATH: the package is installed once, in editable form, from one of the checkouts.
    variables = os.environ | {"PYTHONPATH": str(root)} | environment
    # A session of its own, whose processes are all ended with it: the benchmark, its servers and its load.
    benchmark = subprocess.Popen(
        [*command, *(["--quick"] if quick else [])],
        cwd=root, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        _, errors = benchmark.communicate()
    except BaseException:
        os.killpg(benchmark.pid, signal.SIGTERM)
        benchmark.wait()
        raise
    if not report.exists():
        raise BenchmarkError(f"the benchmark of {root} ended with {benchmark.returncode}:\n{errors[-2000:]}")
    rows = orjson.loads(report.read_bytes())["rows"]
    # `--only 9` also prints the rows of bar 7, which are measured together with it.
    return {(row["bar"], row["what"]): row for row in rows}


def _disjoint(groups: Iterable[Sequence[int]]) -> list[list[int]]:
    """Return the bars in groups that share no bar, since the benchmark runs all that measures any bar asked for."""
    result: list[set[int]] = []
    for group in groups:
        bars = set(group)
        if bars <= _BARS_WITHOUT_RATIO:
            continue
        overlapping = [other for other in result if other & bars]
        result = [other for other in result if not other & bars] + [bars.union(*overlapping)]
    return [sorted(bars) for bars in result]


def _ratio(value: float, base: float) -> float:
    if base == 0:
        return 1.0 if value == 0 else math.inf
    return value / base


def _joined(bars: Iterable[int]) -> str:
    return ",".join(map(str, bars))


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)  # noqa: S607 - git is where the user has it
    if done.returncode != 0:
        raise BenchmarkError(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()
