"""``p2p-oicp keys``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from p2p_oicp.cli.options import ConfigOption


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    group.command("generate")(generate)
    group.command("show")(show)
    group.command("rotate")(rotate)
    group.command("export")(export)
    app.add_typer(group, name="keys", help="The keys that this node proves its identity with.")


def generate(config: ConfigOption = Path("node.toml")) -> None:
    """Write a first key pair, where `init` has not; a key is never overwritten."""
    from p2p_oicp.identity import keystore
    from p2p_oicp.settings import load_settings

    keys = keystore.generate(load_settings(config).security.keys)
    typer.echo(keys.entries[0].public.key_id)


def show(config: ConfigOption = Path("node.toml")) -> None:
    """Show the fingerprint of every key, and from when to when it counts."""
    from p2p_oicp.cli import key_list

    typer.echo(key_list.text(config))


def rotate(
    config: ConfigOption = Path("node.toml"),
    after: Annotated[
        str, typer.Option(metavar="TIME", help="When to begin signing with it; peers learn of it before.")
    ] = "0s",
    overlap: Annotated[str, typer.Option(metavar="TIME", help="How long the old key still counts after that.")] = "7d",
) -> None:
    """Make a new key, announced by the signature of the old one. A running node takes it over at once (SIGHUP)."""
    import time

    from p2p_oicp.cli import key_list
    from p2p_oicp.cli.durations import seconds
    from p2p_oicp.identity import keystore
    from p2p_oicp.settings import load_settings

    directory = load_settings(config).security.keys
    keystore.rotate(directory, now=time.time(), after=seconds(after, "--after"), overlap=seconds(overlap, "--overlap"))
    typer.echo(key_list.text(config))
    typer.echo(key_list.tell(config), err=True)


def export(config: ConfigOption = Path("node.toml")) -> None:
    """Print the entry of this node for a partner's peers.toml, with its public keys."""
    from p2p_oicp.cli import key_list

    typer.echo(key_list.entry(config), nl=False)
