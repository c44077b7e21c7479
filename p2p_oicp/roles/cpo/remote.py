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
)
from p2p_oicp.peers import Peer
from p2p_oicp.roles.answers import Ids, acknowledgement
from p2p_oicp.roles.book import REMOTE, RESERVATION, SessionBook, nothing
from p2p_oicp.roles.context import Answer, Incoming, RoleContext
from p2p_oicp.roles.state.known import refuse_unknown_evse
from p2p_oicp.storage.lifecycle import State
from p2p_oicp.storage.sessions import Session

_ROLE = "cpo"
_SYSTEM_ERROR = "021"
_NOT_OFFERED = "320"
_PARTNER_NOT_FOUND = "300"

Start: TypeAlias = AuthorizeRemoteStart | AuthorizeRemoteReservationStart
Stop: TypeAlias = AuthorizeRemoteStop | AuthorizeRemoteReservationStop


class RemoteControl:
    """The CPO side of what a driver's app asks for."""

    def __init__(self, context: RoleContext, backend: CpoBackend) -> None:
        self._context = context
        self._backend = backend
        self._book = SessionBook(_ROLE, context)

    async def authorize_remote_start(self, incoming: Incoming[AuthorizeRemoteStart]) -> Answer:
        """Ask the backend to start charging (CPO-02, eRoamingAuthorizeRemoteStart)."""
        ask = self._backend.authorize_remote_start
        return await self._book.once(incoming, lambda: self._start(incoming, REMOTE, ask))

    async def authorize_remote_reservation_start(self, incoming: Incoming[AuthorizeRemoteReservationStart]) -> Answer:
        """Ask the backend to reserve (CPO-02, eRoamingAuthorizeRemoteReservationStart)."""
        ask = self._reserving().authorize_remote_reservation_start
        return await self._book.once(incoming, lambda: self._start(incoming, RESERVATION, ask))

    async def authorize_remote_stop(self, incoming: Incoming[AuthorizeRemoteStop]) -> Answer:
        """Ask the backend to stop a session of this provider (box B3)."""
        ask = self._backend.authorize_remote_stop
        return await self._book.once(incoming, lambda: self._stop(incoming, ask))

    async def authorize_remote_reservation_stop(self, incoming: Incoming[AuthorizeRemoteReservationStop]) -> Answer:
        """Ask the backend to end a reservation; its CDR follows (box M6)."""
        ask = self._reserving().authorize_remote_reservation_stop
        return await self._book.once(incoming, lambda: self._stop(incoming, ask))

    def _reserving(self) -> ReservingCpoBackend:
        if not isinstance(self._backend, ReservingCpoBackend):
            raise Refusal(_NOT_OFFERED, "this operator takes no reservations")
        return self._backend

    async def _start(
        self, incoming: Incoming[Start], kind: str, ask: Callable[..., Awaitable[Acknowledgement]]
    ) -> Answer:
        """Store the session, ask the backend at most once, store its answer."""
        _check_is_ours(incoming.message, self._context.me)
        await refuse_unknown_evse(self._context, incoming.message.evse_id)
        peer = incoming.peer.name if incoming.peer else ""
        opened = await self._book.open(incoming, self._book.draft(incoming, kind, peer), nothing)
        if opened.answer is not None:
            return opened.answer
        session = opened.session
        if opened.interrupted:
            return await self._unknown(session, "this node went down while its backend was asked", State.UNCERTAIN)
        request = incoming.message.replace(session_id=SessionID(session.session_id))
        try:
            told = await ask(request)
        except PeerError as error:
            # If the backend may have seen it, the station may be charging: its CDR must find the session.
            state = State.UNCERTAIN if error.may_have_arrived else State.REFUSED
            return await self._unknown(session, f"the CPO's backend did not answer: {error}", state)
        answer = Answer(_with_ids(told, session).to_json())
        state = State.AUTHORIZED if told.result else State.REFUSED
        partner = told.cpo_partner_session_id or session.cpo_partner_session_id
        await self._book.settle_start(session, state, answer, cpo_partner_session_id=partner)
        return answer

    async def _unknown(self, session: Session, info: str, state: State) -> Answer:
        answer = acknowledgement(_SYSTEM_ERROR, info, Ids.of_session(session))
        await self._book.settle_start(session, state, answer)
        return answer

    async def _stop(self, incoming: Incoming[Stop], ask: Callable[..., Awaitable[Acknowledgement]]) -> Answer:
        session = await self._context.store.write(lambda tx: self._book.stop_wanted(tx, incoming))
        before = self._book.stopped_before(session, incoming)
        if before is not None:
            return before
        try:
            told = await ask(incoming.message)
        except PeerError as error:
            info = f"the CPO's backend did not answer: {error}"
            return acknowledgement(_SYSTEM_ERROR, info, Ids.of_session(session))
        answer = Answer(_with_ids(told, session).to_json())
        return await self._book.settle_stop(session, incoming, answer) if told.result else answer


def _with_ids(told: Acknowledgement, session: Session) -> Acknowledgement:
    """Echo all three ids (DESIGN section 5)."""
    return told.replace(
        session_id=SessionID(session.session_id),
        cpo_partner_session_id=told.cpo_partner_session_id or session.cpo_partner_session_id,
        emp_partner_session_id=told.emp_partner_session_id or session.emp_partner_session_id,
    )


def _check_is_ours(request: Start, me: Peer) -> None:
    operator = request.evse_id.operator
    if operator is None or not me.answers_for(operator):
        raise Refusal(_PARTNER_NOT_FOUND, f"EvseID {request.evse_id} belongs to none of this node's operators")
