"""``p2p-oicp status``: is all well? And ``p2p-oicp retry``: try again now.

Both ask the running node (``/admin/v1/status``). What is stuck comes first, each with a sentence, what to do, and the
reason in the words of whoever gave it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from p2p_oicp.cli import client
from p2p_oicp.cli.common import DEFAULT_CONFIG, ConfigOption, Console, JsonOption, echo, format_json
from p2p_oicp.cli.terminal import Column, format_seconds, output_width, print_table, wrap
from p2p_oicp.config import load_settings
from p2p_oicp.delivery.health_texts import Condition, explain
from p2p_oicp.errors import PeerUnreachable

IN_SYNC = "in sync"
_REASON_LENGTH = 300
_COLUMNS = (Column("Name"), Column("State"), Column("Channels", is_detail=True))


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("status")(status)
    app.command("retry")(retry)


def status(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Say whether all is well: what is stuck, since when, why, and what to do. Exit code 1: something is stuck."""
    report = fetch_status(config)
    if as_json:
        echo(format_json(report))
    else:
        print_status(report)
    if not report["ok"]:
        raise typer.Exit(1)


def retry(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A peer, or backend:NAME; absent: all that fail.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    channel: Annotated[
        str | None, typer.Option(metavar="CHANNEL", help="Only this channel, as `status` calls it.")
    ] = None,
) -> None:
    """Try again now, without waiting for the next try: outbox, datasets, hello and pulls. The node has to run."""
    names = [name] if name is not None else _failing(client.call_admin(config, "GET", "/admin/v1/status"))
    if not names:
        echo("Nothing fails.")
    for each in names:
        query = f"?channel={quote(channel, safe='')}" if channel else ""
        response = client.call_admin(config, "POST", f"/admin/v1/peers/{quote(each, safe='')}/retry{query}")
        echo(f"{each}: {', '.join(response['retried'])}")


def _failing(report: Mapping[str, Any]) -> list[str]:
    return [
        each["name"]
        for each in (*report["peers"], *report["backends"])
        if not each["up"] or any(channel["state"] == "failing" for channel in each["channels"])
    ]


def fetch_status(config: Path) -> dict[str, Any]:
    """Return the report of the running node; one with a single problem if it does not run."""
    settings = load_settings(config)
    try:
        return client.call_admin(config, "GET", "/admin/v1/status")
    except PeerUnreachable as error:
        text, _ = explain(Condition.NODE_DOWN, settings.node.name)
        cure = f"Start it: p2p-oicp run --config {config}"
        problem = {"severity": "error", "name": "this node", "channels": [], "cause": Condition.NODE_DOWN, "text": text}
        details = {"cure": cure, "error": error.reason, "since": None, "tries": 0, "next_try": None, "count": 0}
        return {
            "ok": False,
            "node": settings.node.name,
            "version": None,
            "running_since": None,
            "problems": [problem | details],
            "peers": [],
            "backends": [],
        }


def print_status(report: Mapping[str, Any]) -> None:
    """Print a report: what is stuck, then what should be known, then peers and backends."""
    console, now = Console(highlight=False), time.time()
    errors = [each for each in report["problems"] if each["severity"] == "error"]
    summary = "all is well" if report["ok"] else f"{len(errors)} {'problem' if len(errors) == 1 else 'problems'}"
    running = f", running for {format_age(report['running_since'], now)}" if report["running_since"] else ""
    _print(console, f"{report['node']}{running}: {summary}", "bold" if report["ok"] else "bold red")
    for problem in report["problems"]:
        _print(console, "")
        style = "red" if problem["severity"] == "error" else "yellow"
        for number, line in enumerate(format_problem(problem, now, output_width())):
            _print(console, line, style if number == 0 else "")
    rows = [_row(each) for each in (*report["peers"], *report["backends"])]
    if rows:
        _print(console, "")
        print_table(_COLUMNS, rows)
    for each in report.get("without_backend", ()):
        _print(console, "")
        for line in wrap(each["text"], output_width(), "", "  "):
            _print(console, line)
    for each in report.get("invitations", ()):
        text = f"An invitation is open until {each['expires']}: who has it may pair with this node."
        for line in wrap(text, output_width(), "", "  "):
            _print(console, line)
    if report.get("disk"):
        free, total = (report["disk"][name] / 1e9 for name in ("free_bytes", "total_bytes"))
        _print(console, "")
        _print(console, f"Disk: {free:.1f} GB free of {total:.1f}; database {report['database']['bytes'] / 1e6:.1f} MB")


def format_problem(problem: Mapping[str, Any], now: float, width: int | None) -> Iterator[str]:
    """Return a problem in lines of at most ``width`` columns; None: as long as they are."""
    times = [f"since {format_age(problem['since'], now)}"] if problem["since"] else []
    times += [f"{problem['tries']} {'try' if problem['tries'] == 1 else 'tries'}"] if problem["tries"] else []
    times += [f"next try {_format_next(problem['next_try'], now)}"] if problem["next_try"] else []
    channels = f" ({', '.join(dict.fromkeys(problem['channels']))})" if problem["channels"] else ""
    mark = "!" if problem["severity"] == "error" else "-"
    yield from wrap(f"{problem['name']}{channels}{': ' * bool(times)}{', '.join(times)}", width, f"{mark} ", "  ")
    yield from wrap(problem["text"], width, "  ", "  ")
    yield from wrap(f"To do: {problem['cure']}", width, "  ", "    ")
    if problem["error"]:
        yield from wrap(f"Reason: {problem['error'][:_REASON_LENGTH]}", width, "  ", "    ")


def format_age(timestamp: str | None, now: float) -> str:
    """Return how long ago a time was: "3 min"."""
    if timestamp is None:
        return "-"
    return format_seconds(now - datetime.fromisoformat(timestamp).timestamp())


def format_channels(peer: Mapping[str, Any]) -> str:
    """Return what is notable of a peer's channels: those that fail or lag behind."""
    parts = []
    for channel in peer["channels"]:
        if channel["state"] != IN_SYNC:
            behind = f", {channel['behind']} behind" if channel["behind"] and channel["state"] != "behind" else ""
            state = f"{channel['behind']} behind" if channel["state"] == "behind" else channel["state"]
            parts.append(f"{channel['channel']} {state}{behind}")
    return "; ".join(parts) or IN_SYNC


def _row(peer: Mapping[str, Any]) -> tuple[str, str, str]:
    channels = format_channels(peer)
    marks = [name for name in ("held", "paused") if peer.get(name)]
    state = marks[0] if marks else "in sync" if channels == IN_SYNC else "up" if peer["up"] else "FAILING"
    return peer["name"], state, "" if state == IN_SYNC else channels


def _format_next(timestamp: str, now: float) -> str:
    seconds = datetime.fromisoformat(timestamp).timestamp() - now
    return f"in {format_seconds(seconds)}" if seconds > 0 else "now"


def _print(console: Console, line: str, style: str = "") -> None:
    console.print(line, style=style or None, markup=False, soft_wrap=True)
