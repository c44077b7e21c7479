"""Peers as a table for people, as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from p2p_oicp.peers import Peer
from p2p_oicp.peers.file import entry_of


def as_json(peers: Sequence[Peer]) -> str:
    """Return a JSON list, one object a peer, with the keys of the peers file."""
    return json.dumps([entry_of(peer) for peer in peers], indent=2, ensure_ascii=False)


def print_table(peers: Sequence[Peer]) -> None:
    """Print one row a peer."""
    table = Table(box=box.SIMPLE)
    for title in ("Name", "URL", "Operators", "Providers", "Services", "Profile"):
        table.add_column(title, overflow="fold")  # an id or a URL cut short is of no use
    for peer in peers:
        services = "all" if peer.services is None else ", ".join(sorted(peer.services)) or "none"
        cells = (peer.name, peer.url, _texts(peer.operators), _texts(peer.providers), services, peer.profile.value)
        table.add_row(*cells)
    console = Console()
    console.print(table if peers else "No peers yet: the peers file has no [[peer]] entry.", markup=False)


def _texts(parties: Sequence[object]) -> str:
    return " ".join(str(party) for party in parties)
