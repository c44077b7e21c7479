"""Peers as a table for people, as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from p2p_oicp.cli import admin
from p2p_oicp.errors import ConfigurationError, PeerUnreachable
from p2p_oicp.peers import entry_of
from p2p_oicp.settings import load_registry, load_settings

_NOTHING: dict[str, Any] = {"services": None, "security": None, "keys": []}


@dataclass(frozen=True, slots=True)
class Listing:
    """The peers of a node, and what has to be said about the list."""

    peers: list[dict[str, Any]]
    note: str = ""


def of_node(config: Path) -> Listing:
    """Return the peers as the running node knows them, else those of the peers file."""
    settings = load_settings(config)
    registry = load_registry(settings)
    try:
        answer = admin.ask(config, "GET", "/admin/v1/peers")
        found = [{**_NOTHING, **candidate} for candidate in answer["candidates"]]
        return Listing([*answer["peers"], *found])
    except PeerUnreachable:
        peers = [entry_of(peer) for peer in registry.all() if not peer.is_self]
        note = "The node does not run: these are the peers of the peers file, without their states and paired peers."
        return Listing([_with_trust(peer, settings.security.require) for peer in peers], note)


def candidate(config: Path, name: str) -> dict[str, Any]:
    """Return a node that was found and not accepted yet; raise ConfigurationError if there is none of that name."""
    found = {one["name"]: one for one in admin.ask(config, "GET", "/admin/v1/peers")["candidates"]}
    if name not in found:
        raise ConfigurationError(f'"{name}" was not found in the local network; found: {", ".join(found) or "nobody"}')
    return dict(found[name])


def as_json(peers: Sequence[dict[str, Any]]) -> str:
    """Return a JSON list, one object a peer, with the keys of the peers file and its state."""
    return json.dumps(peers, indent=2, ensure_ascii=False)


def print_table(peers: Sequence[dict[str, Any]]) -> None:
    """Print one row a peer."""
    table = Table(box=box.SIMPLE)
    for title in ("Name", "URL", "Operators", "Providers", "Services", "Trust", "Last seen", "State"):
        table.add_column(title, overflow="fold")  # an id or a URL cut short is of no use
    for peer in peers:
        services = "all" if peer["services"] is None else ", ".join(peer["services"]) or "none"
        others = "(all others)" * bool(peer.get("default_route"))
        parties = [" ".join(ids) or others for ids in (peer["operators"], peer["providers"])]
        seen = (peer.get("last_seen") or "-")[:19]
        table.add_row(peer["name"], peer["url"], *parties, services, peer["trust"], seen, _state(peer))
    console = Console()
    console.print(table if peers else "No peers yet: p2p-oicp peers invite, or peers join.", markup=False)


def _state(peer: dict[str, Any]) -> str:
    parts = [f"{peer['waiting']} waiting"] if peer.get("waiting") else []
    if peer.get("failures"):
        parts.append(f"{peer['failures']} failures: {peer['last_error']}")
    return "; ".join(parts) or "-"


def _with_trust(peer: dict[str, Any], require: Sequence[str]) -> dict[str, Any]:
    needed = list(require) if peer["security"] is None else peer["security"]
    return peer | {"trust": " and ".join(needed) or "INSECURE: believed without proof"}
