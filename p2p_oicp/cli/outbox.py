"""Letters of the outbox as a table for people.

``p2p-oicp outbox``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from p2p_oicp.cli.common import ConfigOption

_COLUMN_TITLES = ("ID", "To", "Message", "Session", "State", "Since (UTC)", "Tries", "Next try (UTC)", "Last error")


def print_messages(messages: Sequence[Mapping[str, Any]]) -> None:
    """Print one row a letter."""
    if not messages:
        Console().print("Nothing waits, and there are no dead letters.", markup=False)
        return
    table = Table(box=box.SIMPLE)
    for title in _COLUMN_TITLES:
        table.add_column(title, overflow="fold")
    for message in messages:
        next_try = _format_time(message["next_try_at"]) if message["state"] == "waiting" else ""
        table.add_row(
            str(message["id"]),
            message["destination"],
            message["operation"],
            message["session_key"],
            message["state"],
            _format_time(message["created_at"]),
            str(message["attempts"]),
            next_try,
            message["last_error"] or "",
        )
    Console().print(table, markup=False)


def print_message(message: Mapping[str, Any]) -> None:
    """Print one letter, its message last."""
    print_messages([message])
    Console().print(json.dumps(message["body"], indent=2, ensure_ascii=False), markup=False, soft_wrap=True)


def _format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


_JsonOption = Annotated[bool, typer.Option("--json", help="JSON, for programs.")]
_MessageNumber = Annotated[
    int, typer.Argument(metavar="ID", min=1, help="Number of the letter, as `outbox list` shows it.")
]
_DEFAULT_CONFIG = Path("node.toml")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    for name, command in (("list", list_messages), ("show", show), ("retry", retry), ("drop", drop)):
        group.command(name)(command)
    app.add_typer(group, name="outbox", help="Messages owed to peers and to our own backend; dead letters.")


def list_messages(
    config: ConfigOption = _DEFAULT_CONFIG,
    dead: Annotated[bool, typer.Option("--dead", help="Only what was refused for good.")] = False,
    to: Annotated[str, typer.Option(metavar="NAME", help="Only for this peer, or `backend emp`.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many.")] = 100,
    as_json: _JsonOption = False,
) -> None:
    """Show what waits, and the dead letters with the reasons they were refused for; the node may be down."""
    # import of own module
    from p2p_oicp.config import load_settings
    from p2p_oicp.storage import outbox, query_once

    file, state = load_settings(config).storage.file, "dead" if dead else ""
    rows = [dict(row) for row in query_once(file, outbox.LIST, state_=state, destination_=to, limit=limit)]
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        print_messages(rows)


def show(number: _MessageNumber, config: ConfigOption = _DEFAULT_CONFIG, as_json: _JsonOption = False) -> None:
    """Show one letter with its message."""
    # import of own module
    from p2p_oicp.config import load_settings
    from p2p_oicp.errors import ConfigurationError
    from p2p_oicp.storage import outbox, query_once

    rows = query_once(load_settings(config).storage.file, outbox.SHOW, id_=number)
    if not rows:
        raise ConfigurationError(f"there is no letter {number} in the outbox; see `p2p-oicp outbox list`")
    message = {**dict(rows[0]), "body": json.loads(rows[0]["body"])}
    if as_json:
        typer.echo(json.dumps(message, indent=2, ensure_ascii=False))
    else:
        print_message(message)


def retry(
    number: Annotated[int | None, typer.Argument(metavar="[ID]", min=1, help="Number of the letter.")] = None,
    config: ConfigOption = _DEFAULT_CONFIG,
    all_dead: Annotated[bool, typer.Option("--dead", help="All dead letters instead of one.")] = False,
    to: Annotated[str, typer.Option(metavar="NAME", help="With --dead: only those for this peer.")] = "",
) -> None:
    """Let a letter be sent again now, a dead one too; the node must be running."""
    from urllib.parse import quote

    from p2p_oicp.cli import client
    from p2p_oicp.errors import ConfigurationError

    if (number is None) != all_dead:
        raise ConfigurationError("name one letter by its number, or all dead ones with --dead")
    path = f"retry?destination={quote(to)}" if number is None else f"{number}/retry"
    response = client.call_admin(config, "POST", f"/admin/v1/outbox/{path}")
    typer.echo(f"{response['retried']} to be sent again now")


def drop(number: _MessageNumber, config: ConfigOption = _DEFAULT_CONFIG) -> None:
    """Throw a letter away for good; the node must be running."""
    from p2p_oicp.cli import client

    client.call_admin(config, "DELETE", f"/admin/v1/outbox/{number}")
    typer.echo(f"letter {number} is thrown away; its session's story says so")
