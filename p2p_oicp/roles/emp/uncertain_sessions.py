"""What became of remote starts and stops whose answer did not come: the CPO's node is asked (DESIGN section 5).

`UncertainSessionResolver` asks for the state of an uncertain session until the CPO's node, a notification or the CDR
says it. The CSMS may answer late, and its answer then decides the session there: 180 s after the start it can be late
no more. A peer that is no node never says; then the CDR does. A stop without an answer is followed in the same way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Final

import msgspec
import structlog

from p2p_oicp.concurrency import periodic
from p2p_oicp.delivery import NodeClient, SessionStatus
from p2p_oicp.delivery.node_protocol import UNKNOWN
from p2p_oicp.delivery.wakeup import Wakeup
from p2p_oicp.errors import PeerError, PeerRejected
from p2p_oicp.oicp import Message, ProviderID, SessionID, StatusCodeValue
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import OperationRequest, Services
from p2p_oicp.roles.responses import SessionIds, acknowledgement_response
from p2p_oicp.storage import Transaction, job_keys, sessions
from p2p_oicp.storage.epochs import Gap
from p2p_oicp.storage.sessions import REFUSED_STATES, Session, SessionState

log = structlog.get_logger(__name__)

_ROLE = "emp"
# The 55 s of the request, and 120 s in which the CPO's node reads a late answer.
_MAX_IN_FLIGHT_SECONDS = 180.0
# Our state by the state at the CPO's node. "settled" there is "ended" here until the CDR has come.
_STATE_BY_CPO_STATE: Final = {
    "authorized": SessionState.AUTHORIZED,
    "charging": SessionState.CHARGING,
    "ended": SessionState.ENDED,
    "settled": SessionState.ENDED,
    "refused": SessionState.REFUSED,
}


class _UnansweredStop(msgspec.Struct, frozen=True):
    """A stop whose answer did not come; this is not stored, for notifications and the CDR say the same."""

    session: Session
    peer: Peer
    operation: str
    digest: bytes
    requested_at: float


class UncertainSessionResolver:
    """Background worker: asks CPO nodes for what became of uncertain sessions and unanswered stops.

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
        self._final: set[str] = set()  # sessions of which their peer has no more to say
        self._stops: list[_UnansweredStop] = []

    def schedule(self, peer: Peer) -> None:
        """Start a round now: a session with ``peer`` has become uncertain."""
        log.info("session.uncertain", peer=peer.name)
        self._wakeup.set()

    def follow_stop(self, session: Session, request: OperationRequest[Message], peer: Peer) -> None:
        """Ask whether a stop without an answer was accepted after all."""
        name = request.operation.name
        log.info("session.stop_uncertain", peer=peer.name, session_id=session.session_id, operation=name)
        if not (peer.is_node or peer.is_self):
            return
        self._stops.append(_UnansweredStop(session, peer, name, request.digest, self._services.now()))
        self._wakeup.set()

    async def run(self) -> None:
        await periodic("uncertain sessions", self._interval, self.resolve_all, wakeup=self._wakeup)

    async def resolve_all(self) -> int:
        """Ask once for each uncertain session; return how many still are."""
        found = sessions.from_rows(await self._services.store.query(sessions.UNCERTAIN, role_=_ROLE))
        self._final.intersection_update(session.session_key for session in found)
        by_peer: defaultdict[str, list[Session]] = defaultdict(list)
        for session in found:
            by_peer[session.peer].append(session)
        unresolved = 0
        for peer_id, waiting in by_peer.items():
            unresolved += await self._resolve_at(self._services.registry.by_id(peer_id), waiting)
        for stop in tuple(self._stops):
            if await self._resolve_stop(stop):
                self._stops.remove(stop)
        return unresolved

    async def _resolve_at(self, peer: Peer | None, waiting: Collection[Session]) -> int:
        """Ask a peer for its sessions; return how many are still uncertain."""
        if peer is None or not (peer.is_node or peer.is_self):
            return len(waiting)  # removed, or no node: if nothing more comes of them, they expire
        unresolved = len(waiting)
        for session in waiting:
            try:
                unresolved -= session.session_key not in self._final and await self._resolve(peer, session)
            except PeerRejected as error:
                log.info("remote_start.peer_is_no_node", peer=peer.name, reason=error.reason)
                if self._is_over(session.created_at):  # only its notifications and its CDR will say
                    self._final.add(session.session_key)
            except PeerError as error:
                # Nor does it answer for the others now, which would take as long.
                log.info("remote_start.status_unknown", peer=peer.name, reason=error.reason, sessions=unresolved)
                break
        return unresolved

    async def _resolve(self, peer: Peer, session: Session) -> bool:
        status = await self._get_status(peer, session)
        state = self._resolved_state(session, status)
        if state is not None:
            log.info("session.resolved", peer=peer.name, session_id=session.session_id, state=state)
            await self._services.store.write(
                lambda tx: self._apply(tx, session, state, status), about=job_keys.of_session(session)
            )
        elif status.is_known and self._is_over(session.created_at):
            self._final.add(session.session_key)
            event = f"the CPO's node says: {status.state}; no answer of its CSMS is awaited any more"
            log.warning("session.stays_uncertain", peer=peer.name, session_id=session.session_id)
            await self._add_event(session, event)
        return state is not None

    async def _resolve_stop(self, stop: _UnansweredStop) -> bool:
        """Return whether a stop has to be asked about no more."""
        if self._is_over(stop.requested_at):
            return True
        try:
            status = await self._get_status(stop.peer, stop.session)
        except PeerRejected:
            return True
        except PeerError:
            return False
        if status.is_known and status.stop_accepted:
            await self._services.store.write(
                lambda tx: self._apply_stop(tx, stop), about=job_keys.of_session(stop.session)
            )
        return not status.is_known or status.stop_accepted

    async def _get_status(self, peer: Peer, session: Session) -> SessionStatus:
        if peer.is_self:
            # Both roles in one node: the CPO's session is in the same store.
            known = await sessions.get_now(self._services.store, "cpo", session.session_key)
            if known is None:
                return SessionStatus(UNKNOWN)
            return SessionStatus(
                known.state,
                cpo_partner_session_id=known.cpo_partner_session_id,
                refusal_code=sessions.refusal_code(known),
                stop_accepted=known.stop_response is not None,
            )
        return await self._nodes.get_status(peer, ProviderID(session.provider_id), SessionID(session.session_id))

    def _resolved_state(self, session: Session, status: SessionStatus) -> SessionState | None:
        if status.is_known:
            return _STATE_BY_CPO_STATE.get(status.state)
        # The CPO's node does not know the session. Before that time the start may still be on its way; and a node whose
        # database is newer than the session, or was restored, may have forgotten it (L1).
        is_newer = status.store_created_at > session.created_at
        may_be_forgotten = is_newer or any(Gap(*gap).contains(session.created_at) for gap in status.gaps)
        return SessionState.REFUSED if self._is_over(session.created_at) and not may_be_forgotten else None

    def _is_over(self, since: float) -> bool:
        return self._services.now() - since > _MAX_IN_FLIGHT_SECONDS

    def _apply(self, tx: Transaction, session: Session, state: SessionState, status: SessionStatus) -> None:
        now, code = self._services.now(), status.refusal_code
        values: dict[str, object] = {}
        ids = SessionIds(
            session.session_id,
            status.cpo_partner_session_id or session.cpo_partner_session_id,
            session.emp_partner_session_id,
        )
        # A duplicate of the start now gets the acknowledgement that it would have got, not the 310 any more (H4).
        if state not in REFUSED_STATES:
            values = {
                "cpo_partner_session_id": ids.cpo_partner_session_id,
                "start_response": acknowledgement_response(ids=ids).body,
            }
        elif code:
            info = "the CPO's backend has refused the start, after its deadline"
            values = {"start_response": acknowledgement_response(code, info, ids.without_session()).body}
        sessions.transition(tx, _ROLE, session.session_key, now, state, **values)
        event = f"the CPO's node says: {status.state}{f' with {code}' if code else ''}"
        sessions.add_event(tx, _ROLE, session.session_key, now, event)

    def _apply_stop(self, tx: Transaction, stop: _UnansweredStop) -> None:
        """Store what a duplicate of the stop gets from now on (H4)."""
        now, key = self._services.now(), stop.session.session_key
        response = acknowledgement_response(StatusCodeValue.SUCCESS, None, SessionIds.from_session(stop.session))
        sessions.update(tx, _ROLE, key, now, stop_digest=stop.digest, stop_response=response.body)
        sessions.add_event(tx, _ROLE, key, now, f"the CPO's node says: {stop.operation} accepted")

    async def _add_event(self, session: Session, event: str) -> None:
        now = self._services.now()
        await self._services.store.write(
            lambda tx: sessions.add_event(tx, _ROLE, session.session_key, now, event),
            about=job_keys.of_session(session),
        )
