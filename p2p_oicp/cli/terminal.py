"""Tables, fields and paragraphs, for a person at a terminal and for the next program of a pipe.

A table at a terminal drops columns, the least important first, until a row fits; what remains is never broken nor cut,
so that an id can be copied. Where not even the columns that are never dropped fit, each record is a block of lines.
Reasons stand below their row, whole, and are broken between words. In a pipe a record is one line with all columns,
separated by tabs.

Everything else is broken between words at a terminal, and nowhere in a pipe.
"""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.cells import cell_len

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


def print_table(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], *, utc: bool = False, empty: str = "None."
) -> None:
    """Print a table as described above.

    Args:
        columns: of the table.
        rows: one cell for each column.
        utc: absolute times, also at a terminal.
        empty: what a person reads where there are no rows.
    """
    times = TimeFormat(time.time(), utc)
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
            yield from _block(columns, row, width)
        return
    yield _line([columns[index].title for index in shown], [natural[index] for index in shown])
    for row in rows:
        yield _line([row[index] for index in shown], [natural[index] for index in shown])
        for text in filter(None, (row[index] for index in details)):
            yield from wrap(text, width, _GAP, _GAP)


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


def _block(columns: Sequence[Column], row: Sequence[str], width: int) -> Iterator[str]:
    for column, text in zip(columns, row, strict=True):
        if text:
            yield from wrap(f"{column.title}: {text}", width if column.is_detail else None, "", _GAP)
    yield ""


def _cell_text(cell: Cell, times: TimeFormat) -> str:
    text = times.text(cell.at) if isinstance(cell, Moment) else cell
    return printable(" ".join(text.split()) if "\n" in text or "\t" in text else text)


def terminal_width() -> int:
    """Return the width of the terminal, in columns."""
    return max(_MIN_WIDTH, Console().width)


def output_width() -> int | None:
    """Return the width that texts have to fit into; None in a pipe, where nothing is broken."""
    return terminal_width() if sys.stdout.isatty() else None


def wrap(text: str, width: int | None, first: str = "", rest: str = "") -> list[str]:
    """Return a text in lines of at most ``width`` columns, broken between words only: ids and URLs are copied.

    Args:
        text: what is broken; line breaks in it count as blanks.
        width: None: it stays one line.
        first: what the first line begins with.
        rest: what the others begin with.
    """
    if width is None:
        return [first + " ".join(text.split())]
    lines = textwrap.wrap(
        " ".join(text.split()),
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines or [first.rstrip()]


def print_text(text: str, first: str = "", rest: str | None = None) -> None:
    """Print a text as `wrap` breaks it; ``rest`` is as wide as ``first``, if it is not given."""
    for line in wrap(text, output_width(), first, " " * cell_len(first) if rest is None else rest):
        echo(line)


def print_fields(fields: Sequence[tuple[str, str]], indent: str = "  ") -> None:
    """Print names and their values, one below the other; what does not fit goes on below the value."""
    width = max((cell_len(name) for name, _ in fields), default=0)
    for name, value in fields:
        print_text(value, f"{indent}{name}{' ' * (width - cell_len(name))}{_GAP}")
