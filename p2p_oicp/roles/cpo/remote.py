"""Remote starts, stops and reservations that an EMP peer requests and our backend (CSMS) carries out."""

from __future__ import annotations

from functools import partial
from typing import TypeAlias

import structlog

from p2p_oicp.backends import BackendRegistry, OwnBackend
from p2p_oicp.errors import PeerError, Refusal
from p2p_oicp.oicp import (
    Acknowledgement,
    AuthorizeRemoteReservationStart,
    AuthorizeRemoteReservationStop,
    AuthorizeRemoteStart,
    AuthorizeRemoteStop,
    EvseID,
    Message,
    SessionID,
    StatusCodeValue,
)
from p2p_oicp.oicp.operations import Operation, Party
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import OperationRequest, OperationResponse, Services
from p2p_oicp.roles.cpo.csms_calls import CsmsCalls
from p2p_oicp.roles.datasets.handlers import check_evse_known
from p2p_oicp.roles.responses import (
    SessionIds,
    StartFailure,
    acknowledgement_response,
    has_arrived,
    start_failure,
    state_after_answer,
)
from p2p_oicp.roles.sessions import REMOTE, RESERVATION, SessionService, begin_start, idempotency_key
from p2p_oicp.roles.stops import StopReply, StopService
from p2p_oicp.storage import Transaction, job_keys, sessions
from p2p_oicp.storage.sessions import Session, SessionState

log = structlog.get_logger(__name__)

_CRASHED = StartFailure(StatusCodeValue.PARTNER_DID_NOT_RESPOND, SessionState.UNCERTAIN)

RemoteStart: TypeAlias = AuthorizeRemoteStart | AuthorizeRemoteReservationStart
RemoteStop: TypeAlias = AuthorizeRemoteStop | AuthorizeRemoteReservationStop


class CpoRemoteHandler:
    """Remote control of our EVSEs by EMP peers.

    The session is stored before the backend is called, and the backend is called at most once: a station may be
    charging as soon as the request has arrived. An answer after the deadline still decides the session.
    """

    def __init__(self, services: Services, session_service: SessionService, backends: BackendRegistry) -> None:
        self._services = services
        self._session_service = session_service
        self._stops = StopService(services, session_service)
        self._backends = backends
        self._calls = CsmsCalls(services.background, services.clock)

    async def authorize_remote_start(self, request: OperationRequest[AuthorizeRemoteStart]) -> OperationResponse:
        """Start charging (CPO-02, eRoamingAuthorizeRemoteStart)."""
        return await self._session_service.deduplicate(request, lambda: self._start(request, REMOTE))

    async def authorize_remote_reservation_start(
        self, request: OperationRequest[AuthorizeRemoteReservationStart]
    ) -> OperationResponse:
        """Reserve an EVSE (CPO-02, eRoamingAuthorizeRemoteReservationStart)."""
        self._check_reservations_supported(request)
        return await self._session_service.deduplicate(request, lambda: self._start(request, RESERVATION))

    async def authorize_remote_stop(self, request: OperationRequest[AuthorizeRemoteStop]) -> OperationResponse:
        """Stop a session of this provider (B3)."""
        return await self._stop(request)

    async def authorize_remote_reservation_stop(
        self, request: OperationRequest[AuthorizeRemoteReservationStop]
    ) -> OperationResponse:
        """End a reservation; its CDR follows (M6)."""
        self._check_reservations_supported(request)
        return await self._stop(request)

    def _check_reservations_supported(self, request: OperationRequest[Message]) -> None:
        # Order: before the EVSE is looked at, and before a session is stored that could only be refused.
        if not self._backend_of(getattr(request.message, "evse_id", None)).backend.supports(request.operation):
            raise Refusal(StatusCodeValue.SERVICE_NOT_AVAILABLE, "this operator takes no reservations")

    async def _start(self, request: OperationRequest[RemoteStart], session_kind: str) -> OperationResponse:
        """Store the session, call the backend at most once, store its response."""
        _check_own_operator(request.message, self._services.local_peer)
        await check_evse_known(self._services, request.message.evse_id)
        peer_id = request.peer.id if request.peer else ""
        # Order: stored before the backend is called; from then on a car may charge, and its CDR must find the session.
        draft, key = self._session_service.new_session(request, session_kind, peer_id), idempotency_key(request)
        about = job_keys.of_start(draft)
        outcome = await self._services.store.write(lambda tx: begin_start(tx, draft, key=key), about=about)
        if outcome.response is not None:
            return outcome.response
        session = outcome.session
        if outcome.crashed_before_answer:
            # Never sent again: the backend may have started charging before the crash (H2).
            info = "this node went down while its backend was asked"
            return await self._complete_without_reply(session, info, _CRASHED)
        # The CSMS gets the SessionID of this node's session, which may be new: the EMP need not send one.
        message = request.message.replace(session_id=SessionID(session.session_id))
        return await self._ask_to_start(request.operation, message, session)

    async def _ask_to_start(self, operation: Operation, message: RemoteStart, session: Session) -> OperationResponse:
        call = self._calls.start(self._backend_of(message.evse_id), operation, message)
        try:
            reply = await call.answer()
        except PeerError as error:
            # If the backend may have seen it, the station may be charging: its CDR must find the session.
            failure = start_failure(error, unreachable_code=StatusCodeValue.SYSTEM_ERROR)
            info = f"the CPO's backend did not answer: {error}"
            return await self._complete_without_reply(session, info, failure, is_remembered=has_arrived(error))
        else:
            ids = SessionIds.from_reply(reply, session, Party.CPO)
            response = OperationResponse(reply.to_json_with(**ids.attributes()))
            return await self._session_service.complete_start(
                session, state_after_answer(reply), response, cpo_partner_session_id=ids.cpo_partner_session_id
            )
        finally:
            # Order: after what is stored above, which the late answer replaces.
            if not call.is_answered:
                call.read_on(partial(self._decide_late, session))

    async def _decide_late(self, session: Session, answer: Acknowledgement | PeerError, seconds: float) -> None:
        """Store what a late answer makes of an uncertain session; later messages of it say more (DESIGN section 5)."""
        if isinstance(answer, PeerError):
            state = start_failure(answer, unreachable_code=StatusCodeValue.SYSTEM_ERROR).state
            reason, columns, body = f" ({answer})", {}, None
        else:
            ids = SessionIds.from_reply(answer, session, Party.CPO)
            state, reason, body = state_after_answer(answer), "", answer.to_json_with(**ids.attributes())
            columns = {"cpo_partner_session_id": ids.cpo_partner_session_id, "start_response": body}
        if state is SessionState.UNCERTAIN:
            columns = {}
        now, key = self._services.now(), session.session_key
        event = f"late answer after {seconds:.1f} s: {state}{reason}"

        def job(tx: Transaction) -> SessionState:
            reached = sessions.transition(tx, session.role, key, now, state, **columns)
            is_contradicted = state is SessionState.REFUSED and reached is not state
            text = f"{event}; the session goes on: {reached}" if is_contradicted else event
            sessions.add_event(tx, session.role, key, now, text, body)
            return reached

        reached = await self._services.store.write(job, about=(job_keys.session_of(session.role, key),))
        log.warning("remote_start.late_answer", session_id=session.session_id, answer=event, state=reached)

    def _backend_of(self, evse_id: EvseID | None) -> OwnBackend:
        return self._backends.for_operator(evse_id.operator if evse_id is not None else None)

    async def _complete_without_reply(
        self, session: Session, info: str, failure: StartFailure, *, is_remembered: bool = True
    ) -> OperationResponse:
        log.warning("remote_start.not_answered", session_id=session.session_id, state=failure.state, reason=info)
        response = acknowledgement_response(failure.code, info, SessionIds.from_session(session))
        return await self._session_service.complete_start(session, failure.state, response, is_remembered=is_remembered)

    async def _stop(self, request: OperationRequest[RemoteStop]) -> OperationResponse:
        async def ask(session: Session, stop: OperationRequest[RemoteStop]) -> StopReply:
            # The session's EVSE: a stop may come without one.
            evse_id = EvseID(session.evse_id) if session.evse_id else stop.message.evse_id
            call = self._calls.start(self._backend_of(evse_id), stop.operation, stop.message)
            try:
                return _stop_reply(session, await call.answer())
            except PeerError as error:
                # Not stored: the EMP may send the same stop again, and then it is tried again.
                code = start_failure(error, unreachable_code=StatusCodeValue.SYSTEM_ERROR).code
                info = f"the CPO's backend did not answer: {error}"
                response = acknowledgement_response(code, info, SessionIds.from_session(session))
                return StopReply(response, is_accepted=False)
            finally:
                if not call.is_answered:
                    call.read_on(partial(self._complete_stop_late, session, stop))

        return await self._stops.serve(request, ask)

    async def _complete_stop_late(
        self,
        session: Session,
        request: OperationRequest[RemoteStop],
        answer: Acknowledgement | PeerError,
        seconds: float,
    ) -> None:
        log.warning(
            "remote_stop.late_answer",
            session_id=session.session_id,
            operation=request.operation.name,
            seconds=round(seconds, 1),
            answer=str(answer) if isinstance(answer, PeerError) else answer.status_code.code,
        )
        await self._stops.complete_late(
            session, request, answer if isinstance(answer, PeerError) else _stop_reply(session, answer), seconds
        )


def _stop_reply(session: Session, reply: Acknowledgement) -> StopReply:
    ids = SessionIds.from_reply(reply, session, Party.CPO)
    return StopReply(OperationResponse(reply.to_json_with(**ids.attributes())), reply.result)


def _check_own_operator(message: RemoteStart, local_peer: Peer) -> None:
    operator = message.evse_id.operator
    if operator is None or not local_peer.handles_party(operator):
        raise Refusal(
            StatusCodeValue.PARTNER_NOT_FOUND, f"EvseID {message.evse_id} belongs to none of this node's operators"
        )
