"""``p2p-oicp run`` and ``p2p-oicp backup``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from p2p_oicp import runner
from p2p_oicp.cli.common import DEFAULT_CONFIG, ConfigOption, echo
from p2p_oicp.clock import SystemClock
from p2p_oicp.config import exposed_files, load_settings
from p2p_oicp.storage.sqlite.backup import back_up


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("run")(run)
    app.command("backup")(backup)


def run(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Run one node until SIGTERM or SIGINT (Ctrl-C); then finish what is in flight and end with code 0."""
    settings = load_settings(config)
    raise typer.Exit(runner.run(settings, exposed=exposed_files(config, settings)))


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; it must not exist yet.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Copy the database, while the node runs or not.

    To restore: stop the node, remove the database's files that end in -wal and -shm, copy FILE back, start the node.
    """
    database_file = load_settings(config).storage.file
    size = back_up(database_file, file, SystemClock().time())
    echo(
        f"{file}: {size} bytes. To restore: stop the node, remove {database_file}-wal and -shm, "
        f"copy it to {database_file}"
    )
