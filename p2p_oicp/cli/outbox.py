"""``p2p-oicp outbox``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from p2p_oicp.cli.options import ConfigOption

_JsonOption = Annotated[bool, typer.Option("--json", help="JSON, for programs.")]
_Number = Annotated[int, typer.Argument(metavar="ID", min=1, help="Number of the letter, as `outbox list` shows it.")]
_CONFIG = Path("node.toml")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    for name, command in (("list", list_letters), ("show", show), ("retry", retry), ("drop", drop)):
        group.command(name)(command)
    app.add_typer(group, name="outbox", help="Messages owed to peers and to our own backend; dead letters.")


def list_letters(
    config: ConfigOption = _CONFIG,
    dead: Annotated[bool, typer.Option("--dead", help="Only what was refused for good.")] = False,
    to: Annotated[str, typer.Option(metavar="NAME", help="Only for this peer, or `backend emp`.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many.")] = 100,
    as_json: _JsonOption = False,
) -> None:
    """Show what waits, and the dead letters with the reasons they were refused for; the node may be down."""
    from p2p_oicp.cli import letters
    from p2p_oicp.settings import load_settings
    from p2p_oicp.storage import outbox_desk, read_once

    file, state = load_settings(config).storage.file, "dead" if dead else ""
    rows = [dict(row) for row in read_once(file, outbox_desk.LIST, state_=state, destination_=to, most=limit)]
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        letters.print_table(rows)


def show(number: _Number, config: ConfigOption = _CONFIG, as_json: _JsonOption = False) -> None:
    """Show one letter with its message."""
    from p2p_oicp.cli import letters
    from p2p_oicp.errors import ConfigurationError
    from p2p_oicp.settings import load_settings
    from p2p_oicp.storage import outbox_desk, read_once

    rows = read_once(load_settings(config).storage.file, outbox_desk.SHOW, id_=number)
    if not rows:
        raise ConfigurationError(f"there is no letter {number} in the outbox; see `p2p-oicp outbox list`")
    letter = {**dict(rows[0]), "body": json.loads(rows[0]["body"])}
    if as_json:
        typer.echo(json.dumps(letter, indent=2, ensure_ascii=False))
    else:
        letters.print_letter(letter)


def retry(
    number: Annotated[int | None, typer.Argument(metavar="[ID]", min=1, help="Number of the letter.")] = None,
    config: ConfigOption = _CONFIG,
    all_dead: Annotated[bool, typer.Option("--dead", help="All dead letters instead of one.")] = False,
    to: Annotated[str, typer.Option(metavar="NAME", help="With --dead: only those for this peer.")] = "",
) -> None:
    """Let a letter be sent again now, a dead one too; the node must be running."""
    from urllib.parse import quote

    from p2p_oicp.cli import admin
    from p2p_oicp.errors import ConfigurationError

    if (number is None) != all_dead:
        raise ConfigurationError("name one letter by its number, or all dead ones with --dead")
    path = f"retry?destination={quote(to)}" if number is None else f"{number}/retry"
    told = admin.ask(config, "POST", f"/admin/v1/outbox/{path}")
    typer.echo(f"{told['retried']} to be sent again now")


def drop(number: _Number, config: ConfigOption = _CONFIG) -> None:
    """Throw a letter away for good; the node must be running."""
    from p2p_oicp.cli import admin

    admin.ask(config, "DELETE", f"/admin/v1/outbox/{number}")
    typer.echo(f"letter {number} is thrown away; its session's story says so")
