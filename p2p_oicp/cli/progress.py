"""Progress of long work: how far it has got, how fast, and how long it will take; at a terminal only.

It is written to standard error: the output of a command stays what the next program of a pipe expects. Without a
terminal there (a log, a nightly job) nothing is written at all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import RenderableType
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

from p2p_oicp.cli.common import Console


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


@contextmanager
def show_growth(title: str, files: Callable[[], Iterable[Path]], *, total: float) -> Iterator[None]:
    """Show the progress of something that tells none, by the size of the files that it writes.

    Args:
        title: what is done.
        files: which files, asked again and again.
        total: how large they will be together, in bytes.
    """
    if not sys.stderr.isatty():
        yield
        return

    class Growth(Progress):
        def get_renderables(self) -> Iterable[RenderableType]:
            for each in self.tasks:
                self.update(each.id, completed=min(total, sum(map(_size, files()))))
            return super().get_renderables()

    with Growth(*_progress_columns(total, "bytes"), console=Console(stderr=True), transient=True) as progress:
        progress.add_task(title, total=total)
        yield


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # renamed or removed meanwhile
        return 0


def _progress_columns(total: float | None, unit: str) -> list[ProgressColumn]:
    title = TextColumn("{task.description}")
    if total is None:
        return [SpinnerColumn(), title, TimeElapsedColumn()]
    if unit == "bytes":
        return [title, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()]
    return [title, BarColumn(), MofNCompleteColumn(), _RateColumn(unit), TimeRemainingColumn()]
