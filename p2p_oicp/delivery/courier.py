"""Carries one operation to one destination: a peer over HTTP, this node itself, or our own backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from p2p_oicp.oicp.operation import Operation
from p2p_oicp.peers import Peer
from p2p_oicp.transport import Endpoint, OicpClient, Reply

# So many parties of each role name a peer well enough.
_NAMED = 3


class Courier(Protocol):
    """What roles and workers need of the way out; raises errors.PeerError."""

    async def call(
        self,
        peer: Peer,
        operation: Operation,
        party: str | None,
        body: bytes,
        *,
        deadline: float,
        query: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request to ``peer`` and return its answer within ``deadline`` seconds; ``query`` says which page."""


class PeerCourier:
    """Peers over HTTP; a request to one's own company goes through ``loopback`` in the same process."""

    def __init__(self, client: OicpClient, loopback: Courier | None = None) -> None:
        self._client = client
        self.loopback = loopback
        self._endpoints: dict[str, tuple[Peer, Endpoint]] = {}

    async def call(
        self,
        peer: Peer,
        operation: Operation,
        party: str | None,
        body: bytes,
        *,
        deadline: float,
        query: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request; see ``Courier``."""
        if peer.is_self and self.loopback is not None:
            return await self.loopback.call(peer, operation, party, body, deadline=deadline, query=query)
        known = self._endpoints.get(peer.name)
        if known is None or known[0] is not peer:
            known = self._endpoints[peer.name] = (peer, _endpoint_of(peer))
        return await self._client.call(known[1], operation, party, body, deadline=deadline, query=query)


def _endpoint_of(peer: Peer) -> Endpoint:
    recipient = ", ".join(party.text for party in (*peer.operators[:_NAMED], *peer.providers[:_NAMED]))
    return Endpoint(name=peer.name, url=peer.url, profile=peer.profile, recipient=recipient)
