"""``p2p-oicp keys``: this node's signing keys, their rotation, and the entry for a partner's peers file.

Key files are changed directly; a running node is then asked over its admin API to reload them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from p2p_oicp.cli import client
from p2p_oicp.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, echo, format_json, parse_duration, toml_value
from p2p_oicp.cli.terminal import Column, Moment, UtcOption, print_table
from p2p_oicp.clock import format_timestamp
from p2p_oicp.config import load_settings
from p2p_oicp.crypto import keystore
from p2p_oicp.crypto.keystore import OwnKey, read_own_keys
from p2p_oicp.errors import P2pOicpError
from p2p_oicp.storage import Location, open_for_change
from p2p_oicp.storage.event_log import Event, EventType, emit

_COLUMNS = (Column("Fingerprint"), Column("State"), Column("Active from", 2), Column("Valid until", 1))


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    group.command("generate")(generate)
    group.command("show")(show)
    group.command("rotate")(rotate)
    group.command("export")(export)
    app.add_typer(group, name="keys", help="The keys that this node signs with.")


def generate(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Write a first key pair, where `init` has not; a key is never overwritten."""
    keys = keystore.generate(load_settings(config).security.keys)
    echo(keys.entries[0].public.key_id)


def show(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False, utc: UtcOption = False) -> None:
    """Show the fingerprint of every key, and from when to when it is valid."""
    if as_json:
        echo(format_json(listed_keys(config)))
    else:
        print_keys(config, utc=utc)


def rotate(
    config: ConfigOption = DEFAULT_CONFIG,
    after: Annotated[
        str, typer.Option(metavar="TIME", help="When to begin signing with it; peers learn of it before.")
    ] = "0s",
    overlap: Annotated[str, typer.Option(metavar="TIME", help="How long the old key stays valid after that.")] = "7d",
) -> None:
    """Make a new key, announced by the signature of the old one. A running node takes it over at once (SIGHUP)."""
    settings = load_settings(config)
    keys = keystore.rotate(
        settings.security.keys,
        now=time.time(),
        activation_delay=parse_duration(after, "--after"),
        overlap=parse_duration(overlap, "--overlap"),
    )
    _record_rotation(settings.storage.location, keys.entries[-1])
    print_keys(config)
    echo(reload_running_node(config), err=True)


def _record_rotation(database: Location, key: OwnKey) -> None:
    if not isinstance(database, Path) or database.exists():
        text = f"active from {format_timestamp(key.valid_from)}" if key.valid_from else ""
        with open_for_change(database) as tx:
            emit(tx, Event(EventType.KEY, "rotated", time.time(), key.public.key_id, text=text))


def export(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Print the entry of this node for a partner's peers.toml, with its public keys."""
    echo(peers_file_entry(config), nl=False)


def listed_keys(config: Path) -> list[dict[str, str | None]]:
    """Return every key with its fingerprint, its state, and from when to when it is valid."""
    return [
        {
            "key_id": entry.public.key_id,
            "state": state,
            "active_from": format_timestamp(entry.valid_from) if entry.valid_from else None,
            "valid_until": None if entry.valid_until is None else format_timestamp(entry.valid_until),
        }
        for entry, state in _keys_with_states(config)
    ]


def print_keys(config: Path, *, utc: bool = False) -> None:
    """Print a table with one row for each key; one of them signs now."""
    rows = [
        (entry.public.key_id, state, Moment(entry.valid_from or None), Moment(entry.valid_until))
        for entry, state in _keys_with_states(config)
    ]
    print_table(_COLUMNS, rows, utc=utc)


def _keys_with_states(config: Path) -> Iterator[tuple[OwnKey, str]]:
    keys, now = read_own_keys(load_settings(config).security.keys), time.time()
    signing_key_id = keys.signing_key(now).key_id
    for entry in keys.entries:
        is_signing = entry.public.key_id == signing_key_id
        yield entry, "signs" if is_signing else "valid" if entry.is_valid(now) else "not valid"


def reload_running_node(config: Path) -> str:
    """Let the running node reload its keys; return a sentence about whether it did."""
    try:
        client.call_admin(config, "POST", "/admin/v1/reload")
    except client.AdminRequestRejected as exc:
        return f"The node cannot use all that it has read and keeps its old configuration: {exc}. Mend it, send SIGHUP."
    except P2pOicpError as exc:
        return f"The node has not taken it over ({exc}); it will when it starts."
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
    return "[[peer]]\n" + "".join(f"{name} = {toml_value(value)}\n" for name, value in values.items())
