"""What nodes say among themselves about who they are: descriptor, pairing, un-pairing (DESIGN section 4).

Hello: a node that has started tells its peers, so that they send at once what they owe it (DESIGN section 4).

``GET /p2p/v1/sessions/{SessionID}``: what do you know of this session? Only for its two parties.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson
import structlog
from aiohttp import web

from p2p_oicp.client import AuthenticatedPeerClient
from p2p_oicp.crypto import PublicKey
from p2p_oicp.delivery import ExponentialBackoff, PeerLiveness, StoreEpochExchange
from p2p_oicp.errors import ConfigurationError, PeerError, PeerRejected, Refusal, Unauthorized, VerificationError
from p2p_oicp.oicp import OperatorID, ProviderID, SessionID, StatusCodeValue
from p2p_oicp.peering import Peering
from p2p_oicp.peers import Peer, PeerRegistry, Profile, Source
from p2p_oicp.peers.descriptor import DESCRIPTOR_PATH, PAIRINGS_PATH, SignedDescriptor, verify_descriptor
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.roles.sessions import SessionStatusService
from p2p_oicp.server.authentication import PeerAuthenticator
from p2p_oicp.server.limits import TokenBucketLimiter
from p2p_oicp.server.pipeline import RequestContext, RequestPipeline
from p2p_oicp.server.problems import HttpError

log = structlog.get_logger(__name__)

_MAX_PAIRING_BODY_BYTES = 256 * 1024
_MAX_NODE_REQUEST_BYTES = 64 * 1024
# A person pastes one link; more attempts are guesses.
_PAIRING_ATTEMPTS_PER_SECOND, _PAIRING_ATTEMPT_BURST = 1 / 12, 5


class PairingHandler:
    """Serves the peer API's part of pairing: the descriptor, joining with an invitation, leaving."""

    def __init__(self, pipeline: RequestPipeline, *, authenticator: PeerAuthenticator, trust: Peering) -> None:
        self._pipeline = pipeline
        self._authenticator = authenticator
        self._identity = trust.identity
        self._pairing = trust.pairing
        self._directory = trust.directory
        self._clock = trust.identity.clock
        self._attempt_limiter = TokenBucketLimiter(
            trust.identity.clock, per_second=_PAIRING_ATTEMPTS_PER_SECOND, burst=_PAIRING_ATTEMPT_BURST
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
        body = await context.read_body(_MAX_PAIRING_BODY_BYTES)
        address = context.head.client_address
        self._attempt_limiter.acquire(address or "", "pairing attempts")
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
        await context.read_body(_MAX_PAIRING_BODY_BYTES)
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


_HELLO_PATH = "/p2p/v1/hello"
_HELLO_TIMEOUT_SECONDS = 5.0


class HelloClient:
    """Says hello, and hears it."""

    def __init__(
        self,
        me: Peer,
        *,
        registry: PeerRegistry,
        client: AuthenticatedPeerClient,
        liveness: PeerLiveness,
        store_epochs: StoreEpochExchange,
        backoff: ExponentialBackoff,
    ) -> None:
        self._registry = registry
        self._client = client
        self._liveness = liveness
        self._store_epochs = store_epochs
        self._backoff = backoff
        self._identity_fields = {
            "name": me.name,
            "operators": [party.text for party in me.operators],
            "providers": [party.text for party in me.providers],
        }

    async def send_once(self, peer: Peer) -> None:
        """Say hello to one peer, once."""
        try:
            await self._send(peer)
        except PeerError as error:
            log.info("hello.failed", peer=peer.name, reason=error.reason)

    async def send_until_acknowledged(self, peer: Peer) -> None:
        """Say hello to one peer that is a node, until it has heard; one that has no such path is left alone."""
        failures = 0
        while not peer.is_self and peer.profile is Profile.OICP:
            try:
                await self._send(peer)
            except PeerRejected as error:
                log.info("hello.rejected", peer=peer.name, reason=error.reason)
                return
            except PeerError as error:
                log.info("hello.failed", peer=peer.name, reason=error.reason)
            else:
                return
            failures += 1
            await asyncio.sleep(self._backoff.delay(failures))

    async def _send(self, peer: Peer) -> None:
        hello = orjson.dumps({**self._identity_fields, **await self._store_epochs.hello_fields(peer.name)})
        _, reply = await self._client.request(peer, "POST", _HELLO_PATH, hello, deadline=_HELLO_TIMEOUT_SECONDS)
        await self._record_reply(peer, reply)

    async def _record_reply(self, peer: Peer, reply: bytes) -> None:
        """Take what a peer answers; if another node has its address by now, it is not the peer's word."""
        try:
            hello = _parse_hello(reply)
        except HttpError:
            return
        if any(peer.handles_party(party) for party in _parties_in(hello)):
            await self._store_epochs.record_hello(peer.name, hello)

    async def handle(self, context: RequestContext) -> OperationResponse:
        """Serve ``POST /p2p/v1/hello``: wake what waits for the peer; raise Refusal 017 where it is not proved.

        The sender may name parties that are unknown here, beside those that it is a peer for.
        """
        # Order: the path names no party, so the sender is known by the body, and is authenticated after it was read.
        hello = _parse_hello(await context.read_body(_MAX_NODE_REQUEST_BYTES))
        party = next((party for party in _parties_in(hello) if self._is_known(party)), None)
        try:
            peer = (await context.authenticate(party)).peer
        except Unauthorized:
            raise
        except Refusal:
            peer = None
        if peer is None or peer.is_self:
            return OperationResponse(orjson.dumps({"known": False, **self._identity_fields}))
        log.info("hello.received", peer=peer.name)
        epoch_fields = await self._store_epochs.hello_fields(peer.name)
        await self._store_epochs.record_hello(peer.name, hello)
        await self._liveness.mark_alive(peer.name)
        return OperationResponse(orjson.dumps({"known": True, **self._identity_fields, **epoch_fields}))

    def _is_known(self, party: OperatorID | ProviderID) -> bool:
        """Say whether a peer has this very party: who is unknown is not the default route, which stands in for all."""
        registry = self._registry
        peer = registry.by_operator(party) if isinstance(party, OperatorID) else registry.by_provider(party)
        return peer is not None


def _parse_hello(body: bytes) -> dict[str, Any]:
    try:
        hello = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _invalid_hello(error) from error
    if not isinstance(hello, dict):
        raise _invalid_hello("it is no object")
    _parties_in(hello)
    return hello


def _parties_in(hello: Mapping[str, Any]) -> list[OperatorID | ProviderID]:
    try:
        operators = [OperatorID(str(text)) for text in hello.get("operators", ())]
        return [*operators, *(ProviderID(str(text)) for text in hello.get("providers", ()))]
    except TypeError as error:
        raise _invalid_hello(error) from error


def _invalid_hello(reason: object) -> HttpError:
    return HttpError(
        400, StatusCodeValue.DATA_ERROR, f"a hello is a JSON object with name, operators, providers: {reason}"
    )


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
    pipeline: RequestPipeline, hello: HelloClient, sessions: SessionStatusHandler, pairing: PairingHandler
) -> list[web.RouteDef]:
    """Return the routes of what nodes say among themselves."""
    return [
        web.post("/p2p/v1/hello", pipeline.wrap(hello.handle)),
        web.get("/p2p/v1/sessions/{session_id}", pipeline.wrap(sessions.handle)),
        *pairing.routes(),
    ]
