"""``p2p-oicp sessions``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from p2p_oicp.cli.options import ConfigOption, JsonOption


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    group.command("list")(list_sessions)
    group.command("show")(show_session)
    app.add_typer(group, name="sessions", help="The charging sessions that this node knows.")


def list_sessions(
    config: ConfigOption = Path("node.toml"),
    state: Annotated[
        str, typer.Option(metavar="STATE", help="Only those in this state: requested, authorized, uncertain, ...")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Show the newest sessions; the node may be running."""
    from p2p_oicp.cli import session_list
    from p2p_oicp.settings import load_settings

    found = session_list.newest(load_settings(config).storage.file, state, limit)
    if as_json:
        typer.echo(session_list.as_json(found))
    else:
        session_list.print_table(found)


def show_session(
    session_id: Annotated[str, typer.Argument(metavar="SESSION-ID", help="In any letter case.")],
    config: ConfigOption = Path("node.toml"),
    as_json: JsonOption = False,
) -> None:
    """Show one session with everything that happened to it; the exit code is 1 if it is not known."""
    from p2p_oicp.cli import session_list
    from p2p_oicp.settings import load_settings

    stories = session_list.stories(load_settings(config).storage.file, session_id)
    if as_json:
        typer.echo(session_list.as_json(stories))
    else:
        session_list.print_stories(session_id, stories)
    raise typer.Exit(0 if stories else 1)
