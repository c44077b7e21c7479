"""Remote starts, stops and reservations of our own backend (a driver's app), as the clearing house serves them.

A start whose response never came leaves an *uncertain* session: the car may be charging, so its notifications and its
CDR are accepted. `UncertainSessionResolver` asks the CPO's node for its state until the node says it, a notification or
the CDR says it, or the session expires. A peer that is no node never says; then the CDR does.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import structlog
from msgspec.structs import replace

from p2p_oicp.client import OicpReply
from p2p_oicp.concurrency import periodic
from p2p_oicp.crypto.exchange import PreparedExchange
from p2p_oicp.delivery import NodeClient, SessionStatus
from p2p_oicp.delivery.node_protocol import UNKNOWN
from p2p_oicp.delivery.wakeup import Wakeup
from p2p_oicp.errors import PeerError, Refusal
from p2p_oicp.oicp import (
    Acknowledgement,
    AuthorizeRemoteReservationStart,
    AuthorizeRemoteReservationStop,
    AuthorizeRemoteStart,
    AuthorizeRemoteStop,
    ProviderID,
    SessionID,
    StatusCodeValue,
)
from p2p_oicp.oicp.operations import Party
from p2p_oicp.peers import Peer
from p2p_oicp.peers.routing import route_by_evse, route_by_session
from p2p_oicp.roles.context import OperationRequest, OperationResponse, Services
from p2p_oicp.roles.datasets.handlers import check_evse_known
from p2p_oicp.roles.responses import (
    SessionIds,
    acknowledgement_response,
    has_arrived,
    start_failure,
    state_after_answer,
)
from p2p_oicp.roles.sessions import (
    REMOTE,
    RESERVATION,
    SessionService,
    begin_start,
    idempotency_key,
    valid_session_id,
)
from p2p_oicp.roles.stops import StopReply, StopService
from p2p_oicp.storage import Transaction, sessions
from p2p_oicp.storage.epochs import Gap
from p2p_oicp.storage.sessions import Session, SessionState

log = structlog.get_logger(__name__)

_ROLE = "emp"
# No client waits longer than a minute for a response (RULES D58): what has not arrived by then never will.
_MAX_IN_FLIGHT_SECONDS = 180.0
# Our state by the state at the CPO's node. "settled" there is "ended" here until the CDR has come.
_STATE_BY_CPO_STATE: Final = {
    "authorized": SessionState.AUTHORIZED,
    "charging": SessionState.CHARGING,
    "ended": SessionState.ENDED,
    "settled": SessionState.ENDED,
    "refused": SessionState.REFUSED,
}

RemoteStart: TypeAlias = AuthorizeRemoteStart | AuthorizeRemoteReservationStart
RemoteStop: TypeAlias = AuthorizeRemoteStop | AuthorizeRemoteReservationStop


class EmpRemoteHandler:
    """Remote control of CPO peers' EVSEs: one attempt, within the operation's deadline (H2)."""

    def __init__(self, services: Services, session_service: SessionService, resolver: UncertainSessionResolver) -> None:
        self._services = services
        self._session_service = session_service
        self._stops = StopService(services, session_service)
        self._resolver = resolver

    async def authorize_remote_start(self, request: OperationRequest[AuthorizeRemoteStart]) -> OperationResponse:
        """Start charging (EMP-02, eRoamingAuthorizeRemoteStart)."""
        return await self._session_service.deduplicate(request, lambda: self._start(request, REMOTE))

    async def authorize_remote_reservation_start(
        self, request: OperationRequest[AuthorizeRemoteReservationStart]
    ) -> OperationResponse:
        """Reserve a charging spot (EMP-02, eRoamingAuthorizeRemoteReservationStart)."""
        return await self._session_service.deduplicate(request, lambda: self._start(request, RESERVATION))

    async def authorize_remote_stop(self, request: OperationRequest[AuthorizeRemoteStop]) -> OperationResponse:
        """Stop charging (EMP-02, eRoamingAuthorizeRemoteStop)."""
        return await self._stop(request)

    async def authorize_remote_reservation_stop(
        self, request: OperationRequest[AuthorizeRemoteReservationStop]
    ) -> OperationResponse:
        """End a reservation (EMP-02, eRoamingAuthorizeRemoteReservationStop)."""
        return await self._stop(request)

    async def _start(self, request: OperationRequest[RemoteStart], session_kind: str) -> OperationResponse:
        operation = request.operation
        peer = route_by_evse(request.message.evse_id, operation, self._services.registry).peers[0]
        # Order of refusals (RULES section 4): 300 and 210 by the route, then 603 and 604, and only then a session.
        await check_evse_known(self._services, request.message.evse_id)
        draft, key = self._session_service.new_session(request, session_kind, peer.id), idempotency_key(request)
        # Order: stored before the CPO is asked, because a car may be charging from then on.
        outcome = await self._services.store.write(lambda tx: begin_start(tx, draft, key=key))
        if outcome.response is not None:
            return outcome.response
        session = outcome.session
        if outcome.crashed_before_answer:
            return await self._after_crash(session, peer)
        body = request.message.to_json_with(session_id=SessionID(session.session_id))
        try:
            reply = await self._services.peers.call(
                peer, operation, request.sender_id, body, deadline=self._services.deadlines.remote
            )
        except PeerError as error:
            return await self._after_error(session, peer, error)
        return await self._after_reply(session, peer, reply)

    async def _after_crash(self, session: Session, peer: Peer) -> OperationResponse:
        """Never send a start again that may have arrived before this node went down (H2)."""
        info = "this node went down before the CPO answered; it is being asked"
        code = StatusCodeValue.PARTNER_DID_NOT_RESPOND
        response = acknowledgement_response(code, info, SessionIds.from_session(session))
        return await self._complete(session, peer, SessionState.UNCERTAIN, response)

    async def _after_error(self, session: Session, peer: Peer, error: PeerError) -> OperationResponse:
        code, state = start_failure(error, unreachable_code=StatusCodeValue.PARTNER_DID_NOT_RESPOND)
        ids = SessionIds.from_session(session)
        echoed_ids = ids.without_session() if state is SessionState.REFUSED else ids
        response = acknowledgement_response(code, f"the CPO did not answer: {error}", echoed_ids)
        return await self._complete(
            session, peer, state, response, exchange=error.exchange, is_remembered=has_arrived(error)
        )

    async def _after_reply(self, session: Session, peer: Peer, reply: OicpReply) -> OperationResponse:
        message = _acknowledgement(reply)
        state = state_after_answer(message)
        # The CPO's node may have given the session an id of its own, which then is the session's.
        session_id = valid_session_id(message.session_id) or SessionID(session.session_id)
        ids = replace(SessionIds.from_reply(message, session, Party.CPO), session_id=session_id.text)
        echoed_ids = ids.without_session() if state is SessionState.REFUSED else ids
        return await self._complete(
            session,
            peer,
            state,
            OperationResponse(message.to_json_with(**echoed_ids.attributes())),
            exchange=reply.exchange,
            session_key=session_id.key,
            session_id=session_id.text,
            cpo_partner_session_id=ids.cpo_partner_session_id,
        )

    async def _complete(
        self,
        session: Session,
        peer: Peer,
        state: SessionState,
        response: OperationResponse,
        *,
        exchange: PreparedExchange | None = None,
        is_remembered: bool = True,
        **columns: object,
    ) -> OperationResponse:
        await self._session_service.complete_start(
            session, state, response, exchange=exchange, is_remembered=is_remembered, **columns
        )
        if state is SessionState.UNCERTAIN:
            self._resolver.schedule(peer)
        return response

    async def _stop(self, request: OperationRequest[RemoteStop]) -> OperationResponse:
        async def explain_refusal() -> None:
            # Order of refusals (RULES section 4): 300, 210, 603, 604, and 400 for an unknown session last. The EVSE is
            # looked at only then: whatever this node's data says of it, a car that charges can be stopped.
            route_by_evse(request.message.evse_id, request.operation, self._services.registry)
            await check_evse_known(self._services, request.message.evse_id)

        return await self._stops.serve(
            request, lambda session: self._forward_stop(session, request), explain_refusal=explain_refusal
        )

    async def _forward_stop(self, session: Session, request: OperationRequest[RemoteStop]) -> StopReply:
        operation = request.operation
        peer = route_by_session(session.peer, operation, self._services.registry).peers[0]
        try:
            reply = await self._services.peers.call(
                peer, operation, request.sender_id, request.body, deadline=self._services.deadlines.remote
            )
        except PeerError as error:
            await self._services.recorder.record(error.exchange)
            code = start_failure(error, unreachable_code=StatusCodeValue.PARTNER_DID_NOT_RESPOND).code
            raise Refusal(code, f"the CPO of this session did not answer: {error}") from error
        message = _acknowledgement(reply)
        ids = SessionIds.from_reply(message, session, Party.CPO)
        response = OperationResponse(message.to_json_with(**ids.attributes()))
        return StopReply(response, message.result, reply.exchange)


def _acknowledgement(reply: OicpReply) -> Acknowledgement:
    """Return the reply's message, which the client has read as what the operations table says."""
    if not isinstance(reply.message, Acknowledgement):
        raise Refusal(StatusCodeValue.PARTNER_DID_NOT_RESPOND, "the CPO's answer is not an Acknowledgement")
    return reply.message


class UncertainSessionResolver:
    """Background worker: asks CPO nodes for the state of uncertain sessions.

    Args:
        services: of the node.
        nodes: sends ``GET /p2p/v1/sessions/{SessionID}``.
        interval: seconds between two rounds.
    """

    def __init__(self, services: Services, nodes: NodeClient, interval: float) -> None:
        self._services = services
        self._nodes = nodes
        self._interval = interval
        self._wakeup = Wakeup("uncertain sessions")

    def schedule(self, peer: Peer) -> None:
        """Start a round now: a session with ``peer`` has become uncertain."""
        log.info("session.uncertain", peer=peer.name)
        self._wakeup.set()

    async def run(self) -> None:
        await periodic("uncertain sessions", self._interval, self.resolve_all, wakeup=self._wakeup)

    async def resolve_all(self) -> int:
        """Ask once for each uncertain session; return how many still are."""
        rows = await self._services.store.query(sessions.UNCERTAIN, role_=_ROLE)
        unresolved = 0
        for session in sessions.from_rows(rows):
            unresolved += not await self._resolve(session)
        return unresolved

    async def _resolve(self, session: Session) -> bool:
        peer = self._services.registry.by_id(session.peer)
        if peer is None:
            return False  # removed; if it does not come back, the session expires
        try:
            status = await self._get_status(peer, session)
        except PeerError as error:
            log.info("remote_start.status_unknown", peer=peer.name, session_id=session.session_id, reason=error.reason)
            return False
        state = self._resolved_state(session, status)
        if state is not None:
            log.info("session.resolved", peer=peer.name, session_id=session.session_id, state=state)
            await self._services.store.write(lambda tx: self._apply(tx, session, state, status))
        return state is not None

    async def _get_status(self, peer: Peer, session: Session) -> SessionStatus:
        if peer.is_self:
            # Both roles in one node: the CPO's session is in the same store.
            known = sessions.get_now(self._services.store, "cpo", session.session_key)
            if known is None:
                return SessionStatus(UNKNOWN)
            return SessionStatus(known.state, cpo_partner_session_id=known.cpo_partner_session_id)
        return await self._nodes.get_status(peer, ProviderID(session.provider_id), SessionID(session.session_id))

    def _resolved_state(self, session: Session, status: SessionStatus) -> SessionState | None:
        if status.is_known:
            return _STATE_BY_CPO_STATE.get(status.state)
        # The CPO's node does not know the session. Before that time the start may still be on its way; and a node whose
        # database is newer than the session, or was restored, may have forgotten it (L1).
        never_arrived = self._services.now() - session.created_at > _MAX_IN_FLIGHT_SECONDS
        is_newer = status.store_created_at > session.created_at
        may_be_forgotten = is_newer or any(Gap(*gap).contains(session.created_at) for gap in status.gaps)
        return SessionState.REFUSED if never_arrived and not may_be_forgotten else None

    def _apply(self, tx: Transaction, session: Session, state: SessionState, status: SessionStatus) -> None:
        now = self._services.now()
        values: dict[str, object] = {}
        # A duplicate of the start now gets the acknowledgement that it would have got, not the 310 any more (H4).
        if state is not SessionState.REFUSED:
            ids = SessionIds(
                session.session_id,
                status.cpo_partner_session_id or session.cpo_partner_session_id,
                session.emp_partner_session_id,
            )
            values = {
                "cpo_partner_session_id": ids.cpo_partner_session_id,
                "start_response": acknowledgement_response(ids=ids).body,
            }
        sessions.transition(tx, _ROLE, session.session_key, now, state, **values)
        sessions.add_event(tx, _ROLE, session.session_key, now, f"the CPO's node says: {status.state}")
