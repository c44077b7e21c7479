"""Tables and progress, for a person at a terminal and for the next program of a pipe.

A table at a terminal drops columns, the least important first, until a row fits; what remains is never broken nor cut,
so that an id can be copied. Where not even the columns that are never dropped fit, each record is a block of lines.
Reasons stand below their row, whole. In a pipe a record is one line with all columns, separated by tabs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.cells import cell_len
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from p2p_oicp.cli.common import Console, echo
from p2p_oicp.clock import format_timestamp
from p2p_oicp.logs import printable

_GAP = "  "
_UNITS = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))
_NO_TIME = "0 s"
_MIN_WIDTH = 20

UtcOption = Annotated[bool, typer.Option("--utc", help="Absolute times in UTC, also at a terminal.")]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: what stands above it.
        priority: 0: never dropped; of the others the highest number first.
        is_detail: its text stands on a line of its own below the row, whole.
    """

    title: str
    priority: int = 0
    is_detail: bool = False


@dataclass(frozen=True, slots=True)
class Moment:
    """A cell with a time, in seconds since the epoch; None: never."""

    at: float | None


@dataclass(frozen=True, slots=True)
class TimeFormat:
    """How times are shown: to people as a distance from ``now``, unless they want them absolute."""

    now: float
    utc: bool = False

    def text(self, at: float | None) -> str:
        """Return a time as text; empty if there is none."""
        if at is None:
            return ""
        return format_timestamp(at) if self.utc or not sys.stdout.isatty() else distance(at - self.now)


def distance(seconds: float) -> str:
    """Return a distance from now: ``3 min ago``, ``in 2 h``."""
    text = format_seconds(abs(seconds))
    if text == _NO_TIME:
        return "now"
    return f"{text} ago" if seconds < 0 else f"in {text}"


def format_seconds(seconds: float) -> str:
    """Return a time in its largest unit, as many as are over: ``3 min``."""
    return next((f"{int(seconds / unit)} {name}" for unit, name in _UNITS if seconds >= unit), _NO_TIME)


Cell = str | Moment


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], times: TimeFormat, *, empty: str) -> None:
    """Print a table as described above; ``empty`` is what a person reads where there are no rows."""
    texts = [[_cell_text(cell, times) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in ([column.title for column in columns], *texts) if texts else ():
            echo("\t".join(row))
    elif texts:
        for line in format_table(columns, texts, terminal_width()):
            echo(line)
    if not texts:
        echo(empty, err=not sys.stdout.isatty())


def format_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Return the lines of a table for a terminal of ``width`` columns."""
    natural = [max(cell_len(text) for text in (column.title, *(row[index] for row in rows)))
               for index, column in enumerate(columns)]  # fmt: skip
    shown = _columns_that_fit(columns, natural, width)
    details = [index for index, column in enumerate(columns) if column.is_detail]
    if sum(natural[index] + len(_GAP) for index in shown) - len(_GAP) > width:
        for row in rows:
            yield from _block(columns, row)
        return
    yield _line([columns[index].title for index in shown], [natural[index] for index in shown])
    for row in rows:
        yield _line([row[index] for index in shown], [natural[index] for index in shown])
        yield from (f"{_GAP}{row[index]}" for index in details if row[index])


def _columns_that_fit(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[int]:
    shown = [index for index, column in enumerate(columns) if not column.is_detail]
    while sum(widths[index] + len(_GAP) for index in shown) - len(_GAP) > width:
        least = max(shown, key=lambda index: (columns[index].priority, index))
        if columns[least].priority == 0:
            break
        shown.remove(least)
    return shown


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (text + " " * (width - cell_len(text)) for text, width in zip(cells, widths, strict=True))
    return _GAP.join(padded).rstrip()


def _block(columns: Sequence[Column], row: Sequence[str]) -> Iterator[str]:
    for column, text in zip(columns, row, strict=True):
        if text:
            yield f"{column.title}: {text}"
    yield ""


def _cell_text(cell: Cell, times: TimeFormat) -> str:
    text = times.text(cell.at) if isinstance(cell, Moment) else cell
    return printable(" ".join(text.split()) if "\n" in text or "\t" in text else text)


def terminal_width() -> int:
    """Return the width of the terminal, in columns."""
    return max(_MIN_WIDTH, Console().width)


class _RateColumn(ProgressColumn):
    """So many a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.1f} {self._unit}/s", style="progress.data.speed")


@contextmanager
def show_progress(title: str, *, total: float | None, unit: str) -> Iterator[Callable[[float], None]]:
    """Show how far something has got, how fast, and how long it will take; on a terminal only.

    Args:
        title: what is done.
        total: how much there is to do; None: unknown, so only the time that has passed is shown.
        unit: of ``total``; ``bytes`` are shown as megabytes.

    Yields:
        A function that is called with how much was done since the last call.
    """
    if not sys.stderr.isatty():
        yield lambda _done: None
        return
    with Progress(
        *_progress_columns(total, unit),
        console=Console(stderr=True),
        transient=True,
        # Lines that are printed meanwhile go above the bar; in a pipe they go there, as always.
        redirect_stdout=sys.stdout.isatty(),
    ) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done: progress.advance(task, done)


def _progress_columns(total: float | None, unit: str) -> list[ProgressColumn]:
    title = TextColumn("{task.description}")
    if total is None:
        return [SpinnerColumn(), title, TimeElapsedColumn()]
    if unit == "bytes":
        return [title, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()]
    return [title, BarColumn(), MofNCompleteColumn(), _RateColumn(unit), TimeRemainingColumn()]
