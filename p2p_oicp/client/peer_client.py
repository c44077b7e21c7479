"""Carries one operation to one destination: a peer over HTTP, this node itself, or our own backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from p2p_oicp.client import Endpoint, HttpTransport, OicpReply
from p2p_oicp.oicp.operations import Operation
from p2p_oicp.peers import Peer

# So many parties of each role name a peer well enough.
_MAX_RECIPIENTS_PER_ROLE = 3


class PeerClient(Protocol):
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
    ) -> OicpReply:
        """Send one request to ``peer`` and return its answer within ``deadline`` seconds; ``query`` says which page."""


class RoutingPeerClient:
    """Peers over HTTP; a request to one's own company goes through ``loopback`` in the same process."""

    def __init__(self, client: HttpTransport, local: PeerClient | None = None) -> None:
        self._client = client
        self.local = local
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
    ) -> OicpReply:
        """Send one request; see ``Courier``."""
        if peer.is_self and self.local is not None:
            return await self.local.call(peer, operation, party, body, deadline=deadline, query=query)
        cached = self._endpoints.get(peer.name)
        if cached is None or cached[0] is not peer:
            cached = self._endpoints[peer.name] = (peer, _endpoint_of(peer))
        return await self._client.call(cached[1], operation, party, body, deadline=deadline, query=query)


def _endpoint_of(peer: Peer) -> Endpoint:
    recipient = ", ".join(
        party.text for party in (*peer.operators[:_MAX_RECIPIENTS_PER_ROLE], *peer.providers[:_MAX_RECIPIENTS_PER_ROLE])
    )
    return Endpoint(name=peer.name, url=peer.url, profile=peer.profile, recipient=recipient)
