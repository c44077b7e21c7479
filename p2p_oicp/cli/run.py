"""``p2p-oicp run``."""

from __future__ import annotations

from pathlib import Path

import typer

from p2p_oicp.cli.options import ConfigOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(run)


def run(config: ConfigOption = Path("node.toml")) -> None:
    """Run one node until SIGTERM or SIGINT (Ctrl-C); then finish what is in flight and end with code 0."""
    from p2p_oicp import process
    from p2p_oicp.settings import load_settings

    raise typer.Exit(process.run(load_settings(config)))
