"""AuthorizeStop for our own backend: the EMP of the session says who may stop it, or, offline, the medium does."""

from __future__ import annotations

from p2p_oicp.errors import PeerError, Refusal
from p2p_oicp.oicp import AuthorizationStart, AuthorizationStatus, AuthorizationStop, AuthorizeStop, SessionID
from p2p_oicp.oicp.media import medium_of, refusal_of
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.roles.answers import Ids, authorized
from p2p_oicp.roles.book import SessionBook
from p2p_oicp.roles.context import Answer, Incoming, RoleContext
from p2p_oicp.roles.offline import known_driver
from p2p_oicp.routing import to_party_of_session
from p2p_oicp.storage.sessions import Session

_STOP = OPERATION_BY_NAME["AuthorizeStop"]
_ROLE = "cpo"
_NO_RESPONSE = "310"


class Stopping:
    """The CPO side of stopping at the station."""

    def __init__(self, context: RoleContext) -> None:
        self._context = context
        self._book = SessionBook(_ROLE, context)

    async def authorize_stop(self, incoming: Incoming[AuthorizeStop]) -> Answer:
        """Find out whether a driver may stop; every refusal is an AuthorizationStop (CPO-02, eRoamingAuthorizeStop)."""
        return await self._book.once(incoming, lambda: self._stop(incoming))

    async def _stop(self, incoming: Incoming[AuthorizeStop]) -> Answer:
        session = await self._context.store.write(lambda tx: self._book.stop_wanted(tx, incoming))
        before = self._book.stopped_before(session, incoming)
        if before is not None:
            return before
        if session.offline:
            await self._check_medium(session, incoming.message)
            answer = authorized(session.provider_id, Ids.of_session(session))
            return await self._book.settle_stop(session, incoming, answer)
        told = await self._ask(session, incoming)
        answer = Answer(told.to_json())
        if told.authorization_status != AuthorizationStatus.AUTHORIZED:
            return answer
        return await self._book.settle_stop(session, incoming, answer)

    async def _ask(self, session: Session, incoming: Incoming[AuthorizeStop]) -> AuthorizationStop | AuthorizationStart:
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
        return reply.message.replace(
            session_id=SessionID(session.session_id),
            cpo_partner_session_id=session.cpo_partner_session_id,
            emp_partner_session_id=reply.message.emp_partner_session_id or session.emp_partner_session_id,
        )

    async def _check_medium(self, session: Session, request: AuthorizeStop) -> None:
        """Let the medium that started an offline session stop it, or one that the EMP named; raises 101, 102 or 105."""
        medium = medium_of(request.identification)
        if medium not in {session.medium, *session.stop_media.split()}:
            raise Refusal(refusal_of(medium), "this session was started with another medium, which has to stop it")
        if request.identification.qr_code is None:
            return
        # Without pushed data any more, the medium alone has to do: the driver must not be left with a locked cable.
        match = await known_driver(self._context, request.identification, session.peer)
        if match is not None and match.refusal:
            raise Refusal(match.refusal, match.reason)
