"""The table of bars: limit and measurement."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One bar, or a part of one; ``measured`` is None if this version does not serve what is measured.

    ``ratio`` is against REF, ``cpu`` the server's CPU time in µs a request, ``p50`` and ``p99`` in ms.
    """

    bar: int
    what: str
    limit: float
    at_least: bool = False
    unit: str = ""
    measured: float | None = None
    cpu: float | None = None
    p50: float | None = None
    p99: float | None = None
    note: str = ""

    @property
    def passed(self) -> bool | None:
        """Whether the bar is met; None where nothing was measured."""
        if self.measured is None:
            return None
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    @property
    def target(self) -> str:
        """The bar in words."""
        return f"{'≥' if self.at_least else '≤'} {self.limit:g} {self.unit}".rstrip()

    def as_json(self) -> dict[str, object]:
        """Return the row with its verdict."""
        return asdict(self) | {"passed": self.passed}


def print_table(rows: Iterable[Row], facts: dict[str, str]) -> None:
    """Print the table."""
    console = Console(width=150)
    for name, value in facts.items():
        console.print(f"{name}: {value}", highlight=False)
    table = Table()
    for heading in ("bar", "what", "limit", "measured", "", "CPU µs", "p50 ms", "p99 ms", "note"):
        table.add_column(heading, justify="left" if heading in {"what", "note", ""} else "right")
    for row in rows:
        verdict = {True: "ok", False: "MISSED", None: "not served by this version"}[row.passed]
        table.add_row(
            str(row.bar), row.what, row.target, _format_number(row.measured, row.unit),
            verdict, _format_number(row.cpu), _format_number(row.p50), _format_number(row.p99), row.note,
        )  # fmt: skip
    console.print(table)


def write_markdown(file: Path, rows: Iterable[Row], facts: dict[str, str]) -> None:
    """Write the table as docs/performance.md shows it."""
    lines = [f"{name}: {value}  " for name, value in facts.items()]
    lines += [
        "",
        "| # | what | bar | measured | | CPU µs | p50 ms | p99 ms | note |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (
            str(row.bar), row.what, row.target, _format_number(row.measured, row.unit),
            "" if row.passed else "**missed**",
            _format_number(row.cpu), _format_number(row.p50), _format_number(row.p99), row.note,
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _format_number(value: float | None, unit: str = "") -> str:
    if value is None:
        return ""
    digits = max(0, 2 - len(str(int(value)))) + (value < 1) if value != int(value) else 0
    return f"{value:,.{digits}f} {unit}".rstrip()
