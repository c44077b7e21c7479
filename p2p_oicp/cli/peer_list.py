"""Peers as a table for people, as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from p2p_oicp.peers import Peer


def as_json(peers: Sequence[Peer]) -> str:
    """Return a JSON list, one object a peer, with the keys of the peers file."""
    return json.dumps([_entry(peer) for peer in peers], indent=2, ensure_ascii=False)


def print_table(peers: Sequence[Peer]) -> None:
    """Print one row a peer."""
    table = Table(box=box.SIMPLE)
    for title in ("Name", "URL", "Operators", "Providers", "Services", "Profile"):
        table.add_column(title, overflow="fold")  # an id or a URL cut short is of no use
    for peer in peers:
        services = "all" if peer.services is None else ", ".join(sorted(peer.services)) or "none"
        parties = [_texts(ids) or "(all others)" * peer.default_route for ids in (peer.operators, peer.providers)]
        cells = (peer.name, peer.url, *parties, services, peer.profile.value)
        table.add_row(*cells)
    console = Console()
    console.print(table if peers else "No peers yet: the peers file has no [[peer]] entry.", markup=False)


def _texts(parties: Sequence[object]) -> str:
    return " ".join(str(party) for party in parties)


def _entry(peer: Peer) -> dict[str, object]:
    return {
        "name": peer.name,
        "url": peer.url,
        "operators": [party.text for party in peer.operators],
        "providers": [party.text for party in peer.providers],
        "services": None if peer.services is None else sorted(peer.services),
        "profile": peer.profile.value,
        "security": None if peer.security is None else list(peer.security),
        "public_keys": list(peer.public_keys),
        "default_route": peer.default_route,
        "networks": [str(network) for network in peer.networks],
        "pull_interval": peer.pull_interval,
    }
