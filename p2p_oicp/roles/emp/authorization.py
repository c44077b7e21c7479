"""AuthorizeStart and AuthorizeStop of a CPO peer, decided by our backend.

With the built-in token list, one transaction decides, stores the session and records the evidence. Any other backend is
asked after the session is stored, and its response is stored before the peer gets it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import structlog
from msgspec.structs import replace

from p2p_oicp.backends import Backend, TokenListBackend
from p2p_oicp.crypto.pins import PinAttempt
from p2p_oicp.errors import PeerError, Refusal
from p2p_oicp.oicp import (
    AuthorizationStart,
    AuthorizationStatus,
    AuthorizationStop,
    AuthorizeStart,
    AuthorizeStop,
    ProviderID,
    SessionID,
    StatusCodeValue,
)
from p2p_oicp.oicp.common import token_keys
from p2p_oicp.oicp.operations import Party
from p2p_oicp.roles.context import OperationRequest, OperationResponse, Services
from p2p_oicp.roles.responses import (
    SessionIds,
    answering_provider,
    authorized_response,
    has_arrived,
    not_authorized_response,
    refusal_code,
)
from p2p_oicp.roles.sessions import (
    AUTHORIZE,
    SessionService,
    begin_start,
    idempotency_key,
    record_decided_start,
    valid_session_id,
)
from p2p_oicp.roles.stops import StopReply, StopService
from p2p_oicp.storage import Transaction
from p2p_oicp.storage.sessions import Session, SessionState

log = structlog.get_logger(__name__)


class EmpAuthorizationHandler:
    """Authorization of our drivers at the stations of CPO peers."""

    def __init__(self, services: Services, session_service: SessionService, backend: Backend) -> None:
        self._services = services
        self._session_service = session_service
        self._stops = StopService(services, session_service)
        self._backend = backend
        self._token_list = backend if isinstance(backend, TokenListBackend) else None

    async def authorize_start(self, request: OperationRequest[AuthorizeStart]) -> OperationResponse:
        """Authorize a driver (EMP-02, eRoamingAuthorizeStart)."""
        # The token list needs no `deduplicate`: transactions run one after the other, so a duplicate finds the first.
        check_token = self._token_list.transactional_check(request.message.identification) if self._token_list else None
        if check_token is not None:
            return await self._decide_from_token_list(request, check_token)
        return await self._session_service.deduplicate(request, lambda: self._start(request))

    async def _decide_from_token_list(
        self, request: OperationRequest[AuthorizeStart], check_token: Callable[[Transaction], StatusCodeValue]
    ) -> OperationResponse:
        # One transaction in place of three (begin, complete, evidence) on the path that is measured most. It adds no
        # event: the session's row says all up to here.
        draft = self._session_service.new_session(request, AUTHORIZE, request.peer.id if request.peer else "")
        provider = self._own_provider(request.message)
        # A duplicate that carries the SessionID is found by it, because this session keeps it.
        key = idempotency_key(request) if draft.id_generated_here else None

        def decide(tx: Transaction) -> OperationResponse:
            code = check_token(tx)
            if code is StatusCodeValue.SUCCESS:
                response = authorized_response(provider.text, SessionIds.from_session(draft))
                columns = {"provider_key": provider.key, "provider_id": provider.text}
                session = replace(draft, state=SessionState.AUTHORIZED, start_response=response.body, **columns)
            else:
                # A refused start has no session (B2), so no SessionID is echoed.
                response = not_authorized_response(code, None, SessionIds(None, draft.cpo_partner_session_id))
                session = replace(draft, state=SessionState.REFUSED, start_response=response.body)
            return request.signed(tx, record_decided_start(tx, session, response, key=key))

        return await self._services.store.write(decide)

    async def _start(self, request: OperationRequest[AuthorizeStart]) -> OperationResponse:
        with self._pin_attempt(request) as attempt:
            return await self._ask_backend(request, attempt)

    def _pin_attempt(self, request: OperationRequest[AuthorizeStart] | OperationRequest[AuthorizeStop]) -> PinAttempt:
        """Return the context for the PIN of a request; raises Refusal 101 where its sender has guessed too much."""
        peer = request.peer
        peer_id, name = (peer.id, peer.name) if peer else ("", "")
        return self._services.pins.attempt(request.message.identification, peer_id, name)

    async def _ask_backend(self, request: OperationRequest[AuthorizeStart], attempt: PinAttempt) -> OperationResponse:
        peer_id, key = request.peer.id if request.peer else "", idempotency_key(request)
        draft = self._session_service.new_session(request, AUTHORIZE, peer_id)
        outcome = await self._services.store.write(lambda tx: begin_start(tx, draft, key=key))
        if outcome.response is not None:
            return outcome.response
        # After a crash before the answer the backend is asked again: with the same SessionID that is harmless (H2).
        session = outcome.session
        message = request.message
        if session.id_generated_here:
            # The backend gets the id under which notifications and the CDR will come.
            message = message.replace(session_id=SessionID(session.session_id))
        try:
            reply = cast(
                "AuthorizationStart",
                await self._backend.call(
                    request.operation, message, deadline=self._services.deadlines.authorize_backend
                ),
            )
        except PeerError as error:
            return await self._complete_without_reply(session, error)
        is_refused = reply.authorization_status != AuthorizationStatus.AUTHORIZED
        attempt.conclude(is_wrong=is_refused)
        if is_refused:
            return await self._complete_refused(session, reply)
        own = self._own_provider(request.message)
        provider = answering_provider(self._services.local_peer, reply.provider_id, own, session.session_id) or own
        return await self._complete_authorized(session, reply, provider)

    async def _complete_without_reply(self, session: Session, error: PeerError) -> OperationResponse:
        log.warning("authorize_start.not_answered", session_id=session.session_id, reason=str(error))
        info, ids = f"the EMP's backend did not answer: {error}", SessionIds(None, session.cpo_partner_session_id)
        response = not_authorized_response(refusal_code(error) or StatusCodeValue.SYSTEM_ERROR, info, ids)
        return await self._session_service.complete_start(
            session, SessionState.REFUSED, response, is_remembered=has_arrived(error)
        )

    def _own_provider(self, message: AuthorizeStart) -> ProviderID:
        """Return our provider that the EvcoID names; our first one for a card, which names none."""
        evco_id = message.identification.evco_id
        provider = evco_id.provider if evco_id else None
        return (
            provider
            if provider is not None and self._services.local_peer.handles_party(provider)
            else self._services.local_peer.providers[0]
        )

    async def _complete_refused(self, session: Session, reply: AuthorizationStart) -> OperationResponse:
        """Pass the backend's own code on, without a SessionID: a refused start has no session (B2)."""
        body = reply.to_json_with(session_id=None, cpo_partner_session_id=session.cpo_partner_session_id)
        return await self._session_service.complete_start(session, SessionState.REFUSED, OperationResponse(body))

    async def _complete_authorized(
        self, session: Session, reply: AuthorizationStart, provider: ProviderID
    ) -> OperationResponse:
        session_id = valid_session_id(reply.session_id) or SessionID(session.session_id)
        ids = replace(SessionIds.from_reply(reply, session, Party.EMP), session_id=session_id.text)
        # Read again from its JSON: a Python backend may have given plain values in place of models.
        reply = reply.replace(provider_id=provider, **ids.attributes())
        return await self._session_service.complete_start(
            session,
            SessionState.AUTHORIZED,
            OperationResponse(reply.to_json()),
            session_key=session_id.key,
            session_id=session_id.text,
            provider_key=provider.key,
            provider_id=provider.text,
            emp_partner_session_id=ids.emp_partner_session_id,
            stop_identification_keys=token_keys(reply.authorization_stop_identifications),
        )

    async def authorize_stop(self, request: OperationRequest[AuthorizeStop]) -> OperationResponse:
        """Ask the backend whether this driver may stop a session of this peer (EMP-02, eRoamingAuthorizeStop)."""

        async def ask(session: Session) -> StopReply:
            try:
                with self._pin_attempt(request) as attempt:
                    reply = cast(
                        "AuthorizationStop",
                        await self._backend.call(
                            request.operation, request.message, deadline=self._services.deadlines.authorize_backend
                        ),
                    )
                    attempt.conclude(is_wrong=reply.authorization_status != AuthorizationStatus.AUTHORIZED)
            except PeerError as error:
                info = f"the EMP's backend did not answer: {error}"
                raise Refusal(refusal_code(error) or StatusCodeValue.SYSTEM_ERROR, info) from error
            own = ProviderID(session.provider_id) if session.provider_id else None
            provider_id = answering_provider(self._services.local_peer, reply.provider_id, own, session.session_id)
            ids = SessionIds.from_reply(reply, session, Party.EMP)
            response = OperationResponse(reply.to_json_with(provider_id=provider_id, **ids.attributes()))
            return StopReply(response, reply.authorization_status == AuthorizationStatus.AUTHORIZED)

        return await self._stops.serve(request, ask)
