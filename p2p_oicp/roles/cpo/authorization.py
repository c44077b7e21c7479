"""AuthorizeStart and AuthorizeStop for our own backend: what the clearing house does between a CPO and the EMPs."""

from __future__ import annotations

from p2p_oicp.errors import PeerError, Refusal
from p2p_oicp.oicp import AuthorizationStart, AuthorizationStop, AuthorizeStart, AuthorizeStop, Message, SessionID
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.peers import Peer
from p2p_oicp.roles.answers import Ids, not_authorized
from p2p_oicp.roles.book import AUTHORIZE, SessionBook, valid_session_id
from p2p_oicp.roles.context import Answer, Incoming, RoleContext
from p2p_oicp.roles.cpo.asking import Authorized, Refused, first_yes, summary
from p2p_oicp.routing import to_party_of_session, to_provider_of
from p2p_oicp.storage import Transaction, sessions
from p2p_oicp.storage.sessions import Session, State

_START = OPERATION_BY_NAME["AuthorizeStart"]
_STOP = OPERATION_BY_NAME["AuthorizeStop"]
_ROLE = "cpo"
_NO_RESPONSE = "310"


class Authorization:
    """The CPO side of authorization."""

    def __init__(self, context: RoleContext) -> None:
        self._context = context
        self._book = SessionBook(_ROLE, context)

    async def authorize_start(self, incoming: Incoming[AuthorizeStart]) -> Answer:
        """Ask the EMP of the EvcoID, or all EMPs under contract (CPO-02, eRoamingAuthorizeStart).

        (1) The session gets its name and is stored before anything is sent. (2) The EMPs are asked. (3) The outcome is
        stored before it is answered. A request that is repeated gets the first answer again.
        """
        request = incoming.message
        route = to_provider_of(request.identification, _START, self._context.registry)

        async def decide(session: Session) -> Answer:
            outcome = await self._ask(route.peers, incoming, session)  # (2)
            if isinstance(outcome, Authorized):
                return await self._authorized(session, outcome)  # (3)
            return await self._refused(session, outcome)

        return await self._book.start(incoming, self._book.draft(incoming, AUTHORIZE, peer=""), decide)  # (1)

    async def _ask(
        self, peers: tuple[Peer, ...], incoming: Incoming[AuthorizeStart], session: Session
    ) -> Authorized | list[Refused]:
        body = incoming.message.replace(session_id=SessionID(session.session_id)).to_json()

        async def ask(peer: Peer) -> Message:
            deadline = self._context.authorization_deadline
            reply = await self._context.courier.call(peer, _START, incoming.party, body, deadline=deadline)
            return reply.message

        return await first_yes(peers, ask)

    async def _authorized(self, session: Session, yes: Authorized) -> Answer:
        session_id = valid_session_id(yes.answer.session_id) or SessionID(session.session_id)
        provider = yes.answer.provider_id or (yes.peer.providers[0] if yes.peer.providers else None)
        emp_partner = yes.answer.emp_partner_session_id or session.emp_partner_session_id
        told = yes.answer.replace(
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
            peer=yes.peer.name,
            provider_key=provider.key if provider else "",
            provider_id=provider.text if provider else "",
            emp_partner_session_id=emp_partner,
        )
        return answer

    async def _refused(self, session: Session, refusals: list[Refused]) -> Answer:
        code, info = summary(refusals)
        # A refused start has no session (box B2): only the backend's own ids are echoed.
        answer = not_authorized(code, info, Ids(None, session.cpo_partner_session_id, session.emp_partner_session_id))
        await self._book.settle_start(session, State.REFUSED, answer)
        return answer

    async def authorize_stop(self, incoming: Incoming[AuthorizeStop]) -> Answer:
        """Forward to the EMP of the session; every refusal is an AuthorizationStop (CPO-02, eRoamingAuthorizeStop)."""
        session = await self._context.store.write(lambda tx: self._stop_wanted(tx, incoming))
        peer = to_party_of_session(session.peer, _STOP, self._context.registry).peers[0]
        try:
            reply = await self._context.courier.call(
                peer, _STOP, incoming.party, incoming.body, deadline=self._context.authorization_deadline
            )
        except PeerError as error:
            raise Refusal(_NO_RESPONSE, f"the EMP of this session did not answer: {error}") from error
        if not isinstance(reply.message, AuthorizationStop | AuthorizationStart):
            status = getattr(reply.message, "status_code", None)
            raise Refusal(str(status.code) if status else _NO_RESPONSE, f"{peer.name} refused: {status}")
        ids = Ids.of_session(session)
        told = reply.message.replace(
            session_id=SessionID(session.session_id),
            cpo_partner_session_id=ids.cpo_partner_session_id,
            emp_partner_session_id=reply.message.emp_partner_session_id or ids.emp_partner_session_id,
        )
        return Answer(told.to_json())

    def _stop_wanted(self, tx: Transaction, incoming: Incoming[AuthorizeStop]) -> Session:
        session = self._book.find(tx, incoming)
        sessions.note(tx, _ROLE, session.session_key, self._context.now(), "stop requested", incoming.body)
        return session
