"""AuthorizeStop of our own backend: it goes to the EMP of the session.

A session that this node authorized itself, offline, is stopped by the token that started it.
"""

from __future__ import annotations

from p2p_oicp.errors import PeerError, Refusal
from p2p_oicp.oicp import AuthorizationStart, AuthorizationStatus, AuthorizationStop, AuthorizeStop, StatusCodeValue
from p2p_oicp.oicp.common import rejection_code, token_key
from p2p_oicp.oicp.operations import OPERATION_BY_NAME, Party
from p2p_oicp.peers.routing import route_by_session
from p2p_oicp.roles.context import OperationRequest, OperationResponse, Services
from p2p_oicp.roles.responses import SessionIds, authorized_response
from p2p_oicp.roles.sessions import SessionService
from p2p_oicp.roles.stops import StopReply, StopService
from p2p_oicp.storage.sessions import Session

_STOP = OPERATION_BY_NAME["AuthorizeStop"]


class CpoAuthorizeStopHandler:
    """AuthorizeStop of our own backend."""

    def __init__(self, services: Services, session_service: SessionService) -> None:
        self._services = services
        self._stops = StopService(services, session_service)

    async def authorize_stop(self, request: OperationRequest[AuthorizeStop]) -> OperationResponse:
        """Authorize a stop; every refusal is an AuthorizationStop (CPO-02, eRoamingAuthorizeStop)."""

        async def ask(session: Session) -> StopReply:
            if not session.offline:
                return await self._forward_stop(session, request)
            await self._check_same_token(session, request.message)
            return StopReply(
                authorized_response(session.provider_id, SessionIds.from_session(session)), is_accepted=True
            )

        return await self._stops.serve(request, ask)

    async def _forward_stop(self, session: Session, request: OperationRequest[AuthorizeStop]) -> StopReply:
        peer = route_by_session(session.peer, _STOP, self._services.registry).peers[0]
        try:
            reply = await self._services.peers.call(
                peer, _STOP, request.sender_id, request.body, deadline=self._services.authorization_deadline
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
        response = OperationResponse(message.to_json_with(**ids.attributes()))
        return StopReply(response, message.authorization_status == AuthorizationStatus.AUTHORIZED, reply.exchange)

    async def _check_same_token(self, session: Session, message: AuthorizeStop) -> None:
        """Raise Refusal 101, 102 or 105 unless the token started this offline session, or the EMP listed it."""
        requested_key = token_key(message.identification)
        if requested_key not in {session.identification_key, *session.stop_identification_keys.split()}:
            info = "this session was started with another medium, which has to stop it"
            raise Refusal(rejection_code(requested_key), info)
        if message.identification.qr_code is None:
            return
        # Without pushed data any more, the token alone suffices: a driver must not be left with a locked cable.
        match = await self._services.find_authorization(message.identification, session.peer)
        if match is not None and match.refusal_code:
            raise Refusal(match.refusal_code, match.reason)
