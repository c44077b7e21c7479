"""Decides which peers a request goes to; pure: request, registry and session in, a route out (DESIGN, routing).

A route is a list of peers: none means that nobody answers, several mean that all are asked at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import EvcoID, EvseID, Identification
from p2p_oicp.oicp.operations import Operation
from p2p_oicp.peers import Peer, PeerRegistry

PARTNER_NOT_FOUND = "300"
NO_VALID_CONTRACT = "210"


@dataclass(frozen=True, slots=True)
class PeerRoute:
    """The peers to ask, and why these."""

    peers: tuple[Peer, ...]
    reason: str


def route_by_evse(evse_id: EvseID, operation: Operation, registry: PeerRegistry) -> PeerRoute:
    """EvseID → operator → peer. Raises Refusal 300 where nobody answers for the operator, 210 without the service."""
    operator = evse_id.operator
    peer = registry.resolve_party(operator)
    if peer is None:
        raise Refusal(PARTNER_NOT_FOUND, f"no peer answers for the operator of EvseID {evse_id}")
    return PeerRoute((_require_contract(peer, operation),), f"EvseID {evse_id} belongs to {operator}")


def route_by_identification(identification: Identification, operation: Operation, registry: PeerRegistry) -> PeerRoute:
    """EvcoID → provider → that peer; without an EvcoID (a card's UID): every EMP peer under contract."""
    evco_id = evco_id_of(identification)
    if evco_id is None:
        candidates = tuple(
            peer for peer in registry.all() if (peer.providers or peer.default_route) and peer.serves(operation.name)
        )
        return PeerRoute(candidates, "no EvcoID: all EMPs under contract are asked, this company's own first")
    peer = registry.resolve_party(evco_id.provider)
    if peer is None:
        raise Refusal(PARTNER_NOT_FOUND, f"no peer answers for the provider {evco_id.provider} of the EvcoID")
    return PeerRoute((_require_contract(peer, operation),), f"the EvcoID belongs to {evco_id.provider}")


def route_by_session(peer_name: str, operation: Operation, registry: PeerRegistry) -> PeerRoute:
    """SessionID → the peer on the other side of the session."""
    peer = registry.by_name(peer_name)
    if peer is None:
        raise Refusal(
            PARTNER_NOT_FOUND, f"the session's partner {peer_name or '(none)'} is no longer a peer of this node"
        )
    return PeerRoute((_require_contract(peer, operation),), f"the session belongs to {peer.name}")


def evco_id_of(identification: Identification) -> EvcoID | None:
    """Return the EvcoID that routes: of QR code, Plug & Charge or remote identification (CPO-02, AuthorizeStart B)."""
    return identification.evco_id


def _require_contract(peer: Peer, operation: Operation) -> Peer:
    if not peer.serves(operation.name):
        raise Refusal(NO_VALID_CONTRACT, f"there is no contract with {peer.name} for {operation.name}")
    return peer
