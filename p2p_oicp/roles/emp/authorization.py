"""AuthorizeStart and AuthorizeStop of a CPO peer, decided by our backend."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from p2p_oicp.backends import EmpBackend
from p2p_oicp.backends.whitelist import Whitelist
from p2p_oicp.errors import PeerError, Refusal
from p2p_oicp.oicp import (
    AuthorizationStart,
    AuthorizationStatus,
    AuthorizeStart,
    AuthorizeStop,
    Code,
    ProviderID,
    SessionID,
)
from p2p_oicp.oicp.media import media_of
from p2p_oicp.roles.answers import Ids, authorized, not_authorized
from p2p_oicp.roles.book import AUTHORIZE, SessionBook, nothing, valid_session_id
from p2p_oicp.roles.context import Answer, Incoming, RoleContext
from p2p_oicp.routing import evco_id_of
from p2p_oicp.storage import Transaction
from p2p_oicp.storage.lifecycle import State
from p2p_oicp.storage.sessions import Session

_ROLE = "emp"
_SYSTEM_ERROR = "021"


class Authorization:
    """The EMP side of authorization."""

    def __init__(self, context: RoleContext, backend: EmpBackend) -> None:
        self._context = context
        self._backend = backend
        self._list = backend if isinstance(backend, Whitelist) else None
        self._book = SessionBook(_ROLE, context)

    async def authorize_start(self, incoming: Incoming[AuthorizeStart]) -> Answer:
        """Ask the backend; the session is durable before the answer (EMP-02, eRoamingAuthorizeStart)."""
        judge = self._list.judging(incoming.message.identification) if self._list else None
        if judge is not None:
            return await self._listed(incoming, judge)
        return await self._book.once(incoming, lambda: self._start(incoming))

    async def _listed(self, incoming: Incoming[AuthorizeStart], judge: Callable[[Transaction], Code]) -> Answer:
        """Let our own list decide: nobody is asked, so that one transaction decides and stores."""
        draft = self._book.draft(incoming, AUTHORIZE, incoming.peer.name if incoming.peer else "")
        provider = self._our_provider(incoming.message)

        def decide(tx: Transaction) -> tuple[Session, Answer]:
            code = judge(tx)
            if code is not Code.SUCCESS:
                answer = not_authorized(code, None, Ids(None, draft.cpo_partner_session_id))
                return replace(draft, state=State.REFUSED, answer=answer.body), answer
            answer = authorized(provider.text, Ids.of_session(draft))
            named = {"provider_key": provider.key, "provider_id": provider.text}
            return replace(draft, state=State.AUTHORIZED, answer=answer.body, **named), answer

        return await self._book.start_at_once(incoming, decide)

    async def _start(self, incoming: Incoming[AuthorizeStart]) -> Answer:
        peer = incoming.peer.name if incoming.peer else ""
        opened = await self._book.open(incoming, self._book.draft(incoming, AUTHORIZE, peer), nothing)
        if opened.answer is not None:
            return opened.answer
        session = opened.session
        request = incoming.message
        if session.named_here:
            request = request.replace(session_id=SessionID(session.session_id))
        try:
            told = await self._backend.authorize_start(request)
        except PeerError as error:
            info = f"the EMP's backend did not answer: {error}"
            answer = not_authorized(_SYSTEM_ERROR, info, Ids(None, session.cpo_partner_session_id))
            await self._book.settle_start(session, State.REFUSED, answer)
            return answer
        if told.authorization_status != AuthorizationStatus.AUTHORIZED:
            return await self._refused(session, told)
        return await self._authorized(session, told, told.provider_id or self._our_provider(incoming.message))

    def _our_provider(self, request: AuthorizeStart) -> ProviderID:
        """Return our provider that the EvcoID names, else our first one."""
        evco_id = evco_id_of(request.identification)
        named = evco_id.provider if evco_id else None
        return named if named is not None and self._context.me.answers_for(named) else self._context.me.providers[0]

    async def _refused(self, session: Session, told: AuthorizationStart) -> Answer:
        """Pass the backend's own code on, without a SessionID: a refused start has no session (box B2)."""
        body = told.to_json_with(session_id=None, cpo_partner_session_id=session.cpo_partner_session_id)
        answer = Answer(body)
        await self._book.settle_start(session, State.REFUSED, answer)
        return answer

    async def _authorized(self, session: Session, told: AuthorizationStart, provider: ProviderID) -> Answer:
        session_id = valid_session_id(told.session_id) or SessionID(session.session_id)
        emp_partner = told.emp_partner_session_id or session.emp_partner_session_id
        told = told.replace(
            session_id=session_id,
            provider_id=provider,
            cpo_partner_session_id=session.cpo_partner_session_id,
            emp_partner_session_id=emp_partner,
        )
        answer = Answer(told.to_json())
        await self._book.settle_start(
            session,
            State.AUTHORIZED,
            answer,
            session_key=session_id.key,
            session_id=session_id.text,
            provider_key=provider.key,
            provider_id=provider.text,
            emp_partner_session_id=emp_partner,
            stop_media=media_of(told.authorization_stop_identifications),
        )
        return answer

    async def authorize_stop(self, incoming: Incoming[AuthorizeStop]) -> Answer:
        """Ask the backend whether this driver may stop a session of this peer."""
        return await self._book.once(incoming, lambda: self._stop(incoming))

    async def _stop(self, incoming: Incoming[AuthorizeStop]) -> Answer:
        session = await self._context.store.write(lambda tx: self._book.stop_wanted(tx, incoming))
        before = self._book.stopped_before(session, incoming)
        if before is not None:
            return before
        try:
            told = await self._backend.authorize_stop(incoming.message)
        except PeerError as error:
            raise Refusal(_SYSTEM_ERROR, f"the EMP's backend did not answer: {error}") from error
        told = told.replace(
            session_id=SessionID(session.session_id),
            provider_id=told.provider_id or (ProviderID(session.provider_id) if session.provider_id else None),
            cpo_partner_session_id=session.cpo_partner_session_id,
            emp_partner_session_id=told.emp_partner_session_id or session.emp_partner_session_id,
        )
        answer = Answer(told.to_json())
        if told.authorization_status != AuthorizationStatus.AUTHORIZED:
            return answer
        return await self._book.settle_stop(session, incoming, answer)
