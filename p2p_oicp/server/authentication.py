"""Who is calling: identity is proved, not claimed (DESIGN section 7).

The plan of :meth:`PeerGate.admit`:

(1) What is needed is what the caller's entry says, or else what this node requires of everyone.
(2) A signature is verified wherever there is one by a key we know, and has to be there where it is needed.
(3) A client certificate likewise. (4) What was proved is one peer, and (5) it answers for the party it claims.
(6) It stays within its limits, and calls from where it may call.

Without anything needed or proved, the caller is whoever answers for the party that the path claims: insecure mode.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Protocol

import msgspec

from p2p_oicp.crypto import SignedRequestParts, VerifiedSignature, has_signature, verify_request
from p2p_oicp.errors import Refusal, Unauthorized, UnknownKey, VerificationError
from p2p_oicp.oicp import OperatorID, ProviderID
from p2p_oicp.peering import PeerTls
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import OperationResponse, TransactionalSigner
from p2p_oicp.server.limits import TokenBucketLimiter
from p2p_oicp.server.problems import DATA_ERROR, HttpError

_PARTNER_NOT_FOUND = "300"

PartyID = OperatorID | ProviderID


class SignedResponse(msgspec.Struct, frozen=True):
    """An answer that is signed, and kept as evidence already; ``headers`` prove who gave it."""

    response: OperationResponse
    headers: Mapping[str, str]


class InboundRequest(msgspec.Struct):
    """A request as it came: what identity is proved from, and the caller's address (None: in-process).

    ``body`` is the text of it, in UTF-8. ``is_own`` marks a request of this very node; ``signature``,
    ``has_certificate`` and ``is_proven`` are set once they were verified. ``seal`` is for the role; it sets ``sealed``.
    """

    signed_parts: SignedRequestParts
    body: bytes
    client_address: str | None = None
    is_in_process: bool = False
    signature: VerifiedSignature | None = None
    has_certificate: bool = False
    is_authenticated: bool = False
    operation: str | None = None
    peer: str | None = None
    sign_in_transaction: TransactionalSigner | None = None
    signed_response: SignedResponse | None = None


class Principal(msgspec.Struct, frozen=True):
    """Who sent a request; ``peer`` is None where nobody is claimed and nothing has to be proved."""

    peer: Peer | None
    is_authenticated: bool


class Authenticator(Protocol):
    """Lets callers in."""

    async def authenticate(self, inbound: InboundRequest, claimed_party: PartyID | None) -> Principal:
        """Return who calls; raise Refusal 017 (or 300). ``claimed`` is the party that the path names."""

    def authorize_party(self, principal: Principal, party: PartyID, inbound: InboundRequest) -> Peer:
        """Return who speaks for the party that the body names; raise Refusal 017 (or 300)."""

    def is_authorized_for(self, peer: Peer, party: PartyID) -> bool:
        """Say whether a peer speaks for ``party``."""


class BackendAuthenticator:
    """Lets our own backend in, which speaks for our own parties."""

    def __init__(self, me: Peer) -> None:
        self._me = me

    async def authenticate(self, inbound: InboundRequest, claimed_party: PartyID | None) -> Principal:
        """Return ourselves."""
        return Principal(
            self._me
            if claimed_party is None
            else self.authorize_party(Principal(self._me, is_authenticated=True), claimed_party, inbound),
            is_authenticated=True,
        )

    def authorize_party(self, principal: Principal, party: PartyID, inbound: InboundRequest) -> Peer:  # noqa: ARG002 - the gate's shape
        """Return ourselves, if we answer for ``named``."""
        if not self._me.handles_party(party):
            raise Unauthorized(
                f"{party} is not a party of this node; its backend speaks for {format_parties(self._me)}"
            )
        return self._me

    def is_authorized_for(self, peer: Peer, party: PartyID) -> bool:
        """Say whether ``party`` is one of ours."""
        return peer.handles_party(party)


class PeerAuthenticator:
    """Lets peers in."""

    def __init__(self, trust: PeerTls, *, requests_per_second: float = 5000.0) -> None:
        self._rate_limiter = TokenBucketLimiter(
            trust.clock, per_second=requests_per_second, burst=2 * requests_per_second
        )
        self._me = trust.local_peer
        self._registry = trust.registry
        self._keyring = trust.keyring
        self._replay_cache = trust.replay_cache
        self._clock = trust.clock
        self._required_credentials = trust.required_credentials
        self._refresh_keys = trust.key_refresher.refresh
        self._record_seen = trust.status_reporter.record_seen
        self._find_by_certificate = trust.find_by_certificate

    async def authenticate(self, inbound: InboundRequest, claimed_party: PartyID | None) -> Principal:
        """Return who calls; see ``Gate`` and the plan above."""
        claimed_peer = self._resolve_party(claimed_party) if claimed_party is not None else None
        if inbound.is_in_process:
            return Principal(self._me, is_authenticated=True)
        skips_verification = not self._required_credentials(claimed_peer) and not _has_credentials(inbound.signed_parts)
        authenticated_peer = None if skips_verification else await self._verify_credentials(inbound, claimed_peer)
        if authenticated_peer is not None:
            self._check_required_credentials(authenticated_peer, inbound)
            inbound.is_authenticated, inbound.peer = True, authenticated_peer.name
            if claimed_party is not None:
                self._check_authorized_for(authenticated_peer, claimed_party)
            self._check_limits(authenticated_peer, inbound)
        elif claimed_peer is not None and claimed_peer.is_self:
            raise Unauthorized(f"{claimed_party} is this node's own party")
        elif claimed_party is not None and claimed_peer is None:
            raise Refusal(_PARTNER_NOT_FOUND, f"no peer of this node answers for {claimed_party}")
        peer = authenticated_peer or claimed_peer
        _check_client_network(peer, inbound.client_address)  # (6)
        if peer is not None:
            self._record_seen(peer.name)
        return Principal(peer, is_authenticated=authenticated_peer is not None)

    def authorize_party(self, principal: Principal, party: PartyID, inbound: InboundRequest) -> Peer:
        """Return the peer that speaks for the party in the body; see ``Gate``."""
        if principal.peer is not None:
            self._check_authorized_for(principal.peer, party)
            return principal.peer
        peer = self._resolve_party(party)
        if peer is None:
            raise Refusal(_PARTNER_NOT_FOUND, f"no peer of this node answers for {party}")
        if self._required_credentials(peer):
            raise Unauthorized(f"{peer.name} has to prove itself: {' and '.join(self._required_credentials(peer))}")
        _check_client_network(peer, inbound.client_address)
        return peer

    def is_authorized_for(self, peer: Peer, party: PartyID) -> bool:
        """Say whether ``peer`` is the one that answers for ``party``, or the default route for it."""
        responsible_peer = self._registry.resolve_party(party)
        return responsible_peer is not None and responsible_peer.name == peer.name

    def _resolve_party(self, party: PartyID) -> Peer | None:
        return self._registry.resolve_party(party)

    async def _verify_credentials(self, inbound: InboundRequest, claimed_peer: Peer | None) -> Peer | None:
        """Return the one peer that the request proves to come from, None where nothing is proved or needed."""
        required = self._required_credentials(claimed_peer)  # (1)
        certificate_peer = self._peer_by_certificate(inbound, is_required="mtls" in required)  # (3)
        signer_name = await self._peer_by_signature(inbound, claimed_peer, is_required="signature" in required)  # (2)
        if certificate_peer is not None and signer_name is not None and certificate_peer.name != signer_name:
            raise Unauthorized(
                f"the request is signed by {signer_name}, its certificate is {certificate_peer.name}'s"
            )  # (4)
        if signer_name is None:
            return certificate_peer
        peer = self._registry.by_name(signer_name)
        if peer is None:
            raise Unauthorized(f"{signer_name} is no longer a peer of this node")
        return peer

    def _peer_by_certificate(self, inbound: InboundRequest, *, is_required: bool) -> Peer | None:
        """Return the peer whose client certificate the connection has."""
        certificate = inbound.signed_parts.certificate
        peer = self._find_by_certificate(certificate) if certificate is not None else None
        if peer is None and is_required:
            description = (
                "no client certificate"
                if certificate is None
                else "the client certificate of nobody that this node knows"
            )
            raise Unauthorized(f"the connection has {description}; this node wants mutual TLS")
        inbound.has_certificate = peer is not None
        return peer

    async def _peer_by_signature(
        self, inbound: InboundRequest, claimed_peer: Peer | None, *, is_required: bool
    ) -> str | None:
        if not has_signature(inbound.signed_parts.headers):
            if is_required:
                raise Unauthorized("the request is not signed; this node wants an RFC 9421 signature")
            return None
        try:
            signature = await self._verify_with_refresh(inbound.signed_parts, claimed_peer)
            self._replay_cache.check_and_store(signature, self._clock.time())
        except UnknownKey as exc:
            if is_required:
                raise Unauthorized(str(exc)) from exc
            return None
        except VerificationError as exc:
            raise Unauthorized(f"{exc}{self._authority_mismatch_hint(inbound.signed_parts)}") from exc
        inbound.signature = signature
        return self._keyring.owner(signature.key)

    async def _verify_with_refresh(self, parts: SignedRequestParts, claimed_peer: Peer | None) -> VerifiedSignature:
        try:
            return verify_request(parts, self._keyring.find, self._clock.time())
        except UnknownKey:
            # Whoever it claims to be may have a new key; it is asked at the address that we know.
            if claimed_peer is None or not await self._refresh_keys(claimed_peer.name):
                raise
        return verify_request(parts, self._keyring.find, self._clock.time())

    def _authority_mismatch_hint(self, parts: SignedRequestParts) -> str:
        host = parts.headers.get("Host", "")
        return f" (signed for another address? this node is {parts.authority})" if host != parts.authority else ""

    def _check_required_credentials(self, peer: Peer, inbound: InboundRequest) -> None:
        if "signature" in self._required_credentials(peer) and inbound.signature is None:
            raise Unauthorized(f"{peer.name} has to sign its requests")
        if "mtls" in self._required_credentials(peer) and not inbound.has_certificate:
            raise Unauthorized(f"{peer.name} has to show its client certificate")

    def _check_limits(self, peer: Peer, inbound: InboundRequest) -> None:
        """Raise HttpProblem 429 or 413 where a peer asks for too much; nobody else can use up its share."""
        self._rate_limiter.acquire(peer.name, f"requests of {peer.name}", peer.requests_per_second)
        if peer.max_body is not None and len(inbound.body) > peer.max_body:
            info = f"the body has {len(inbound.body)} bytes; {peer.name} may send {peer.max_body}"
            raise HttpError(413, DATA_ERROR, info)

    def _check_authorized_for(self, peer: Peer, party: PartyID) -> None:
        if not self.is_authorized_for(peer, party):  # (5)
            raise Unauthorized(f"{peer.name} does not speak for {party}")


def _has_credentials(parts: SignedRequestParts) -> bool:
    return parts.certificate is not None or has_signature(parts.headers)


def _check_client_network(peer: Peer | None, client_address: str | None) -> None:
    if peer is None or not peer.networks or client_address is None:
        return
    if not any(ip_address(client_address) in network for network in peer.networks):
        raise Unauthorized(f"{peer.name} may not call from {client_address}")


def format_parties(me: Peer) -> str:
    """Return the parties of this node, for people."""
    return ", ".join(party.text for party in (*me.operators, *me.providers)) or "no party"
