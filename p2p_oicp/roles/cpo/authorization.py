"""Who is this driver, without asking anybody: the authentication data that EMPs push.

Asking several EMPs at once: the first ``Authorized`` wins, a silent one costs nothing but its own deadline.

AuthorizeStart for our own backend: what the clearing house does between a CPO and the EMPs.

Who decides, in this order (CPO-02, eRoamingAuthorizeStart): (1) the authentication data that an EMP has pushed to us,
(2) the provider of the EvcoID, (3) for a card, the peer that said yes to it last time, (4) all EMPs under contract.

AuthorizeStop for our own backend: the EMP of the session says who may stop it, or, offline, the medium does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from p2p_oicp.errors import PeerError, Refusal
from p2p_oicp.oicp import (
    AuthorizationStart,
    AuthorizationStatus,
    AuthorizationStop,
    AuthorizeStart,
    AuthorizeStop,
    Identification,
    Message,
    ProviderID,
    SessionID,
)
from p2p_oicp.oicp.common import rejection_code, token_key, token_keys
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.peers import Peer
from p2p_oicp.peers.routing import route_by_identification, route_by_session
from p2p_oicp.roles.context import OperationRequest, OperationResponse, Services
from p2p_oicp.roles.responses import SessionIds, authorized_response, not_authorized_response, refusal_response
from p2p_oicp.roles.sessions import AUTHORIZE, SessionService, StartResult, valid_session_id
from p2p_oicp.storage import Transaction, tokens
from p2p_oicp.storage.sessions import Session, SessionState
from p2p_oicp.storage.tokens import AuthenticationMatch

#: The source of the data that our own EMP pushed.
OWN = ""


async def find_authorization(
    services: Services, identification: Identification, source: str | None = None
) -> AuthenticationMatch | None:
    """Return what the data of ``source`` (a peer's name; None: of everybody) says of an identification, if anything."""
    removed_peers = services.removed_peers.names()
    return await tokens.find_match(
        services.store, identification, services.now(), source=source, excluded_sources=removed_peers
    )


@dataclass(frozen=True, slots=True)
class Denied:
    """Why one peer did not say yes; ``code`` is its own OICP code, None where it did not answer."""

    peer: Peer
    reason: str
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Granted:
    """The yes of one peer."""

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
    """Ask all ``peers`` side by side; return the first yes and cancel the others, or why there was none.

    A ``favourite`` among them is asked alone at first: the others when it says no, or after ``head_start`` seconds.
    """
    if len(peers) == 1:  # nobody to wait for beside it
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
    """The peers being asked; an async context manager that cancels those whose answer is not waited for."""

    def __init__(self, send: SendAuthorizeStart) -> None:
        self._send = send
        self._pending: set[asyncio.Task[Granted | Denied]] = set()
        self.denials: list[Denied] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._pending:
            task.cancel()
        await asyncio.gather(*self._pending, return_exceptions=True)

    def start(self, peers: Sequence[Peer]) -> None:
        self._pending |= {asyncio.create_task(_request_one(peer, self._send)) for peer in peers}

    async def wait_for_grant(self, timeout_seconds: float | None) -> Granted | None:
        """Return the first yes; None when all have answered or the time is over."""
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
        return Denied(peer, error.reason)
    if isinstance(reply, AuthorizationStart) and reply.authorization_status == AuthorizationStatus.AUTHORIZED:
        return Granted(peer, reply)
    status = getattr(reply, "status_code", None)
    code = str(status.code) if status is not None else None
    return Denied(peer, f"{code} {getattr(status, 'description', None) or ''}".strip(), code)


def summarize_denials(denials: list[Denied]) -> tuple[str, str]:
    """Return the code and the AdditionalInfo for the backend: 106, or an EMP's own code when it is the only one."""
    if not denials:
        return "106", "no EMP peer is under contract for AuthorizeStart"
    info = "; ".join(
        f"{denial.peer.name}: {denial.reason}" for denial in sorted(denials, key=lambda item: item.peer.name)
    )
    with_code = [denial for denial in denials if denial.code is not None]
    if len(with_code) == 1 and with_code[0].code not in (None, "000"):
        return str(with_code[0].code), info
    return "106", info


_START = OPERATION_BY_NAME["AuthorizeStart"]
_ROLE = "cpo"


class CpoAuthorizationHandler:
    """The CPO side of starting at the station."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._session_service = SessionService(_ROLE, services)

    async def authorize_start(self, request: OperationRequest[AuthorizeStart]) -> OperationResponse:
        """Find out whether a driver may charge; a request that is repeated gets the first answer again."""
        return await self._session_service.deduplicate(request, lambda: self._start(request))

    async def _start(self, request: OperationRequest[AuthorizeStart]) -> OperationResponse:
        """Name and store the session before anything is sent, and the outcome before it is answered."""
        draft = self._session_service.new_session(request, AUTHORIZE, peer_name="")
        uid = request.message.identification.uid
        start_result = await self._session_service.begin_start(
            request, draft, lambda tx: tokens.preferred_peer(tx, uid.key) if uid else None
        )
        if start_result.response is not None:
            return start_result.response
        try:
            return await self._authorize_from_dataset(request, start_result.session) or await self._authorize_by_peers(
                request, start_result
            )
        except Refusal as error:
            response = refusal_response(_START, error, _backend_ids(start_result.session))
            await self._session_service.complete_start(start_result.session, SessionState.REFUSED, response)
            return response

    async def _authorize_from_dataset(
        self, request: OperationRequest[AuthorizeStart], session: Session
    ) -> OperationResponse | None:
        """Authorize with pushed data; what it refuses is the EMP's to refuse, for our copy may be old."""
        match = await find_authorization(self._services, request.message.identification)
        peer = self._services.registry.by_name(match.source) if match else None
        if match is None or match.refusal_code or peer is None or not peer.serves(_START.name):
            return None
        provider = match.provider_id
        response = authorized_response(provider.text, SessionIds.from_session(session))
        await self._session_service.complete_start(
            session,
            SessionState.AUTHORIZED,
            response,
            peer=peer.name,
            provider_key=provider.key,
            provider_id=provider.text,
            offline=1,
        )
        return response

    async def _authorize_by_peers(
        self, request: OperationRequest[AuthorizeStart], start_result: StartResult[str | None]
    ) -> OperationResponse:
        route = route_by_identification(request.message.identification, _START, self._services.registry)
        preferred_peer = next((peer for peer in route.peers if peer.name == start_result.looked_up), None)
        body = request.message.to_json_with(session_id=SessionID(start_result.session.session_id))
        deadline = self._services.authorization_deadline

        async def send(peer: Peer) -> Message:
            reply = await self._services.peers.call(peer, _START, request.sender_id, body, deadline=deadline)
            return reply.message

        outcome = await first_granted(route.peers, send, preferred_peer=preferred_peer, preferred_timeout=deadline / 2)
        if isinstance(outcome, Granted):
            return await self._complete_granted(request.message, start_result, outcome)
        return await self._complete_denied(start_result.session, outcome)

    async def _complete_granted(
        self, message: AuthorizeStart, start_result: StartResult[str | None], granted: Granted
    ) -> OperationResponse:
        session = start_result.session
        response_ids = _response_ids(session, granted)

        def store_preferred_peer(tx: Transaction) -> None:
            uid = message.identification.uid
            if uid is not None and start_result.looked_up != granted.peer.name:
                tokens.set_preferred_peer(tx, uid.key, granted.peer.name, self._services.now())

        response = OperationResponse(
            _with_ids(
                granted.reply, response_ids._asdict() | {"cpo_partner_session_id": session.cpo_partner_session_id}
            )
        )
        await self._session_service.complete_start(
            session,
            SessionState.AUTHORIZED,
            response,
            store_preferred_peer,
            session_key=response_ids.session_id.key,
            session_id=response_ids.session_id.text,
            peer=granted.peer.name,
            provider_key=response_ids.provider_id.key if response_ids.provider_id else "",
            provider_id=response_ids.provider_id.text if response_ids.provider_id else "",
            emp_partner_session_id=response_ids.emp_partner_session_id,
            stop_identification_keys=token_keys(granted.reply.authorization_stop_identifications),
        )
        return response

    async def _complete_denied(self, session: Session, denials: list[Denied]) -> OperationResponse:
        code, info = summarize_denials(denials)
        response = not_authorized_response(code, info, _backend_ids(session))
        await self._session_service.complete_start(session, SessionState.REFUSED, response)
        return response


class _ResponseIds(NamedTuple):
    """The ids that our backend is told with the EMP's answer."""

    session_id: SessionID
    provider_id: ProviderID | None
    emp_partner_session_id: str | None


def _response_ids(session: Session, granted: Granted) -> _ResponseIds:
    """Complete what the EMP left out; it may give the session an id of its own."""
    return _ResponseIds(
        valid_session_id(granted.reply.session_id) or SessionID(session.session_id),
        granted.reply.provider_id or (granted.peer.providers[0] if granted.peer.providers else None),
        granted.reply.emp_partner_session_id or session.emp_partner_session_id,
    )


def _with_ids(reply: AuthorizationStart, ids: dict[str, object]) -> bytes:
    """Return the EMP's answer with these ids, just as it came where it has them all: a whole answer of a node."""
    members = vars(reply)
    is_complete = all(members.get(name) == value for name, value in ids.items())
    return reply.to_json() if is_complete else reply.to_json_with(**ids)


def _backend_ids(session: Session) -> SessionIds:
    """Return the backend's own ids only: a refused start has no session (box B2)."""
    return SessionIds(None, session.cpo_partner_session_id, session.emp_partner_session_id)


_STOP = OPERATION_BY_NAME["AuthorizeStop"]
_NO_RESPONSE = "310"


class CpoStopHandler:
    """The CPO side of stopping at the station."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._session_service = SessionService(_ROLE, services)

    async def authorize_stop(self, request: OperationRequest[AuthorizeStop]) -> OperationResponse:
        """Find out whether a driver may stop; every refusal is an AuthorizationStop (CPO-02, eRoamingAuthorizeStop)."""
        return await self._session_service.deduplicate(request, lambda: self._stop(request))

    async def _stop(self, request: OperationRequest[AuthorizeStop]) -> OperationResponse:
        session = await self._services.store.write(lambda tx: self._session_service.begin_stop(tx, request))
        cached = self._session_service.cached_stop_response(session, request)
        if cached is not None:
            return cached
        if session.offline:
            await self._check_same_token(session, request.message)
            response = authorized_response(session.provider_id, SessionIds.from_session(session))
            return await self._session_service.complete_stop(session, request, response)
        reply = await self._forward_stop(session, request)
        response = OperationResponse(reply.to_json())
        if reply.authorization_status != AuthorizationStatus.AUTHORIZED:
            return response
        return await self._session_service.complete_stop(session, request, response)

    async def _forward_stop(
        self, session: Session, request: OperationRequest[AuthorizeStop]
    ) -> AuthorizationStop | AuthorizationStart:
        peer = route_by_session(session.peer, _STOP, self._services.registry).peers[0]
        try:
            reply = await self._services.peers.call(
                peer, _STOP, request.sender_id, request.body, deadline=self._services.authorization_deadline
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

    async def _check_same_token(self, session: Session, message: AuthorizeStop) -> None:
        """Let the medium that started an offline session stop it, or one that the EMP named; raises 101, 102 or 105."""
        requested_key = token_key(message.identification)
        if requested_key not in {session.identification_key, *session.stop_identification_keys.split()}:
            raise Refusal(
                rejection_code(requested_key), "this session was started with another medium, which has to stop it"
            )
        if message.identification.qr_code is None:
            return
        # Without pushed data any more, the medium alone has to do: the driver must not be left with a locked cable.
        match = await find_authorization(self._services, message.identification, session.peer)
        if match is not None and match.refusal_code:
            raise Refusal(match.refusal_code, match.reason)
