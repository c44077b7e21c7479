"""``p2p-oicp peers``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from p2p_oicp.cli.options import ConfigOption


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    group.command("list")(list_peers)
    app.add_typer(group, name="peers", help="The peers that this node knows.")


def list_peers(
    config: ConfigOption = Path("node.toml"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list, for programs.")] = False,
) -> None:
    """Show every peer of the peers file, and the parties that it answers for."""
    from p2p_oicp.cli import peer_list
    from p2p_oicp.settings import load_registry, load_settings

    registry = load_registry(load_settings(config))
    others = [peer for peer in registry.all() if not peer.is_self]
    if as_json:
        typer.echo(peer_list.as_json(others))
    else:
        peer_list.print_table(others)
