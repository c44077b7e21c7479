"""``p2p-oicp cdrs``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from p2p_oicp.cli.options import ConfigOption

_SINCE_HELP = "A date (2026-03-01, from midnight UTC) or a time with its offset (2026-03-01T02:00:00+01:00)."


class Format(StrEnum):
    """How records are written."""

    JSON = "json"
    CSV = "csv"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    group.command("export")(export)
    group.command("reconcile")(reconcile)
    app.add_typer(group, name="cdrs", help="Charge detail records.")


def export(
    since: Annotated[str, typer.Option(metavar="TIME", help=f"Records that came since then. {_SINCE_HELP}")],
    config: ConfigOption = Path("node.toml"),
    until: Annotated[str | None, typer.Option(metavar="TIME", help="And before then; absent: until now.")] = None,
    to_format: Annotated[
        Format, typer.Option("--format", help="json: one list, as they came; csv: a table.")
    ] = Format.JSON,
    role: Annotated[str, typer.Option(metavar="ROLE", help="Only ours as cpo, or only those we got as emp.")] = "",
) -> None:
    """Write charge detail records to standard output, for a nightly job; the node may be running."""
    from p2p_oicp.cli import cdr_export
    from p2p_oicp.settings import load_settings

    wanted = cdr_export.Wanted.of(since, until, role)
    cdr_export.write(load_settings(config).storage.file, wanted, to_format.value)


def reconcile(
    config: ConfigOption = Path("node.toml"),
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help=f"Ask for sessions that ended since then. {_SINCE_HELP}")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Longest wait for the answer.")] = 600.0,
) -> None:
    """Let the running node ask its CPO peers for records that never came.

    The exit code is 1 if a peer could not be asked, or if one of its records was refused.
    """
    from p2p_oicp.cli import cdr_reconcile

    raise typer.Exit(cdr_reconcile.reconcile(config, since, seconds=timeout))
