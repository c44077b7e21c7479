"""Who sent a request: identity is proved, not claimed (DESIGN section 7).

The steps, in the order of the code of `PeerAuthenticator`. ``authenticate`` sees the head of a request only:

(1) The party in the path claims a peer; its entry, or else ``[security] require``, says what has to be proved. Where
    the path names none (a notification), any proof says who the sender is, and its own entry what it has to prove; and
    if some peer has to prove nothing, the body may say later that it is of that one (RULES L19).
(2) A client certificate is the one of a peer, by fingerprint or by CA and name. One that a peer only lists in its
    descriptor is proved first: the descriptor is fetched, and the peer's node has to show that certificate.
(3) A signature (RFC 9421) covers the head, ``Content-Digest`` included, and was not received before.
(4) All proofs name one peer.
(5) That peer's own entry requires no further proof.

``authorize``:

(6) The peer is the one that answers for the claimed party.
(7) It stays within its rate and its size of a body.
(8) It calls from one of its networks.

``verify_body``, when the body has been received:

(9) The body is the one of the signed digest. Only now the signature counts as used: a connection that breaks in the
    middle of a body may be tried again with the same signature.

Where nothing is required and nothing proved, the sender is the peer that answers for the claimed party (insecure mode).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Protocol

import msgspec

from p2p_oicp.crypto import PublicKey, VerifiedSignature, has_signature, verify_body, verify_request_head
from p2p_oicp.crypto.tls import fingerprint_of
from p2p_oicp.errors import ClockMismatch, FailureCause, Refusal, Unauthorized, UnknownKey, VerificationError
from p2p_oicp.oicp import StatusCodeValue
from p2p_oicp.peering import Peering
from p2p_oicp.peers import Peer
from p2p_oicp.peers.models import PartyID
from p2p_oicp.server.client_certificate import CLIENT_CERT_HEADER
from p2p_oicp.server.inbound import InboundRequest
from p2p_oicp.server.limits import SMALL_BODY_BYTES, PeerLimiter, RefusalPacer, address_block
from p2p_oicp.server.problems import HttpError

# Of one address; a forged signature costs as much as a valid one, and beyond this its sender waits.
_PROMPT_REFUSALS_PER_SECOND = 50.0
_MAX_REFUSAL_DELAY_SECONDS = 20.0
_MISSING = "missing"
_CAUSES: dict[object, FailureCause] = {UnknownKey: FailureCause.UNKNOWN_KEY, ClockMismatch: FailureCause.CLOCK_OFF}


class Principal(msgspec.Struct, frozen=True):
    """The sender of a request.

    Attributes:
        peer: None where the request names no party and nothing has to be proved.
        is_authenticated: ``peer`` was proved, and not only claimed.
        signature: the verified signature, which the response's signature covers.
    """

    peer: Peer | None = None
    is_authenticated: bool = False
    signature: VerifiedSignature | None = None

    def max_body(self, listener_limit: int) -> int:
        """Return how many bytes the sender may send."""
        peer = self.peer
        if peer is None:  # a notification, whose sender is known by its body
            return min(SMALL_BODY_BYTES, listener_limit)
        if peer.max_body is None or not self.is_authenticated:
            return listener_limit
        return min(peer.max_body, listener_limit)

    def client_key(self, request: InboundRequest) -> str:
        """Return whose share of the slots a request takes: that of its proved peer, else of its address."""
        peer = self.peer
        return peer.id if peer is not None and self.is_proved_peer else address_block(request.client_address or "")

    @property
    def is_proved_peer(self) -> bool:
        """Whether the sender is another company's node, and has proved it."""
        return self.is_authenticated and self.peer is not None and not self.peer.is_self


ANONYMOUS = Principal()


class Authenticator(Protocol):
    """Authenticates the senders of one listener's requests, and authorizes them for the parties they act for."""

    async def authenticate(self, request: InboundRequest, claimed_party: PartyID | None) -> Principal:
        """Return who sent the request with this head; raise Unauthorized (017)."""

    def authorize(self, principal: Principal, claimed_party: PartyID | None, request: InboundRequest) -> None:
        """Raise Refusal 017 or 300, or HttpError 429 or 413, unless the principal may act for the claimed party."""

    def verify_body(self, principal: Principal, request: InboundRequest, body: bytes) -> None:
        """Raise Unauthorized unless ``body``, as on the wire, is the one that the principal has signed."""

    def refusal_delay(self, request: InboundRequest) -> float:
        """Return how many seconds a sender that nothing proves waits for its refusal."""

    def authorize_party(self, principal: Principal, party: PartyID, request: InboundRequest) -> Peer:
        """Return the peer that acts for a party which the body names; raise Refusal 017 or 300."""

    def is_authorized_for(self, peer: Peer, party: PartyID) -> bool:
        """Say whether a peer acts for ``party``."""


class BackendAuthenticator:
    """For the backend API: the sender is our own backend, which acts for our own parties."""

    def __init__(self, local_peer: Peer) -> None:
        self._principal = Principal(local_peer, is_authenticated=True)
        self._local_peer = local_peer

    async def authenticate(self, request: InboundRequest, claimed_party: PartyID | None) -> Principal:  # noqa: ARG002
        return self._principal

    def authorize(self, principal: Principal, claimed_party: PartyID | None, request: InboundRequest) -> None:
        if claimed_party is not None:
            self.authorize_party(principal, claimed_party, request)

    def verify_body(self, principal: Principal, request: InboundRequest, body: bytes) -> None:
        """Accept any body: the listener's token, or loopback, is what proves our backend."""

    def refusal_delay(self, request: InboundRequest) -> float:  # noqa: ARG002
        return 0.0

    def authorize_party(self, principal: Principal, party: PartyID, request: InboundRequest) -> Peer:  # noqa: ARG002
        if not self._local_peer.handles_party(party):
            info = (
                f"{party} is not a party of this node; its backend is authorized for {format_parties(self._local_peer)}"
            )
            raise Unauthorized(info)
        return self._local_peer

    def is_authorized_for(self, peer: Peer, party: PartyID) -> bool:
        return peer.handles_party(party)


def _ignore(_peer: str, _cause: str) -> None:
    """Count nothing."""


class PeerAuthenticator:
    """For the peer API: the sender is another company's node; see the steps above.

    Args:
        peering: what knows the peers and their credentials.
        limiter: bounds how often a peer may call.
        on_signature_failure: called with the name of the claimed peer ("" for nobody) and the cause.
    """

    def __init__(
        self, peering: Peering, limiter: PeerLimiter, on_signature_failure: Callable[[str, str], None] = _ignore
    ) -> None:
        self._limiter = limiter
        self._on_signature_failure = on_signature_failure
        self._refusals = RefusalPacer(
            peering.identity.clock, per_second=_PROMPT_REFUSALS_PER_SECOND, max_seconds=_MAX_REFUSAL_DELAY_SECONDS
        )
        self._registry = peering.registry
        self._keyring = peering.keyring
        self._replay_cache = peering.replay_cache
        self._clock = peering.identity.clock
        self._policy = peering.policy
        self._required_credentials = peering.policy.required_credentials
        self._refresh_keys = peering.key_refresher.refresh
        self._find_by_certificate = peering.tls.find_by_certificate
        self._peers_listing = peering.directory.peers_listing
        self._held_reason = peering.directory.held_reason

    async def authenticate(self, request: InboundRequest, claimed_party: PartyID | None) -> Principal:
        # (1) Whom the path claims.
        claimed = self._registry.resolve_party(claimed_party) if claimed_party is not None else None
        required = self._required_of_unnamed(request) if claimed_party is None else self._required_credentials(claimed)
        if not required and not _has_credentials(request):
            return Principal(claimed)
        try:
            return await self._authenticate_as(request, claimed_party, claimed, required)
        except Unauthorized as error:
            if claimed is not None:
                cause = _CAUSES.get(type(error.__cause__), FailureCause.CREDENTIALS_REFUSED)
                self._registry.record_refused(claimed, cause, error.info, self._clock.time())
            raise

    async def _authenticate_as(
        self, request: InboundRequest, claimed_party: PartyID | None, claimed: Peer | None, required: Sequence[str]
    ) -> Principal:
        # (2) Mutual TLS.
        by_certificate = await self._peer_by_certificate(request, is_required="mtls" in required)
        # (3) The signature over the head.
        is_unproved = claimed_party is not None or by_certificate is None
        is_required = "signature" in required and is_unproved
        signature = await self._verify_signature(request, claimed, is_required=is_required)
        # (4) One peer.
        peer = self._proved_peer(by_certificate, signature)
        if peer is None:
            return Principal(claimed)
        # (5) What its own entry requires: without a party in the path, (1) did not know whose entry counts.
        required = self._required_credentials(peer)
        if "signature" in required and signature is None:
            raise Unauthorized(f"{peer.name} has to sign its requests")
        if "mtls" in required and by_certificate is None:
            raise Unauthorized(f"{peer.name} has to show its client certificate: {_describe_certificate(request)}")
        return Principal(peer, is_authenticated=True, signature=signature)

    def authorize(self, principal: Principal, claimed_party: PartyID | None, request: InboundRequest) -> None:
        peer = principal.peer
        # (6) The claimed party.
        if claimed_party is not None and peer is None:
            raise _unknown_party(claimed_party)
        if peer is None:
            return
        if principal.is_authenticated:
            if claimed_party is not None:
                self._check_authorized_for(peer, claimed_party)
            # (7) Only proved requests count: nobody can use up the share of another peer.
            self._limiter.count_request(peer)
            if peer.max_body is not None and (request.content_length or 0) > peer.max_body:
                info = f"the body has {request.content_length} bytes; {peer.name} may send {peer.max_body}"
                raise HttpError(413, StatusCodeValue.DATA_ERROR, info)
        elif peer.is_self:
            raise Unauthorized(f"{claimed_party} is this node's own party")
        # (8) The network.
        _check_client_network(peer, request.client_address)

    def verify_body(self, principal: Principal, request: InboundRequest, body: bytes) -> None:
        # (9) Digest, then nonce.
        if principal.signature is not None:
            self._accept_signature(principal.signature, request, body)
        if principal.peer is not None:
            self._registry.record_seen(principal.peer, self._clock.time())

    def refusal_delay(self, request: InboundRequest) -> float:
        return self._refusals.delay(address_block(request.client_address or ""))

    def authenticate_key(self, key: PublicKey, request: InboundRequest, body: bytes) -> Principal:
        """Return the anonymous principal whose signature is by ``key``, which came with the request itself (pairing).

        Raises:
            Unauthorized: the signature is not by that key, or was received before.
        """
        try:
            signature = verify_request_head(request, lambda _key_id, _now: key, self._clock.time())
        except VerificationError as error:
            raise Unauthorized(str(error)) from error
        self._accept_signature(signature, request, body)
        return Principal(signature=signature)

    def authorize_party(self, principal: Principal, party: PartyID, request: InboundRequest) -> Peer:
        if principal.peer is not None:
            self._check_authorized_for(principal.peer, party)
            return principal.peer
        peer = self._registry.resolve_party(party)
        if peer is None:
            raise _unknown_party(party)
        if self._required_credentials(peer):
            raise Unauthorized(f"{peer.name} has to prove itself: {' and '.join(self._required_credentials(peer))}")
        _check_client_network(peer, request.client_address)
        return peer

    def is_authorized_for(self, peer: Peer, party: PartyID) -> bool:
        """Say whether ``peer`` is the one that answers for ``party``, or the default route for it."""
        responsible_peer = self._registry.resolve_party(party)
        return responsible_peer is not None and responsible_peer.name == peer.name

    def _required_of_unnamed(self, request: InboundRequest) -> tuple[str, ...]:
        """Return what a request has to prove whose path names no party: nothing where some peer has to prove nothing.

        Else any proof that it shows: whether that suffices, the entry of the peer says whom it proves.
        """
        if not self._policy.require or self._policy.unauthenticated_peers():
            return ()
        if has_signature(request.headers):
            return ("signature",)
        return ("mtls",) if request.certificate is not None else self._policy.require

    async def _peer_by_certificate(self, request: InboundRequest, *, is_required: bool) -> Peer | None:
        certificate = request.certificate
        peer = self._find_by_certificate(certificate) if certificate is not None else None
        if peer is None and certificate is not None and (listing := self._peers_listing(fingerprint_of(certificate))):
            for name in listing:
                await self._refresh_keys(name)
            peer = self._find_by_certificate(certificate)
        if peer is None and is_required:
            raise Unauthorized(f"{_describe_certificate(request)}; this node wants mutual TLS")
        return peer

    async def _verify_signature(
        self, request: InboundRequest, claimed: Peer | None, *, is_required: bool
    ) -> VerifiedSignature | None:
        """Return the verified signature; None where there is none by a known key, and none is required."""
        if not has_signature(request.headers):
            if is_required:
                self._on_signature_failure(_name_of(claimed), _MISSING)
                raise Unauthorized("the request is not signed; this node wants an RFC 9421 signature")
            return None
        try:
            signature = await self._verify_with_refresh(request, claimed)
            # A replay is refused before its body costs anything. It is stored in (9) only: until then, the same
            # signature may come again (a connection that broke), and the first whole one is accepted.
            self._replay_cache.check(signature)
        except UnknownKey as exc:
            self._on_signature_failure(_name_of(claimed), FailureCause.UNKNOWN_KEY)
            if is_required:
                raise Unauthorized(str(exc)) from exc
            return None
        except VerificationError as exc:
            raise self._unauthorized(exc, request, claimed) from exc
        return signature

    async def _verify_with_refresh(self, request: InboundRequest, claimed: Peer | None) -> VerifiedSignature:
        try:
            return verify_request_head(request, self._keyring.find, self._clock.time())
        except UnknownKey as error:
            # The claimed peer may have a new key; it is fetched from the address that this node has of it.
            if claimed is None:
                raise
            if not await self._refresh_keys(claimed.name):
                held = self._held_reason(claimed)
                raise UnknownKey(f"{error}; its descriptor is held: {held}" if held else str(error)) from error
        return verify_request_head(request, self._keyring.find, self._clock.time())

    def _proved_peer(self, by_certificate: Peer | None, signature: VerifiedSignature | None) -> Peer | None:
        if signature is None:
            return by_certificate
        signer_name = self._keyring.owner(signature.key)
        if by_certificate is not None and by_certificate.name != signer_name:
            info = f"the request is signed by {signer_name}, its certificate is {by_certificate.name}'s"
            raise Unauthorized(info)
        peer = self._registry.by_name(signer_name) if signer_name is not None else None
        if peer is None:
            raise Unauthorized(f"{signer_name} is no longer a peer of this node")
        return peer

    def _accept_signature(self, signature: VerifiedSignature, request: InboundRequest, body: bytes) -> None:
        try:
            verify_body(request, body)
            self._replay_cache.check_and_store(signature, self._clock.time())
        except VerificationError as exc:
            signer = self._keyring.owner(signature.key)
            raise self._unauthorized(exc, request, self._registry.by_name(signer) if signer else None) from exc

    def _unauthorized(self, error: VerificationError, request: InboundRequest, sender: Peer | None) -> Unauthorized:
        self._on_signature_failure(_name_of(sender), _CAUSES.get(type(error), FailureCause.SIGNATURE_INVALID))
        host = request.headers.get("Host", "")
        hint = f" (signed for another address? this node is {request.authority})" if host != request.authority else ""
        return Unauthorized(f"{error}{hint}")

    def _check_authorized_for(self, peer: Peer, party: PartyID) -> None:
        if not self.is_authorized_for(peer, party):
            info = f"{peer.name} does not speak for {party}"
            self._registry.record_refused(peer, FailureCause.PARTY_REFUSED, info, self._clock.time())
            raise Unauthorized(info)


def _name_of(peer: Peer | None) -> str:
    return peer.name if peer is not None else ""


def _has_credentials(request: InboundRequest) -> bool:
    return request.certificate is not None or has_signature(request.headers)


def _describe_certificate(request: InboundRequest) -> str:
    if request.certificate is None and CLIENT_CERT_HEADER in request.headers:
        return "Client-Cert has no certificate that is valid now, or comes from none of [peer_api] trusted_proxies"
    if request.certificate is None:
        return "the connection has no client certificate"
    return "the connection has the client certificate of nobody that this node knows"


def _unknown_party(party: PartyID) -> Refusal:
    return Refusal(StatusCodeValue.PARTNER_NOT_FOUND, f"no peer of this node answers for {party}")


def _check_client_network(peer: Peer, client_address: str | None) -> None:
    if not peer.networks or client_address is None:
        return
    if not any(ip_address(client_address) in network for network in peer.networks):
        raise Unauthorized(f"{peer.name} may not call from {client_address}")


def format_parties(peer: Peer) -> str:
    """Return the parties of a peer, for people."""
    return ", ".join(party.text for party in (*peer.operators, *peer.providers)) or "no party"
