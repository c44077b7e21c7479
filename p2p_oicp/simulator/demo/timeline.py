"""What a person (or, with ``--json``, a program) sees while the day goes on."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import IO, Protocol

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from p2p_oicp.simulator.demo.report import Check, Report
from p2p_oicp.simulator.journal import Exchange

_SHORT_ID = 8
# Time, from → to, operation, session; the result has what is left of the terminal's width.
_COLUMNS = (8, 18, 22, _SHORT_ID)


class Timeline(Protocol):
    """Where the demonstration shows what happens; times are in seconds since its start."""

    def scene(self, number: int, title: str) -> None:
        """Begin a new scene."""

    def exchange(self, at: float, exchange: Exchange) -> None:
        """Show that somebody asked and was answered."""

    def event(self, at: float, text: str) -> None:
        """Show that something else happened, such as a crash."""

    def check(self, check: Check) -> None:
        """Show that something was checked."""

    def summary(self, report: Report) -> None:
        """Show everything that was checked, at the end."""


class RichTimeline:
    """A running table for a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def scene(self, number: int, title: str) -> None:
        """Print a heading."""
        self._console.print()
        self._console.rule(f"[bold]{number}. {escape(title)}", align="left")

    def exchange(self, at: float, exchange: Exchange) -> None:
        """Print one line: time, from → to, operation, session, result."""
        line = Table.grid(padding=(0, 1), expand=True)
        for width in _COLUMNS:
            line.add_column(width=width, no_wrap=True, overflow="ellipsis")
        line.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        line.add_row(
            Text(f"{at:6.2f} s", style="dim"),
            Text.assemble((exchange.sender, "cyan"), " → ", (exchange.receiver, "magenta")),
            Text(exchange.operation, style="bold"),
            Text((exchange.session_id or "")[:_SHORT_ID], style="blue"),
            Text(exchange.result, style="green" if exchange.good else "yellow"),
        )
        self._console.print(line)

    def event(self, at: float, text: str) -> None:
        """Print what happened."""
        self._console.print(Text.assemble((f"{at:6.2f} s  ", "dim"), (text, "bold red")))

    def check(self, check: Check) -> None:
        """Print a tick or a cross."""
        mark = Text("         ✓ ", style="green") if check.held else Text("         ✗ ", style="bold red")
        self._console.print(mark + Text(check.sentence, style="" if check.held else "bold red"))
        if not check.held:
            self._console.print(Text(f"           {check.detail}", style="red"))

    def summary(self, report: Report) -> None:
        """Print all checks by scene, and the verdict."""
        self._console.print()
        table = Table("", "Checked", title="What was checked", title_justify="left")
        for scene, checks in report.by_scene():
            table.add_section()
            table.add_row("", Text(scene, style="bold"))
            for check in checks:
                table.add_row("[green]✓" if check.held else "[bold red]✗", Text(check.sentence))
        self._console.print(table)
        verdict = (
            "[bold green]Every check held"
            if report.held
            else f"[bold red]{len(report.failed)} of {len(report.checks)} checks failed"
        )
        self._console.print(
            f"{verdict}[/]: {len(report.checks)} checks over {report.exchanges} exchanges, {report.seconds:.1f} s."
        )


class JsonTimeline:
    """The same as JSON lines: each an object with ``kind`` scene, exchange, event, check or summary."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def scene(self, number: int, title: str) -> None:
        """Write a ``scene``."""
        self._write("scene", number=number, title=title)

    def exchange(self, at: float, exchange: Exchange) -> None:
        """Write an ``exchange``."""
        self._write("exchange", **{**asdict(exchange), "at": round(at, 4), "took": round(exchange.took, 4)})

    def event(self, at: float, text: str) -> None:
        """Write an ``event``."""
        self._write("event", at=round(at, 4), text=text)

    def check(self, check: Check) -> None:
        """Write a ``check``."""
        self._write("check", **asdict(check))

    def summary(self, report: Report) -> None:
        """Write the ``summary``."""
        self._write(
            "summary",
            held=report.held,
            checks=len(report.checks),
            failed=[check.sentence for check in report.failed],
            exchanges=report.exchanges,
            seconds=round(report.seconds, 2),
        )

    def _write(self, kind: str, **members: object) -> None:
        self._stream.write(json.dumps({"kind": kind, **members}, ensure_ascii=False) + "\n")
        self._stream.flush()
