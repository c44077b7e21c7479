"""``p2p-oicp flow``: who has said what to whom, as the demo shows it: from a running node, a hub or a cluster."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from pydantic import SecretStr
from rich.cells import cell_len
from rich.text import Text

from p2p_oicp.cli.client import ApiEndpoint
from p2p_oicp.cli.common import DEFAULT_CONFIG, Console, echo, format_json
from p2p_oicp.cli.exchanges import FOLLOW_SECONDS
from p2p_oicp.cli.flow_sources import FlowExchange, FlowSource, HubSource, NodeSource, cluster_source
from p2p_oicp.cli.send import find_operation
from p2p_oicp.cli.terminal import UtcOption, terminal_width, wrap
from p2p_oicp.clock import format_timestamp
from p2p_oicp.config import load_settings
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.peers.models import parse_base_url
from p2p_oicp.simulator.exchange_log import SHORT_SESSION_ID, exchange_head, exchange_result
from p2p_oicp.storage.exchanges import ExchangeFilter

_MAX_LIMIT = 1000
_INDENT = "    "
_PARTIES_WIDTH, _WIDE_PARTIES_WIDTH = 22, 28
_SESSION_ID_WIDTH = 36
# From these widths of a terminal on, a line has room for a part of the SessionID, and for all of it.
_WIDTH_FOR_SHORT_IDS, _WIDTH_FOR_IDS = 100, 140
_COLUMNS = ("At", "From", "To", "Operation", "Session", "EVSE", "HTTP", "Code", "Duration", "Result")
_BODIES = (("request", "→"), ("response", "←"))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("flow")(flow)


def flow(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", help="The settings of a node; node.toml by default."),
    ] = None,
    cluster: Annotated[
        Path | None, typer.Option(metavar="DIR", help="All nodes of `cluster up` in this folder instead.")
    ] = None,
    hub: Annotated[str | None, typer.Option(metavar="BASE", help="A hub for tests, by its URL, instead.")] = None,
    token: Annotated[str | None, typer.Option(metavar="TOKEN", help="Bearer token of the hub.")] = None,
    operation: Annotated[str, typer.Option(metavar="NAME", help="Only of this operation.")] = "",
    peer: Annotated[str, typer.Option(metavar="NAME", help="Only with this peer, `backend:NAME` or partner.")] = "",
    session: Annotated[str, typer.Option(metavar="ID", help="Only of this session.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=_MAX_LIMIT, help="At first, show at most so many.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new ones, until Ctrl-C.")] = False,
    bodies: Annotated[bool, typer.Option("--bodies", help="With the messages, masked as they are recorded.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, for programs; with --follow, one a line.")] = False,
    utc: UtcOption = False,
) -> None:
    """Show who has said what to whom: OICP between a node, its peers and the company's own systems.

    What is shown is what nodes have recorded: `record` in the table `exchanges` of node.toml; those of tests always do.
    """
    source = _source(config, cluster, hub, token)
    selection = ExchangeFilter(None, limit, peer, _operation_name(operation), session)
    printer = _Printer(utc=utc, bodies=bodies)
    exchanges = source.read(selection)
    if as_json and not follow:
        echo(format_json([_as_json(each, bodies=bodies) for each in exchanges]))
        return
    if not exchanges and not follow:
        echo("No exchange is recorded.", err=not sys.stdout.isatty())
    while True:
        for each in exchanges:
            if as_json:
                echo(msgspec.json.encode(_as_json(each, bodies=bodies)).decode())
            else:
                printer.print(each)
        if not follow:
            return
        sys.stdout.flush()
        time.sleep(FOLLOW_SECONDS)
        exchanges = source.read(selection)


def _source(config: Path | None, cluster: Path | None, hub: str | None, token: str | None) -> FlowSource:
    if sum(each is not None for each in (config, cluster, hub)) > 1:
        raise ConfigurationError("expected only one of --config FILE, --cluster DIR and --hub BASE")
    if cluster is not None:
        return cluster_source(cluster)
    if hub is not None:
        try:
            url = parse_base_url(hub)
        except ValueError as exc:
            raise ConfigurationError(f"--hub: {exc}") from exc
        return HubSource(ApiEndpoint(url, None if token is None else SecretStr(token)))
    config = config or DEFAULT_CONFIG
    return NodeSource(config, load_settings(config).node.name)


def _operation_name(text: str) -> str:
    """Return the name of an operation; commands such as authorize-start do as well. Raises ConfigurationError."""
    return text if not text or text in OPERATION_BY_NAME else find_operation(text).name


@dataclass
class _Printer:
    """Prints exchanges: at a terminal in columns, in a pipe as one line each."""

    utc: bool
    bodies: bool
    has_title: bool = False

    def print(self, exchange: FlowExchange) -> None:
        if sys.stdout.isatty():
            self._print_line(exchange)
        else:
            if not self.has_title:
                echo("\t".join(_COLUMNS))
            self.has_title = True
            echo("\t".join(_cells(exchange)))
        if self.bodies:
            _print_bodies(exchange.recorded)

    def _print_line(self, exchange: FlowExchange) -> None:
        width = terminal_width()
        is_wide = width >= _WIDTH_FOR_IDS
        session_width = _SESSION_ID_WIDTH if is_wide else SHORT_SESSION_ID if width >= _WIDTH_FOR_SHORT_IDS else 0
        head = exchange_head(
            self._time(exchange.shown.at),
            exchange.shown,
            parties_width=_WIDE_PARTIES_WIDTH if is_wide else _PARTIES_WIDTH,
            session_width=session_width,
        )
        result = exchange_result(exchange.shown)
        if session_width:
            result = Text.assemble(result, (f" {_milliseconds(exchange.shown.took)}", "dim"))
        console = Console(highlight=False)
        if cell_len(head.plain) + cell_len(result.plain) <= width:
            console.print(head + result, soft_wrap=True)
            return
        head.rstrip()
        console.print(head, soft_wrap=True)
        for line in wrap(result.plain, width, _INDENT, _INDENT):
            console.print(Text(line, style=result.style), soft_wrap=True)

    def _time(self, at: float) -> str:
        if self.utc:
            return format_timestamp(at)
        return f"{datetime.fromtimestamp(at, UTC).astimezone():%H:%M:%S}"


def _cells(exchange: FlowExchange) -> Sequence[str]:
    recorded, shown = exchange
    cells = (
        format_timestamp(shown.at), shown.sender, shown.receiver, shown.operation, shown.session_id or "",
        recorded.get("evse_id", ""), str(recorded.get("http_status", "")), recorded.get("code", ""),
        _milliseconds(shown.took), shown.result,
    )  # fmt: skip
    return [" ".join(cell.split()) for cell in cells]


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"


def _print_bodies(recorded: dict[str, Any]) -> None:
    for name, arrow in _BODIES:
        body = recorded.get(name)
        if body is not None:
            text = format_json(body["json"]) if "json" in body else body.get("start", f"({body['bytes']} bytes)")
            first, *others = text.splitlines() or [""]
            echo(f"  {arrow} {first}")
            for line in others:
                echo(f"{_INDENT}{line}")


def _as_json(exchange: FlowExchange, *, bodies: bool) -> dict[str, Any]:
    recorded, shown = exchange
    members = {name: value for name, value in recorded.items() if bodies or name not in {"request", "response"}}
    return {"from": shown.sender, "to": shown.receiver, "result": shown.result, "good": shown.good, **members}
