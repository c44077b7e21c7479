"""``p2p-oicp tokens``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from p2p_oicp.cli.options import ConfigOption, JsonOption

_FILE_HELP = "One token a line, an EvcoID's PIN behind a comma; - reads standard input."


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    group.command("add")(add)
    group.command("list")(list_tokens)
    group.command("remove")(remove)
    app.add_typer(group, name="tokens", help="The drivers of an EMP that has no contract system.")


def add(
    tokens: Annotated[list[str] | None, typer.Argument(metavar="[TOKEN]...", help="UIDs of cards, EvcoIDs.")] = None,
    config: ConfigOption = Path("node.toml"),
    pin: Annotated[bool, typer.Option("--pin", help="Ask for a PIN; it is kept as a bcrypt hash.")] = False,
    file: Annotated[str | None, typer.Option("--from", metavar="FILE", help=_FILE_HELP)] = None,
) -> None:
    """Let drivers charge; a running node knows them at once. A token that is there already is replaced."""
    from p2p_oicp.cli import token_list
    from p2p_oicp.settings import load_settings

    secret = typer.prompt("PIN", hide_input=True) if pin else None
    given = [*token_list.of_texts(tokens or [], secret), *token_list.of_file(file)]
    token_list.add(load_settings(config).storage.file, given)
    typer.echo(f"{len(given)} added")


def list_tokens(config: ConfigOption = Path("node.toml"), as_json: JsonOption = False) -> None:
    """Show who may charge; PINs are not shown."""
    from p2p_oicp.cli import token_list
    from p2p_oicp.settings import load_settings

    token_list.show(load_settings(config).storage.file, as_json=as_json)


def remove(
    tokens: Annotated[list[str], typer.Argument(metavar="TOKEN...", help="UIDs of cards, EvcoIDs.")],
    config: ConfigOption = Path("node.toml"),
) -> None:
    """Let these drivers charge no more; the exit code is 1 if one of them was not on the list."""
    from p2p_oicp.cli import token_list
    from p2p_oicp.settings import load_settings

    missing = token_list.remove(load_settings(config).storage.file, tokens)
    for token in missing:
        typer.echo(f"{token} was not on the list", err=True)
    raise typer.Exit(int(bool(missing)))
