"""Remote starts, stops and reservations of an EMP peer, carried out by our backend."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from p2p_oicp.backends import CpoBackend, ReservingCpoBackend
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
from p2p_oicp.oicp.operations import Party
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import OperationRequest, OperationResponse, Services
from p2p_oicp.roles.datasets.handlers import check_evse_known
from p2p_oicp.roles.responses import SessionIds, acknowledgement_response
from p2p_oicp.roles.sessions import REMOTE, RESERVATION, SessionService, StopReply, begin_start, idempotency_key
from p2p_oicp.storage.sessions import Session, SessionState

RemoteStart: TypeAlias = AuthorizeRemoteStart | AuthorizeRemoteReservationStart
RemoteStop: TypeAlias = AuthorizeRemoteStop | AuthorizeRemoteReservationStop


class CpoRemoteHandler:
    """The CPO side of what a driver's app asks for."""

    def __init__(self, services: Services, session_service: SessionService, backend: CpoBackend) -> None:
        self._services = services
        self._session_service = session_service
        self._backend = backend

    async def authorize_remote_start(self, request: OperationRequest[AuthorizeRemoteStart]) -> OperationResponse:
        """Ask the backend to start charging (CPO-02, eRoamingAuthorizeRemoteStart)."""
        call_backend = self._backend.authorize_remote_start
        return await self._session_service.deduplicate(request, lambda: self._start(request, REMOTE, call_backend))

    async def authorize_remote_reservation_start(
        self, request: OperationRequest[AuthorizeRemoteReservationStart]
    ) -> OperationResponse:
        """Ask the backend to reserve (CPO-02, eRoamingAuthorizeRemoteReservationStart)."""
        call_backend = self._reservation_backend().authorize_remote_reservation_start
        return await self._session_service.deduplicate(request, lambda: self._start(request, RESERVATION, call_backend))

    async def authorize_remote_stop(self, request: OperationRequest[AuthorizeRemoteStop]) -> OperationResponse:
        """Ask the backend to stop a session of this provider (box B3)."""
        call_backend = self._backend.authorize_remote_stop
        return await self._stop(request, call_backend)

    async def authorize_remote_reservation_stop(
        self, request: OperationRequest[AuthorizeRemoteReservationStop]
    ) -> OperationResponse:
        """Ask the backend to end a reservation; its CDR follows (box M6)."""
        call_backend = self._reservation_backend().authorize_remote_reservation_stop
        return await self._stop(request, call_backend)

    def _reservation_backend(self) -> ReservingCpoBackend:
        if not isinstance(self._backend, ReservingCpoBackend):
            raise Refusal(StatusCodeValue.SERVICE_NOT_AVAILABLE, "this operator takes no reservations")
        return self._backend

    async def _start(
        self,
        request: OperationRequest[RemoteStart],
        session_kind: str,
        call_backend: Callable[..., Awaitable[Acknowledgement]],
    ) -> OperationResponse:
        """Store the session, ask the backend at most once, store its answer."""
        _check_own_operator(request.message, self._services.local_peer)
        await check_evse_known(self._services, request.message.evse_id)
        peer_name = request.peer.name if request.peer else ""
        draft, key = self._session_service.new_session(request, session_kind, peer_name), idempotency_key(request)
        outcome = await self._services.store.write(lambda tx: begin_start(tx, draft, key=key))
        if outcome.response is not None:
            return outcome.response
        session = outcome.session
        if outcome.crashed_before_answer:
            # Never sent again: the backend may have started charging before the crash (H2).
            info = "this node went down while its backend was asked"
            return await self._complete_indeterminate(session, info, SessionState.UNCERTAIN)
        message = request.message.replace(session_id=SessionID(session.session_id))
        try:
            reply = await call_backend(message)
        except PeerError as error:
            # If the backend may have seen it, the station may be charging: its CDR must find the session.
            state = SessionState.UNCERTAIN if error.may_have_arrived else SessionState.REFUSED
            return await self._complete_indeterminate(session, f"the CPO's backend did not answer: {error}", state)
        ids = SessionIds.from_reply(reply, session, Party.CPO)
        response = OperationResponse(reply.to_json_with(**ids.attributes()))
        state = SessionState.AUTHORIZED if reply.result else SessionState.REFUSED
        return await self._session_service.complete_start(
            session, state, response, cpo_partner_session_id=ids.cpo_partner_session_id
        )

    async def _complete_indeterminate(self, session: Session, info: str, state: SessionState) -> OperationResponse:
        response = acknowledgement_response(StatusCodeValue.SYSTEM_ERROR, info, SessionIds.from_session(session))
        return await self._session_service.complete_start(session, state, response)

    async def _stop(
        self, request: OperationRequest[RemoteStop], call_backend: Callable[..., Awaitable[Acknowledgement]]
    ) -> OperationResponse:
        async def ask(session: Session) -> StopReply:
            try:
                reply = await call_backend(request.message)
            except PeerError as error:
                info, ids = f"the CPO's backend did not answer: {error}", SessionIds.from_session(session)
                code = StatusCodeValue.SYSTEM_ERROR
                return StopReply(acknowledgement_response(code, info, ids), is_accepted=False)
            ids = SessionIds.from_reply(reply, session, Party.CPO)
            return StopReply(OperationResponse(reply.to_json_with(**ids.attributes())), reply.result)

        return await self._session_service.stop(request, ask)


def _check_own_operator(message: RemoteStart, local_peer: Peer) -> None:
    operator = message.evse_id.operator
    if operator is None or not local_peer.handles_party(operator):
        raise Refusal(
            StatusCodeValue.PARTNER_NOT_FOUND, f"EvseID {message.evse_id} belongs to none of this node's operators"
        )
