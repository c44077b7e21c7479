"""What nodes say among themselves about who they are: descriptor, pairing, un-pairing (DESIGN section 4).

Hello: a node that has started tells its peers, so that they send at once what they owe it (DESIGN section 4).

``GET /p2p/v1/sessions/{SessionID}``: what do you know of this session? Only for its two parties.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
import structlog
from aiohttp import web

from p2p_oicp.client import HttpTransport
from p2p_oicp.crypto import PublicKey, verify_request
from p2p_oicp.delivery import ExponentialBackoff, PeerLiveness, StoreEpochExchange
from p2p_oicp.errors import ConfigurationError, PeerError, PeerRejected, Refusal, Unauthorized, VerificationError
from p2p_oicp.oicp import OperatorID, ProviderID, SessionID
from p2p_oicp.oicp.operations import api_root
from p2p_oicp.peering import PeerTls
from p2p_oicp.peers import Peer, PeerRegistry, Profile, Source
from p2p_oicp.peers.descriptor import DESCRIPTOR_PATH, PAIRINGS_PATH, SignedDescriptor, verify_descriptor
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.roles.sessions import SessionStatusService
from p2p_oicp.server.app import RequestPipeline
from p2p_oicp.server.authentication import Authenticator, InboundRequest
from p2p_oicp.server.dispatcher import OperationDispatcher
from p2p_oicp.server.limits import TokenBucketLimiter
from p2p_oicp.server.problems import DATA_ERROR, HttpError

log = structlog.get_logger(__name__)

_MAX_PAIRING_BODY_BYTES = 256 * 1024
_NOT_OFFERED = "320"
# A person pastes one link; whoever tries more guesses.
_PAIRING_ATTEMPTS_PER_SECOND, _PAIRING_ATTEMPT_BURST = 1 / 12, 5


class PairingHandler:
    """Serves the peer API's part of pairing."""

    def __init__(self, pipeline: RequestPipeline, *, authenticator: Authenticator, trust: PeerTls) -> None:
        self._pipeline = pipeline
        self._authenticator = authenticator
        self._identity = trust.identity
        self._pairing = trust.pairing
        self._directory = trust.directory
        self._replay_cache = trust.replay_cache
        self._clock = trust.clock
        self._attempt_limiter = TokenBucketLimiter(
            trust.clock, per_second=_PAIRING_ATTEMPTS_PER_SECOND, burst=_PAIRING_ATTEMPT_BURST
        )

    def routes(self) -> list[web.RouteDef]:
        """Return what is served to everybody."""
        return [
            web.get(DESCRIPTOR_PATH, self._pipeline.wrap(self.descriptor)),
            web.post(PAIRINGS_PATH, self._pipeline.wrap(self.pair)),
            web.delete(f"{PAIRINGS_PATH}/self", self._pipeline.wrap(self.unpair)),
        ]

    async def descriptor(self, _request: web.Request) -> OperationResponse:
        """Serve ``GET /.well-known/oicp-p2p``."""
        return OperationResponse(self._identity.signed_descriptor())

    async def pair(self, request: web.Request) -> OperationResponse:
        """Serve ``POST /p2p/v1/pairings``: somebody joins, with an invitation."""
        inbound = await self._pipeline.read_request(request, _MAX_PAIRING_BODY_BYTES)
        self._attempt_limiter.acquire(inbound.client_address or "", "pairing attempts")
        proof_key, signed_descriptor = self._verify_invitation_proof(inbound)
        try:
            response_body = await self._pairing.accept_join(proof_key, signed_descriptor)
        except Unauthorized as error:
            log.warning("pairing.rejected", address=inbound.client_address, reason=error.info)
            raise
        except ConfigurationError as conflict:
            log.warning("pairing.conflict", address=inbound.client_address, reason=str(conflict))
            raise HttpError(409, DATA_ERROR, f"the inviting node cannot add this peer: {conflict}") from conflict
        log.info("pairing.completed", peer=signed_descriptor.descriptor.name, key_id=signed_descriptor.key.key_id)
        return OperationResponse(response_body)

    async def unpair(self, request: web.Request) -> OperationResponse:
        """Serve ``DELETE /p2p/v1/pairings/self``: a peer un-pairs; it has to prove who it is."""
        inbound = await self._pipeline.read_request(request, _MAX_PAIRING_BODY_BYTES)
        principal = await self._authenticator.authenticate(inbound, None)
        if principal.peer is None or not principal.is_authenticated:
            raise Unauthorized("only a peer that proves who it is can un-pair")
        if principal.peer.source is Source.FILE:
            log.warning("pairing.unpair_rejected", peer=principal.peer.name)
            raise HttpError(409, _NOT_OFFERED, "this peer stands in a file, which only a person changes")
        await self._directory.remove(principal.peer.name)
        log.info("pairing.removed", peer=principal.peer.name, by="peer")
        return OperationResponse(orjson.dumps({"removed": True}))

    def _verify_invitation_proof(self, inbound: InboundRequest) -> tuple[PublicKey, SignedDescriptor]:
        """Return the key of the invitation and the descriptor; raise Unauthorized where either proves nothing."""
        now = self._clock.time()
        try:
            body = orjson.loads(inbound.body)
            key = PublicKey.from_base64(str(body["proof_key"]))
            descriptor_bytes = orjson.dumps(body["descriptor"])
        except (ValueError, KeyError, TypeError) as error:
            raise HttpError(400, DATA_ERROR, f"a joining node sends descriptor and proof_key: {error}") from error
        try:
            signature = verify_request(inbound.signed_parts, lambda _key_id, _now: key, now)
            self._replay_cache.check_and_store(signature, now)
            signed_descriptor = verify_descriptor(descriptor_bytes, now)
        except VerificationError as error:
            raise Unauthorized(str(error)) from error
        inbound.signature = signature
        return key, signed_descriptor


_HELLO_PATH = "/p2p/v1/hello"
_HELLO_TIMEOUT_SECONDS = 5.0
_DATA_ERROR = "022"


class HelloClient:
    """Says hello, and hears it."""

    def __init__(
        self,
        me: Peer,
        *,
        registry: PeerRegistry,
        client: HttpTransport,
        liveness: PeerLiveness,
        authenticator: Authenticator,
        store_epochs: StoreEpochExchange,
        backoff: ExponentialBackoff,
    ) -> None:
        self._registry = registry
        self._authenticator = authenticator
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
        url = api_root(peer.url) + _HELLO_PATH
        hello = orjson.dumps({**self._identity_fields, **await self._store_epochs.hello_fields(peer.name)})
        _, reply = await self._client.post_json(url, hello, deadline=_HELLO_TIMEOUT_SECONDS, peer=peer.name)
        await self._record_reply(peer, reply)

    async def _record_reply(self, peer: Peer, reply: bytes) -> None:
        """Take what a peer answers; if another node has its address by now, it is not the peer's word."""
        try:
            hello = _parse_hello(reply)
        except HttpError:
            return
        if any(peer.handles_party(party) for party in _parties_in(hello)):
            await self._store_epochs.record_hello(peer.name, hello)

    async def handle(self, inbound: InboundRequest) -> OperationResponse:
        """Wake what waits for the peer that says hello; raises Refusal 017 where it does not prove who it is.

        It may name parties that nobody here knows, beside those that it is a peer for.
        """
        hello = _parse_hello(inbound.body)
        claimed_party = next((party for party in _parties_in(hello) if self._is_known(party)), None)
        try:
            peer = (await self._authenticator.authenticate(inbound, claimed_party)).peer
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
    return HttpError(400, _DATA_ERROR, f"a hello is a JSON object with name, operators, providers: {reason}")


class SessionStatusHandler:
    """Serves the enquiries of peers; who asks says so in the query, ``operator=`` or ``provider=``, and proves it."""

    def __init__(self, dispatcher: OperationDispatcher, session_status: SessionStatusService) -> None:
        self._dispatcher = dispatcher
        self._session_status = session_status

    async def handle(self, request: web.Request, inbound: InboundRequest) -> OperationResponse:
        """Answer one enquiry; raises Refusal 017, 300 or 400."""
        party, own_role = _requesting_party(request)
        peer = await self._dispatcher.authenticate_party(party, inbound)
        return await self._session_status.get_status(SessionID(request.match_info["session_id"]), peer, own_role)


def _requesting_party(request: web.Request) -> tuple[OperatorID | ProviderID, str]:
    """Return the asking party, and the role that this node plays towards it."""
    operator, provider = request.query.get("operator"), request.query.get("provider")
    if provider and not operator:
        return ProviderID(provider), "cpo"
    if operator and not provider:
        return OperatorID(operator), "emp"
    raise HttpError(400, DATA_ERROR, "say who asks: ?operator=OperatorID or ?provider=ProviderID")
