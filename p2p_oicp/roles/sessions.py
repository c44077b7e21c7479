"""One run for requests that are repeated while the first is still being answered (box H4).

What both roles hold a session to while it goes on.

The session book: how both roles open, find and change sessions (DESIGN section 5, "Session ids").

What this node tells the other party of a session about it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import orjson

from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import (
    ChargeDetailRecord,
    ChargingNotification,
    ChargingNotificationProgress,
    EvseID,
    Identifier,
    Message,
    SessionID,
)
from p2p_oicp.oicp.common import token_key
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import OperationRequest, OperationResponse, Services
from p2p_oicp.roles.responses import SessionIds
from p2p_oicp.storage import Transaction, cdrs, sessions
from p2p_oicp.storage.sessions import REFUSED_STATES, STOPPABLE_STATES, Session, SessionState

ResultT = TypeVar("ResultT")
_SYSTEM_ERROR = "021"


class SingleFlight(Generic[ResultT]):
    """Runs the work of a key once at a time; whoever comes meanwhile gets its outcome."""

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Future[ResultT]] = {}

    async def run(self, key: Hashable | None, work: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """Return what ``work`` returns, or what the run of ``key`` that is under way returns; None is no key."""
        if key is None:
            return await work()
        running = self._running.get(key)
        if running is not None:
            return await asyncio.shield(running)
        future = self._running[key] = asyncio.get_running_loop().create_future()
        try:
            result = await work()
        except BaseException as error:
            shared_error = (
                error if isinstance(error, Exception) else Refusal(_SYSTEM_ERROR, "the first such request was given up")
            )
            future.set_exception(shared_error)
            future.exception()  # seen, whether or not somebody waits
            raise
        else:
            future.set_result(result)
            return result
        finally:
            del self._running[key]


_DATA_ERROR = "022"
# "at least 5 minutes between two progress notifications" (CPO-02, BPD; the code by CONFORMANCE section 4).
_MIN_PROGRESS_INTERVAL_SECONDS = 300.0


def check_same_evse(session: Session, record: ChargeDetailRecord | ChargingNotification) -> None:
    """Refuse what speaks of another EVSE than the session's (box C8); a start may have come without an EvseID."""
    if session.evse_key and record.evse_id.key != session.evse_key:
        raise Refusal(
            _DATA_ERROR, f"EvseID {record.evse_id} is not the EVSE of session {session.session_id}, {session.evse_key}"
        )


def check_progress(session: Session, notification: ChargingNotification) -> float | None:
    """Return when progress was made, None for another notification; refuse one too soon after the last (022)."""
    if not isinstance(notification, ChargingNotificationProgress):
        return session.progress_at
    occurred_at = notification.event_occurred.timestamp()
    previous = session.progress_at
    if previous is not None and abs(occurred_at - previous) < _MIN_PROGRESS_INTERVAL_SECONDS:
        raise Refusal(
            _DATA_ERROR,
            f"EventOccurred is {occurred_at - previous:.0f} s after the last progress of this session; "
            "at least 300 s are asked for",
        )
    return occurred_at


LookupT = TypeVar("LookupT")

SESSION_INVALID = "400"
AUTHORIZE = "authorize"
REMOTE = "remote"
RESERVATION = "reservation"
# Other implementations send the same request up to 12 times within 3 minutes (box H4).
IDEMPOTENCY_WINDOW_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class StartResult(Generic[LookupT]):
    """The session a start belongs to, and the answer it was given before, if it is a repetition.

    ``interrupted``: the same request opened it, and this node went down before it had an answer. ``found`` is what was
    looked up in the same transaction.
    """

    session: Session
    looked_up: LookupT
    response: OperationResponse | None = None
    crashed_before_answer: bool = False


def valid_session_id(session_id: SessionID | None) -> SessionID | None:
    """Return the SessionID that came along, if it can be kept."""
    return session_id if session_id is not None and session_id.is_valid else None


def no_lookup(_tx: Transaction) -> None:
    """Look nothing up."""


class SessionService:
    """Sessions of one role."""

    def __init__(self, role: str, services: Services) -> None:
        self._role = role
        self._services = services
        self._single_flight: SingleFlight[OperationResponse] = SingleFlight()

    async def deduplicate(
        self, request: OperationRequest[Message], work: Callable[[], Awaitable[OperationResponse]]
    ) -> OperationResponse:
        """Answer a request that is repeated while the first is being answered by the first one's answer (box H4)."""
        return await self._single_flight.run(_idempotency_key(request), work)

    async def begin_start(
        self, request: OperationRequest[Message], draft: Session, look_up: Callable[[Transaction], LookupT]
    ) -> StartResult[LookupT]:
        """Store a new session before anything is sent, or find the one that the same request opened before.

        Raises Refusal 400 where the SessionID names a session that another request opened.
        """

        def job(tx: Transaction) -> tuple[Session | None, LookupT]:
            return self._insert_or_get(tx, draft, is_idempotent=_is_idempotent(request)), look_up(tx)

        existing, looked_up = await self._services.store.write(job)
        if existing is None:
            return StartResult(draft, looked_up)
        response = _cached_response(existing, draft)
        return StartResult(existing, looked_up, response, crashed_before_answer=response is None)

    async def decide_start(
        self, request: OperationRequest[Message], decide: Callable[[Transaction], tuple[Session, OperationResponse]]
    ) -> OperationResponse:
        """Decide and store a start in one transaction, for what this node knows itself; return its (first) answer.

        The session keeps the SessionID of its draft. Its own row tells its story up to here, so there is no event.
        Raises Refusal 400 as ``open`` does.
        """

        def job(tx: Transaction) -> OperationResponse:
            session, decided_response = decide(tx)
            response = self._store_or_find_response(tx, request, session) or decided_response
            if request.sign_in_transaction is not None:
                return request.sign_in_transaction(tx, response)
            return response

        return await self._services.store.write(job)

    def _store_or_find_response(
        self, tx: Transaction, request: OperationRequest[Message], session: Session
    ) -> OperationResponse | None:
        """Store a decided session; return the answer that the same request got before, if it is a repetition."""
        # A repetition of a request that carries the SessionID is found by it, for the session keeps it.
        is_idempotent = bool(session.id_generated_here) and _is_idempotent(request)
        existing = self._insert_or_get(tx, session, is_idempotent=is_idempotent)
        if existing is None:
            return None
        cached = _cached_response(existing, session)
        if cached is None:  # this node went down before it had one
            sessions.delete(tx, self._role, existing.session_key)
            sessions.insert_or_get(tx, session)
        return cached

    def _insert_or_get(self, tx: Transaction, draft: Session, *, is_idempotent: bool) -> Session | None:
        since = draft.created_at - IDEMPOTENCY_WINDOW_SECONDS
        if is_idempotent:
            duplicate = sessions.by_request(tx, self._role, draft.request_digest, since)
            if duplicate is not None:
                return duplicate
        existing = sessions.insert_or_get(tx, draft)
        if existing is None or existing.state not in REFUSED_STATES:
            return existing
        if existing.request_digest == draft.request_digest and existing.created_at >= since:
            return existing
        # A refused start has no session (box B2): its id is free again, only a repetition is told the same.
        sessions.delete(tx, self._role, existing.session_key)
        return sessions.insert_or_get(tx, draft)

    def new_session(self, request: OperationRequest[Message], session_kind: str, peer_name: str) -> Session:
        """Return a new session in state ``requested``; its SessionID is the one that came along, or minted."""
        members = vars(request.message)  # asking a model for a member that it does not have is slow
        requested_id = valid_session_id(members.get("session_id"))
        session_id = requested_id or SessionID(self._services.ids.session_id())
        now, (operator_key, operator_id) = self._services.now(), _key_and_text(_operator(members))
        provider_key, provider_id = _key_and_text(members.get("provider_id"))
        return Session(
            role=self._role,
            session_key=session_id.key,
            session_id=session_id.text,
            kind=session_kind,
            state=SessionState.REQUESTED.value,
            peer=peer_name,
            request_digest=request.digest,
            created_at=now,
            updated_at=now,
            operator_key=operator_key,
            operator_id=operator_id,
            provider_key=provider_key,
            provider_id=provider_id,
            evse_key=_key_and_text(members.get("evse_id"))[0],
            identification_key=token_key(members.get("identification")),
            cpo_partner_session_id=members.get("cpo_partner_session_id"),
            emp_partner_session_id=members.get("emp_partner_session_id"),
            id_generated_here=int(requested_id is None),
        )

    async def complete_start(
        self,
        session: Session,
        state: SessionState,
        response: OperationResponse,
        extra_write: Callable[[Transaction], None] | None = None,
        **values: object,
    ) -> None:
        """Store how a start ended, with the answer that repetitions will get, and whatever ``also`` belongs to it.

        Raises Refusal 400 where the responder's own SessionID is one that this node uses already.
        """
        now = self._services.now()
        key = str(values.get("session_key", session.session_key))

        def job(tx: Transaction) -> None:
            if key != session.session_key and sessions.get(tx, self._role, key) is not None:
                raise Refusal(SESSION_INVALID, f"the answer's SessionID {key} is already that of another process")
            if key != session.session_key:
                values["id_generated_here"] = 1
            sessions.transition(tx, self._role, session.session_key, now, state, start_response=response.body, **values)
            sessions.add_event(tx, self._role, key, now, state, response.body)
            if extra_write is not None:
                extra_write(tx)

        await self._services.store.write(job)

    def find(self, tx: Transaction, request: OperationRequest[Message]) -> Session:
        """Return the session that a later message speaks of.

        Raises Refusal 400 where it is unknown, was refused, or belongs to another party (boxes B2, B3).
        """
        session_id = getattr(request.message, "session_id", None)
        session = sessions.get(tx, self._role, session_id.key) if session_id is not None else None
        if session is None or session.state in REFUSED_STATES or not session.peer:
            raise Refusal(SESSION_INVALID, f"SessionID {session_id} is not a session of this node")
        self._check_parties(session, request)
        return session

    def begin_stop(self, tx: Transaction, request: OperationRequest[Message]) -> Session:
        """Return the session that a stop speaks of, and note the request in its story; raises Refusal 400."""
        session = self.find(tx, request)
        if session.state not in STOPPABLE_STATES or cdrs.exists(tx, self._role, session.session_key):
            raise Refusal(SESSION_INVALID, f"session {session.session_id} is {session.state}: nothing is to be stopped")
        event = f"{request.operation.name} requested"
        body = None if _contains_pin(request.message) else request.body
        sessions.add_event(tx, self._role, session.session_key, self._services.now(), event, body)
        return session

    def cached_stop_response(self, session: Session, request: OperationRequest[Message]) -> OperationResponse | None:
        """Return the answer to the very same stop, if it was positive (box H4)."""
        if session.stop_response is not None and session.stop_digest == request.digest:
            return OperationResponse(session.stop_response)
        return None

    async def complete_stop(
        self, session: Session, request: OperationRequest[Message], response: OperationResponse
    ) -> OperationResponse:
        """Store a positive answer to a stop, which repetitions will get; return it."""
        now = self._services.now()

        def job(tx: Transaction) -> None:
            sessions.update(
                tx, self._role, session.session_key, now, stop_digest=request.digest, stop_response=response.body
            )
            sessions.add_event(
                tx, self._role, session.session_key, now, f"{request.operation.name} accepted", response.body
            )

        await self._services.store.write(job)
        return response

    def _check_parties(self, session: Session, request: OperationRequest[Message]) -> None:
        """Let only the other side of the session speak of it, or the party of ours that opened it."""
        refusal = Refusal(SESSION_INVALID, f"SessionID {session.session_id} is a session of other parties")
        if request.peer is not None and not request.peer.is_self and request.peer.name != session.peer:
            raise refusal
        # The opener named itself; the other side is known by its EvseID or EvcoID only, perhaps a sub-partner's.
        opener_field, opener_key = (
            ("operator_id", session.operator_key)
            if session.kind == AUTHORIZE
            else ("provider_id", session.provider_key)
        )
        claimed_party = getattr(request.message, opener_field, None)
        if claimed_party is None or claimed_party.key == opener_key:
            return
        # A notification has no sender in its path: its OperatorID may be the sub-operator that the EVSE belongs to.
        sender = request.peer
        if request.sender_id is None and sender is not None and sender.handles_party(claimed_party):
            return
        raise refusal


def _cached_response(existing: Session, draft: Session) -> OperationResponse | None:
    """Return the answer that the same request got before, if it got one; raises Refusal 400 for another request."""
    if existing.request_digest != draft.request_digest:
        raise Refusal(SESSION_INVALID, f"SessionID {draft.session_id} belongs to another process")
    return OperationResponse(existing.start_response) if existing.start_response else None


def _operator(members: Mapping[str, Any]) -> Identifier | None:
    """Return the operator that a message's members name."""
    evse_id: EvseID | None = members.get("evse_id")
    return members.get("operator_id") or (evse_id.operator if evse_id is not None else None)


def _key_and_text(party: Identifier | None) -> tuple[str, str]:
    return (party.key, party.text) if party is not None else ("", "")


def _contains_pin(message: Message) -> bool:
    """Whether a message must not be stored: a PIN is kept as a hash only (EMP-02, PIN security)."""
    identification = getattr(message, "identification", None)
    return identification is not None and identification.qr_code is not None and bool(identification.qr_code.pin)


def _is_idempotent(request: OperationRequest[Message]) -> bool:
    """Whether a second request with the same bytes is a repetition: it must carry an id of the process.

    Without one, the same card held twice to the same station is two processes.
    """
    members = vars(request.message)
    return bool(
        members.get("session_id") or members.get("cpo_partner_session_id") or members.get("emp_partner_session_id")
    )


def _idempotency_key(request: OperationRequest[Message]) -> Hashable | None:
    """Return what repetitions of a request have in common, None where a second one is a process of its own."""
    return (request.operation.name, request.sender_id, request.digest) if _is_idempotent(request) else None


_NOT_FOUND = 404


class SessionStatusService:
    """Answers ``GET /p2p/v1/sessions/{SessionID}``."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def get_status(self, session_id: SessionID, peer: Peer, our_role: str) -> OperationResponse:
        """Tell ``peer`` the state of a session with it; raises Refusal 400 for any other, known or not."""
        rows = self._services.store.query_inline(sessions.GET, role_=our_role, key_=session_id.key)
        session = next(iter(sessions.from_rows(rows)), None)
        if session is None or session.peer != peer.name:
            info = f"SessionID {session_id} is no session between {peer.name} and this node"
            raise Refusal(SESSION_INVALID, info, http_status=_NOT_FOUND)
        members = {"state": session.state, "EvseKey": session.evse_key, **SessionIds.from_session(session).members()}
        return OperationResponse(orjson.dumps(members))
