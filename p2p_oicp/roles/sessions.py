"""Sessions of one role: opened once for a request however often it is sent, and found.

A session is a charging process between a CPO and an EMP (OICP 2.3, SessionID). Both roles use `SessionService`:

1. ``new_session`` makes the draft from a request that opens one (the SessionID is kept or generated).
2. ``begin_start`` inserts it, or returns the session that the same request opened before: a duplicate gets the first
   response (H4), another request with this SessionID is refused with 400.
3. ``complete_start`` stores how it ended, with the response that duplicates will get.
4. ``find`` serves the later messages, of the session's own parties only (B3); `roles.stops` the stops.

Where the outcome is known before anything is stored, ``record_decided_start`` does 2 and 3 in one transaction:
authorization by the token list at the EMP's node, and AuthorizeStart at the CPO's node, which asks first. The latter
looks duplicates up with ``find_start``; starts under way are known to `SessionService.deduplicate` and ``starting``.

The functions over a `Transaction` use nothing but it and their arguments, so they are tested without a node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import msgspec
import structlog

from p2p_oicp.concurrency import SingleFlight
from p2p_oicp.crypto.exchange import PreparedExchange
from p2p_oicp.errors import Refusal, StoreError
from p2p_oicp.oicp import EvseID, Identifier, Message, OperatorID, ProviderID, SessionID, StatusCodeValue
from p2p_oicp.oicp.common import token_key
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import OperationRequest, OperationResponse, Services
from p2p_oicp.roles.hub_sessions import as_known_to_backend, find_by_own_id, opening_body_for_hub
from p2p_oicp.roles.lost_sessions import LostSessions, Outcome
from p2p_oicp.roles.responses import valid_session_id
from p2p_oicp.storage import Store, Transaction, job_keys, sessions
from p2p_oicp.storage.sessions import OVER_STATES, REFUSED_STATES, Session, SessionState

log = structlog.get_logger(__name__)

_MAX_LOGGED_IDS = 20
MessageT = TypeVar("MessageT", bound=Message)

#: Kinds of session: by what it was opened.
AUTHORIZE = "authorize"
REMOTE = "remote"
RESERVATION = "reservation"


class IdempotencyKey(NamedTuple):
    """What all transmissions of one request have in common (H4)."""

    operation: str
    sender_id: str | None
    digest: bytes


def idempotency_key(request: OperationRequest[Message]) -> IdempotencyKey | None:
    """Return the key of a request; None where a second one with the same bytes is a process of its own.

    A duplicate is recognized only if the request carries an id of the process. Without one, the same card presented
    twice to the same station is two processes.
    """
    members = vars(request.message)
    if members.get("session_id") or members.get("cpo_partner_session_id") or members.get("emp_partner_session_id"):
        return IdempotencyKey(request.operation.name, request.sender_id, request.digest)
    return None


class StartOutcome(msgspec.Struct, frozen=True):
    """The session that a start belongs to: the new one, or the one that the same request opened before.

    Attributes:
        response: the first response, if this is a duplicate; None: the start goes on.
        crashed_before_answer: the same request opened the session, and the node stopped before it had an answer.
    """

    session: Session
    response: OperationResponse | None = None
    crashed_before_answer: bool = False


def begin_start(tx: Transaction, draft: Session, *, key: IdempotencyKey | None) -> StartOutcome:
    """Insert the session of a start request, or find the one that the same request opened (H4).

    Args:
        tx: the transaction of the decision.
        draft: the session as `SessionService.new_session` made it, or decided already.
        key: the request's key. None: duplicates are found by the draft's SessionID alone.

    Raises:
        Refusal: 400, the SessionID is that of a session which another request opened.
    """
    existing = sessions.by_request(tx, draft.role, draft.request_digest, _window_start(draft)) if key else None
    existing = _unless_over(existing, draft) or sessions.insert_or_get(tx, draft)
    if existing is not None and not _is_id_free(existing, draft):
        return _earlier_start(existing, draft)
    if existing is not None:
        sessions.delete(tx, draft.role, existing.session_key)
        sessions.insert_or_get(tx, draft)
    return StartOutcome(draft)


async def find_start(store: Store, draft: Session, *, key: IdempotencyKey | None) -> StartOutcome | None:
    """Return what `begin_start` would find as of the last commit, without waiting for the disk; None: the draft is new.

    Raises Refusal 400 as `begin_start` does.
    """
    existing = (
        await sessions.by_request_now(store, draft.role, draft.request_digest, _window_start(draft)) if key else None
    )
    existing = _unless_over(existing, draft)
    if existing is None and not draft.id_generated_here:
        existing = await sessions.get_now(store, draft.role, draft.session_key)
    if existing is None or _is_id_free(existing, draft):
        return None
    return _earlier_start(existing, draft)


def record_decided_start(
    tx: Transaction, session: Session, response: OperationResponse, *, key: IdempotencyKey | None
) -> OperationResponse:
    """Insert a session whose start is decided, and return ``response``; or the first response to the same request.

    Raises Refusal 400 as `begin_start` does.
    """
    outcome = begin_start(tx, session, key=key)
    if outcome.crashed_before_answer:
        # Nothing has left the node in the name of the earlier session, so this decision replaces it.
        sessions.delete(tx, session.role, outcome.session.session_key)
        sessions.insert_or_get(tx, session)
    return outcome.response or response


def check_id_is_unused(tx: Transaction, draft: Session, session_key: str) -> None:
    """Raise Refusal 400 if the responder has given the session an id of its own that another session has already."""
    if session_key != draft.session_key and sessions.get(tx, draft.role, session_key) is not None:
        info = f"the response's SessionID {session_key} is already that of another process"
        raise Refusal(StatusCodeValue.SESSION_INVALID, info)


async def mark_interrupted_starts(services: Services) -> None:
    """Make remote starts and reservations uncertain that were under way when the node stopped, or crashed."""
    try:
        if not await services.store.query(sessions.INTERRUPTED):
            return
        now, about = services.now(), (job_keys.HOUSEKEEPING,)
        keys = await services.store.write(lambda tx: sessions.mark_interrupted(tx, now), about=about)
    except StoreError as error:
        log.warning("sessions.interrupted_starts_not_marked", error=error)
        return
    log.warning("sessions.interrupted", count=len(keys), session_ids=keys[:_MAX_LOGGED_IDS])


def _window_start(draft: Session) -> float:
    return draft.created_at - sessions.IDEMPOTENCY_WINDOW_SECONDS


def _is_id_free(existing: Session, draft: Session) -> bool:
    """Whether a refused start has left its SessionID to others (B2); its own duplicates get the refusal again."""
    is_duplicate = existing.request_digest == draft.request_digest and existing.created_at >= _window_start(draft)
    return existing.state in REFUSED_STATES and not is_duplicate


def _unless_over(existing: Session | None, draft: Session) -> Session | None:
    """Return a session that the same request opened, unless it is over: then the request opens another one (L5)."""
    return None if existing is not None and existing.state in OVER_STATES and draft.id_generated_here else existing


def _earlier_start(existing: Session, draft: Session) -> StartOutcome:
    if existing.request_digest != draft.request_digest or existing.state in OVER_STATES:
        raise _another_process(draft.session_id)
    if not existing.start_response:
        return StartOutcome(existing, crashed_before_answer=True)
    return StartOutcome(existing, OperationResponse(existing.start_response))


def _another_process(session_id: str) -> Refusal:
    return Refusal(StatusCodeValue.SESSION_INVALID, f"SessionID {session_id} belongs to another process")


class SessionService:
    """The sessions of one role; shared by its handlers, because a stop has to know of starts under way."""

    def __init__(self, role: str, services: Services, lost_sessions: LostSessions) -> None:
        self.role = role
        self._services = services
        self._lost_sessions = lost_sessions
        self._single_flight: SingleFlight[OperationResponse] = SingleFlight(
            lambda: Refusal(StatusCodeValue.SYSTEM_ERROR, "the first such request was cancelled")
        )
        self._starting: dict[str, asyncio.Event] = {}

    def __repr__(self) -> str:
        return f"<SessionService role={self.role} starting={len(self._starting)}>"

    async def deduplicate(
        self, request: OperationRequest[Message], work: Callable[[], Awaitable[OperationResponse]]
    ) -> OperationResponse:
        """Return the result of ``work``; a duplicate that arrives meanwhile gets the same (H4)."""
        return await self._single_flight.run(idempotency_key(request), work)

    def new_session(self, request: OperationRequest[Message], session_kind: str, peer_id: str) -> Session:
        """Return a session in state ``requested``, with the request's SessionID if valid, else a new one."""
        # Read from the instance's dict: asking a model for a member that it does not have is slow.
        members = vars(request.message)
        requested_id = valid_session_id(members.get("session_id"))
        session_id = requested_id or SessionID(self._services.ids.session_id())
        now, (operator_key, operator_id) = self._services.now(), _key_and_text(_operator(members))
        provider_key, provider_id = _key_and_text(members.get("provider_id"))
        evse_key, evse_id = _key_and_text(members.get("evse_id"))
        return Session(
            role=self.role,
            session_key=session_id.key,
            session_id=session_id.text,
            kind=session_kind,
            state=SessionState.REQUESTED.value,
            peer=peer_id,
            request_digest=request.digest,
            created_at=now,
            updated_at=now,
            operator_key=operator_key,
            operator_id=operator_id,
            provider_key=provider_key,
            provider_id=provider_id,
            evse_key=evse_key,
            evse_id=evse_id,
            identification_key=token_key(members.get("identification")),
            cpo_partner_session_id=members.get("cpo_partner_session_id"),
            emp_partner_session_id=members.get("emp_partner_session_id"),
            id_generated_here=int(requested_id is None),
        )

    @contextmanager
    def starting(self, session_key: str) -> Iterator[None]:
        """Mark a session that is not stored yet as being started: a stop that overtakes its commit waits.

        Raises Refusal 400 if another request is starting a session with this id.
        """
        if session_key in self._starting:
            raise _another_process(session_key)
        finished = self._starting[session_key] = asyncio.Event()
        try:
            yield
        finally:
            del self._starting[session_key]
            finished.set()

    async def wait_until_started(self, session_id: SessionID | None) -> None:
        """Wait for the commit of a session that is being started: the other side may stop it before that."""
        if session_id is not None and (finished := self._starting.get(session_id.key)) is not None:
            await finished.wait()

    async def complete_start(
        self,
        session: Session,
        state: SessionState,
        response: OperationResponse,
        *,
        exchange: PreparedExchange | None = None,
        is_remembered: bool = True,
        **columns: object,
    ) -> OperationResponse:
        """Store how a start ended and the response that duplicates will get; return the response.

        Args:
            session: as `begin_start` returned it.
            state: where the start leads.
            response: what our backend or the peer gets.
            exchange: the evidence of the peer's response, recorded in the same transaction.
            is_remembered: whether duplicates get the response; False: the start did not arrive, and is tried again.
            **columns: other columns of the session; ``session_key`` if the responder gave it an id of its own.

        Raises:
            Refusal: 400, the responder's own SessionID is in use already.
        """
        now, key = self._services.now(), str(columns.get("session_key", session.session_key))
        if key != session.session_key:
            columns["id_generated_here"] = 1
        if not is_remembered:
            columns["request_digest"] = b""

        def job(tx: Transaction) -> None:
            values = dict(columns)
            present_key = self._rename_by_hub(tx, session, key, values)
            sessions.transition(tx, self.role, present_key, now, state, start_response=response.body, **values)
            # The responder may have renamed it just now.
            present_key = str(values.get("session_key", present_key))
            sessions.add_event(tx, self.role, present_key, now, state, response.body)
            if exchange is not None:
                self._services.recorder.insert(tx, exchange)

        about = (job_keys.session_of(self.role, session.session_key), job_keys.session_of(self.role, key))
        await self._services.store.write(job, about=about)
        return response

    def _rename_by_hub(self, tx: Transaction, session: Session, key: str, columns: dict[str, object]) -> str:
        """Let the responder give a session the id ``key``; return the key of its row."""
        peer = self._services.registry.by_id(session.peer)
        is_of_hub = peer is not None and peer.is_hub
        present_key = sessions.current_key(tx, self.role, session.session_key) if is_of_hub else session.session_key
        if present_key != session.session_key:
            # A message of the hub has overtaken its answer, and has named the session already.
            columns.pop("session_key", None)
            columns.pop("session_id", None)
            return present_key
        check_id_is_unused(tx, session, key)
        if is_of_hub and key != session.session_key:
            sessions.rename(tx, session, key, str(columns.get("session_id", key)), self._services.now())
        return key if is_of_hub else session.session_key

    def find(self, tx: Transaction, request: OperationRequest[Message]) -> Session:
        """Return the session of a later message.

        Raises Refusal 400 if it is unknown, was refused, or belongs to other parties (B2, B3).
        """
        session_id = getattr(request.message, "session_id", None)
        session = sessions.get(tx, self.role, session_id.key) if session_id is not None else None
        if session is None:
            session = find_by_own_id(tx, self.role, request, self._services.now())
        if session is None or session.state in REFUSED_STATES or not session.peer:
            info = f"SessionID {session_id} is not a session of this node"
            raise Refusal(StatusCodeValue.SESSION_INVALID, info)
        _check_parties(session, request)
        self._check_own_party(session, request.peer)
        return session

    def _check_own_party(self, session: Session, sender: Peer | None) -> None:
        """Allow only the party on our side of a session, where the sender is one of several of this node (B3)."""
        own = self._services.local_peer
        if sender is None or not sender.is_self or sender is own:
            return
        key = session.operator_key if self.role == "cpo" else session.provider_key
        party = OperatorID(key) if self.role == "cpo" else ProviderID(key)
        if key and not sender.handles_party(party):
            info = f"SessionID {session.session_id} is a session of other parties"
            raise Refusal(StatusCodeValue.SESSION_INVALID, info)

    async def find_lost(self, request: OperationRequest[Message]) -> Outcome:
        """Open the session of a message that was refused as unknown, if a restore has lost it (`LostSessions.find`)."""
        session_id: SessionID | None = getattr(request.message, "session_id", None)
        if session_id is None:
            return Outcome.REFUSED
        return await self._lost_sessions.find(
            request, session_id, lambda peer_id: self.new_session(request, AUTHORIZE, peer_id)
        )


def opening_body(message: Message, session: Session, peer: Peer) -> bytes:
    """Return the request that opens a session, as it goes to a peer: with our SessionID, or to a hub without one."""
    if peer.is_hub:
        return opening_body_for_hub(message, session)
    return message.to_json_with(session_id=SessionID(session.session_id))


def as_known_here(tx: Transaction, request: OperationRequest[MessageT], session: Session) -> OperationRequest[MessageT]:
    """Return a later message of a session with the ids that both backends know it by (RULES L26)."""
    session_id: SessionID | None = getattr(request.message, "session_id", None)
    is_current = session_id is not None and session_id.key == session.session_key
    is_of_hub = request.peer is not None and request.peer.is_hub
    return request if is_current and not is_of_hub else as_known_to_backend(tx, request, session)


def check_same_evse(session: Session, evse_id: EvseID | None) -> None:
    """Raise Refusal 022 for another EVSE than the session's (L4, C8); starts and stops may come without an EvseID."""
    if evse_id is not None and session.evse_key and evse_id.key != session.evse_key:
        info = f"EvseID {evse_id} is not the EVSE of session {session.session_id}, {session.evse_id}"
        raise Refusal(StatusCodeValue.DATA_ERROR, info)


def _check_parties(session: Session, request: OperationRequest[Message]) -> None:
    """Allow only the session's peer, and on our side the party that opened it (B3)."""
    sender = request.peer
    is_other_peer = sender is not None and not sender.is_self and sender.id != session.peer
    if is_other_peer or not _is_by_opener_or_other_side(session, request):
        info = f"SessionID {session.session_id} is a session of other parties"
        raise Refusal(StatusCodeValue.SESSION_INVALID, info)


def _is_by_opener_or_other_side(session: Session, request: OperationRequest[Message]) -> bool:
    # The opener named itself. The other side is known by its EvseID or EvcoID only, which may be a sub-partner's.
    opener_field, opener_key = (
        ("operator_id", session.operator_key) if session.kind == AUTHORIZE else ("provider_id", session.provider_key)
    )
    claimed_party = getattr(request.message, opener_field, None)
    if claimed_party is None or claimed_party.key == opener_key:
        return True
    # A notification has no sender in its path: its OperatorID may be the sub-operator that the EVSE belongs to.
    return request.sender_id is None and request.peer is not None and request.peer.handles_party(claimed_party)


def _operator(members: Mapping[str, Any]) -> Identifier | None:
    evse_id: EvseID | None = members.get("evse_id")
    return members.get("operator_id") or (evse_id.operator if evse_id is not None else None)


def _key_and_text(party: Identifier | None) -> tuple[str, str]:
    return (party.key, party.text) if party is not None else ("", "")
