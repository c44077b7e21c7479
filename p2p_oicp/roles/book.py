"""The session book: how both roles open, find and change sessions (DESIGN section 5, "Session ids")."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypedDict

from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import Message, SessionID
from p2p_oicp.roles.context import Answer, Incoming, RoleContext
from p2p_oicp.storage import Transaction, sessions
from p2p_oicp.storage.sessions import Session, State

SESSION_IS_INVALID = "400"
_SYSTEM_ERROR = "021"
AUTHORIZE = "authorize"
REMOTE = "remote"
# Other implementations send the same request up to 12 times within 3 minutes (box H4).
REPEAT_WINDOW_SECONDS = 300.0
_UNDER_WAY = frozenset({State.CHARGING, State.ENDED, State.SETTLED})


@dataclass(frozen=True, slots=True)
class Opened:
    """The session a start belongs to, and the answer it was given before, if it is a repetition."""

    session: Session
    answer: Answer | None = None


def valid_session_id(session_id: SessionID | None) -> SessionID | None:
    """Return the SessionID that came along, if it can be kept."""
    return session_id if session_id is not None and session_id.is_valid else None


class SessionBook:
    """Sessions of one role."""

    def __init__(self, role: str, context: RoleContext) -> None:
        self._role = role
        self._context = context
        self._pending: dict[str, asyncio.Future[Answer]] = {}

    async def start(
        self, incoming: Incoming[Message], draft: Session, decide: Callable[[Session], Awaitable[Answer]]
    ) -> Answer:
        """Open the session and return what ``decide`` finds; a repetition gets the same answer, asking nobody (H2, H4).

        A repetition that comes while the first request is under way waits for its answer.
        """
        opened = await self.open(incoming, draft)
        if opened.answer is not None:
            return opened.answer
        key = opened.session.session_key
        if key in self._pending:
            return await asyncio.shield(self._pending[key])
        pending = self._pending[key] = asyncio.get_running_loop().create_future()
        try:
            answer = await decide(opened.session)
        except BaseException:
            pending.set_exception(Refusal(_SYSTEM_ERROR, "the first request of this session failed; send it again"))
            pending.exception()  # seen, whether or not somebody waits
            raise
        else:
            pending.set_result(answer)
            return answer
        finally:
            del self._pending[key]

    async def open(self, incoming: Incoming[Message], draft: Session) -> Opened:
        """Store a new session before anything is sent, or find the one that the same request opened before.

        Raises Refusal 400 where the SessionID names a session that another request opened.
        """
        present = await self._context.store.write(lambda tx: self._open(tx, draft, repeatable=_repeatable(incoming)))
        if present is None:
            return Opened(draft)
        if present.request_digest != draft.request_digest:
            raise Refusal(SESSION_IS_INVALID, f"SessionID {draft.session_id} belongs to another process")
        return Opened(present, Answer(present.answer) if present.answer else None)

    def _open(self, tx: Transaction, draft: Session, *, repeatable: bool) -> Session | None:
        if repeatable:
            since = draft.created_at - REPEAT_WINDOW_SECONDS
            repeated = sessions.find_request(tx, self._role, draft.request_digest, since)
            if repeated is not None:
                return repeated
        return sessions.open_session(tx, draft)

    def draft(self, incoming: Incoming[Message], kind: str, peer: str) -> Session:
        """Return a new session in state ``requested``; its SessionID is the one that came along, or minted."""
        message = incoming.message
        came = valid_session_id(getattr(message, "session_id", None))
        session_id = came or SessionID(self._context.mint.session_id())
        now = self._context.now()
        evse_id = getattr(message, "evse_id", None)
        draft = Session(
            role=self._role,
            session_key=session_id.key,
            session_id=session_id.text,
            kind=kind,
            state=State.REQUESTED,
            peer=peer,
            request_digest=incoming.digest,
            created_at=now,
            updated_at=now,
            evse_key=evse_id.key if evse_id is not None else "",
            cpo_partner_session_id=getattr(message, "cpo_partner_session_id", None),
            emp_partner_session_id=getattr(message, "emp_partner_session_id", None),
        )
        return replace(draft, **_parties(message))

    async def settle_start(self, session: Session, state: State, answer: Answer, **values: object) -> Session:
        """Store how a start ended, with the answer that repetitions will get; return the session as it now stands.

        A notification or CDR may have overtaken the answer: what it said of the session stays.
        """
        now = self._context.now()

        def job(tx: Transaction) -> State:
            present = sessions.get(tx, self._role, session.session_key)
            reached = State(present.state) if present is not None and present.state in _UNDER_WAY else state
            sessions.change(tx, self._role, session.session_key, now, state=reached, answer=answer.body, **values)
            sessions.note(tx, self._role, str(values.get("session_key", session.session_key)), now, state, answer.body)
            return reached

        state = await self._context.store.write(job)
        return replace(session, state=state, answer=answer.body, updated_at=now, **values)  # type: ignore[arg-type]

    def find(self, tx: Transaction, incoming: Incoming[Message]) -> Session:
        """Return the session that a later message speaks of.

        Raises Refusal 400 where it is unknown, was refused, or belongs to another party (boxes B2, B3).
        """
        session_id = getattr(incoming.message, "session_id", None)
        session = sessions.get(tx, self._role, session_id.key) if session_id is not None else None
        if session is None or session.state == State.REFUSED or not session.peer:
            raise Refusal(SESSION_IS_INVALID, f"SessionID {session_id} is not a session of this node")
        self._check_parties(session, incoming)
        return session

    def _check_parties(self, session: Session, incoming: Incoming[Message]) -> None:
        """Let only the other side of the session speak of it, or the party of ours that opened it."""
        refused = Refusal(SESSION_IS_INVALID, f"SessionID {session.session_id} is a session of other parties")
        if incoming.peer is not None and not incoming.peer.is_self and incoming.peer.name != session.peer:
            raise refused
        # The opener named itself; the other side is known by its EvseID or EvcoID only, perhaps a sub-partner's.
        opener, key = (
            ("operator_id", session.operator_key)
            if session.kind == AUTHORIZE
            else ("provider_id", session.provider_key)
        )
        named = getattr(incoming.message, opener, None)
        if named is not None and named.key != key:
            raise refused


class _Parties(TypedDict, total=False):
    operator_key: str
    operator_id: str
    provider_key: str
    provider_id: str


def _parties(message: Message) -> _Parties:
    """Return the columns for the operator and the provider that the message names."""
    columns = _Parties()
    evse_id = getattr(message, "evse_id", None)
    operator = getattr(message, "operator_id", None) or (evse_id.operator if evse_id is not None else None)
    if operator is not None:
        columns |= {"operator_key": operator.key, "operator_id": operator.text}
    provider = getattr(message, "provider_id", None)
    if provider is not None:
        columns |= {"provider_key": provider.key, "provider_id": provider.text}
    return columns


def _repeatable(incoming: Incoming[Message]) -> bool:
    """Whether a second request with the same bytes is a repetition: it must carry an id of the process.

    Without one, the same card held twice to the same station is two processes.
    """
    message = incoming.message
    ids = ("session_id", "cpo_partner_session_id", "emp_partner_session_id")
    return any(getattr(message, name, None) for name in ids)
