"""AuthorizeRemoteStart and AuthorizeRemoteStop of an EMP peer, served by our backend."""

from __future__ import annotations

from functools import partial

from p2p_oicp.backends import CpoBackend
from p2p_oicp.errors import PeerError
from p2p_oicp.oicp import Acknowledgement, AuthorizeRemoteStart, AuthorizeRemoteStop, SessionID
from p2p_oicp.roles.answers import Ids, acknowledgement
from p2p_oicp.roles.book import REMOTE, SessionBook
from p2p_oicp.roles.context import Answer, Incoming, RoleContext
from p2p_oicp.storage import Transaction, sessions
from p2p_oicp.storage.sessions import Session, State

_ROLE = "cpo"
_SYSTEM_ERROR = "021"


class RemoteControl:
    """The CPO side of starting and stopping by app."""

    def __init__(self, context: RoleContext, backend: CpoBackend) -> None:
        self._context = context
        self._backend = backend
        self._book = SessionBook(_ROLE, context)

    async def authorize_remote_start(self, incoming: Incoming[AuthorizeRemoteStart]) -> Answer:
        """Store the session, ask the backend, store its answer (CPO-02, eRoamingAuthorizeRemoteStart)."""
        peer = incoming.peer.name if incoming.peer else ""
        draft = self._book.draft(incoming, REMOTE, peer)
        return await self._book.start(incoming, draft, partial(self._start, incoming))

    async def _start(self, incoming: Incoming[AuthorizeRemoteStart], session: Session) -> Answer:
        request = incoming.message.replace(session_id=SessionID(session.session_id))
        try:
            told = await self._backend.authorize_remote_start(request)
        except PeerError as error:
            # If the backend may have seen it, the station may be charging: its CDR must find the session.
            state = State.UNCERTAIN if error.may_have_arrived else State.REFUSED
            answer = acknowledgement(
                _SYSTEM_ERROR, f"the CPO's backend did not answer: {error}", Ids.of_session(session)
            )
            await self._book.settle_start(session, state, answer)
            return answer
        answer = Answer(_with_ids(told, session).to_json())
        state = State.AUTHORIZED if told.result else State.REFUSED
        partner = told.cpo_partner_session_id or session.cpo_partner_session_id
        await self._book.settle_start(session, state, answer, cpo_partner_session_id=partner)
        return answer

    async def authorize_remote_stop(self, incoming: Incoming[AuthorizeRemoteStop]) -> Answer:
        """Ask the backend to stop a session that this provider started (box B3)."""
        session = await self._context.store.write(lambda tx: self._stop_wanted(tx, incoming))
        try:
            told = await self._backend.authorize_remote_stop(incoming.message)
        except PeerError as error:
            info = f"the CPO's backend did not answer: {error}"
            return acknowledgement(_SYSTEM_ERROR, info, Ids.of_session(session))
        return Answer(_with_ids(told, session).to_json())

    def _stop_wanted(self, tx: Transaction, incoming: Incoming[AuthorizeRemoteStop]) -> Session:
        session = self._book.find(tx, incoming)
        sessions.note(tx, _ROLE, session.session_key, self._context.now(), "remote stop requested", incoming.body)
        return session


def _with_ids(told: Acknowledgement, session: Session) -> Acknowledgement:
    """Echo all three ids (DESIGN section 5)."""
    return told.replace(
        session_id=SessionID(session.session_id),
        cpo_partner_session_id=told.cpo_partner_session_id or session.cpo_partner_session_id,
        emp_partner_session_id=told.emp_partner_session_id or session.emp_partner_session_id,
    )
