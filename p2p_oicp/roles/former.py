"""Copies of those who are no peers of this node any more."""

from __future__ import annotations

from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.storage import Store
from p2p_oicp.storage.state import queries


class FormerPeers:
    """Whose copies neither are told nor decide any more.

    They stay in the store, and count again when their peer comes back: it would not send again what it has brought.
    """

    def __init__(self, registry: PeerRegistry, store: Store) -> None:
        self._registry = registry
        self._store = store
        self._as_of: tuple[Peer, ...] | None = None
        self._names: list[str] = []

    def names(self) -> list[str] | None:
        """Return their names, None if there are none; looked up again when the peers have changed."""
        peers = self._registry.all()
        if peers is not self._as_of:
            present = {peer.name for peer in peers}
            sources = [str(row["source"]) for row in self._store.look_up(queries.SOURCES)]
            self._names = sorted(source for source in sources if source and source not in present)
            self._as_of = peers
        return self._names or None
