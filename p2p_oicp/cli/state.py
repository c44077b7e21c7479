"""``p2p-oicp history`` and ``p2p-oicp quarantine``: what was stored, and what could not be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from p2p_oicp.cli.options import ConfigOption

_CONFIG = Path("node.toml")
_AsJson = Annotated[bool, typer.Option("--json", help="JSON, for programs.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("history")(history)
    group = typer.Typer(no_args_is_help=True)
    # A group of one command would be taken for the command itself.
    group.callback()(lambda: None)
    group.command("list")(list_quarantine)
    app.add_typer(group, name="quarantine", help="Records of peers that cannot be used, and why.")


def history(
    evse_id: Annotated[str, typer.Argument(metavar="EVSE-ID", help="In any spelling, such as DE*ABC*E1.")],
    config: ConfigOption = _CONFIG,
    at: Annotated[
        str, typer.Option(metavar="TIME", help="Only what was valid then, such as 2026-03-01T12:00:00+01:00.")
    ] = "",
    as_json: _AsJson = False,
) -> None:
    """Show every version of an EVSE's data, status and prices; the node may be down. Exit code 1: nothing is known."""
    from p2p_oicp.cli import versions
    from p2p_oicp.settings import load_settings

    found = versions.of_evse(load_settings(config).storage.file, evse_id, at)
    if as_json:
        typer.echo(versions.as_json(found))
    else:
        versions.print_story(evse_id, found)
    raise typer.Exit(0 if found else 1)


def list_quarantine(
    config: ConfigOption = _CONFIG,
    source: Annotated[str, typer.Option("--from", metavar="PEER", help="Only those of this peer.")] = "",
    as_json: _AsJson = False,
) -> None:
    """Show the records that peers sent and this node cannot use, with the reasons; the node may be down."""
    from p2p_oicp.cli import set_aside
    from p2p_oicp.settings import load_settings

    found = set_aside.records(load_settings(config).storage.file, source)
    if as_json:
        typer.echo(set_aside.as_json(found))
    else:
        set_aside.print_records(found)
