"""``p2p-oicp outbox``: pending and dead-lettered messages; sending them again, or discarding them.

`list` and `show` read the database directly, so they work while the node is down. `retry` and `drop` go through the
admin API: the running node has to wake its dispatcher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

import orjson
import typer
from rich import box
from rich.table import Table

from p2p_oicp.cli import client
from p2p_oicp.cli.common import DEFAULT_CONFIG, ConfigOption, Console, JsonOption, echo, format_json
from p2p_oicp.config import load_settings
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.storage import outbox, query_once

_COLUMN_TITLES = ("ID", "To", "Message", "Session", "State", "Since (UTC)", "Tries", "Next try (UTC)", "Last error")
_MessageNumber = Annotated[
    int, typer.Argument(metavar="ID", min=1, help="Number of the message, as `outbox list` shows it.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    for name, command in (("list", list_messages), ("show", show), ("retry", retry), ("drop", drop)):
        group.command(name)(command)
    app.add_typer(
        group, name="outbox", help="Messages pending for peers and for our own backend; dead-lettered messages."
    )


def list_messages(
    config: ConfigOption = DEFAULT_CONFIG,
    dead: Annotated[bool, typer.Option("--dead", help="Only dead-lettered messages.")] = False,
    to: Annotated[str, typer.Option(metavar="NAME", help="Only for this peer, or `backend emp`.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Show pending messages, and dead-lettered ones with the reason; the node may be down."""
    file, state = load_settings(config).storage.file, "dead" if dead else ""
    messages = [dict(row) for row in query_once(file, outbox.LIST, state_=state, destination_=to, limit=limit)]
    if as_json:
        echo(format_json(messages))
    else:
        print_messages(messages)


def show(number: _MessageNumber, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show one message with its body."""
    rows = query_once(load_settings(config).storage.file, outbox.SHOW, id_=number)
    if not rows:
        raise ConfigurationError(f"there is no message {number} in the outbox; see `p2p-oicp outbox list`")
    message = {**dict(rows[0]), "body": orjson.loads(rows[0]["body"])}
    if as_json:
        echo(format_json(message))
    else:
        print_messages([message])
        Console().print(format_json(message["body"]), markup=False, soft_wrap=True)


def retry(
    number: Annotated[int | None, typer.Argument(metavar="[ID]", min=1, help="Number of the message.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    all_dead: Annotated[bool, typer.Option("--dead", help="All dead-lettered messages instead of one.")] = False,
    to: Annotated[str, typer.Option(metavar="NAME", help="With --dead: only those for this peer.")] = "",
) -> None:
    """Send a message again now, also a dead-lettered one; the node must be running."""
    if (number is None) != all_dead:
        raise ConfigurationError("name one message by its number, or all dead-lettered ones with --dead")
    path = f"retry?destination={quote(to)}" if number is None else f"{number}/retry"
    response = client.call_admin(config, "POST", f"/admin/v1/outbox/{path}")
    echo(f"{response['requeued']} to be sent again now")


def drop(number: _MessageNumber, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Discard a message for good; the node must be running."""
    client.call_admin(config, "DELETE", f"/admin/v1/outbox/{number}")
    echo(f"message {number} discarded (noted in the session history)")


def print_messages(messages: Sequence[Mapping[str, Any]]) -> None:
    """Print a table with one row for each message."""
    if not messages:
        Console().print("No pending or dead-lettered messages.", markup=False)
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


def _format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
