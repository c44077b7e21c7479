"""Remote start, stop and reservation for our own backend (the driver's app), as the clearing house does it."""

from __future__ import annotations

from typing import TypeAlias

from p2p_oicp.errors import PeerError, PeerRejected, Refusal
from p2p_oicp.oicp import (
    Acknowledgement,
    AuthorizeRemoteReservationStart,
    AuthorizeRemoteReservationStop,
    AuthorizeRemoteStart,
    AuthorizeRemoteStop,
    Message,
    SessionID,
)
from p2p_oicp.oicp.operation import Operation
from p2p_oicp.peers import Peer
from p2p_oicp.roles.answers import TROUBLE, Ids, acknowledgement
from p2p_oicp.roles.book import REMOTE, RESERVATION, SessionBook, nothing, valid_session_id
from p2p_oicp.roles.context import Answer, Incoming, RoleContext
from p2p_oicp.roles.emp.clarifying import Clarifying
from p2p_oicp.roles.state.known import refuse_unknown_evse
from p2p_oicp.routing import to_operator_of, to_party_of_session
from p2p_oicp.storage.lifecycle import State
from p2p_oicp.storage.sessions import Session

_ROLE = "emp"
_NO_RESPONSE = "310"

Start: TypeAlias = AuthorizeRemoteStart | AuthorizeRemoteReservationStart
Stop: TypeAlias = AuthorizeRemoteStop | AuthorizeRemoteReservationStop


class RemoteControl:
    """The EMP side of what a driver's app asks for.

    One attempt, within 10 s. A start whose answer never came leaves an *uncertain* session: the car may be charging, so
    its notifications and its CDR are accepted, and the CPO's node is asked what became of it (``clarifying``).
    """

    def __init__(self, context: RoleContext, clarifying: Clarifying) -> None:
        self._context = context
        self._clarifying = clarifying
        self._book = SessionBook(_ROLE, context)

    async def authorize_remote_start(self, incoming: Incoming[AuthorizeRemoteStart]) -> Answer:
        """Start charging (EMP-02, eRoamingAuthorizeRemoteStart)."""
        return await self._book.once(incoming, lambda: self._start(incoming, REMOTE))

    async def authorize_remote_reservation_start(self, incoming: Incoming[AuthorizeRemoteReservationStart]) -> Answer:
        """Reserve a charging spot (EMP-02, eRoamingAuthorizeRemoteReservationStart)."""
        return await self._book.once(incoming, lambda: self._start(incoming, RESERVATION))

    async def authorize_remote_stop(self, incoming: Incoming[AuthorizeRemoteStop]) -> Answer:
        """Stop charging (EMP-02, eRoamingAuthorizeRemoteStop)."""
        return await self._book.once(incoming, lambda: self._stop(incoming))

    async def authorize_remote_reservation_stop(self, incoming: Incoming[AuthorizeRemoteReservationStop]) -> Answer:
        """End a reservation (EMP-02, eRoamingAuthorizeRemoteReservationStop)."""
        return await self._book.once(incoming, lambda: self._stop(incoming))

    async def _start(self, incoming: Incoming[Start], kind: str) -> Answer:
        operation = incoming.operation
        peer = to_operator_of(incoming.message.evse_id, operation, self._context.registry).peers[0]
        await refuse_unknown_evse(self._context, incoming.message.evse_id)
        opened = await self._book.open(incoming, self._book.draft(incoming, kind, peer.name), nothing)
        if opened.answer is not None:
            return opened.answer
        session = opened.session
        if opened.interrupted:
            return await self._interrupted(session, peer)
        body = incoming.message.replace(session_id=SessionID(session.session_id)).to_json()
        try:
            reply = await self._context.courier.call(peer, operation, incoming.party, body, deadline=operation.deadline)
        except PeerError as error:
            return await self._unanswered(session, peer, error)
        return await self._answered(session, peer, reply.message)

    async def _interrupted(self, session: Session, peer: Peer) -> Answer:
        """Never send a start again that may have arrived before this node went down (box H2)."""
        answer = acknowledgement(
            _NO_RESPONSE, "this node went down before the CPO answered; it is being asked", Ids.of_session(session)
        )
        await self._book.settle_start(session, State.UNCERTAIN, answer)
        self._clarifying.wanted(peer)
        return answer

    async def _unanswered(self, session: Session, peer: Peer, error: PeerError) -> Answer:
        if isinstance(error, PeerRejected) or not error.may_have_arrived:
            state, code = State.REFUSED, getattr(error, "code", None) or _NO_RESPONSE
            ids = Ids(None, session.cpo_partner_session_id, session.emp_partner_session_id)
        else:
            state, code, ids = State.UNCERTAIN, _NO_RESPONSE, Ids.of_session(session)
        answer = acknowledgement(code, f"the CPO did not answer: {error}", ids)
        await self._book.settle_start(session, state, answer)
        if state is State.UNCERTAIN:
            self._clarifying.wanted(peer)
        return answer

    async def _answered(self, session: Session, peer: Peer, told: Message) -> Answer:
        if not isinstance(told, Acknowledgement):
            raise Refusal(_NO_RESPONSE, "the CPO's answer is not an Acknowledgement")
        state = _state_after(told)
        session_id = valid_session_id(told.session_id) or SessionID(session.session_id)
        cpo_partner = told.cpo_partner_session_id or session.cpo_partner_session_id
        answer = Answer(
            told.replace(
                session_id=None if state is State.REFUSED else session_id,
                cpo_partner_session_id=cpo_partner,
                emp_partner_session_id=session.emp_partner_session_id,
            ).to_json()
        )
        await self._book.settle_start(
            session,
            state,
            answer,
            session_key=session_id.key,
            session_id=session_id.text,
            cpo_partner_session_id=cpo_partner,
        )
        if state is State.UNCERTAIN:
            self._clarifying.wanted(peer)
        return answer

    async def _stop(self, incoming: Incoming[Stop]) -> Answer:
        """Forward to the CPO of the session; a repetition of an accepted stop is only answered again."""
        operation = incoming.operation
        session = await self._stoppable(incoming)
        before = self._book.stopped_before(session, incoming)
        if before is not None:
            return before
        told = await self._stopped(session, operation, incoming)
        answer = Answer(
            told.replace(
                session_id=SessionID(session.session_id),
                cpo_partner_session_id=told.cpo_partner_session_id or session.cpo_partner_session_id,
                emp_partner_session_id=session.emp_partner_session_id,
            ).to_json()
        )
        return await self._book.settle_stop(session, incoming, answer) if told.result else answer

    async def _stoppable(self, incoming: Incoming[Stop]) -> Session:
        """Return the session; what is wrong with the EVSE counts only where there is none, so that cars can be stopped.

        Raises Refusal 300, 210, 603, 604 or 400, in the order of the clearing house (CONFORMANCE section 4).
        """
        try:
            return await self._context.store.write(lambda tx: self._book.stop_wanted(tx, incoming))
        except Refusal:
            to_operator_of(incoming.message.evse_id, incoming.operation, self._context.registry)
            await refuse_unknown_evse(self._context, incoming.message.evse_id)
            raise

    async def _stopped(self, session: Session, operation: Operation, incoming: Incoming[Stop]) -> Acknowledgement:
        peer = to_party_of_session(session.peer, operation, self._context.registry).peers[0]
        try:
            reply = await self._context.courier.call(
                peer, operation, incoming.party, incoming.body, deadline=operation.deadline
            )
        except PeerError as error:
            code = getattr(error, "code", None) or _NO_RESPONSE
            raise Refusal(code, f"the CPO of this session did not answer: {error}") from error
        if not isinstance(reply.message, Acknowledgement):
            raise Refusal(_NO_RESPONSE, "the CPO's answer is not an Acknowledgement")
        return reply.message


def _state_after(told: Acknowledgement) -> State:
    """Return where an answer leaves the session: a refusal that only speaks of trouble leaves it uncertain."""
    if told.result:
        return State.AUTHORIZED
    return State.UNCERTAIN if str(told.status_code.code) in TROUBLE else State.REFUSED
