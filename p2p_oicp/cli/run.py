"""``p2p-oicp run``, ``backup`` and ``restore``: a node as a process, and as an archive."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from p2p_oicp import runner
from p2p_oicp.cli import archive
from p2p_oicp.cli.common import DEFAULT_CONFIG, ConfigOption, echo
from p2p_oicp.cli.progress import show_growth, show_progress
from p2p_oicp.cli.summary import StartSummary
from p2p_oicp.cli.terminal import print_text
from p2p_oicp.clock import SystemClock
from p2p_oicp.config import Settings, exposed_files, load_settings
from p2p_oicp.crypto import keystore
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.storage.sqlite.backup import back_up

Result = TypeVar("Result")


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
    if not file.absolute().parent.is_dir():
        raise ConfigurationError(f"{file.parent}: no such folder; create it first, or choose another place")
    settings, now = load_settings(config), SystemClock().time()
    if settings.storage.database is not None:
        raise ConfigurationError(
            "backup: the database is PostgreSQL, which has its own: pg_dump, or archives of its log. Keep keys and "
            "node.toml beside it."
        )
    database_file = settings.storage.file
    if not database_only:
        # The copy of the database, and the archive with it.
        report = _write(file, 2 * _size(database_file), lambda: archive.write_archive(config, file, now))
        _print_report(report)
        return
    size = _write(file, _size(database_file), lambda: back_up(database_file, file, now))
    print_text(
        f"{file}: {size:,} bytes. To restore: stop the node, remove {database_file}-wal and -shm, "
        f"copy it to {database_file}"
    )


def _write(file: Path, total: int, work: Callable[[], Result]) -> Result:
    """Write a backup, and show how far it is; Ctrl-C ends it at once and leaves no file.

    SQLite copies a database in one call, which no signal interrupts: so a thread makes it, and this one waits.
    """
    results: list[Result | BaseException] = []

    def run_work() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            results.append(error)

    is_new = not file.exists()
    thread = threading.Thread(target=run_work, daemon=True)  # daemon: the end of the process does not wait for it
    try:
        with show_growth("Backing up", lambda: _unfinished(file), total=total):
            thread.start()
            thread.join()
    except KeyboardInterrupt:
        for each in (*_unfinished(file), *([file] if is_new else [])):
            each.unlink(missing_ok=True)
        raise
    result = results[0]
    if isinstance(result, BaseException):
        raise result
    return result


def _unfinished(file: Path) -> list[Path]:
    return [file.with_name(f"{file.name}.{suffix}") for suffix in ("unfinished", "database", "database.unfinished")]


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


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
        print_text(line, rest="  ")
    for warning in report.warnings:
        echo(f"Warning: {warning}", err=True)


def _generate_first_key(settings: Settings) -> None:
    """Make the first key of a node that the environment describes; one that has data has lost its key."""
    keys = settings.security.keys
    if not archive.has_identity(keys) and not settings.storage.file.exists():
        keystore.generate(keys)
