"""What nodes say to each other beside OICP (DESIGN section 4), the server's side: ``/p2p/v1`` and the descriptor.

`PairingHandler` serves the descriptor, joining and leaving; `HelloHandler` a node that has started;
`SessionExportHandler` what peers ask of sessions and say of CDRs; `ProbeHandler` a body that only has to arrive.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import orjson
import structlog
from aiohttp import web

from p2p_oicp.clock import Clock
from p2p_oicp.crypto import PublicKey
from p2p_oicp.delivery import PeerLiveness, StoreEpochs, WakeupRegistry
from p2p_oicp.delivery.hello import CALL_BACK, identity_members, parse_hello, parties_of
from p2p_oicp.errors import ConfigurationError, Refusal, Unauthorized, VerificationError
from p2p_oicp.oicp import OperatorID, ProviderID, SessionID, StatusCodeValue
from p2p_oicp.peering import Peering
from p2p_oicp.peering.agreements import PartyAgreements
from p2p_oicp.peers import Peer, PeerRegistry, Source
from p2p_oicp.peers.descriptor import SignedDescriptor, verify_descriptor
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.roles.session_export import SessionExport, parse_since
from p2p_oicp.roles.verdicts import VerdictService
from p2p_oicp.server.authentication import PeerAuthenticator
from p2p_oicp.server.limits import TokenBucketLimiter, address_block
from p2p_oicp.server.openapi import node_endpoints
from p2p_oicp.server.pipeline import RequestContext, RequestPipeline
from p2p_oicp.server.problems import HttpError

log = structlog.get_logger(__name__)

_MAX_NODE_REQUEST_BYTES = 64 * 1024
_MAX_PROBE_BYTES, _PROBES_PER_SECOND = 1_000_000, 1 / 60
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
            node_endpoints.DESCRIPTOR.route(self._pipeline, self.descriptor),
            node_endpoints.PAIR.route(self._pipeline, self.pair),
            node_endpoints.UNPAIR.route(self._pipeline, self.unpair),
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
        store_epochs: what is received of the peer's databases, and sent of ours.
        wakeups: wakes the replicators of a peer whose database was replaced.
        agreements: which parties both sides have agreed to.
        call_back: sends our own hello to a peer that asks for it; returns what it is told of that.
    """

    def __init__(
        self,
        local_peer: Peer,
        *,
        registry: PeerRegistry,
        liveness: PeerLiveness,
        store_epochs: StoreEpochs,
        wakeups: WakeupRegistry,
        agreements: PartyAgreements,
        call_back: Callable[[Peer], Awaitable[dict[str, object]]],
    ) -> None:
        self._call_back = call_back
        self._registry = registry
        self._liveness = liveness
        self._store_epochs = store_epochs
        self._wakeups = wakeups
        self._agreements = agreements
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
        await self._store_epochs.record_hello(peer, hello, self._wakeups)
        # Order: before the workers are woken, which try again what is agreed now.
        self._agreements.record_hello(peer, hello, parties_of(hello))
        await self._liveness.mark_alive(peer.id)
        agreed = self._agreements.hello_members(peer)
        members = {"known": True, **self._identity_members, **self._store_epochs.hello_members(), **agreed}
        if hello.get(CALL_BACK) is True:
            members[CALL_BACK] = await self._call_back(peer)
        return OperationResponse(orjson.dumps(members))

    def _is_known(self, party: OperatorID | ProviderID) -> bool:
        """Say whether a peer has this very party; the default route, which answers for all others, does not count."""
        registry = self._registry
        peer = registry.by_operator(party) if isinstance(party, OperatorID) else registry.by_provider(party)
        return peer is not None


class SessionExportHandler:
    """Serves what peers ask of sessions and CDRs below ``/p2p/v1``, and their verdicts.

    The query names the asking party (``?operator=`` or ``?provider=``), which must be one of a session's two.
    """

    def __init__(self, authenticator: PeerAuthenticator, export: SessionExport, verdicts: VerdictService) -> None:
        self._authenticator = authenticator
        self._export = export
        self._verdicts = verdicts

    def routes(self, pipeline: RequestPipeline) -> list[web.RouteDef]:
        return [
            node_endpoints.SHOW_SESSION.route(pipeline, self.session),
            node_endpoints.LIST_SESSIONS.route(pipeline, self.sessions),
            node_endpoints.LIST_CDRS.route(pipeline, self.cdrs),
            node_endpoints.VERDICT.route(pipeline, self.verdict),
        ]

    async def session(self, context: RequestContext) -> OperationResponse:
        """Tell what this node knows of one session."""
        peer, own_role, _ = await self._receive(context)
        session_id, query = SessionID(context.parameter("session_id")), context.http.query
        return await self._export.get_status(session_id, peer, own_role, with_evidence="evidence" in query)

    async def sessions(self, context: RequestContext) -> OperationResponse:
        """Tell a page of all sessions since a time; with ``evidence=false`` only which they are."""
        peer, own_role, _ = await self._receive(context)
        query = context.http.query
        return await self._export.export_sessions(
            peer,
            own_role,
            parse_since(query.get("since", "0")),
            query.get("cursor", ""),
            with_evidence=query.get("evidence") != "false",
        )

    async def cdrs(self, context: RequestContext) -> OperationResponse:
        """Tell a page of all CDRs since a time; with ``records=false`` only which they are."""
        peer, own_role, _ = await self._receive(context)
        query = context.http.query
        return await self._export.export_cdrs(
            peer,
            own_role,
            parse_since(query.get("since", "0")),
            query.get("cursor", ""),
            with_records=query.get("records") != "false",
        )

    async def verdict(self, context: RequestContext) -> OperationResponse:
        """Record what the EMP's backend says of a CDR."""
        peer, own_role, body = await self._receive(context)
        if own_role != "cpo":
            raise HttpError(400, StatusCodeValue.DATA_ERROR, "an EMP's node tells verdicts: ?provider=ProviderID")
        return await self._verdicts.record(body, peer)

    async def _receive(self, context: RequestContext) -> tuple[Peer, str, bytes]:
        """Return the asking peer, the role that this node plays towards it, and the body; raise Refusal 017 or 300."""
        party, own_role = _requesting_party(context)
        principal = await context.authenticate(party)
        body = await context.read_body(_MAX_NODE_REQUEST_BYTES)
        return self._authenticator.authorize_party(principal, party, context.head), own_role, body


class ProbeHandler:
    """Serves ``POST /p2p/v1/probe``: a peer tries what size of a body comes through the proxies; it is discarded.

    The query names the peer's party, as for `SessionExportHandler`; so its sender is proved before the body is read.
    """

    def __init__(self, authenticator: PeerAuthenticator, clock: Clock) -> None:
        self._authenticator = authenticator
        self._limiter = TokenBucketLimiter(clock, per_second=_PROBES_PER_SECOND, burst=1)

    async def handle(self, context: RequestContext) -> OperationResponse:
        """Say how many bytes have come; raise HttpError 413 above 1 MB, 429 within a minute of the last probe."""
        party, _ = _requesting_party(context)
        principal = await context.authenticate(party)
        peer = self._authenticator.authorize_party(principal, party, context.head)
        # Order: before the body, which costs most.
        self._limiter.acquire(peer.id, "probes")
        body = await context.read_body(_MAX_PROBE_BYTES)
        return OperationResponse(orjson.dumps({"bytes": len(body)}))


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
    pipeline: RequestPipeline,
    hello: HelloHandler,
    sessions: SessionExportHandler,
    pairing: PairingHandler,
    probe: ProbeHandler,
) -> list[web.RouteDef]:
    """Return the routes of what nodes say among themselves."""
    return [
        node_endpoints.HELLO.route(pipeline, hello.handle),
        node_endpoints.PROBE.route(pipeline, probe.handle),
        *sessions.routes(pipeline),
        *pairing.routes(),
    ]
