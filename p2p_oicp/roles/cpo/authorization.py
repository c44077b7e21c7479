"""AuthorizeStart of our own backend: what the clearing house does between a CPO and the EMPs.

Who authorizes, in this order (CPO-02, eRoamingAuthorizeStart):

1. the authentication data that an EMP has pushed to this node (offline: no request is sent),
2. the provider of the EvcoID,
3. for an RFID card, first the peer that authorized it last time,
4. all EMP peers under contract at once; the first ``Authorized`` wins.

AuthorizeStart asks before it stores anything. Duplicates, a SessionID in use and the preferred peer are looked up
without waiting for the disk; the outcome, the exchanges that prove it and the preferred peer are one transaction, and
only then the backend gets the response. A crash in between leaves a session at the EMP's node, which expires there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import msgspec
from msgspec.structs import replace

from p2p_oicp.concurrency import spawn
from p2p_oicp.crypto.exchange import PreparedExchange
from p2p_oicp.errors import PeerError, Refusal
from p2p_oicp.oicp import (
    AuthorizationStart,
    AuthorizationStatus,
    AuthorizeStart,
    Message,
    ProviderID,
    SessionID,
    StatusCodeValue,
)
from p2p_oicp.oicp.common import token_keys
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.peers import Peer
from p2p_oicp.peers.routing import route_by_identification
from p2p_oicp.roles.context import OperationRequest, OperationResponse, Services
from p2p_oicp.roles.responses import (
    SessionIds,
    answering_provider,
    authorized_response,
    has_arrived,
    not_authorized_response,
    refusal_response,
    valid_session_id,
)
from p2p_oicp.roles.sessions import (
    AUTHORIZE,
    SessionService,
    check_id_is_unused,
    find_start,
    idempotency_key,
    opening_body,
    record_decided_start,
)
from p2p_oicp.storage import Transaction, job_keys, sessions, starts, tokens
from p2p_oicp.storage.sessions import Session, SessionState
from p2p_oicp.storage.starts import StartFacts

_START = OPERATION_BY_NAME["AuthorizeStart"]


@dataclass(frozen=True, slots=True)
class Denied:
    """Why one peer did not authorize; ``code`` is its own OICP code, None if it did not answer.

    ``has_arrived``: False where the request certainly did not arrive, so that the refusal is not remembered (L5).
    """

    peer: Peer
    reason: str
    code: str | None = None
    has_arrived: bool = True


@dataclass(frozen=True, slots=True)
class Granted:
    """The authorization by one peer."""

    peer: Peer
    reply: AuthorizationStart


SendAuthorizeStart = Callable[[Peer], Awaitable[Message]]


async def first_granted(
    peers: Sequence[Peer],
    send: SendAuthorizeStart,
    *,
    preferred_peer: Peer | None = None,
    preferred_timeout: float = 0.0,
) -> Granted | list[Denied]:
    """Ask all ``peers`` at once; return the first grant and cancel the others, or why there was none.

    Args:
        peers: whom to ask.
        send: sends the request to one peer; raises PeerError.
        preferred_peer: one of them, asked alone at first.
        preferred_timeout: seconds after which the others are asked as well; they are asked at once if it denies.
    """
    if len(peers) == 1:
        # Needs no task: nothing runs beside it.
        outcome = await _request_one(peers[0], send)
        return outcome if isinstance(outcome, Granted) else [outcome]
    async with _Broadcast(send) as broadcast:
        if preferred_peer is not None:
            broadcast.start([preferred_peer])
            granted = await broadcast.wait_for_grant(preferred_timeout)
            if granted is not None:
                return granted
        broadcast.start([peer for peer in peers if peer is not preferred_peer])
        return await broadcast.wait_for_grant(None) or broadcast.denials


class _Broadcast:
    """The requests under way; an async context manager that cancels those whose response is not needed any more."""

    def __init__(self, send: SendAuthorizeStart) -> None:
        self._send = send
        self._pending: set[asyncio.Task[Granted | Denied]] = set()
        self.denials: list[Denied] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        # Cancelled and awaited: no request outlives the response to the backend.
        for task in self._pending:
            task.cancel()
        await asyncio.gather(*self._pending, return_exceptions=True)

    def start(self, peers: Sequence[Peer]) -> None:
        self._pending |= {spawn(_request_one(peer, self._send), name=f"authorize at {peer.name}") for peer in peers}

    async def wait_for_grant(self, timeout_seconds: float | None) -> Granted | None:
        """Return the first grant; None when all have answered or the time is over."""
        while self._pending:
            done, self._pending = await asyncio.wait(
                self._pending, return_when=asyncio.FIRST_COMPLETED, timeout=timeout_seconds
            )
            if not done:
                return None
            for outcome in [task.result() for task in done]:
                if isinstance(outcome, Granted):
                    return outcome
                self.denials.append(outcome)
        return None


async def _request_one(peer: Peer, send: SendAuthorizeStart) -> Granted | Denied:
    try:
        reply = await send(peer)
    except PeerError as error:
        return Denied(peer, error.reason, has_arrived=has_arrived(error))
    if isinstance(reply, AuthorizationStart) and reply.authorization_status == AuthorizationStatus.AUTHORIZED:
        return Granted(peer, reply)
    status = getattr(reply, "status_code", None)
    code = str(status.code) if status is not None else None
    return Denied(peer, f"{code} {getattr(status, 'description', None) or ''}".strip(), code)


def summarize_denials(denials: list[Denied]) -> tuple[str, str]:
    """Return the code and the AdditionalInfo for the backend: 106, or an EMP's own code if it is the only one."""
    no_positive_answer = StatusCodeValue.NO_POSITIVE_AUTHENTICATION
    if not denials:
        return no_positive_answer, "no EMP peer is under contract for AuthorizeStart"
    by_name = sorted(denials, key=lambda denial: denial.peer.name)
    info = "; ".join(f"{denial.peer.name}: {denial.reason}" for denial in by_name)
    codes = [denial.code for denial in denials if denial.code is not None]
    # A denial with 000 contradicts itself (L1).
    is_only_one = len(codes) == 1 and codes[0] != StatusCodeValue.SUCCESS
    return codes[0] if is_only_one else no_positive_answer, info


class _Decision(msgspec.Struct, frozen=True):
    """How an AuthorizeStart ends.

    Attributes:
        session: as it is to be stored.
        response: what the backend gets.
        preferred_peer: the UID and the peer that has authorized it, where the store names another peer or none.
    """

    session: Session
    response: OperationResponse
    preferred_peer: tuple[str, str] | None = None


class CpoAuthorizationHandler:
    """AuthorizeStart of our own backend."""

    def __init__(self, services: Services, session_service: SessionService) -> None:
        self._services = services
        self._session_service = session_service

    async def authorize_start(self, request: OperationRequest[AuthorizeStart]) -> OperationResponse:
        """Authorize a driver (CPO-02, eRoamingAuthorizeStart); a duplicate gets the first response."""
        return await self._session_service.deduplicate(request, lambda: self._start(request))

    async def _start(self, request: OperationRequest[AuthorizeStart]) -> OperationResponse:
        # Order: nothing is written before the peers are asked, because the driver waits for each commit (fsync). What a
        # crash in between loses is an authorization that the backend has not got.
        draft = self._session_service.new_session(request, AUTHORIZE, peer_id="")
        facts = await self._look_up(request, draft)
        key = idempotency_key(request)
        earlier = await find_start(self._services.store, draft, key=key) if facts.is_known else None
        if earlier is not None and earlier.response is not None:
            return earlier.response
        with self._session_service.starting(draft.session_key):
            # Recorded even if the outcome is a refusal: a peer's signed authorization is evidence all the same.
            exchanges: list[PreparedExchange] = []
            try:
                decision = await self._decide(request, draft, facts, exchanges)
                return await self._commit(draft, decision, exchanges)
            except Refusal as refusal:
                ids = SessionIds.from_session(draft).without_session()
                decision = self._denied(draft, refusal_response(_START, refusal, ids))
            return await self._commit(draft, decision, exchanges)

    def _look_up(self, request: OperationRequest[AuthorizeStart], draft: Session) -> Awaitable[StartFacts]:
        identification = request.message.identification
        uid, evco_id = identification.uid, identification.evco_id
        return starts.look_up(
            self._services.store,
            draft.role,
            digest=draft.request_digest if idempotency_key(request) else None,
            since=draft.created_at - sessions.IDEMPOTENCY_WINDOW_SECONDS,
            session_key=None if draft.id_generated_here else draft.session_key,
            uid=uid.key if uid is not None else None,
            evco_id=evco_id.key if evco_id is not None else None,
        )

    async def _decide(
        self,
        request: OperationRequest[AuthorizeStart],
        draft: Session,
        facts: StartFacts,
        exchanges: list[PreparedExchange],
    ) -> _Decision:
        """Return the outcome, and add the evidence of the peers' replies to ``exchanges``."""
        # A PIN is counted even where no data of its contract is here.
        may_match = facts.has_authentication_data or request.message.identification.qr_code is not None
        offline = await self._authorize_from_dataset(request, draft) if may_match else None
        return offline or await self._authorize_by_peers(request, draft, facts.preferred_peer, exchanges)

    async def _authorize_from_dataset(
        self, request: OperationRequest[AuthorizeStart], draft: Session
    ) -> _Decision | None:
        try:
            match = await self._services.find_authorization(request.message.identification)
        except Refusal:
            match = None  # too many wrong PINs: the EMP, which counts them too, decides
        peer = self._services.registry.by_source(match.source) if match else None
        # Only a match that authorizes counts: a refusal is the EMP's to give, because this copy may be old.
        if match is None or match.refusal_code or peer is None or not peer.serves(_START.name):
            return None
        response = authorized_response(match.provider_id.text, SessionIds.from_session(draft))
        session = replace(
            draft,
            state=SessionState.AUTHORIZED,
            updated_at=self._services.now(),
            start_response=response.body,
            peer=peer.id,
            provider_key=match.provider_id.key,
            provider_id=match.provider_id.text,
            offline=1,
        )
        return _Decision(session, response)

    async def _authorize_by_peers(
        self,
        request: OperationRequest[AuthorizeStart],
        draft: Session,
        preferred_id: str | None,
        exchanges: list[PreparedExchange],
    ) -> _Decision:
        route = route_by_identification(request.message.identification, _START, self._services.registry)
        uid = request.message.identification.uid
        preferred_peer = next((peer for peer in route.peers if peer.id == preferred_id), None)
        # The same SessionID for all peers: of several grants the first counts, and the other sessions expire.
        bodies = {peer.is_hub: opening_body(request.message, draft, peer) for peer in route.peers}
        deadline = self._services.deadlines.authorize

        async def send(peer: Peer) -> Message:
            try:
                reply = await self._services.peers.call(
                    peer, _START, request.sender_id, bodies[peer.is_hub], deadline=deadline
                )
            except PeerError as error:
                exchanges.extend([error.exchange] if error.exchange is not None else [])
                raise
            exchanges.extend([reply.exchange] if reply.exchange is not None else [])
            return reply.message

        # Half of the deadline for the preferred peer: the others must still have time to answer.
        outcome = await first_granted(route.peers, send, preferred_peer=preferred_peer, preferred_timeout=deadline / 2)
        if isinstance(outcome, Granted):
            is_new_route = uid is not None and outcome.peer.id != preferred_id
            route_to_keep = (uid.key, outcome.peer.id) if uid and is_new_route else None
            return self._granted(draft, outcome, route_to_keep, request.message.identification.provider)
        code, info = summarize_denials(outcome)
        response = not_authorized_response(code, info, SessionIds.from_session(draft).without_session())
        is_remembered = not outcome or any(denial.has_arrived for denial in outcome)
        return self._denied(draft if is_remembered else replace(draft, request_digest=b""), response)

    def _granted(
        self, draft: Session, granted: Granted, preferred_peer: tuple[str, str] | None, named: ProviderID | None
    ) -> _Decision:
        """Complete what the EMP left out; it may give the session an id of its own.

        ``named`` is the provider of the identification.
        """
        reply = granted.reply
        session_id = valid_session_id(reply.session_id) or SessionID(draft.session_id)
        # Some implementations leave the ProviderID out, and the backend has to know whom to bill.
        own = named if named and granted.peer.handles_party(named) else next(iter(granted.peer.providers), None)
        provider = answering_provider(granted.peer, reply.provider_id, own, draft.session_id)
        emp_partner_session_id = reply.emp_partner_session_id or draft.emp_partner_session_id
        ids = {
            "session_id": session_id,
            "provider_id": provider,
            "emp_partner_session_id": emp_partner_session_id,
            "cpo_partner_session_id": draft.cpo_partner_session_id,
        }
        response = OperationResponse(_with_members(reply, ids))
        session = replace(
            draft,
            state=SessionState.AUTHORIZED,
            updated_at=self._services.now(),
            start_response=response.body,
            session_key=session_id.key,
            session_id=session_id.text,
            # A duplicate of the request does not carry the responder's id: it is found by its digest.
            id_generated_here=draft.id_generated_here or int(session_id.key != draft.session_key),
            peer=granted.peer.id,
            provider_key=provider.key if provider else "",
            provider_id=provider.text if provider else "",
            emp_partner_session_id=emp_partner_session_id,
            stop_identification_keys=token_keys(reply.authorization_stop_identifications),
        )
        return _Decision(session, response, preferred_peer)

    def _denied(self, draft: Session, response: OperationResponse) -> _Decision:
        now = self._services.now()
        return _Decision(
            replace(draft, state=SessionState.REFUSED, updated_at=now, start_response=response.body), response
        )

    async def _commit(
        self, draft: Session, decision: _Decision, exchanges: Sequence[PreparedExchange]
    ) -> OperationResponse:
        """Store outcome, evidence and preferred peer in one transaction; return the response.

        Raises Refusal 400 if the responder's own SessionID is in use, StoreError if nothing could be stored.
        """
        session, now = decision.session, self._services.now()
        is_renamed = session.session_key != draft.session_key

        def job(tx: Transaction) -> OperationResponse:
            check_id_is_unused(tx, draft, session.session_key)
            # Without a key: the single flight admits no duplicate that could have been stored since `find_start`.
            response = record_decided_start(tx, session, decision.response, key=None)
            sessions.add_event(tx, session.role, session.session_key, now, session.state, response.body)
            if is_renamed:  # the partner may know it by the id that it had here, too (RULES L26)
                sessions.add_alias(tx, session.role, draft.session_key, session.session_key)
            for exchange in exchanges:
                self._services.recorder.insert(tx, exchange)
            if decision.preferred_peer is not None:
                tokens.set_preferred_peer(tx, *decision.preferred_peer, now)
            return response

        about = tuple(job_keys.session_of(draft.role, key) for key in (draft.session_key, session.session_key))
        with self._session_service.starting(session.session_key) if is_renamed else contextlib.nullcontext():
            return await self._services.store.write(job, about=about)


def _with_members(reply: AuthorizationStart, values: Mapping[str, object]) -> bytes:
    """Return the reply with these members; its own bytes if it has them all, as a whole reply of a node does."""
    members = vars(reply)
    is_complete = all(members.get(name) == value for name, value in values.items())
    return reply.to_json() if is_complete else reply.to_json_with(**values)
