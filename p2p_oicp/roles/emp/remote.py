"""Remote starts, stops and reservations of our own backend (a driver's app), as the clearing house serves them.

A start whose response never came leaves an *uncertain* session: the car may be charging, so its notifications and its
CDR are accepted, and the CPO's node is asked what became of it (`uncertain_sessions`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from msgspec.structs import replace

from p2p_oicp.client import OicpReply
from p2p_oicp.crypto.exchange import PreparedExchange
from p2p_oicp.errors import PeerError, Refusal
from p2p_oicp.oicp import (
    Acknowledgement,
    AuthorizeRemoteReservationStart,
    AuthorizeRemoteReservationStop,
    AuthorizeRemoteStart,
    AuthorizeRemoteStop,
    SessionID,
    StatusCodeValue,
)
from p2p_oicp.oicp.answers import is_indeterminate
from p2p_oicp.oicp.operations import Party
from p2p_oicp.peers import Peer
from p2p_oicp.peers.routing import route_by_evse, route_by_session
from p2p_oicp.roles.context import OperationRequest, OperationResponse, Services
from p2p_oicp.roles.datasets.handlers import check_evse_known
from p2p_oicp.roles.emp.uncertain_sessions import UncertainSessionResolver
from p2p_oicp.roles.responses import (
    SessionIds,
    acknowledgement_response,
    has_arrived,
    start_failure,
    state_after_answer,
    valid_session_id,
)
from p2p_oicp.roles.sessions import (
    REMOTE,
    RESERVATION,
    SessionService,
    begin_start,
    idempotency_key,
    opening_body,
)
from p2p_oicp.roles.stops import StopReply, StopService
from p2p_oicp.storage import Transaction, job_keys, sessions
from p2p_oicp.storage.sessions import Session, SessionState

# "MUST answer within 60 s" (integration guide): whatever the peer and the store do, our backend is answered so many
# seconds after the peer's deadline: by default 57 s after its request.
_SECONDS_AFTER_PEER = 2.0

RemoteStart: TypeAlias = AuthorizeRemoteStart | AuthorizeRemoteReservationStart
RemoteStop: TypeAlias = AuthorizeRemoteStop | AuthorizeRemoteReservationStop


class EmpRemoteHandler:
    """Remote control of CPO peers' EVSEs: one attempt, within the operation's deadline (H2)."""

    def __init__(self, services: Services, session_service: SessionService, resolver: UncertainSessionResolver) -> None:
        self._services = services
        self._session_service = session_service
        self._stops = StopService(services, session_service)
        self._resolver = resolver

    async def authorize_remote_start(self, request: OperationRequest[AuthorizeRemoteStart]) -> OperationResponse:
        """Start charging (EMP-02, eRoamingAuthorizeRemoteStart)."""
        return await self._start_in_time(request, REMOTE)

    async def authorize_remote_reservation_start(
        self, request: OperationRequest[AuthorizeRemoteReservationStart]
    ) -> OperationResponse:
        """Reserve a charging spot (EMP-02, eRoamingAuthorizeRemoteReservationStart)."""
        return await self._start_in_time(request, RESERVATION)

    async def authorize_remote_stop(self, request: OperationRequest[AuthorizeRemoteStop]) -> OperationResponse:
        """Stop charging (EMP-02, eRoamingAuthorizeRemoteStop)."""
        return await self._answer_in_time(lambda: self._stop(request))

    async def authorize_remote_reservation_stop(
        self, request: OperationRequest[AuthorizeRemoteReservationStop]
    ) -> OperationResponse:
        """End a reservation (EMP-02, eRoamingAuthorizeRemoteReservationStop)."""
        return await self._answer_in_time(lambda: self._stop(request))

    async def _answer_in_time(self, work: Callable[[], Awaitable[OperationResponse]]) -> OperationResponse:
        """Return the response, or raise Refusal 310 when our backend has to be answered; the work goes on."""

        async def serve() -> OperationResponse:
            return await work()

        seconds = self._services.deadlines.remote + _SECONDS_AFTER_PEER
        try:
            return await self._services.background.run_for(seconds, "remote operation", serve())
        except TimeoutError:
            info = f"this node has no answer after {seconds:g} s: what became of the request is uncertain"
            raise Refusal(StatusCodeValue.PARTNER_DID_NOT_RESPOND, info) from None

    async def _start_in_time(self, request: OperationRequest[RemoteStart], session_kind: str) -> OperationResponse:
        deduplicate = self._session_service.deduplicate
        return await self._answer_in_time(lambda: deduplicate(request, lambda: self._start(request, session_kind)))

    async def _start(self, request: OperationRequest[RemoteStart], session_kind: str) -> OperationResponse:
        operation = request.operation
        peer = route_by_evse(request.message.evse_id, operation, self._services.registry).peers[0]
        # Order of refusals (RULES section 4): 300 and 210 by the route, then 603 and 604, and only then a session.
        await check_evse_known(self._services, request.message.evse_id)
        draft, key = self._session_service.new_session(request, session_kind, peer.id), idempotency_key(request)
        # Order: stored before the CPO is asked, because a car may be charging from then on.
        about = job_keys.of_start(draft)
        outcome = await self._services.store.write(lambda tx: begin_start(tx, draft, key=key), about=about)
        if outcome.response is not None:
            return outcome.response
        session = outcome.session
        if outcome.crashed_before_answer:
            return await self._after_crash(session, peer)
        body = opening_body(request.message, session, peer)
        try:
            reply = await self._services.peers.call(
                peer, operation, request.sender_id, body, deadline=self._services.deadlines.remote
            )
        except PeerError as error:
            return await self._after_error(session, peer, error)
        return await self._after_reply(session, peer, reply)

    async def _after_crash(self, session: Session, peer: Peer) -> OperationResponse:
        """Never send a start again that may have arrived before this node went down (H2)."""
        info = "this node went down before the CPO answered; it is being asked"
        code = StatusCodeValue.PARTNER_DID_NOT_RESPOND
        response = acknowledgement_response(code, info, SessionIds.from_session(session))
        now, role, key = self._services.now(), session.role, session.session_key

        def job(tx: Transaction) -> OperationResponse:
            # Since the start, the CPO's node may have said what became of it: its answer stays.
            present = sessions.get(tx, role, key)
            if present is not None and present.start_response is not None:
                return OperationResponse(present.start_response)
            sessions.transition(tx, role, key, now, SessionState.UNCERTAIN, start_response=response.body)
            sessions.add_event(tx, role, key, now, SessionState.UNCERTAIN, response.body)
            return response

        answer = await self._services.store.write(job, about=job_keys.of_session(session))
        if answer is response:
            self._resolver.schedule(peer)
        return answer

    async def _after_error(self, session: Session, peer: Peer, error: PeerError) -> OperationResponse:
        code, state = start_failure(error, unreachable_code=StatusCodeValue.PARTNER_DID_NOT_RESPOND)
        ids = SessionIds.from_session(session)
        echoed_ids = ids.without_session() if state is SessionState.REFUSED else ids
        response = acknowledgement_response(code, f"the CPO did not answer: {error}", echoed_ids)
        return await self._complete(
            session, peer, state, response, exchange=error.exchange, is_remembered=has_arrived(error)
        )

    async def _after_reply(self, session: Session, peer: Peer, reply: OicpReply) -> OperationResponse:
        message = _acknowledgement(reply)
        state = state_after_answer(message)
        # The CPO's node may have given the session an id of its own, which then is the session's.
        session_id = valid_session_id(message.session_id) or SessionID(session.session_id)
        ids = replace(SessionIds.from_reply(message, session, Party.CPO), session_id=session_id.text)
        echoed_ids = ids.without_session() if state is SessionState.REFUSED else ids
        return await self._complete(
            session,
            peer,
            state,
            OperationResponse(message.to_json_with(**echoed_ids.attributes())),
            exchange=reply.exchange,
            session_key=session_id.key,
            session_id=session_id.text,
            cpo_partner_session_id=ids.cpo_partner_session_id,
        )

    async def _complete(
        self,
        session: Session,
        peer: Peer,
        state: SessionState,
        response: OperationResponse,
        *,
        exchange: PreparedExchange | None = None,
        is_remembered: bool = True,
        **columns: object,
    ) -> OperationResponse:
        await self._session_service.complete_start(
            session, state, response, exchange=exchange, is_remembered=is_remembered, **columns
        )
        if state is SessionState.UNCERTAIN:
            self._resolver.schedule(peer)
        return response

    async def _stop(self, request: OperationRequest[RemoteStop]) -> OperationResponse:
        async def explain_refusal() -> None:
            # Order of refusals (RULES section 4): 300, 210, 603, 604, and 400 for an unknown session last. The EVSE is
            # looked at only then: whatever this node's data says of it, a car that charges can be stopped.
            route_by_evse(request.message.evse_id, request.operation, self._services.registry)
            await check_evse_known(self._services, request.message.evse_id)

        return await self._stops.serve(request, self._forward_stop, explain_refusal=explain_refusal)

    async def _forward_stop(self, session: Session, request: OperationRequest[RemoteStop]) -> StopReply:
        operation = request.operation
        peer = route_by_session(session.peer, operation, self._services.registry).peers[0]
        try:
            reply = await self._services.peers.call(
                peer, operation, request.sender_id, request.body, deadline=self._services.deadlines.remote
            )
        except PeerError as error:
            await self._services.recorder.record(error.exchange)
            code, state = start_failure(error, unreachable_code=StatusCodeValue.PARTNER_DID_NOT_RESPOND)
            if state is SessionState.UNCERTAIN:
                self._resolver.follow_stop(session, request, peer)
            raise Refusal(code, f"the CPO of this session did not answer: {error}") from error
        message = _acknowledgement(reply)
        if is_indeterminate(message):
            self._resolver.follow_stop(session, request, peer)
        ids = SessionIds.from_reply(message, session, Party.CPO)
        response = OperationResponse(message.to_json_with(**ids.attributes()))
        return StopReply(response, message.result, reply.exchange)


def _acknowledgement(reply: OicpReply) -> Acknowledgement:
    """Return the reply's message, which the client has read as what the operations table says."""
    if not isinstance(reply.message, Acknowledgement):
        raise Refusal(StatusCodeValue.PARTNER_DID_NOT_RESPOND, "the CPO's answer is not an Acknowledgement")
    return reply.message
