"""Routing: which peers a request goes to. Pure functions of the request, the registry and the session."""

from __future__ import annotations

from dataclasses import dataclass

from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import EvseID, Identification, StatusCodeValue
from p2p_oicp.oicp.operations import Operation
from p2p_oicp.peers import Peer, PeerRegistry


@dataclass(frozen=True, slots=True)
class PeerRoute:
    """The peers that a request goes to (several: to all at once), and the reason for people."""

    peers: tuple[Peer, ...]
    reason: str


def route_by_evse(evse_id: EvseID, operation: Operation, registry: PeerRegistry) -> PeerRoute:
    """Route by the operator of an EvseID.

    Raises:
        Refusal: 300 if no peer is responsible for the operator, 210 if the peer does not serve the operation (B4).
    """
    operator = evse_id.operator
    peer = registry.resolve_party(operator)
    if peer is None:
        raise Refusal(StatusCodeValue.PARTNER_NOT_FOUND, f"no peer is responsible for the operator of EvseID {evse_id}")
    return PeerRoute((_require_contract(peer, operation),), f"EvseID {evse_id} belongs to {operator}")


def route_by_identification(identification: Identification, operation: Operation, registry: PeerRegistry) -> PeerRoute:
    """Route by the provider of an EvcoID; without one (the UID of an RFID card) to all EMP peers under contract.

    Raises:
        Refusal: 300 or 210, as for ``route_by_evse``.
    """
    evco_id = identification.evco_id
    if evco_id is None:
        # This node's own entry is first in the registry: the company's own drivers are the most likely ones.
        candidates = tuple(
            peer for peer in registry.all() if (peer.providers or peer.default_route) and peer.serves(operation.name)
        )
        return PeerRoute(candidates, "no EvcoID: all EMPs under contract, this company's own first")
    peer = registry.resolve_party(evco_id.provider)
    if peer is None:
        text = f"no peer is responsible for the provider {evco_id.provider} of the EvcoID"
        raise Refusal(StatusCodeValue.PARTNER_NOT_FOUND, text)
    return PeerRoute((_require_contract(peer, operation),), f"the EvcoID belongs to {evco_id.provider}")


def route_by_session(peer_id: str, operation: Operation, registry: PeerRegistry) -> PeerRoute:
    """Route to the peer on the other side of a session.

    Raises:
        Refusal: 300 or 210, as for ``route_by_evse``.
    """
    peer = registry.by_id(peer_id)
    if peer is None:
        text = "the session's partner is no longer a peer of this node" if peer_id else "the session has no partner"
        raise Refusal(StatusCodeValue.PARTNER_NOT_FOUND, text)
    return PeerRoute((_require_contract(peer, operation),), f"the session belongs to {peer.name}")


def _require_contract(peer: Peer, operation: Operation) -> Peer:
    if not peer.serves(operation.name):
        raise Refusal(StatusCodeValue.NO_VALID_CONTRACT, f"there is no contract with {peer.name} for {operation.name}")
    return peer
