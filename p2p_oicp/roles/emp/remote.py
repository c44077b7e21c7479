"""Remote start and stop for our own backend (the driver's app), as the clearing house does it for an EMP."""

from __future__ import annotations

from functools import partial

from p2p_oicp.errors import PeerError, PeerRejected, Refusal
from p2p_oicp.oicp import Acknowledgement, AuthorizeRemoteStart, AuthorizeRemoteStop, Message, SessionID
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.peers import Peer
from p2p_oicp.roles.answers import TROUBLE, Ids, acknowledgement
from p2p_oicp.roles.book import REMOTE, SessionBook, valid_session_id
from p2p_oicp.roles.context import Answer, Incoming, RoleContext
from p2p_oicp.routing import to_operator_of, to_party_of_session
from p2p_oicp.storage import Transaction, sessions
from p2p_oicp.storage.sessions import Session, State

_START = OPERATION_BY_NAME["AuthorizeRemoteStart"]
_STOP = OPERATION_BY_NAME["AuthorizeRemoteStop"]
_ROLE = "emp"
_NO_RESPONSE = "310"


class RemoteControl:
    """The EMP side of starting and stopping by app."""

    def __init__(self, context: RoleContext) -> None:
        self._context = context
        self._book = SessionBook(_ROLE, context)

    async def authorize_remote_start(self, incoming: Incoming[AuthorizeRemoteStart]) -> Answer:
        """Route by EvseID to the operator's peer; one attempt, within 10 s (EMP-02, eRoamingAuthorizeRemoteStart).

        A start whose answer never came leaves an *uncertain* session: the car may be charging, so its notifications and
        its CDR are accepted.
        """
        peer = to_operator_of(incoming.message.evse_id, _START, self._context.registry).peers[0]
        draft = self._book.draft(incoming, REMOTE, peer.name)
        return await self._book.start(incoming, draft, partial(self._start, peer, incoming))

    async def _start(self, peer: Peer, incoming: Incoming[AuthorizeRemoteStart], session: Session) -> Answer:
        body = incoming.message.replace(session_id=SessionID(session.session_id)).to_json()
        try:
            reply = await self._context.courier.call(peer, _START, incoming.party, body, deadline=_START.deadline)
        except PeerError as error:
            return await self._unanswered(session, error)
        return await self._answered(session, reply.message)

    async def _unanswered(self, session: Session, error: PeerError) -> Answer:
        if isinstance(error, PeerRejected) or not error.may_have_arrived:
            state, code = State.REFUSED, getattr(error, "code", None) or _NO_RESPONSE
            ids = Ids(None, session.cpo_partner_session_id, session.emp_partner_session_id)
        else:
            state, code, ids = State.UNCERTAIN, _NO_RESPONSE, Ids.of_session(session)
        answer = acknowledgement(code, f"the CPO did not answer: {error}", ids)
        await self._book.settle_start(session, state, answer)
        return answer

    async def _answered(self, session: Session, told: Message) -> Answer:
        if not isinstance(told, Acknowledgement):
            raise Refusal(_NO_RESPONSE, "the CPO's answer is not an Acknowledgement")
        session_id = valid_session_id(told.session_id) or SessionID(session.session_id)
        cpo_partner = told.cpo_partner_session_id or session.cpo_partner_session_id
        answer = Answer(
            told.replace(
                session_id=session_id,
                cpo_partner_session_id=cpo_partner,
                emp_partner_session_id=session.emp_partner_session_id,
            ).to_json()
        )
        await self._book.settle_start(
            session,
            _state_after(told),
            answer,
            session_key=session_id.key,
            session_id=session_id.text,
            cpo_partner_session_id=cpo_partner,
        )
        return answer

    async def authorize_remote_stop(self, incoming: Incoming[AuthorizeRemoteStop]) -> Answer:
        """Forward to the CPO of the session (EMP-02, eRoamingAuthorizeRemoteStop)."""
        session = await self._context.store.write(lambda tx: self._stop_wanted(tx, incoming))
        peer = to_party_of_session(session.peer, _STOP, self._context.registry).peers[0]
        try:
            reply = await self._context.courier.call(
                peer, _STOP, incoming.party, incoming.body, deadline=_STOP.deadline
            )
        except PeerError as error:
            code = getattr(error, "code", None) or _NO_RESPONSE
            raise Refusal(code, f"the CPO of this session did not answer: {error}") from error
        told = reply.message
        if not isinstance(told, Acknowledgement):
            raise Refusal(_NO_RESPONSE, "the CPO's answer is not an Acknowledgement")
        answer = told.replace(
            session_id=SessionID(session.session_id),
            cpo_partner_session_id=told.cpo_partner_session_id or session.cpo_partner_session_id,
            emp_partner_session_id=session.emp_partner_session_id,
        )
        return Answer(answer.to_json())

    def _stop_wanted(self, tx: Transaction, incoming: Incoming[AuthorizeRemoteStop]) -> Session:
        session = self._book.find(tx, incoming)
        sessions.note(tx, _ROLE, session.session_key, self._context.now(), "remote stop requested", incoming.body)
        return session


def _state_after(told: Acknowledgement) -> State:
    """Return where an answer leaves the session: a refusal that only speaks of trouble leaves it uncertain."""
    if told.result:
        return State.AUTHORIZED
    return State.UNCERTAIN if str(told.status_code.code) in TROUBLE else State.REFUSED
