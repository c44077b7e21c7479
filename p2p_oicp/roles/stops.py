"""Stops of charging sessions and reservations, of both roles: the session is found, the responsible system is asked.

A stop belongs to its session: to its parties (B3), to its kind, and to its EVSE (L4).

AuthorizeStop of our own CPO backend goes to the EMP of the session; a session that this node authorized itself,
offline, is stopped by the token that started it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import msgspec

from p2p_oicp.crypto.exchange import PreparedExchange
from p2p_oicp.errors import PeerError, Refusal
from p2p_oicp.oicp import (
    AuthorizationStart,
    AuthorizationStatus,
    AuthorizationStop,
    AuthorizeStop,
    EvseID,
    Message,
    ProviderID,
    SessionID,
    StatusCodeValue,
)
from p2p_oicp.oicp.common import rejection_code, token_key
from p2p_oicp.oicp.operations import OPERATION_BY_NAME, Party
from p2p_oicp.peers.models import OWN_PEER_ID
from p2p_oicp.peers.routing import route_by_session
from p2p_oicp.roles.context import OperationRequest, OperationResponse, Services
from p2p_oicp.roles.lost_sessions import Outcome
from p2p_oicp.roles.responses import SessionIds, answering_provider, authorized_response
from p2p_oicp.roles.sessions import RESERVATION, SessionService, as_known_here, check_same_evse
from p2p_oicp.storage import Transaction, cdrs, job_keys, sessions
from p2p_oicp.storage.datasets.models import OWN
from p2p_oicp.storage.sessions import STOPPABLE_STATES, Session

_STOP = OPERATION_BY_NAME["AuthorizeStop"]
_RESERVATION_STOP = "AuthorizeRemoteReservationStop"


class StopReply(msgspec.Struct, frozen=True):
    """What the responsible system said to a stop; ``exchange`` is its evidence, if a peer signed it."""

    response: OperationResponse
    is_accepted: bool
    exchange: PreparedExchange | None = None


#: Sends a stop on; gets the session, and the stop.
AskForStop: TypeAlias = Callable[[Session, OperationRequest[Any]], Awaitable[StopReply]]


class StopService:
    """The stops of one role."""

    def __init__(self, services: Services, session_service: SessionService) -> None:
        self._services = services
        self._session_service = session_service

    async def serve(
        self,
        request: OperationRequest[Message],
        ask: AskForStop,
        *,
        explain_refusal: Callable[[], Awaitable[None]] | None = None,
    ) -> OperationResponse:
        """Serve a stop: find the session, ask the responsible system, store an accepted stop.

        Args:
            request: the stop; a duplicate of an accepted one gets its response and is not forwarded (H4).
            ask: sends the stop on, as who gets it knows the session. It is not called for a session that cannot be
                stopped.
            explain_refusal: called if there is no such session to be stopped; may raise a Refusal with a more specific
                code.
        """
        return await self._session_service.deduplicate(request, lambda: self._serve(request, ask, explain_refusal))

    async def _serve(
        self,
        request: OperationRequest[Message],
        ask: AskForStop,
        explain_refusal: Callable[[], Awaitable[None]] | None,
    ) -> OperationResponse:
        session_id: SessionID | None = getattr(request.message, "session_id", None)
        await self._session_service.wait_until_started(session_id)
        try:
            session, request = await self._services.store.write(
                lambda tx: self._begin(tx, request), about=request.keys(self._session_service.role)
            )
        except Refusal as refusal:
            if refusal.code != StatusCodeValue.SESSION_INVALID:
                raise
            if explain_refusal is not None:
                await explain_refusal()
            if await self._session_service.find_lost(request) is not Outcome.OPENED:
                raise
            session, request = await self._services.store.write(
                lambda tx: self._begin(tx, request), about=request.keys(self._session_service.role)
            )
        # Only an accepted stop is stored: a refused one is asked about again, because the reason may be gone.
        if session.stop_response is not None and session.stop_digest == request.digest:
            return OperationResponse(session.stop_response)
        try:
            reply = await ask(session, request)
        except Refusal as refusal:
            await self._add_event(session, f"{request.operation.name} not accepted: {refusal.code} {refusal.info}")
            raise
        await self._services.store.write(
            lambda tx: self._complete(tx, session, request, reply), about=job_keys.of_session(session)
        )
        return reply.response

    async def complete_late(
        self, session: Session, request: OperationRequest[Message], answer: StopReply | PeerError, seconds: float
    ) -> None:
        """Store what the responsible system said after the deadline: an accepted stop is not sent again."""
        name, delay = request.operation.name, f"by a late answer after {seconds:.1f} s"
        if isinstance(answer, PeerError):
            await self._add_event(session, f"{name} not accepted {delay}: {answer}")
        else:
            await self._services.store.write(
                lambda tx: self._complete(tx, session, request, answer, f" {delay}"), about=job_keys.of_session(session)
            )

    async def _add_event(self, session: Session, event: str) -> None:
        now = self._services.now()
        await self._services.store.write(
            lambda tx: sessions.add_event(tx, session.role, session.session_key, now, event),
            about=job_keys.of_session(session),
        )

    def _begin(self, tx: Transaction, request: OperationRequest[Message]) -> tuple[Session, OperationRequest[Message]]:
        session, name = self._session_service.find(tx, request), request.operation.name
        request = as_known_here(tx, request, session)
        info = None
        if (session.kind == RESERVATION) is not (name == _RESERVATION_STOP):
            kind = "a reservation" if session.kind == RESERVATION else "no reservation"
            info = f"session {session.session_id} is {kind}: {name} does not stop it"
        elif session.state not in STOPPABLE_STATES or cdrs.is_stored(tx, session.role, session.session_key):
            info = f"session {session.session_id} is {session.state}: nothing is to be stopped"
        if info is not None:
            raise Refusal(StatusCodeValue.SESSION_INVALID, info)
        evse_id: EvseID | None = getattr(request.message, "evse_id", None)
        check_same_evse(session, evse_id)
        event, body = f"{name} requested", None if _contains_pin(request.message) else request.body
        sessions.add_event(tx, session.role, session.session_key, self._services.now(), event, body)
        return session, request

    def _complete(
        self,
        tx: Transaction,
        session: Session,
        request: OperationRequest[Message],
        reply: StopReply,
        delay: str = "",
    ) -> None:
        now, role, key, body = self._services.now(), session.role, session.session_key, reply.response.body
        if reply.is_accepted:
            sessions.update(tx, role, key, now, stop_digest=request.digest, stop_response=body)
        outcome = "accepted" if reply.is_accepted else "not accepted"
        sessions.add_event(tx, role, key, now, f"{request.operation.name} {outcome}{delay}", body)
        if reply.exchange is not None:
            self._services.recorder.insert(tx, reply.exchange)


def _contains_pin(message: Message) -> bool:
    """Whether a message must not be stored: of a PIN only a hash is stored (EMP-02, PIN security)."""
    identification = getattr(message, "identification", None)
    return identification is not None and identification.qr_code is not None and bool(identification.qr_code.pin)


class CpoAuthorizeStopHandler:
    """AuthorizeStop of our own backend."""

    def __init__(self, services: Services, session_service: SessionService) -> None:
        self._services = services
        self._stops = StopService(services, session_service)

    async def authorize_stop(self, request: OperationRequest[AuthorizeStop]) -> OperationResponse:
        """Authorize a stop; every refusal is an AuthorizationStop (CPO-02, eRoamingAuthorizeStop)."""

        async def ask(session: Session, stop: OperationRequest[AuthorizeStop]) -> StopReply:
            if not session.offline:
                return await self._forward_stop(session, stop)
            await self._check_same_token(session, stop.message)
            return StopReply(
                authorized_response(session.provider_id, SessionIds.from_session(session)), is_accepted=True
            )

        return await self._stops.serve(request, ask)

    async def _forward_stop(self, session: Session, request: OperationRequest[AuthorizeStop]) -> StopReply:
        peer = route_by_session(session.peer, _STOP, self._services.registry).peers[0]
        try:
            reply = await self._services.peers.call(
                peer, _STOP, request.sender_id, request.body, deadline=self._services.deadlines.authorize
            )
        except PeerError as error:
            await self._services.recorder.record(error.exchange)
            info = f"the EMP of this session did not answer: {error}"
            raise Refusal(StatusCodeValue.PARTNER_DID_NOT_RESPOND, info) from error
        message = reply.message
        if not isinstance(message, AuthorizationStop | AuthorizationStart):
            await self._services.recorder.record(reply.exchange)
            status, no_answer = getattr(message, "status_code", None), StatusCodeValue.PARTNER_DID_NOT_RESPOND
            code = str(status.code) if status else no_answer
            info = f"{peer.name} answered with {code} {getattr(status, 'description', None) or ''}".strip()
            raise Refusal(no_answer if code == StatusCodeValue.SUCCESS else code, info)
        ids = SessionIds.from_reply(message, session, Party.EMP)
        own = ProviderID(session.provider_id) if session.provider_id else None
        provider = answering_provider(peer, message.provider_id, own, session.session_id)
        response = OperationResponse(message.to_json_with(provider_id=provider, **ids.attributes()))
        return StopReply(response, message.authorization_status == AuthorizationStatus.AUTHORIZED, reply.exchange)

    async def _check_same_token(self, session: Session, message: AuthorizeStop) -> None:
        """Raise Refusal 101, 102 or 105 unless the token started this offline session, or the EMP listed it."""
        requested_key = token_key(message.identification)
        if requested_key not in {session.identification_key, *session.stop_identification_keys.split()}:
            info = "this session was started with another identification, which has to stop it"
            raise Refusal(rejection_code(requested_key), info)
        if message.identification.qr_code is None:
            return
        # Without pushed data any more, the token alone suffices: a driver must not be left with a locked cable.
        source = OWN if session.peer == OWN_PEER_ID else session.peer
        match = await self._services.find_authorization(message.identification, source)
        if match is not None and match.refusal_code:
            raise Refusal(match.refusal_code, match.reason)
