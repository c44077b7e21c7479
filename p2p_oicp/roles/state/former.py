"""Copies of those who are no peers of this node any more."""

from __future__ import annotations

from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import RoleContext
from p2p_oicp.storage.state import queries


class FormerPeers:
    """Whose copies are not told any more. They stay in the store, and count again when their peer comes back.

    (It would not send again what it has brought, so forgetting it were for good.)
    """

    def __init__(self, context: RoleContext) -> None:
        self._registry = context.registry
        self._store = context.store
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
