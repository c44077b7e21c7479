"""What nodes say to each other beside OICP (DESIGN section 4), the server's side: ``/p2p/v1`` and the descriptor.

`PairingHandler` serves the descriptor, joining and leaving; `HelloHandler` a node that has started;
`SessionStatusHandler` the question what this node knows of a session.
"""

from __future__ import annotations

from functools import partial

import orjson
import structlog
from aiohttp import web

from p2p_oicp.crypto import PublicKey
from p2p_oicp.delivery import PeerLiveness, StoreEpochExchange
from p2p_oicp.delivery.hello import HELLO_PATH, identity_members, parse_hello, parties_of
from p2p_oicp.errors import ConfigurationError, Refusal, Unauthorized, VerificationError
from p2p_oicp.oicp import OperatorID, ProviderID, SessionID, StatusCodeValue
from p2p_oicp.peering import Peering
from p2p_oicp.peers import Peer, PeerRegistry, Source
from p2p_oicp.peers.descriptor import DESCRIPTOR_PATH, PAIRINGS_PATH, SignedDescriptor, verify_descriptor
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.roles.sessions import SessionStatusService
from p2p_oicp.server.authentication import PeerAuthenticator
from p2p_oicp.server.limits import TokenBucketLimiter, address_block
from p2p_oicp.server.pipeline import RequestContext, RequestPipeline
from p2p_oicp.server.problems import HttpError

log = structlog.get_logger(__name__)

_MAX_NODE_REQUEST_BYTES = 64 * 1024
# A person pastes one link; more attempts are guesses.
_PAIRING_ATTEMPTS_PER_SECOND, _PAIRING_ATTEMPT_BURST = 1 / 12, 5


class PairingHandler:
    """Serves the peer API's part of pairing: the descriptor, joining with an invitation, leaving."""

    def __init__(self, pipeline: RequestPipeline, *, authenticator: PeerAuthenticator, peering: Peering) -> None:
        self._pipeline = pipeline
        self._authenticator = authenticator
        self._identity = peering.identity
        self._pairing = peering.pairing
        self._directory = peering.directory
        self._clock = peering.identity.clock
        self._attempt_limiter = TokenBucketLimiter(
            self._clock, per_second=_PAIRING_ATTEMPTS_PER_SECOND, burst=_PAIRING_ATTEMPT_BURST
        )

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(DESCRIPTOR_PATH, self._pipeline.wrap(self.descriptor)),
            web.post(PAIRINGS_PATH, self._pipeline.wrap(self.pair)),
            web.delete(f"{PAIRINGS_PATH}/self", self._pipeline.wrap(self.unpair)),
        ]

    async def descriptor(self, _context: RequestContext) -> OperationResponse:
        """Serve ``GET /.well-known/oicp-p2p``."""
        return OperationResponse(self._identity.signed_descriptor())

    async def pair(self, context: RequestContext) -> OperationResponse:
        """Serve ``POST /p2p/v1/pairings``: a node joins with an invitation, whose key comes in the body."""
        body = await context.read_body(_MAX_NODE_REQUEST_BYTES)
        address = context.head.client_address
        self._attempt_limiter.acquire(address_block(address or ""), "pairing attempts")
        proof_key, signed_descriptor = self._verify_invitation(context, body)
        try:
            response_body = await self._pairing.accept_join(proof_key, signed_descriptor)
        except Unauthorized as error:
            log.warning("pairing.rejected", address=address, reason=error.info)
            raise
        except ConfigurationError as conflict:
            log.warning("pairing.conflict", address=address, reason=str(conflict))
            info = f"the inviting node cannot add this peer: {conflict}"
            raise HttpError(409, StatusCodeValue.DATA_ERROR, info) from conflict
        log.info("pairing.completed", peer=signed_descriptor.descriptor.name, key_id=signed_descriptor.key.key_id)
        return OperationResponse(response_body)

    async def unpair(self, context: RequestContext) -> OperationResponse:
        """Serve ``DELETE /p2p/v1/pairings/self``: a peer that proves its identity leaves."""
        principal = await context.authenticate(None)
        await context.read_body(_MAX_NODE_REQUEST_BYTES)
        peer = principal.peer
        if peer is None or not principal.is_authenticated:
            raise Unauthorized("only a peer that proves who it is can un-pair")
        if peer.source is Source.FILE:
            log.warning("pairing.unpair_rejected", peer=peer.name)
            info = "this peer stands in a file, which only a person changes"
            raise HttpError(409, StatusCodeValue.SERVICE_NOT_AVAILABLE, info)
        await self._directory.remove(peer.name)
        log.info("pairing.removed", peer=peer.name, by="peer")
        return OperationResponse(orjson.dumps({"removed": True}))

    def _verify_invitation(self, context: RequestContext, body: bytes) -> tuple[PublicKey, SignedDescriptor]:
        """Return the key of the invitation and the descriptor; raise Unauthorized where either proves nothing."""
        try:
            members = orjson.loads(body)
            key = PublicKey.from_base64(str(members["proof_key"]))
            descriptor_bytes = orjson.dumps(members["descriptor"])
        except (ValueError, KeyError, TypeError) as error:
            info = f"a joining node sends descriptor and proof_key: {error}"
            raise HttpError(400, StatusCodeValue.DATA_ERROR, info) from error
        context.authenticate_by(partial(self._authenticator.authenticate_key, key))
        try:
            return key, verify_descriptor(descriptor_bytes, self._clock.time())
        except VerificationError as error:
            raise Unauthorized(str(error)) from error


class HelloHandler:
    """Serves ``POST /p2p/v1/hello``: wakes what waits for the peer that sends it.

    Args:
        local_peer: this node's own company, which the response names.
        registry: which parties are known.
        liveness: is told that the peer is up.
        store_epochs: what is received of the peer's database, and sent of ours.
    """

    def __init__(
        self,
        local_peer: Peer,
        *,
        registry: PeerRegistry,
        liveness: PeerLiveness,
        store_epochs: StoreEpochExchange,
    ) -> None:
        self._registry = registry
        self._liveness = liveness
        self._store_epochs = store_epochs
        self._identity_members = identity_members(local_peer)

    async def handle(self, context: RequestContext) -> OperationResponse:
        """Serve one hello; raise Refusal 017 where its sender is not authenticated.

        It may name parties that are unknown here, beside those that its sender is a peer for.
        """
        # Order: the path names no party, so the sender is known by the body, and is authenticated after it was read.
        body = await context.read_body(_MAX_NODE_REQUEST_BYTES)
        try:
            hello = parse_hello(body)
        except ValueError as error:
            info = f"a hello is a JSON object with name, operators, providers: {error}"
            raise HttpError(400, StatusCodeValue.DATA_ERROR, info) from error
        party = next((party for party in parties_of(hello) if self._is_known(party)), None)
        try:
            peer = (await context.authenticate(party)).peer
        except Unauthorized:
            raise
        except Refusal:
            peer = None
        if peer is None or peer.is_self:
            return OperationResponse(orjson.dumps({"known": False, **self._identity_members}))
        log.info("hello.received", peer=peer.name)
        # Order: the epoch that the response calls the peer's last one is that of before this hello.
        epoch_members = await self._store_epochs.hello_fields(peer)
        await self._store_epochs.record_hello(peer, hello)
        await self._liveness.mark_alive(peer.id)
        return OperationResponse(orjson.dumps({"known": True, **self._identity_members, **epoch_members}))

    def _is_known(self, party: OperatorID | ProviderID) -> bool:
        """Say whether a peer has this very party; the default route, which answers for all others, does not count."""
        registry = self._registry
        peer = registry.by_operator(party) if isinstance(party, OperatorID) else registry.by_provider(party)
        return peer is not None


class SessionStatusHandler:
    """Serves ``GET /p2p/v1/sessions/{SessionID}?operator=`` (or ``provider=``): what this node knows of a session.

    The query names the asking party, which must be one of the session's two.
    """

    def __init__(self, authenticator: PeerAuthenticator, session_status: SessionStatusService) -> None:
        self._authenticator = authenticator
        self._session_status = session_status

    async def handle(self, context: RequestContext) -> OperationResponse:
        """Answer one question; raise Refusal 017, 300 or 400."""
        party, own_role = _requesting_party(context)
        principal = await context.authenticate(party)
        await context.read_body(_MAX_NODE_REQUEST_BYTES)
        peer = self._authenticator.authorize_party(principal, party, context.head)
        return await self._session_status.get_status(SessionID(context.parameter("session_id")), peer, own_role)


def _requesting_party(context: RequestContext) -> tuple[OperatorID | ProviderID, str]:
    """Return the asking party, and the role that this node plays towards it."""
    query = context.http.query
    operator, provider = query.get("operator"), query.get("provider")
    if provider and not operator:
        return ProviderID(provider), "cpo"
    if operator and not provider:
        return OperatorID(operator), "emp"
    info = "say who asks: ?operator=OperatorID or ?provider=ProviderID"
    raise HttpError(400, StatusCodeValue.DATA_ERROR, info)


def node_routes(
    pipeline: RequestPipeline, hello: HelloHandler, sessions: SessionStatusHandler, pairing: PairingHandler
) -> list[web.RouteDef]:
    """Return the routes of what nodes say among themselves."""
    return [
        web.post(HELLO_PATH, pipeline.wrap(hello.handle)),
        web.get("/p2p/v1/sessions/{session_id}", pipeline.wrap(sessions.handle)),
        *pairing.routes(),
    ]
