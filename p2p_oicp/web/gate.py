"""Who is calling: identity is proved, not claimed (DESIGN section 7).

The plan of :meth:`PeerGate.admit`:

(1) What is needed is what the caller's entry says, or else what this node requires of everyone.
(2) A signature is verified wherever there is one by a key we know, and has to be there where it is needed.
(3) A client certificate likewise. (4) What was proved is one peer, and (5) it answers for the party it claims.
(6) It stays within its limits, and calls from where it may call.

Without anything needed or proved, the caller is whoever answers for the party that the path claims: insecure mode.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Protocol

import msgspec

from p2p_oicp.errors import NotProven, Refusal, Unauthorized, UnknownKey
from p2p_oicp.identity import SignedParts, VerifiedSignature, has_signature, verify_request
from p2p_oicp.oicp import OperatorID, ProviderID
from p2p_oicp.peers import Peer
from p2p_oicp.trust import Trust
from p2p_oicp.web.buckets import Buckets
from p2p_oicp.web.problems import DATA_ERROR, HttpProblem

_PARTNER_NOT_FOUND = "300"

PartyID = OperatorID | ProviderID


class Arrival(msgspec.Struct):
    """A request as it came: what identity is proved from, and the caller's address (None: in-process).

    ``body`` is the text of it, in UTF-8. ``is_own`` marks a request of this very node; ``signature``,
    ``has_certificate`` and ``is_proven`` are set once they were verified.
    """

    parts: SignedParts
    body: bytes
    address: str | None = None
    is_own: bool = False
    signature: VerifiedSignature | None = None
    has_certificate: bool = False
    is_proven: bool = False
    operation: str | None = None
    peer: str | None = None


class Caller(msgspec.Struct, frozen=True):
    """Who sent a request; ``peer`` is None where nobody is claimed and nothing has to be proved."""

    peer: Peer | None
    is_proven: bool


class Gate(Protocol):
    """Lets callers in."""

    async def admit(self, arrival: Arrival, claimed: PartyID | None) -> Caller:
        """Return who calls; raise Refusal 017 (or 300). ``claimed`` is the party that the path names."""

    def hold_to(self, caller: Caller, named: PartyID, arrival: Arrival) -> Peer:
        """Return who speaks for the party that the body names; raise Refusal 017 (or 300)."""

    def speaks_for(self, peer: Peer, party: PartyID) -> bool:
        """Say whether a peer speaks for ``party``."""


class OwnGate:
    """Lets our own backend in, which speaks for our own parties."""

    def __init__(self, me: Peer) -> None:
        self._me = me

    async def admit(self, arrival: Arrival, claimed: PartyID | None) -> Caller:
        """Return ourselves."""
        return Caller(
            self._me if claimed is None else self.hold_to(Caller(self._me, is_proven=True), claimed, arrival),
            is_proven=True,
        )

    def hold_to(self, caller: Caller, named: PartyID, arrival: Arrival) -> Peer:  # noqa: ARG002 - the gate's shape
        """Return ourselves, if we answer for ``named``."""
        if not self._me.answers_for(named):
            raise Unauthorized(f"{named} is not a party of this node; its backend speaks for {parties_of(self._me)}")
        return self._me

    def speaks_for(self, peer: Peer, party: PartyID) -> bool:
        """Say whether ``party`` is one of ours."""
        return peer.answers_for(party)


class PeerGate:
    """Lets peers in."""

    def __init__(self, trust: Trust, *, requests_per_second: float = 5000.0) -> None:
        self._rate = Buckets(trust.clock, per_second=requests_per_second, at_once=2 * requests_per_second)
        self._me = trust.me
        self._registry = trust.registry
        self._ring = trust.ring
        self._guard = trust.guard
        self._clock = trust.clock
        self._needed = trust.needed
        self._refresh = trust.fresh_keys.fetch
        self._heard = trust.states.heard_from
        self._peer_of_certificate = trust.peer_of_certificate

    async def admit(self, arrival: Arrival, claimed: PartyID | None) -> Caller:
        """Return who calls; see ``Gate`` and the plan above."""
        named = self._find(claimed) if claimed is not None else None
        if arrival.is_own:
            return Caller(self._me, is_proven=True)
        is_open = not self._needed(named) and not _shows_proof(arrival.parts)
        proven = None if is_open else await self._proven(arrival, named)
        if proven is not None:
            self._check_requirements(proven, arrival)
            arrival.is_proven, arrival.peer = True, proven.name
            if claimed is not None:
                self._check_binding(proven, claimed)
            self._check_limits(proven, arrival)
        elif named is not None and named.is_self:
            raise Unauthorized(f"{claimed} is this node's own party")
        elif claimed is not None and named is None:
            raise Refusal(_PARTNER_NOT_FOUND, f"no peer of this node answers for {claimed}")
        caller = proven or named
        _check_network(caller, arrival.address)  # (6)
        if caller is not None:
            self._heard(caller.name)
        return Caller(caller, is_proven=proven is not None)

    def hold_to(self, caller: Caller, named: PartyID, arrival: Arrival) -> Peer:
        """Return the peer that speaks for the party in the body; see ``Gate``."""
        if caller.peer is not None:
            self._check_binding(caller.peer, named)
            return caller.peer
        peer = self._find(named)
        if peer is None:
            raise Refusal(_PARTNER_NOT_FOUND, f"no peer of this node answers for {named}")
        if self._needed(peer):
            raise Unauthorized(f"{peer.name} has to prove itself: {' and '.join(self._needed(peer))}")
        _check_network(peer, arrival.address)
        return peer

    def speaks_for(self, peer: Peer, party: PartyID) -> bool:
        """Say whether ``peer`` is the one that answers for ``party``, or the default route for it."""
        found = self._registry.answering(party)
        return found is not None and found.name == peer.name

    def _find(self, party: PartyID) -> Peer | None:
        return self._registry.answering(party)

    async def _proven(self, arrival: Arrival, named: Peer | None) -> Peer | None:
        """Return the one peer that the request proves to come from, None where nothing is proved or needed."""
        needed = self._needed(named)  # (1)
        holder = self._holder(arrival, is_needed="mtls" in needed)  # (3)
        signer = await self._signer_of(arrival, named, is_needed="signature" in needed)  # (2)
        if holder is not None and signer is not None and holder.name != signer:
            raise Unauthorized(f"the request is signed by {signer}, its certificate is {holder.name}'s")  # (4)
        if signer is None:
            return holder
        peer = self._registry.by_name(signer)
        if peer is None:
            raise Unauthorized(f"{signer} is no longer a peer of this node")
        return peer

    def _holder(self, arrival: Arrival, *, is_needed: bool) -> Peer | None:
        """Return the peer whose client certificate the connection has."""
        shown = arrival.parts.certificate
        peer = self._peer_of_certificate(shown) if shown is not None else None
        if peer is None and is_needed:
            what = "no client certificate" if shown is None else "the client certificate of nobody that this node knows"
            raise Unauthorized(f"the connection has {what}; this node wants mutual TLS")
        arrival.has_certificate = peer is not None
        return peer

    async def _signer_of(self, arrival: Arrival, named: Peer | None, *, is_needed: bool) -> str | None:
        if not has_signature(arrival.parts.headers):
            if is_needed:
                raise Unauthorized("the request is not signed; this node wants an RFC 9421 signature")
            return None
        try:
            signature = await self._verified(arrival.parts, named)
            self._guard.accept_once(signature, self._clock.time())
        except UnknownKey as exc:
            if is_needed:
                raise Unauthorized(str(exc)) from exc
            return None
        except NotProven as exc:
            raise Unauthorized(f"{exc}{self._hint(arrival.parts)}") from exc
        arrival.signature = signature
        return self._ring.owner(signature.key)

    async def _verified(self, parts: SignedParts, named: Peer | None) -> VerifiedSignature:
        try:
            return verify_request(parts, self._ring.find, self._clock.time())
        except UnknownKey:
            # Whoever it claims to be may have a new key; it is asked at the address that we know.
            if named is None or not await self._refresh(named.name):
                raise
        return verify_request(parts, self._ring.find, self._clock.time())

    def _hint(self, parts: SignedParts) -> str:
        host = parts.headers.get("Host", "")
        return f" (signed for another address? this node is {parts.authority})" if host != parts.authority else ""

    def _check_requirements(self, peer: Peer, arrival: Arrival) -> None:
        if "signature" in self._needed(peer) and arrival.signature is None:
            raise Unauthorized(f"{peer.name} has to sign its requests")
        if "mtls" in self._needed(peer) and not arrival.has_certificate:
            raise Unauthorized(f"{peer.name} has to show its client certificate")

    def _check_limits(self, peer: Peer, arrival: Arrival) -> None:
        """Raise HttpProblem 429 or 413 where a peer asks for too much; nobody else can use up its share."""
        self._rate.take(peer.name, f"requests of {peer.name}", peer.requests_per_second)
        if peer.max_body is not None and len(arrival.body) > peer.max_body:
            info = f"the body has {len(arrival.body)} bytes; {peer.name} may send {peer.max_body}"
            raise HttpProblem(413, DATA_ERROR, info)

    def _check_binding(self, peer: Peer, party: PartyID) -> None:
        if not self.speaks_for(peer, party):  # (5)
            raise Unauthorized(f"{peer.name} does not speak for {party}")


def _shows_proof(parts: SignedParts) -> bool:
    return parts.certificate is not None or has_signature(parts.headers)


def _check_network(peer: Peer | None, address: str | None) -> None:
    if peer is None or not peer.networks or address is None:
        return
    if not any(ip_address(address) in network for network in peer.networks):
        raise Unauthorized(f"{peer.name} may not call from {address}")


def parties_of(me: Peer) -> str:
    """Return the parties of this node, for people."""
    return ", ".join(party.text for party in (*me.operators, *me.providers)) or "no party"
