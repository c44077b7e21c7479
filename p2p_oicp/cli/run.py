"""``p2p-oicp run``, ``backup`` and ``restore``: a node as a process, and as an archive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from p2p_oicp import runner
from p2p_oicp.cli import archive
from p2p_oicp.cli.common import DEFAULT_CONFIG, ConfigOption, echo
from p2p_oicp.cli.progress import show_progress
from p2p_oicp.cli.summary import StartSummary
from p2p_oicp.clock import SystemClock
from p2p_oicp.config import Settings, exposed_files, load_settings
from p2p_oicp.crypto import keystore
from p2p_oicp.storage.sqlite.backup import back_up


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("run")(run)
    app.command("backup")(backup)
    app.command("restore")(restore)


def run(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Run one node until SIGTERM or SIGINT (Ctrl-C); then finish what is in flight and end with code 0.

    At a terminal it says who the node is, how it is reached, and what is insecure or waits; elsewhere there is only the
    log. Without FILE, the environment has the settings: at least P2P_OICP_NODE__NAME, and P2P_OICP_NODE__OPERATORS or
    P2P_OICP_NODE__PROVIDERS. At its first start such a node makes its key itself.
    """
    settings = load_settings(config)
    if not config.exists():
        _generate_first_key(settings)
    exposed = exposed_files(config, settings)
    raise typer.Exit(runner.run(settings, exposed=exposed, on_ready=StartSummary(config, settings, exposed).show))


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; it must not exist yet.")],
    config: ConfigOption = DEFAULT_CONFIG,
    database_only: Annotated[
        bool, typer.Option("--database-only", help="Copy the database alone, which is restored by copying it back.")
    ] = False,
) -> None:
    """Write one archive of the database, keys and settings, while the node runs or not.

    It contains the private keys: keep it as you keep those. `p2p-oicp restore FILE DIR` puts it back.
    """
    now = SystemClock().time()
    if not database_only:
        _print_report(archive.write_archive(config, file, now))
        return
    database_file = load_settings(config).storage.file
    size = back_up(database_file, file, now)
    echo(
        f"{file}: {size} bytes. To restore: stop the node, remove {database_file}-wal and -shm, "
        f"copy it to {database_file}"
    )


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `backup` has written.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of node.toml; created if it is not there.")],
) -> None:
    """Put a node back from an archive; the node must not run.

    Keys and settings that are there already stay, for they may be newer. The former database is kept under another
    name. What was lost since the backup, the node fetches from its peers when it starts.
    """
    with show_progress("Restoring", total=file.stat().st_size if file.is_file() else None, unit="bytes") as advance:
        report = archive.restore_archive(file, folder, advance)
    _print_report(report)


def _print_report(report: archive.Report) -> None:
    for line in report.lines:
        echo(line)
    for warning in report.warnings:
        echo(f"Warning: {warning}", err=True)


def _generate_first_key(settings: Settings) -> None:
    """Make the first key of a node that the environment describes; one that has data has lost its key."""
    keys = settings.security.keys
    if not archive.has_identity(keys) and not settings.storage.file.exists():
        keystore.generate(keys)
