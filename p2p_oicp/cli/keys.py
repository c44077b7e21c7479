"""The keys of a node, for people and for partners.

``p2p-oicp keys``.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from p2p_oicp.cli import client
from p2p_oicp.cli.common import ConfigOption
from p2p_oicp.clock import format_timestamp
from p2p_oicp.config import load_settings
from p2p_oicp.crypto.keystore import OwnKey, read_own_keys
from p2p_oicp.errors import P2pOicpError


def format_keys(config: Path) -> str:
    """Return one line a key; the one that signs now is marked."""
    keys, now = read_own_keys(load_settings(config).security.keys), time.time()
    signing_key_id = keys.signing_key(now).key_id
    return "\n".join(_format_key(entry, signing_key_id, now) for entry in keys.entries)


def reload_running_node(config: Path) -> str:
    """Let the running node take its keys over, and say whether it has."""
    try:
        client.call_admin(config, "POST", "/admin/v1/reload")
    except client.AdminRequestRejected as error:
        return f"The node cannot use all that it has read, and goes on as before: {error}. Mend it, then send SIGHUP."
    except P2pOicpError as error:
        return f"The node has not taken it over ({error}); it will when it starts."
    return "The node signs with it from then on; peers that know the old key fetch the new one by themselves."


def peers_file_entry(config: Path) -> str:
    """Return this node as an entry of a partner's peers file."""
    settings, now = load_settings(config), time.time()
    keys = read_own_keys(settings.security.keys)
    public_keys = [key.public.der_base64 for key in keys.entries if key.valid_until is None or key.valid_until >= now]
    values = {
        "name": settings.node.name,
        "url": settings.peer_api.url,
        "operators": [party.text for party in settings.node.operators],
        "providers": [party.text for party in settings.node.providers],
        "public_keys": public_keys,
    }
    return "[[peer]]\n" + "".join(f"{name} = {_toml_value(value)}\n" for name, value in values.items())


def _format_key(entry: OwnKey, signing_key_id: str, now: float) -> str:
    from_text = "" if entry.valid_from == 0 else f" from {format_timestamp(entry.valid_from)}"
    until_text = "" if entry.valid_until is None else f" until {format_timestamp(entry.valid_until)}"
    status = (
        "signs" if entry.public.key_id == signing_key_id else ("counts" if entry.is_valid(now) else "does not count")
    )
    return f"{entry.public.key_id}  {status}{from_text}{until_text}"


def _toml_value(value: object) -> str:
    # As in `init`: what JSON writes is TOML as well, but for DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


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
    from p2p_oicp.config import load_settings
    from p2p_oicp.crypto import keystore

    keys = keystore.generate(load_settings(config).security.keys)
    typer.echo(keys.entries[0].public.key_id)


def show(config: ConfigOption = Path("node.toml")) -> None:
    """Show the fingerprint of every key, and from when to when it counts."""
    # import of own module

    typer.echo(format_keys(config))


def rotate(
    config: ConfigOption = Path("node.toml"),
    after: Annotated[
        str, typer.Option(metavar="TIME", help="When to begin signing with it; peers learn of it before.")
    ] = "0s",
    overlap: Annotated[str, typer.Option(metavar="TIME", help="How long the old key still counts after that.")] = "7d",
) -> None:
    """Make a new key, announced by the signature of the old one. A running node takes it over at once (SIGHUP)."""
    import time

    # import of own module
    from p2p_oicp.cli.common import parse_duration
    from p2p_oicp.config import load_settings
    from p2p_oicp.crypto import keystore

    directory = load_settings(config).security.keys
    keystore.rotate(
        directory,
        now=time.time(),
        activation_delay=parse_duration(after, "--after"),
        overlap=parse_duration(overlap, "--overlap"),
    )
    typer.echo(format_keys(config))
    typer.echo(reload_running_node(config), err=True)


def export(config: ConfigOption = Path("node.toml")) -> None:
    """Print the entry of this node for a partner's peers.toml, with its public keys."""
    # import of own module

    typer.echo(peers_file_entry(config), nl=False)
