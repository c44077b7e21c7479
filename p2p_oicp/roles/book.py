"""The session book: how both roles open, find and change sessions (DESIGN section 5, "Session ids")."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import EvseID, Identifier, Message, SessionID
from p2p_oicp.oicp.media import medium_of
from p2p_oicp.roles.context import Answer, Incoming, RoleContext
from p2p_oicp.roles.flight import SingleFlight
from p2p_oicp.storage import Transaction, cdrs, sessions
from p2p_oicp.storage.lifecycle import NO_SESSION, STOPPABLE, State
from p2p_oicp.storage.sessions import Session

T = TypeVar("T")

SESSION_IS_INVALID = "400"
AUTHORIZE = "authorize"
REMOTE = "remote"
RESERVATION = "reservation"
# Other implementations send the same request up to 12 times within 3 minutes (box H4).
REPEAT_WINDOW_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Opened(Generic[T]):
    """The session a start belongs to, and the answer it was given before, if it is a repetition.

    ``interrupted``: the same request opened it, and this node went down before it had an answer. ``found`` is what was
    looked up in the same transaction.
    """

    session: Session
    found: T
    answer: Answer | None = None
    interrupted: bool = False


def valid_session_id(session_id: SessionID | None) -> SessionID | None:
    """Return the SessionID that came along, if it can be kept."""
    return session_id if session_id is not None and session_id.is_valid else None


def nothing(_tx: Transaction) -> None:
    """Look nothing up."""


class SessionBook:
    """Sessions of one role."""

    def __init__(self, role: str, context: RoleContext) -> None:
        self._role = role
        self._context = context
        self._flight: SingleFlight[Answer] = SingleFlight()

    async def once(self, incoming: Incoming[Message], work: Callable[[], Awaitable[Answer]]) -> Answer:
        """Answer a request that is repeated while the first is being answered by the first one's answer (box H4)."""
        return await self._flight.run(_repetition_key(incoming), work)

    async def open(self, incoming: Incoming[Message], draft: Session, look_up: Callable[[Transaction], T]) -> Opened[T]:
        """Store a new session before anything is sent, or find the one that the same request opened before.

        Raises Refusal 400 where the SessionID names a session that another request opened.
        """

        def job(tx: Transaction) -> tuple[Session | None, T]:
            return self._open(tx, draft, repeatable=_repeatable(incoming)), look_up(tx)

        present, found = await self._context.store.write(job)
        if present is None:
            return Opened(draft, found)
        answer = _answer_before(present, draft)
        return Opened(present, found, answer, interrupted=answer is None)

    async def start_at_once(
        self, incoming: Incoming[Message], decide: Callable[[Transaction], tuple[Session, Answer]]
    ) -> Answer:
        """Decide and store a start in one transaction, for what this node knows itself; return its (first) answer.

        The session keeps the SessionID of its draft. Its own row tells its story up to here, so there is no event.
        Raises Refusal 400 as ``open`` does.
        """

        def job(tx: Transaction) -> Answer:
            session, answer = decide(tx)
            # A repetition of a request that carries the SessionID is found by it, for the session keeps it.
            repeatable = bool(session.named_here) and _repeatable(incoming)
            present = self._open(tx, session, repeatable=repeatable)
            if present is None:
                return answer
            before = _answer_before(present, session)
            if before is None:  # this node went down before it had one
                sessions.forget(tx, self._role, present.session_key)
                sessions.open_session(tx, session)
            return before or answer

        return await self._context.store.write(job)

    def _open(self, tx: Transaction, draft: Session, *, repeatable: bool) -> Session | None:
        since = draft.created_at - REPEAT_WINDOW_SECONDS
        if repeatable:
            repeated = sessions.find_request(tx, self._role, draft.request_digest, since)
            if repeated is not None:
                return repeated
        present = sessions.open_session(tx, draft)
        if present is None or present.state not in NO_SESSION:
            return present
        if present.request_digest == draft.request_digest and present.created_at >= since:
            return present
        # A refused start has no session (box B2): its id is free again, only a repetition is told the same.
        sessions.forget(tx, self._role, present.session_key)
        return sessions.open_session(tx, draft)

    def draft(self, incoming: Incoming[Message], kind: str, peer: str) -> Session:
        """Return a new session in state ``requested``; its SessionID is the one that came along, or minted."""
        told = vars(incoming.message)  # asking a model for a member that it does not have is slow
        came = valid_session_id(told.get("session_id"))
        session_id = came or SessionID(self._context.mint.session_id())
        now, (operator_key, operator_id) = self._context.now(), _key_and_text(_operator(told))
        provider_key, provider_id = _key_and_text(told.get("provider_id"))
        return Session(
            role=self._role,
            session_key=session_id.key,
            session_id=session_id.text,
            kind=kind,
            state=State.REQUESTED.value,
            peer=peer,
            request_digest=incoming.digest,
            created_at=now,
            updated_at=now,
            operator_key=operator_key,
            operator_id=operator_id,
            provider_key=provider_key,
            provider_id=provider_id,
            evse_key=_key_and_text(told.get("evse_id"))[0],
            medium=medium_of(told.get("identification")),
            cpo_partner_session_id=told.get("cpo_partner_session_id"),
            emp_partner_session_id=told.get("emp_partner_session_id"),
            named_here=int(came is None),
        )

    async def settle_start(
        self,
        session: Session,
        state: State,
        answer: Answer,
        also: Callable[[Transaction], None] | None = None,
        **values: object,
    ) -> None:
        """Store how a start ended, with the answer that repetitions will get, and whatever ``also`` belongs to it.

        Raises Refusal 400 where the responder's own SessionID is one that this node uses already.
        """
        now = self._context.now()
        key = str(values.get("session_key", session.session_key))

        def job(tx: Transaction) -> None:
            if key != session.session_key and sessions.get(tx, self._role, key) is not None:
                raise Refusal(SESSION_IS_INVALID, f"the answer's SessionID {key} is already that of another process")
            if key != session.session_key:
                values["named_here"] = 1
            sessions.move(tx, self._role, session.session_key, now, state, answer=answer.body, **values)
            sessions.note(tx, self._role, key, now, state, answer.body)
            if also is not None:
                also(tx)

        await self._context.store.write(job)

    def find(self, tx: Transaction, incoming: Incoming[Message]) -> Session:
        """Return the session that a later message speaks of.

        Raises Refusal 400 where it is unknown, was refused, or belongs to another party (boxes B2, B3).
        """
        session_id = getattr(incoming.message, "session_id", None)
        session = sessions.get(tx, self._role, session_id.key) if session_id is not None else None
        if session is None or session.state in NO_SESSION or not session.peer:
            raise Refusal(SESSION_IS_INVALID, f"SessionID {session_id} is not a session of this node")
        self._check_parties(session, incoming)
        return session

    def stop_wanted(self, tx: Transaction, incoming: Incoming[Message]) -> Session:
        """Return the session that a stop speaks of, and note the request in its story; raises Refusal 400."""
        session = self.find(tx, incoming)
        if session.state not in STOPPABLE or cdrs.exists(tx, self._role, session.session_key):
            raise Refusal(
                SESSION_IS_INVALID, f"session {session.session_id} is {session.state}: nothing is to be stopped"
            )
        event = f"{incoming.operation.name} requested"
        body = None if _tells_a_pin(incoming.message) else incoming.body
        sessions.note(tx, self._role, session.session_key, self._context.now(), event, body)
        return session

    def stopped_before(self, session: Session, incoming: Incoming[Message]) -> Answer | None:
        """Return the answer to the very same stop, if it was positive (box H4)."""
        if session.stop_answer is not None and session.stop_digest == incoming.digest:
            return Answer(session.stop_answer)
        return None

    async def settle_stop(self, session: Session, incoming: Incoming[Message], answer: Answer) -> Answer:
        """Store a positive answer to a stop, which repetitions will get; return it."""
        now = self._context.now()

        def job(tx: Transaction) -> None:
            sessions.change(
                tx, self._role, session.session_key, now, stop_digest=incoming.digest, stop_answer=answer.body
            )
            sessions.note(tx, self._role, session.session_key, now, f"{incoming.operation.name} accepted", answer.body)

        await self._context.store.write(job)
        return answer

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
        if named is None or named.key == key:
            return
        # A notification has no sender in its path: its OperatorID may be the sub-operator that the EVSE belongs to.
        sender = incoming.peer
        if incoming.party is None and sender is not None and sender.answers_for(named):
            return
        raise refused


def _answer_before(present: Session, again: Session) -> Answer | None:
    """Return the answer that the same request got before, if it got one; raises Refusal 400 for another request."""
    if present.request_digest != again.request_digest:
        raise Refusal(SESSION_IS_INVALID, f"SessionID {again.session_id} belongs to another process")
    return Answer(present.answer) if present.answer else None


def _operator(told: Mapping[str, Any]) -> Identifier | None:
    """Return the operator that a message's members name."""
    evse_id: EvseID | None = told.get("evse_id")
    return told.get("operator_id") or (evse_id.operator if evse_id is not None else None)


def _key_and_text(party: Identifier | None) -> tuple[str, str]:
    return (party.key, party.text) if party is not None else ("", "")


def _tells_a_pin(message: Message) -> bool:
    """Whether a message must not be stored: a PIN is kept as a hash only (EMP-02, PIN security)."""
    identification = getattr(message, "identification", None)
    return identification is not None and identification.qr_code is not None and bool(identification.qr_code.pin)


def _repeatable(incoming: Incoming[Message]) -> bool:
    """Whether a second request with the same bytes is a repetition: it must carry an id of the process.

    Without one, the same card held twice to the same station is two processes.
    """
    told = vars(incoming.message)
    return bool(told.get("session_id") or told.get("cpo_partner_session_id") or told.get("emp_partner_session_id"))


def _repetition_key(incoming: Incoming[Message]) -> Hashable | None:
    """Return what repetitions of a request have in common, None where a second one is a process of its own."""
    return (incoming.operation.name, incoming.party, incoming.digest) if _repeatable(incoming) else None
