"""AuthorizeStart and AuthorizeStop of a CPO peer, decided by our backend.

With the built-in token list, one transaction decides, stores the session and records the evidence. Any other backend is
asked after the session is stored, and its response is stored before the peer gets it.

Of several backends, the one of the provider that the EvcoID names decides. A card names none: all are asked at once,
and the first that authorizes it counts, so that one that hangs delays no driver of another.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, cast

import structlog
from msgspec.structs import replace

from p2p_oicp.backends import BackendRegistry, OwnBackend, TokenListBackend
from p2p_oicp.concurrency import first_accepted
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
    StatusCode,
    StatusCodeValue,
)
from p2p_oicp.oicp.common import token_keys
from p2p_oicp.oicp.operations import OPERATION_BY_NAME, Party
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import OperationRequest, OperationResponse, Services
from p2p_oicp.roles.responses import (
    SessionIds,
    answering_provider,
    authorized_response,
    has_arrived,
    not_authorized_response,
    refusal_code,
    valid_session_id,
)
from p2p_oicp.roles.sessions import (
    AUTHORIZE,
    SessionService,
    begin_start,
    idempotency_key,
    record_decided_start,
)
from p2p_oicp.roles.stops import StopReply, StopService
from p2p_oicp.storage import Transaction, job_keys
from p2p_oicp.storage.sessions import Session, SessionState

log = structlog.get_logger(__name__)

_START = OPERATION_BY_NAME["AuthorizeStart"]


class _Answer(NamedTuple):
    """What one of our backends said."""

    backend: OwnBackend
    reply: AuthorizationStart

    @property
    def is_granted(self) -> bool:
        return self.reply.authorization_status == AuthorizationStatus.AUTHORIZED


class EmpAuthorizationHandler:
    """Authorization of our drivers at the stations of CPO peers."""

    def __init__(self, services: Services, session_service: SessionService, backends: BackendRegistry) -> None:
        self._services = services
        self._session_service = session_service
        self._stops = StopService(services, session_service)
        self._backends = backends

    async def authorize_start(self, request: OperationRequest[AuthorizeStart]) -> OperationResponse:
        """Authorize a driver (EMP-02, eRoamingAuthorizeStart)."""
        identification = request.message.identification
        backends = self._backends.for_identification(identification)
        first = backends[0]
        # The token list needs no `deduplicate`: transactions run one after the other, so a duplicate finds the first.
        if len(backends) == 1 and isinstance(first.backend, TokenListBackend):
            check_token = first.backend.transactional_check(identification)
            if check_token is not None:
                return await self._decide_from_token_list(request, check_token, first.parties)
        return await self._session_service.deduplicate(request, lambda: self._start(request, backends))

    def _decide_from_token_list(
        self,
        request: OperationRequest[AuthorizeStart],
        check_token: Callable[[Transaction], StatusCodeValue],
        parties: Peer,
    ) -> Awaitable[OperationResponse]:
        # One transaction in place of three (begin, complete, evidence) on the path that is measured most. It adds no
        # event: the session's row says all up to here.
        draft = self._session_service.new_session(request, AUTHORIZE, request.peer.id if request.peer else "")
        provider = _own_provider(request.message, parties)
        # A duplicate that carries the SessionID is found by it, because this session keeps it.
        key = idempotency_key(request) if draft.id_generated_here else None

        def decide(tx: Transaction) -> OperationResponse:
            code = check_token(tx)
            if code is StatusCodeValue.SUCCESS:
                response = authorized_response(provider.text, SessionIds.from_session(draft))
                columns = {"provider_key": provider.key, "provider_id": provider.text}
                session = replace(draft, state=SessionState.AUTHORIZED.value, start_response=response.body, **columns)
            else:
                # A refused start has no session (B2), so no SessionID is echoed.
                response = not_authorized_response(code, None, SessionIds(None, draft.cpo_partner_session_id))
                session = replace(draft, state=SessionState.REFUSED.value, start_response=response.body)
            return request.signed(tx, record_decided_start(tx, session, response, key=key))

        store = self._services.store
        # What is signed is recorded as evidence in the same transaction: a second write.
        about = job_keys.of_session(draft) if key is None else job_keys.of_start(draft)
        write = store.write_once if request.sign_in_transaction is None else store.write
        return write(decide, about=about)

    async def _start(
        self, request: OperationRequest[AuthorizeStart], backends: Sequence[OwnBackend]
    ) -> OperationResponse:
        with self._pin_attempt(request) as attempt:
            return await self._ask_backend(request, backends, attempt)

    def _pin_attempt(self, request: OperationRequest[AuthorizeStart] | OperationRequest[AuthorizeStop]) -> PinAttempt:
        """Return the context for the PIN of a request; raises Refusal 101 where its sender has guessed too much."""
        peer = request.peer
        peer_id, name = (peer.id, peer.name) if peer else ("", "")
        return self._services.pins.attempt(request.message.identification, peer_id, name)

    async def _ask_backend(
        self, request: OperationRequest[AuthorizeStart], backends: Sequence[OwnBackend], attempt: PinAttempt
    ) -> OperationResponse:
        peer_id, key = request.peer.id if request.peer else "", idempotency_key(request)
        draft = self._session_service.new_session(request, AUTHORIZE, peer_id)
        about = job_keys.of_start(draft)
        outcome = await self._services.store.write(lambda tx: begin_start(tx, draft, key=key), about=about)
        if outcome.response is not None:
            return outcome.response
        # After a crash before the answer the backend is asked again: with the same SessionID that is harmless (H2).
        session = outcome.session
        message = request.message
        if session.id_generated_here:
            # The backend gets the id under which notifications and the CDR will come.
            message = message.replace(session_id=SessionID(session.session_id))
        try:
            call = self._call(backends[0], message) if len(backends) == 1 else self._call_all(backends, message)
            answer = await call
        except PeerError as error:
            return await self._complete_without_reply(session, error)
        reply, parties = answer.reply, answer.backend.parties
        attempt.conclude(is_wrong=not answer.is_granted)
        if not answer.is_granted:
            return await self._complete_refused(session, reply)
        own = _own_provider(request.message, parties)
        provider = answering_provider(parties, reply.provider_id, own, session.session_id) or own
        return await self._complete_authorized(session, reply, provider)

    async def _call(self, own: OwnBackend, message: AuthorizeStart) -> _Answer:
        reply = await own.backend.call(_START, message, deadline=self._services.deadlines.authorize_backend)
        return _Answer(own, cast("AuthorizationStart", reply))

    async def _call_all(self, backends: Sequence[OwnBackend], message: AuthorizeStart) -> _Answer:
        """Ask all at once; return the first grant, or what all refusals come to. Raises PeerError if nobody answers."""

        async def ask(own: OwnBackend) -> _Answer | PeerError:
            try:
                return await self._call(own, message)
            except PeerError as error:
                return error

        outcomes = await first_accepted(
            (ask(own) for own in backends), lambda outcome: isinstance(outcome, _Answer) and outcome.is_granted
        )
        answers = [outcome for outcome in outcomes if isinstance(outcome, _Answer)]
        errors = [outcome for outcome in outcomes if isinstance(outcome, PeerError)]
        if not answers:
            # One that may have arrived decides whether the refusal is remembered.
            raise max(errors, key=has_arrived)
        for error in errors:
            log.warning("authorize_start.backend_not_answered", session_id=str(message.session_id), reason=str(error))
        codes = {answer.reply.status_code.code for answer in answers}
        if answers[0].is_granted or (not errors and len(codes) == 1):
            return answers[0]
        info = "not every contract system of this EMP has answered" if errors else None
        status = StatusCode.of(StatusCodeValue.NO_POSITIVE_AUTHENTICATION, info)
        refusal = AuthorizationStart(authorization_status=AuthorizationStatus.NOT_AUTHORIZED, status_code=status)
        return answers[0]._replace(reply=refusal)

    async def _complete_without_reply(self, session: Session, error: PeerError) -> OperationResponse:
        log.warning("authorize_start.not_answered", session_id=session.session_id, reason=str(error))
        info, ids = f"the EMP's backend did not answer: {error}", SessionIds(None, session.cpo_partner_session_id)
        response = not_authorized_response(refusal_code(error) or StatusCodeValue.SYSTEM_ERROR, info, ids)
        return await self._session_service.complete_start(
            session, SessionState.REFUSED, response, is_remembered=has_arrived(error)
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

        async def ask(session: Session, stop: OperationRequest[AuthorizeStop]) -> StopReply:
            try:
                with self._pin_attempt(stop) as attempt:
                    own_backend = self._backends.for_provider(session.provider_key)
                    deadline = self._services.deadlines.authorize_backend
                    reply = cast(
                        "AuthorizationStop",
                        await own_backend.backend.call(stop.operation, stop.message, deadline=deadline),
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


def _own_provider(message: AuthorizeStart, parties: Peer) -> ProviderID:
    """Return the provider of the backend that the EvcoID names; its first one for a card, which names none."""
    provider = message.identification.provider
    return provider if provider is not None and parties.handles_party(provider) else parties.providers[0]
