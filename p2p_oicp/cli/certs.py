"""``p2p-oicp certs``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from p2p_oicp.cli.options import ConfigOption


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    group.command("self-signed")(self_signed)
    group.callback()(_certificates)
    app.add_typer(group, name="certs", help="Certificates for TLS with peers.")


def _certificates() -> None:
    """Certificates for TLS with peers."""


def self_signed(
    config: ConfigOption = Path("node.toml"),
    host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Host name or address of the peer API; can be repeated.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="For how many days it is valid.")] = 365,
) -> None:
    """Write a self-signed certificate and its key, for laboratories; companies have a CA issue theirs."""
    from p2p_oicp.cli import new_certificate

    typer.echo(new_certificate.write(config, host or [], days))
