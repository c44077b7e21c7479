"""AuthorizeStart and AuthorizeStop of a CPO peer, decided by our backend."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from p2p_oicp.backends import EmpBackend
from p2p_oicp.backends.token_list import TokenListBackend
from p2p_oicp.errors import PeerError, Refusal
from p2p_oicp.oicp import (
    AuthorizationStart,
    AuthorizationStatus,
    AuthorizeStart,
    AuthorizeStop,
    ProviderID,
    SessionID,
    StatusCodeValue,
)
from p2p_oicp.oicp.common import token_keys
from p2p_oicp.roles.context import OperationRequest, OperationResponse, Services
from p2p_oicp.roles.responses import SessionIds, authorized_response, not_authorized_response
from p2p_oicp.roles.sessions import AUTHORIZE, SessionService, no_lookup, valid_session_id
from p2p_oicp.storage import Transaction
from p2p_oicp.storage.sessions import Session, SessionState

_ROLE = "emp"
_SYSTEM_ERROR = "021"


class EmpAuthorizationHandler:
    """The EMP side of authorization."""

    def __init__(self, services: Services, backend: EmpBackend) -> None:
        self._services = services
        self._backend = backend
        self._token_list = backend if isinstance(backend, TokenListBackend) else None
        self._session_service = SessionService(_ROLE, services)

    async def authorize_start(self, request: OperationRequest[AuthorizeStart]) -> OperationResponse:
        """Ask the backend; the session is durable before the answer (EMP-02, eRoamingAuthorizeStart)."""
        check_token = self._token_list.transactional_check(request.message.identification) if self._token_list else None
        if check_token is not None:
            return await self._decide_from_token_list(request, check_token)
        return await self._session_service.deduplicate(request, lambda: self._start(request))

    async def _decide_from_token_list(
        self, request: OperationRequest[AuthorizeStart], check_token: Callable[[Transaction], StatusCodeValue]
    ) -> OperationResponse:
        """Let our own list decide: nobody is asked, so that one transaction decides and stores."""
        draft = self._session_service.new_session(request, AUTHORIZE, request.peer.name if request.peer else "")
        provider = self._own_provider(request.message)

        def decide(tx: Transaction) -> tuple[Session, OperationResponse]:
            code = check_token(tx)
            if code is not StatusCodeValue.SUCCESS:
                response = not_authorized_response(code, None, SessionIds(None, draft.cpo_partner_session_id))
                return replace(draft, state=SessionState.REFUSED, start_response=response.body), response
            response = authorized_response(provider.text, SessionIds.from_session(draft))
            provider_values = {"provider_key": provider.key, "provider_id": provider.text}
            return replace(
                draft, state=SessionState.AUTHORIZED, start_response=response.body, **provider_values
            ), response

        return await self._session_service.decide_start(request, decide)

    async def _start(self, request: OperationRequest[AuthorizeStart]) -> OperationResponse:
        peer_name = request.peer.name if request.peer else ""
        start_result = await self._session_service.begin_start(
            request, self._session_service.new_session(request, AUTHORIZE, peer_name), no_lookup
        )
        if start_result.response is not None:
            return start_result.response
        session = start_result.session
        message = request.message
        if session.id_generated_here:
            message = message.replace(session_id=SessionID(session.session_id))
        try:
            reply = await self._backend.authorize_start(message)
        except PeerError as error:
            info = f"the EMP's backend did not answer: {error}"
            response = not_authorized_response(_SYSTEM_ERROR, info, SessionIds(None, session.cpo_partner_session_id))
            await self._session_service.complete_start(session, SessionState.REFUSED, response)
            return response
        if reply.authorization_status != AuthorizationStatus.AUTHORIZED:
            return await self._complete_refused(session, reply)
        return await self._complete_authorized(session, reply, reply.provider_id or self._own_provider(request.message))

    def _own_provider(self, message: AuthorizeStart) -> ProviderID:
        """Return our provider that the EvcoID names, else our first one."""
        evco_id = message.identification.evco_id
        provider = evco_id.provider if evco_id else None
        return (
            provider
            if provider is not None and self._services.local_peer.handles_party(provider)
            else self._services.local_peer.providers[0]
        )

    async def _complete_refused(self, session: Session, reply: AuthorizationStart) -> OperationResponse:
        """Pass the backend's own code on, without a SessionID: a refused start has no session (box B2)."""
        body = reply.to_json_with(session_id=None, cpo_partner_session_id=session.cpo_partner_session_id)
        response = OperationResponse(body)
        await self._session_service.complete_start(session, SessionState.REFUSED, response)
        return response

    async def _complete_authorized(
        self, session: Session, reply: AuthorizationStart, provider: ProviderID
    ) -> OperationResponse:
        session_id = valid_session_id(reply.session_id) or SessionID(session.session_id)
        emp_partner_session_id = reply.emp_partner_session_id or session.emp_partner_session_id
        reply = reply.replace(
            session_id=session_id,
            provider_id=provider,
            cpo_partner_session_id=session.cpo_partner_session_id,
            emp_partner_session_id=emp_partner_session_id,
        )
        response = OperationResponse(reply.to_json())
        await self._session_service.complete_start(
            session,
            SessionState.AUTHORIZED,
            response,
            session_key=session_id.key,
            session_id=session_id.text,
            provider_key=provider.key,
            provider_id=provider.text,
            emp_partner_session_id=emp_partner_session_id,
            stop_identification_keys=token_keys(reply.authorization_stop_identifications),
        )
        return response

    async def authorize_stop(self, request: OperationRequest[AuthorizeStop]) -> OperationResponse:
        """Ask the backend whether this driver may stop a session of this peer."""
        return await self._session_service.deduplicate(request, lambda: self._stop(request))

    async def _stop(self, request: OperationRequest[AuthorizeStop]) -> OperationResponse:
        session = await self._services.store.write(lambda tx: self._session_service.begin_stop(tx, request))
        cached = self._session_service.cached_stop_response(session, request)
        if cached is not None:
            return cached
        try:
            reply = await self._backend.authorize_stop(request.message)
        except PeerError as error:
            raise Refusal(_SYSTEM_ERROR, f"the EMP's backend did not answer: {error}") from error
        reply = reply.replace(
            session_id=SessionID(session.session_id),
            provider_id=reply.provider_id or (ProviderID(session.provider_id) if session.provider_id else None),
            cpo_partner_session_id=session.cpo_partner_session_id,
            emp_partner_session_id=reply.emp_partner_session_id or session.emp_partner_session_id,
        )
        response = OperationResponse(reply.to_json())
        if reply.authorization_status != AuthorizationStatus.AUTHORIZED:
            return response
        return await self._session_service.complete_stop(session, request, response)
