"""AuthorizeStart for our own backend: what the clearing house does between a CPO and the EMPs.

Who decides, in this order (CPO-02, eRoamingAuthorizeStart): (1) the authentication data that an EMP has pushed to us,
(2) the provider of the EvcoID, (3) for a card, the peer that said yes to it last time, (4) all EMPs under contract.
"""

from __future__ import annotations

from typing import NamedTuple

from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import AuthorizationStart, AuthorizeStart, Message, ProviderID, SessionID
from p2p_oicp.oicp.media import media_of
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.peers import Peer
from p2p_oicp.roles.answers import Ids, authorized, not_authorized, refusal
from p2p_oicp.roles.book import AUTHORIZE, Opened, SessionBook, valid_session_id
from p2p_oicp.roles.context import Answer, Incoming, RoleContext
from p2p_oicp.roles.cpo.asking import Authorized, Refused, first_yes, summary
from p2p_oicp.roles.offline import known_driver
from p2p_oicp.routing import to_provider_of
from p2p_oicp.storage import Transaction, cards
from p2p_oicp.storage.lifecycle import State
from p2p_oicp.storage.sessions import Session

_START = OPERATION_BY_NAME["AuthorizeStart"]
_ROLE = "cpo"


class Authorization:
    """The CPO side of starting at the station."""

    def __init__(self, context: RoleContext) -> None:
        self._context = context
        self._book = SessionBook(_ROLE, context)

    async def authorize_start(self, incoming: Incoming[AuthorizeStart]) -> Answer:
        """Find out whether a driver may charge; a request that is repeated gets the first answer again."""
        return await self._book.once(incoming, lambda: self._start(incoming))

    async def _start(self, incoming: Incoming[AuthorizeStart]) -> Answer:
        """Name and store the session before anything is sent, and the outcome before it is answered."""
        draft = self._book.draft(incoming, AUTHORIZE, peer="")
        uid = incoming.message.identification.uid
        opened = await self._book.open(incoming, draft, lambda tx: cards.peer_of(tx, uid.key) if uid else None)
        if opened.answer is not None:
            return opened.answer
        try:
            return await self._offline(incoming, opened.session) or await self._online(incoming, opened)
        except Refusal as refused:
            answer = refusal(_START, refused, _backend_ids(opened.session))
            await self._book.settle_start(opened.session, State.REFUSED, answer)
            return answer

    async def _offline(self, incoming: Incoming[AuthorizeStart], session: Session) -> Answer | None:
        """Authorize with pushed data; what it refuses is the EMP's to refuse, for our copy may be old."""
        match = await known_driver(self._context, incoming.message.identification)
        peer = self._context.registry.by_name(match.source) if match else None
        if match is None or match.refusal or peer is None or not peer.serves(_START.name):
            return None
        provider = match.provider_id
        answer = authorized(provider.text, Ids.of_session(session))
        await self._book.settle_start(
            session,
            State.AUTHORIZED,
            answer,
            peer=peer.name,
            provider_key=provider.key,
            provider_id=provider.text,
            offline=1,
        )
        return answer

    async def _online(self, incoming: Incoming[AuthorizeStart], opened: Opened[str | None]) -> Answer:
        route = to_provider_of(incoming.message.identification, _START, self._context.registry)
        favourite = next((peer for peer in route.peers if peer.name == opened.found), None)
        body = incoming.message.to_json_with(session_id=SessionID(opened.session.session_id))
        deadline = self._context.authorization_deadline

        async def ask(peer: Peer) -> Message:
            reply = await self._context.courier.call(peer, _START, incoming.party, body, deadline=deadline)
            return reply.message

        outcome = await first_yes(route.peers, ask, favourite=favourite, head_start=deadline / 2)
        if isinstance(outcome, Authorized):
            return await self._authorized(incoming.message, opened, outcome)
        return await self._refused(opened.session, outcome)

    async def _authorized(self, request: AuthorizeStart, opened: Opened[str | None], yes: Authorized) -> Answer:
        session = opened.session
        told = _told(session, yes)

        def remember(tx: Transaction) -> None:
            uid = request.identification.uid
            if uid is not None and opened.found != yes.peer.name:
                cards.remember(tx, uid.key, yes.peer.name, self._context.now())

        answer = Answer(
            _completed(yes.answer, told._asdict() | {"cpo_partner_session_id": session.cpo_partner_session_id})
        )
        await self._book.settle_start(
            session,
            State.AUTHORIZED,
            answer,
            remember,
            session_key=told.session_id.key,
            session_id=told.session_id.text,
            peer=yes.peer.name,
            provider_key=told.provider_id.key if told.provider_id else "",
            provider_id=told.provider_id.text if told.provider_id else "",
            emp_partner_session_id=told.emp_partner_session_id,
            stop_media=media_of(yes.answer.authorization_stop_identifications),
        )
        return answer

    async def _refused(self, session: Session, refusals: list[Refused]) -> Answer:
        code, info = summary(refusals)
        answer = not_authorized(code, info, _backend_ids(session))
        await self._book.settle_start(session, State.REFUSED, answer)
        return answer


class _Told(NamedTuple):
    """The ids that our backend is told with the EMP's answer."""

    session_id: SessionID
    provider_id: ProviderID | None
    emp_partner_session_id: str | None


def _told(session: Session, yes: Authorized) -> _Told:
    """Complete what the EMP left out; it may give the session an id of its own."""
    return _Told(
        valid_session_id(yes.answer.session_id) or SessionID(session.session_id),
        yes.answer.provider_id or (yes.peer.providers[0] if yes.peer.providers else None),
        yes.answer.emp_partner_session_id or session.emp_partner_session_id,
    )


def _completed(answer: AuthorizationStart, ids: dict[str, object]) -> bytes:
    """Return the EMP's answer with these ids, just as it came where it has them all: a whole answer of a node."""
    told = vars(answer)
    is_whole = all(told.get(name) == value for name, value in ids.items())
    return answer.to_json() if is_whole else answer.to_json_with(**ids)


def _backend_ids(session: Session) -> Ids:
    """Return the backend's own ids only: a refused start has no session (box B2)."""
    return Ids(None, session.cpo_partner_session_id, session.emp_partner_session_id)
