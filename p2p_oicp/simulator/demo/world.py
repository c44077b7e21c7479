"""The participants of the demo, connected; the checks and their report; the timelines that show both.

A `Timeline` is the output: a table for people (`RichTimeline`), or JSON lines for programs (`JsonTimeline`).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import IO, Protocol

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from p2p_oicp.clock import SystemClock
from p2p_oicp.oicp import UID, EvcoID, EvseID, OperatorID, ProviderID
from p2p_oicp.simulator.cluster import Cluster, NodeProcess
from p2p_oicp.simulator.csms import ChargingPoint, Csms, SimulatedClock
from p2p_oicp.simulator.emp import Contract, ContractSystem
from p2p_oicp.simulator.exchange_log import (
    SHORT_SESSION_ID,
    ExchangeLog,
    LoggedExchange,
    exchange_head,
    exchange_result,
)
from p2p_oicp.simulator.node_files import NodeSpec

OPERATOR = OperatorID("DE*GEF")
PROVIDER = ProviderID("DE-GDF")
EVSES = tuple(EvseID(f"DE*GEF*E1001*{number}") for number in (1, 2, 3, 4))

CARD = UID("04A1B2C3D4E5F6")
BLOCKED_CARD = UID("04B10C4ED00000")
UNKNOWN_CARD = UID("CAFEBABE")
APP_DRIVER = EvcoID("DE-GDF-C12345678-X")

# Simulated time begins so long before now: nodes reject times that lie in the future.
_SIMULATED_DURATION = timedelta(hours=12)

_PARTIES_WIDTH = 18


@dataclass(frozen=True, slots=True)
class Check:
    """A sentence that must be true at that point; ``detail`` has the difference if it is not."""

    scene: str
    sentence: str
    held: bool
    detail: str = ""


@dataclass
class Report:
    """All checks of one run."""

    checks: list[Check] = field(default_factory=list)
    exchanges: int = 0
    seconds: float = 0.0

    @property
    def failed(self) -> list[Check]:
        """Checks that did not hold."""
        return [check for check in self.checks if not check.held]

    @property
    def held(self) -> bool:
        """Whether there are checks and all of them held."""
        return bool(self.checks) and not self.failed

    def by_scene(self) -> list[tuple[str, list[Check]]]:
        """Return the checks in their order, grouped by scene."""
        return [(scene, list(checks)) for scene, checks in groupby(self.checks, key=lambda check: check.scene)]


class Timeline(Protocol):
    """The demo's output; ``at`` is in seconds since its start."""

    def scene(self, number: int, title: str) -> None:
        """Begin a new scene."""

    def exchange(self, at: float, exchange: LoggedExchange) -> None:
        """Show one OICP exchange."""

    def event(self, at: float, text: str) -> None:
        """Show another event, such as a crash."""

    def check(self, check: Check) -> None:
        """Show the result of one check."""

    def summary(self, report: Report) -> None:
        """Show all checks, at the end."""


class RichTimeline:
    """A running table for a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def scene(self, number: int, title: str) -> None:
        """Print a heading."""
        self._console.print()
        self._console.rule(f"[bold]{number}. {escape(title)}", align="left")

    def exchange(self, at: float, exchange: LoggedExchange) -> None:
        """Print one line: time, from → to, operation, session, result."""
        head = exchange_head(f"{at:6.2f} s", exchange, parties_width=_PARTIES_WIDTH, session_width=SHORT_SESSION_ID)
        # The result has what is left of the terminal's width.
        self._console.print(head + exchange_result(exchange), no_wrap=True, overflow="ellipsis")

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
        self._write_line("scene", number=number, title=title)

    def exchange(self, at: float, exchange: LoggedExchange) -> None:
        """Write an ``exchange``."""
        self._write_line("exchange", **{**asdict(exchange), "at": round(at, 4), "took": round(exchange.took, 4)})

    def event(self, at: float, text: str) -> None:
        """Write an ``event``."""
        self._write_line("event", at=round(at, 4), text=text)

    def check(self, check: Check) -> None:
        """Write a ``check``."""
        self._write_line("check", **asdict(check))

    def summary(self, report: Report) -> None:
        """Write the ``summary``."""
        self._write_line(
            "summary",
            held=report.held,
            checks=len(report.checks),
            failed=[check.sentence for check in report.failed],
            exchanges=report.exchanges,
            seconds=round(report.seconds, 2),
        )

    def _write_line(self, line_type: str, **members: object) -> None:
        self._stream.write(json.dumps({"kind": line_type, **members}, ensure_ascii=False) + "\n")
        self._stream.flush()


@dataclass
class DemoContext:
    """All that a scene uses; ``timeout`` bounds each wait for a delivery, in seconds."""

    cluster: Cluster
    csms: Csms
    contracts: ContractSystem
    timeline: Timeline
    report: Report
    started: float
    scene: str = ""
    timeout: float = 10.0

    @property
    def node_a(self) -> NodeProcess:
        """The operator's node."""
        return self.cluster["node A"]

    @property
    def node_b(self) -> NodeProcess:
        """The provider's node."""
        return self.cluster["node B"]

    def begin_scene(self, number: int, title: str) -> None:
        """Show a scene; the checks that follow belong to it."""
        self.scene = title
        self.timeline.scene(number, title)

    def elapsed(self) -> float:
        """Return the seconds since the demo began."""
        return SystemClock().monotonic() - self.started

    def record_event(self, text: str) -> None:
        """Show an event."""
        self.timeline.event(self.elapsed(), text)

    def check(self, sentence: str, actual: object, expected: object = True) -> None:  # noqa: FBT002 - a value, no switch
        """Record and show a check: it holds if ``actual`` equals ``expected``."""
        held = actual == expected
        check = Check(self.scene, sentence, held, "" if held else f"expected {expected!r}, found {actual!r}")
        self.report.checks.append(check)
        self.timeline.check(check)


@asynccontextmanager
async def open_demo(directory: Path, timeline: Timeline, report: Report) -> AsyncIterator[DemoContext]:
    """Start backends and nodes, connect them, and stop all of them afterwards."""
    clock = SystemClock()
    started = clock.monotonic()
    exchange_log = ExchangeLog(clock, listeners=[lambda exchange: timeline.exchange(exchange.at - started, exchange)])
    async with (
        _create_csms(exchange_log) as csms,
        _create_contract_system(exchange_log) as contracts,
        Cluster(directory, _node_specs(csms, contracts)) as cluster,
    ):
        csms.connect("node A", cluster["node A"].backend_url)
        contracts.connect("node B", cluster["node B"].backend_url)
        context = DemoContext(cluster, csms, contracts, timeline, report, started)
        try:
            yield context
        finally:
            report.exchanges = len(exchange_log.exchanges)


def _node_specs(csms: Csms, contracts: ContractSystem) -> list[NodeSpec]:
    return [
        NodeSpec("node A", operators=(OPERATOR.text,), cpo_url=csms.url),
        NodeSpec("node B", providers=(PROVIDER.text,), emp_url=contracts.url),
    ]


def _create_csms(exchange_log: ExchangeLog) -> Csms:
    now = datetime.now().astimezone().replace(microsecond=0)
    return Csms(
        name="CSMS",
        operator=OPERATOR,
        points=[ChargingPoint(evse_id, Decimal("1000.125") * (index + 1)) for index, evse_id in enumerate(EVSES)],
        exchange_log=exchange_log,
        clock=SimulatedClock(now - _SIMULATED_DURATION),
    )


def _create_contract_system(exchange_log: ExchangeLog) -> ContractSystem:
    contracts = [
        Contract(EvcoID("DE-GDF-C00000001-1"), uids=(CARD,)),
        Contract(EvcoID("DE-GDF-C00000002-2"), uids=(BLOCKED_CARD,), is_valid=False),
        Contract(APP_DRIVER),
    ]
    return ContractSystem(name="contracts", provider=PROVIDER, contracts=contracts, exchange_log=exchange_log)
