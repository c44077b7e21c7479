"""``p2p-oicp backup``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from p2p_oicp.cli.options import ConfigOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("backup")(backup)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; it must not exist yet.")],
    config: ConfigOption = Path("node.toml"),
) -> None:
    """Copy the database, while the node runs or not.

    To restore: stop the node, remove the database's files that end in -wal and -shm, copy FILE back, start the node.
    """
    from p2p_oicp.settings import load_settings
    from p2p_oicp.storage.backup import back_up

    source = load_settings(config).storage.file
    size = back_up(source, file)
    typer.echo(f"{file}: {size} bytes. To restore: stop the node, remove {source}-wal and -shm, copy it to {source}")
