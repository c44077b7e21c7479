"""Messages of sessions that this node does not know, because its database was restored or lost.

Which of them are believed (DESIGN section 5, "After a restore"):

1. Only those of a session that began in a gap of our own, by a clock that may be wrong by an hour
   (`StoreEpochs.may_have_lost`). All others are refused with 400.
2. The other side is asked. If it knows the session, that is rebuilt from its answer, and it goes on. Where messages are
   signed, the answer must show a message of that session that this node has signed itself; or at the CPO's node, that
   the EMP has asked for it remotely.
3. If it cannot be asked, the sender is asked to send again (503), for an hour; then a CDR is stored *unconfirmed*,
   acknowledged, not delivered, and asked about again by `recovery.RecoveryJob`.
4. If it does not know the session either, because its database has lost that time too, the message is believed:
   *unconfirmed*, delivered once; if it began in our gap by a clock that is right, but for 5 minutes.
5. A peer that is no node gets the message from the CPO's node, and its answer decides.

Our own backend is never asked by sending it the message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import Enum, auto
from typing import NamedTuple

import msgspec
import structlog

from p2p_oicp.crypto.evidence_file import Evidence
from p2p_oicp.delivery.node_protocol import NodeClient, SessionStatus
from p2p_oicp.delivery.store_epochs import StoreEpochs
from p2p_oicp.errors import PeerError, PeerRejected, Refusal
from p2p_oicp.oicp import EvseID, Message, OperatorID, ProviderID, SessionID, StatusCodeValue
from p2p_oicp.peering.evidence_recorder import EvidenceService
from p2p_oicp.peers import Peer
from p2p_oicp.peers.models import PartyID
from p2p_oicp.roles.context import OperationRequest, Services
from p2p_oicp.storage import Transaction, epochs, evidence, job_keys, sessions
from p2p_oicp.storage.sessions import REFUSED_STATES, Session, SessionState

log = structlog.get_logger(__name__)

_RETRY_SECONDS = 3600.0
_SERVICE_UNAVAILABLE = 503
_OPENED_BY_EMP = frozenset({"remote", "reservation"})
_OPEN_STATES = frozenset(SessionState) - REFUSED_STATES
_STATES = {
    # The other side's "settled" is "ended" here until the CDR has come; its "requested" may have arrived or not.
    SessionState.SETTLED: SessionState.ENDED,
    SessionState.REQUESTED: SessionState.UNCERTAIN,
}


class Outcome(Enum):
    """What became of a message of an unknown session."""

    REFUSED = auto()
    OPENED = auto()
    HELD = auto()


class Claim(NamedTuple):
    """What a peer says of a session, and the evidence that it shows, verified; None if that is none."""

    peer: Peer
    status: SessionStatus
    evidence: Evidence | None


class _Answer(NamedTuple):
    """The answer of one peer; ``claim`` None: it could not be asked."""

    peer: Peer
    claim: Claim | None
    is_node: bool = True


class LostSessions:
    """Rebuilds sessions that this node's databases have lost.

    Args:
        services: of the node.
        store_epochs: what this node and its peers have lost.
        nodes: asks peers.
        evidence: knows this node's own signatures.
        role: this node's role in the sessions.
    """

    def __init__(
        self, services: Services, store_epochs: StoreEpochs, nodes: NodeClient, evidence: EvidenceService, role: str
    ) -> None:
        self._role = role
        self._services = services
        self._epochs = store_epochs
        self._nodes = nodes
        self._evidence = evidence

    async def find(
        self, request: OperationRequest[Message], session_id: SessionID, draft: Callable[[str], Session]
    ) -> Outcome:
        """Open the session of a message if it was lost; raise Refusal 021 (503) if its sender is to send it again.

        Args:
            request: the message.
            session_id: of the message.
            draft: makes a session of the message with the peer of that id.

        Returns:
            ``OPENED``: the session exists now, and is to be looked up again. ``HELD``: nobody can tell; a CDR is to be
            stored without a session. ``REFUSED``: the message is to be refused.
        """
        services, now = self._services, self._services.now()
        # A message without a time speaks of now, whatever a clock that was set back since the restore says.
        began_at = _began_at(request.message, max([now, *(gap.since for gap in self._epochs.gaps)]))
        if not session_id.is_valid or not self._epochs.may_have_lost(began_at):
            return Outcome.REFUSED
        if await sessions.get_now(services.store, self._role, session_id.key) is not None:
            # Either it is none of the sender's, or was refused; or the recovery has fetched it just now.
            return Outcome.OPENED
        candidates = self._candidates(request)
        answers = await asyncio.gather(*(self._ask(peer, session_id) for peer in candidates))
        for answer in answers:
            if answer.claim is not None and self.is_believed(answer.claim, session_id):
                return await self._open(request, session_id, answer.claim)
        if any(answer.is_node and answer.claim is None for answer in answers):
            return await self._hold(session_id, now, answers)
        claims = [claim for _, claim, _ in answers if claim is not None and self._is_debt(claim, session_id)]
        if len(claims) == 1:
            return await self._open(request, session_id, claims[0])
        return await self._decide_unknown(request, answers, began_at, draft)

    def _candidates(self, request: OperationRequest[Message]) -> Sequence[Peer]:
        """Return the peers that may know the session: the sender, or for our backend those that the ids name."""
        if request.peer is not None and not request.peer.is_self:
            return [request.peer]
        registry, message = self._services.registry, request.message
        evse_id, identification = getattr(message, "evse_id", None), getattr(message, "identification", None)
        if self._role == "emp":
            named = registry.resolve_party(evse_id.operator) if evse_id is not None else None
            everybody = [peer for peer in registry.all() if peer.operators or peer.default_route]
        else:
            evco_id = identification.evco_id if identification is not None else None
            named = registry.resolve_party(evco_id.provider) if evco_id is not None else None
            everybody = [peer for peer in registry.all() if peer.providers or peer.default_route]
        return [peer for peer in ([named] if named is not None else everybody) if not peer.is_self]

    async def _ask(self, peer: Peer, session_id: SessionID) -> _Answer:
        party: PartyID | None = next(iter(self._own_parties()), None)
        if not peer.is_node or party is None:
            return _Answer(peer, None, is_node=False)
        try:
            status = await self._nodes.get_status(peer, party, session_id, with_evidence=True)
            await self._epochs.record_answer(peer, status.hello or {}, self._services.wakeups)
            return _Answer(peer, await self.read_claim(peer, status))
        except PeerRejected:
            return _Answer(peer, None, is_node=False)
        except PeerError as error:
            log.info("session.recovery_failed", peer=peer.name, session_id=session_id.text, reason=error.reason)
            return _Answer(peer, None)

    def _own_parties(self) -> Sequence[PartyID]:
        local_peer = self._services.local_peer
        return local_peer.operators if self._role == "cpo" else local_peer.providers

    async def read_claim(self, peer: Peer, status: SessionStatus) -> Claim:
        """Return what a peer says of a session, with its evidence verified."""
        return Claim(peer, status, await self._evidence.read(status.evidence))

    def is_believed(self, claim: Claim, session_id: SessionID) -> bool:
        """Return whether a peer's word about a session counts: in signed mode, by a signature of our own."""
        if not self._is_open(claim, session_id):
            return False
        if not self._evidence.is_needed_from(claim.peer.name):
            return True
        shown = claim.evidence
        if shown is not None and self._evidence.has_own_signature(session_id, shown, self._role):
            return True
        log.warning("session.recovery_unproved", peer=claim.peer.name, session_id=session_id.text)
        return False

    def _is_debt(self, claim: Claim, session_id: SessionID) -> bool:
        """Return whether an EMP says of a session of our CSMS that it has asked for it, though no answer reached it.

        Then nothing is signed by us. But nobody gains by it: it has to pay what our CSMS reports.
        """
        is_claim = self._role == "cpo" and claim.status.kind in _OPENED_BY_EMP
        return is_claim and self._is_open(claim, session_id)

    def _is_open(self, claim: Claim, session_id: SessionID) -> bool:
        status = claim.status
        if status.state not in _OPEN_STATES or status.unconfirmed or not session_id.is_valid:
            return False
        return self._is_ours(claim.peer, status, session_id)

    def is_debt_unconfirmed(self, claim: Claim, session_id: SessionID) -> bool:
        """Return whether an EMP says that it has a session of ours *unconfirmed*: inventing that would cost it."""
        status = claim.status
        is_claim = self._role == "cpo" and status.unconfirmed and status.state in _OPEN_STATES
        return is_claim and session_id.is_valid and self._is_ours(claim.peer, status, session_id)

    def _is_ours(self, peer: Peer, status: SessionStatus, session_id: SessionID) -> bool:
        if not self._is_between(peer, status):
            log.warning("session.recovery_of_other_parties", peer=peer.name, session_id=session_id.text)
            return False
        return True

    def _is_between(self, peer: Peer, status: SessionStatus) -> bool:
        """Return whether the parties that a peer names, if any, are its own and ours."""
        cpo, emp = (self._services.local_peer, peer) if self._role == "cpo" else (peer, self._services.local_peer)
        operator, provider = OperatorID(status.operator_id), ProviderID(status.provider_id)
        return (not status.operator_id or cpo.handles_party(operator)) and (
            not status.provider_id or emp.handles_party(provider)
        )

    async def _open(self, request: OperationRequest[Message], session_id: SessionID, claim: Claim) -> Outcome:
        await self.insert_rebuilt(session_id, claim, f"rebuilt from what {claim.peer.name} knows", request.digest)
        log.warning("session.restored", session_id=session_id.text, peer=claim.peer.name, role=self._role)
        return Outcome.OPENED

    def _rebuild(self, session_id: SessionID, peer: Peer, status: SessionStatus, digest: bytes) -> Session:
        """Return a session as its other side knows it."""
        state = SessionState(status.state)
        now = self._services.now()
        return Session(
            role=self._role,
            session_key=session_id.key,
            session_id=session_id.text,
            kind=status.kind,
            state=_STATES.get(state, state),
            peer=peer.id,
            request_digest=digest,
            created_at=min(status.created_at, now),
            updated_at=now,
            operator_key=_key_of_operator(status.operator_id),
            operator_id=status.operator_id,
            provider_key=_key_of_provider(status.provider_id),
            provider_id=status.provider_id,
            evse_key=EvseID(status.evse_id).key,
            evse_id=status.evse_id,
            cpo_partner_session_id=status.cpo_partner_session_id,
            emp_partner_session_id=status.emp_partner_session_id,
            identification_key=status.identification_key,
            stop_identification_keys=status.stop_identification_keys,
            unconfirmed=int(status.unconfirmed),
        )

    async def insert_rebuilt(self, session_id: SessionID, claim: Claim, event: str, digest: bytes = b"") -> bool:
        """Insert a session as its other side knows it, with its log and evidence; return False where it is there.

        The evidence is ours from then on: it proves the session again after the other side's restore, or our next one.
        """
        peer, status, shown = claim
        session = self._rebuild(session_id, peer, status, digest)
        is_whole = status.evidence is not None and shown is not None and not shown.unverified
        exchanges = self._evidence.exchanges_in(status.evidence or "", peer.name) if is_whole else []

        def job(tx: Transaction) -> bool:
            if sessions.insert_or_get(tx, session) is not None:
                return False
            for at, what in (*((earlier.at, earlier.event) for earlier in status.events), (session.updated_at, event)):
                sessions.add_event(tx, self._role, session.session_key, at, what)
            for exchange in exchanges:
                evidence.insert_exchange(tx, session.session_key, peer.id, session.updated_at, exchange)
            return True

        return await self._services.store.write(job, about=(job_keys.session_of(self._role, session.session_key),))

    async def _hold(self, session_id: SessionID, now: float, answers: Sequence[_Answer]) -> Outcome:
        """Raise Refusal 021 for an hour after the first message of a session about which nobody can be asked."""
        first_seen_at = await self._services.store.write(
            lambda tx: epochs.first_seen(tx, self._role, session_id.key, now),
            about=(job_keys.session_of(self._role, session_id.key),),
        )
        if now - first_seen_at >= _RETRY_SECONDS:
            return Outcome.HELD
        names = ", ".join(answer.peer.name for answer in answers if answer.is_node and answer.claim is None)
        info = (
            f"this node's database was restored, and {names} cannot be asked about session {session_id}; send it again"
        )
        raise Refusal(StatusCodeValue.SYSTEM_ERROR, info, http_status=_SERVICE_UNAVAILABLE)

    async def _decide_unknown(
        self,
        request: OperationRequest[Message],
        answers: Sequence[_Answer],
        began_at: float,
        draft: Callable[[str], Session],
    ) -> Outcome:
        """Decide on a session that nobody knows who could be asked."""
        if not self._epochs.lost(began_at):
            return Outcome.REFUSED
        if (offline := await self._authorized_offline(request)) is not None:
            session = msgspec.structs.replace(draft(offline.id), offline=1)
            await self._insert_message_session(session, offline, f"authorized offline for {offline.name}")
            return Outcome.OPENED
        who_lost = [answer.peer for answer in answers if await self._epochs.lost_by(answer.peer, began_at)]
        foreign = [answer.peer for answer in answers if not answer.is_node]
        if len(who_lost) == 1:
            session = msgspec.structs.replace(draft(who_lost[0].id), unconfirmed=1)
            await self._insert_message_session(session, who_lost[0], "unconfirmed: both databases have lost it")
            log.warning("session.unconfirmed", session_id=session.session_id, peer=who_lost[0].name, role=self._role)
            return Outcome.OPENED
        if self._role == "cpo" and len(foreign) == 1 and not who_lost:
            await self._insert_message_session(draft(foreign[0].id), foreign[0], f"{foreign[0].name} is to decide")
            return Outcome.OPENED
        # A peer that is no node can never be asked, and between several nobody but a person can decide.
        return Outcome.HELD if who_lost or foreign else Outcome.REFUSED

    async def _authorized_offline(self, request: OperationRequest[Message]) -> Peer | None:
        """Return the EMP whose pushed authentication data allows the driver: it need not have heard of the session."""
        identification = getattr(request.message, "identification", None)
        if self._role != "cpo" or identification is None:
            return None
        match = await self._services.find_authorization(identification)
        return None if match is None or match.refusal_code else self._services.registry.by_id(match.source)

    async def _insert_message_session(self, draft: Session, peer: Peer, event: str) -> None:
        """Insert a session of which nothing is known but what its message says."""
        provider = next(iter((peer if self._role == "cpo" else self._services.local_peer).providers), None)
        if provider is not None and not draft.provider_key:
            draft = msgspec.structs.replace(draft, provider_key=provider.key, provider_id=provider.text)
        session = msgspec.structs.replace(draft, state=SessionState.AUTHORIZED)
        await self._services.store.write(
            lambda tx: sessions.insert_with_event(tx, session, event), about=job_keys.of_start(session)
        )


def _began_at(message: Message, now: float) -> float:
    """Return the SessionStart of a message; of one without it, now: it speaks of a session that still goes on."""
    session_start = getattr(message, "session_start", None)
    return session_start.timestamp() if isinstance(session_start, datetime) else now


def _key_of_operator(text: str) -> str:
    return OperatorID(text).key if text else ""


def _key_of_provider(text: str) -> str:
    return ProviderID(text).key if text else ""
