"""Charging notifications and CDRs: stored, then forwarded, from the CPO's backend to the EMP's backend.

Overview
--------
A message passes two nodes: CPO backend → CPO node → EMP node → EMP backend. Each node commits the message and the
outbox message for the next hop in one transaction, and only then acknowledges it (CPO-02: a positive result is given
when the CDR is stored). A next hop that is down for a week gets it afterwards.

`CdrHandler` is what both roles do; `CpoCdrHandler` and `EmpCdrHandler` say what they check and where the message goes.

Invariants
----------
- One CDR per session: the same bytes again are acknowledged again (H4), a different CDR is refused with 400 and stored.
- Messages of a session are delivered in the order in which they were stored; a later progress replaces a waiting one.

Unknown sessions at the EMP's node
----------------------------------
A session may be opened by its first message: if the CPO's node authorized the driver offline with the authentication
data that this node pushed, or (at both nodes) if a restore has lost the session (`LostSessions`).

What the EMP's backend says of a CDR is its *verdict* (`verdicts`): the EMP's node answers with it if it comes at once.

GetChargeDetailRecords is answered from the store, with the CDRs as they came, delivered ones included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple, TypeVar, cast

import structlog
from msgspec.structs import replace

from p2p_oicp.backends import BackendRegistry
from p2p_oicp.errors import P2pOicpError, Refusal, StoreError
from p2p_oicp.oicp import (
    ChargeDetailRecord,
    ChargingNotification,
    ChargingNotificationProgress,
    StatusCodeValue,
)
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import OperationRequest, OperationResponse, Services
from p2p_oicp.roles.doubts import Doubts
from p2p_oicp.roles.lost_sessions import Outcome
from p2p_oicp.roles.responses import SessionIds, acknowledgement_response
from p2p_oicp.roles.sessions import AUTHORIZE, SessionService, as_known_here, check_same_evse
from p2p_oicp.roles.verdicts import UNCONFIRMED_INFO, PendingVerdicts, verdict_response
from p2p_oicp.storage import Transaction, cdrs, outbox, sessions
from p2p_oicp.storage.cdrs import CdrRow, CdrState, InsertResult, Verdict
from p2p_oicp.storage.datasets.models import OWN
from p2p_oicp.storage.sessions import Session, SessionState, next_state_after_notification

log = structlog.get_logger(__name__)

T = TypeVar("T")

# "at least 5 minutes between two progress notifications" (CPO-02, best practice; the code by RULES section 4).
_MIN_PROGRESS_INTERVAL_SECONDS = 300.0
# The newest progress replaces one that is still waiting: it says all that the earlier one does.
_PROGRESS = "Progress"
_CDR_EVENT = "charge detail record"


class _SessionHeld(P2pOicpError):
    """Nobody can be asked about the session of a message; its cause is the Refusal of an unknown session."""


class StoredMessage(NamedTuple):
    """What became of a CDR or notification; ``doubts`` is what speaks against it, in words."""

    session: Session
    result: InsertResult
    doubts: str = ""


SessionMessage = OperationRequest[ChargingNotification] | OperationRequest[ChargeDetailRecord]


class CdrHandler:
    """Stores and forwards the messages of a session; one subclass per role."""

    role: ClassVar[str]

    def __init__(self, services: Services, session_service: SessionService) -> None:
        self._services = services
        self._session_service = session_service
        self._doubts = Doubts(self.role, services)

    async def _open_missing_session(self, request: SessionMessage) -> Outcome:
        """Open the session of a message whose session is unknown, if there is a reason to."""
        return await self._session_service.find_lost(request)

    async def _run_in_session(self, request: SessionMessage, job: Callable[[Transaction], T]) -> T:
        """Run a job that finds the session; run it again if the session could be opened for it."""
        try:
            return await self._services.store.write(job, about=request.keys(self.role))
        except Refusal as refusal:
            if refusal.code != StatusCodeValue.SESSION_INVALID:
                raise
            outcome = await self._open_missing_session(request)
            if outcome is Outcome.HELD:
                raise _SessionHeld from refusal
            if outcome is Outcome.REFUSED:
                raise
        return await self._services.store.write(job, about=request.keys(self.role))

    def _check_notification(self, session: Session, notification: ChargingNotification) -> float | None:
        """Return the time of the session's last progress, in seconds since 1970; raise Refusal 022."""
        del notification
        return session.progress_at

    def next_hop(self, peer_id: str, provider_key: str) -> str:
        """Return the destination of the messages of a session with this peer, for a driver of this provider."""
        del provider_key
        return peer_id

    def _destination(self, session: Session) -> str:
        return self.next_hop(session.peer, session.provider_key)

    async def charging_notifications(self, request: OperationRequest[ChargingNotification]) -> OperationResponse:
        """Store a notification and enqueue it; a duplicate is only acknowledged (H4)."""
        try:
            stored = await self._run_in_session(request, lambda tx: self._store_notification(tx, request))
        except _SessionHeld as held:
            raise cast("Refusal", held.__cause__) from None
        self._after_commit(f"notification {request.message.type}", stored)
        return acknowledgement_response(info=stored.doubts or None, ids=SessionIds.from_session(stored.session))

    def _store_notification(self, tx: Transaction, request: OperationRequest[ChargingNotification]) -> StoredMessage:
        session, now = self._session_service.find(tx, request), self._services.now()
        request = as_known_here(tx, request, session)
        check_same_evse(session, request.message.evse_id)
        doubts = self._doubts.of_notification(request.message, session)
        key, notification_type = session.session_key, str(request.message.type)
        event = f"notification {notification_type}"
        # Invariant: (session, digest) is unique among events, so a duplicate has no second effect.
        if not sessions.add_event(tx, self.role, key, now, event, request.body, digest=request.digest):
            return StoredMessage(
                session, InsertResult.DUPLICATE, doubts
            )  # a duplicate: it was enqueued with the first one
        self._doubts.refuse(event, session, doubts)
        self._doubts.report(tx, event, session, doubts)
        progress_at = self._check_notification(session, request.message)
        sessions.transition(
            tx,
            self.role,
            key,
            now,
            next_state_after_notification(session.state, notification_type),
            progress_at=progress_at,
        )
        self._enqueue(tx, request, session, now, coalesce_key=_PROGRESS if notification_type == _PROGRESS else "")
        return StoredMessage(session, InsertResult.NEW, doubts)

    async def charge_detail_record(self, request: OperationRequest[ChargeDetailRecord]) -> OperationResponse:
        """Store the CDR of a session; a duplicate is only acknowledged (H4), a different CDR is refused with 400."""
        session, _, doubts = await self._store_or_refuse(request)
        info = "; ".join(filter(None, (UNCONFIRMED_INFO if session.unconfirmed else None, doubts))) or None
        return acknowledgement_response(info=info, ids=SessionIds.from_session(session))

    async def _store_or_refuse(self, request: OperationRequest[ChargeDetailRecord]) -> StoredMessage:
        stored = await self.store_cdr(request)
        if stored.result is InsertResult.CONFLICT:
            raise Refusal(
                StatusCodeValue.SESSION_INVALID,
                f"session {stored.session.session_id} has a different charge detail record already",
            )
        return stored

    async def store_cdr(self, request: OperationRequest[ChargeDetailRecord]) -> StoredMessage:
        """Store a CDR and enqueue it for the next hop; raise Refusal 400 or 022."""
        try:
            stored = await self._run_in_session(request, lambda tx: self._insert_cdr(tx, request))
        except _SessionHeld:
            return await self._hold(request)
        self._after_commit(_CDR_EVENT, stored)
        return stored

    def _after_commit(self, event: str, stored: StoredMessage) -> None:
        if stored.doubts and stored.result is InsertResult.NEW:
            self._doubts.log_taken(event, stored.session, stored.doubts)
        self._services.wakeups.notify_outbox(self._destination(stored.session))

    async def hold_for_person(self, request: OperationRequest[ChargeDetailRecord], why: str) -> bool:
        """Store a CDR *unconfirmed*, which only a person delivers (`release_held`); return whether there was none."""
        return (await self._hold(request, why)).result is InsertResult.NEW

    async def _hold(self, request: OperationRequest[ChargeDetailRecord], why: str = "") -> StoredMessage:
        """Store the CDR of a session that nobody can be asked about; it is not delivered."""
        sender = request.peer
        peer_id = sender.id if sender is not None and not sender.is_self else ""
        draft = replace(self._session_service.new_session(request, AUTHORIZE, peer_id), unconfirmed=1)
        row, now = _cdr_row(self.role, draft, request, why), self._services.now()
        result = await self._services.store.write(lambda tx: cdrs.insert(tx, row, now), about=request.keys(self.role))
        if result is InsertResult.NEW:
            log.warning("cdr.held", role=self.role, session_id=draft.session_id)
        return StoredMessage(draft, result)

    async def release_held(self, request: OperationRequest[ChargeDetailRecord], peer: Peer | None = None) -> bool:
        """Deliver a CDR that was held, if its session can be found now; return whether.

        Args:
            request: the CDR.
            peer: a person says that it is a session with this peer.
        """
        key = request.message.session_id.key
        if peer is not None:
            draft = self._session_service.new_session(request, AUTHORIZE, peer.id)
            session = replace(draft, state=SessionState.AUTHORIZED)
            await self._services.store.write(
                lambda tx: sessions.insert_with_event(tx, session, "confirmed by a person"),
                about=request.keys(self.role),
            )

        def job(tx: Transaction) -> Session:
            session = self._session_service.find(tx, request)
            cdrs.set_unconfirmed(tx, self.role, key, session.peer, unconfirmed=bool(session.unconfirmed))
            self._enqueue_cdr(tx, request, session, self._services.now())
            return session

        try:
            session = await self._run_in_session(request, job)
        except (_SessionHeld, Refusal):
            return False
        self._services.wakeups.notify_outbox(self._destination(session))
        return True

    async def store_exported(self, request: OperationRequest[ChargeDetailRecord], verdict: Verdict) -> bool:
        """Store a CDR that a peer tells after a restore; return whether it was new. Raises Refusal 400 or 022.

        ``verdict`` is its state at the CPO's side: there it is not delivered again.
        """
        del verdict
        return (await self.store_cdr(request)).result is InsertResult.NEW

    def _insert_cdr(self, tx: Transaction, request: OperationRequest[ChargeDetailRecord]) -> StoredMessage:
        session = self._session_service.find(tx, request)
        request = as_known_here(tx, request, session)
        check_same_evse(session, request.message.evse_id)
        now, doubts = self._services.now(), self._doubts.of_record(tx, request, session)
        insert_result = cdrs.insert(tx, _cdr_row(self.role, session, request, doubts), now)
        if insert_result is InsertResult.NEW:
            # Order: a different second CDR is refused with 400, also if something speaks against it (RULES L25).
            self._doubts.refuse(_CDR_EVENT, session, doubts)
            self._enqueue_cdr(tx, request, session, now)
            self._doubts.report(tx, _CDR_EVENT, session, doubts)
        elif insert_result is InsertResult.CONFLICT:
            # Committed although it is refused: the two CDRs are the evidence of a dispute.
            sessions.add_event(tx, self.role, session.session_key, now, "another record refused", request.body)
        return StoredMessage(session, insert_result, doubts)

    def _enqueue_cdr(
        self, tx: Transaction, request: OperationRequest[ChargeDetailRecord], session: Session, now: float
    ) -> None:
        self._end_session(tx, request, session, now)
        self._enqueue(tx, request, session, now)

    def _end_session(
        self, tx: Transaction, request: OperationRequest[ChargeDetailRecord], session: Session, now: float
    ) -> None:
        sessions.transition(tx, self.role, session.session_key, now, SessionState.ENDED)
        sessions.add_event(tx, self.role, session.session_key, now, _CDR_EVENT, request.body)

    def _enqueue(
        self, tx: Transaction, request: SessionMessage, session: Session, now: float, coalesce_key: str = ""
    ) -> None:
        outbox.enqueue(
            tx,
            destination=self._destination(session),
            operation=request.operation.name,
            sender_id=request.sender_id,
            role=self.role,
            session_key=session.session_key,
            coalesce_key=coalesce_key,
            body=request.body,
            now=now,
        )


def _check_progress(session: Session, notification: ChargingNotification) -> float | None:
    """Return the time of the session's last progress; raise Refusal 022 for one too soon after it."""
    if not isinstance(notification, ChargingNotificationProgress):
        return session.progress_at
    occurred_at = notification.event_occurred.timestamp()
    previous = session.progress_at
    if previous is not None and abs(occurred_at - previous) < _MIN_PROGRESS_INTERVAL_SECONDS:
        interval = f"EventOccurred is {occurred_at - previous:.0f} s after the last progress of this session"
        raise Refusal(StatusCodeValue.DATA_ERROR, f"{interval}; at least 300 s are asked for")
    return occurred_at


def _cdr_row(role: str, session: Session, request: OperationRequest[ChargeDetailRecord], doubts: str = "") -> CdrRow:
    operator = request.message.evse_id.operator
    provider = request.message.identification.provider
    return CdrRow(
        role=role,
        session_key=session.session_key,
        peer=session.peer,
        operator_key=session.operator_key or (operator.key if operator else ""),
        provider_key=session.provider_key or (provider.key if provider else ""),
        session_end=request.message.session_end.timestamp(),
        body=request.body,
        unconfirmed=bool(session.unconfirmed),
        doubts=doubts or None,
        # At the CPO's node what is sent is what is stored.
        digest=request.digest if role == EmpCdrHandler.role else b"",
    )


class CpoCdrHandler(CdrHandler):
    """The CPO side: from our backend to the EMP peer of the session."""

    role = "cpo"

    def _check_notification(self, session: Session, notification: ChargingNotification) -> float | None:
        return _check_progress(session, notification)

    async def store_exported(self, request: OperationRequest[ChargeDetailRecord], verdict: Verdict) -> bool:
        def job(tx: Transaction) -> bool:
            session, now = self._session_service.find(tx, request), self._services.now()
            insert_result = cdrs.insert(tx, _cdr_row(self.role, session, request), now)
            if insert_result is InsertResult.NEW:
                self._end_session(tx, request, session, now)
            # Of one that is there, the verdict may have been lost.
            if insert_result is not InsertResult.CONFLICT:
                cdrs.apply_verdict(tx, self.role, session.session_key, verdict, now)
            return insert_result is InsertResult.NEW

        return await self._services.store.write(job, about=request.keys(self.role))


class EmpCdrHandler(CdrHandler):
    """The EMP side: from the CPO peer to our backend."""

    role = "emp"

    def __init__(
        self,
        services: Services,
        session_service: SessionService,
        pending_verdicts: PendingVerdicts,
        backends: BackendRegistry,
    ) -> None:
        super().__init__(services, session_service)
        self._pending_verdicts = pending_verdicts
        self._backends = backends

    def next_hop(self, peer_id: str, provider_key: str) -> str:
        del peer_id
        return self._backends.destinations.get(provider_key, self._backends.default_destination)

    async def charge_detail_record(self, request: OperationRequest[ChargeDetailRecord]) -> OperationResponse:
        """Store a CDR, and answer with what our backend says of it, if it does so within some seconds (L11)."""
        key = request.message.session_id.key
        # Order: registered before the CDR is stored, for the backend may have answered when that returns.
        with self._pending_verdicts.expect(key) as waiting:
            session, insert_result, doubts = await self._store_or_refuse(request)
            if insert_result is InsertResult.NEW or await self._is_waiting(key):
                # An unconfirmed one may wait for a person.
                if session.unconfirmed:
                    await self._pending_verdicts.end(waiting)
                else:
                    await self._pending_verdicts.wait(waiting, self._destination(session))
            status = await cdrs.get_status_now(self._services.store, self.role, key)
        if status is None:
            raise StoreError(f"the charge detail record of session {session.session_id} is stored, and not found")
        return verdict_response(status, session, doubts)

    async def _is_waiting(self, session_key: str) -> bool:
        status = await cdrs.get_status_now(self._services.store, self.role, session_key)
        return status is not None and status.verdict.state is CdrState.WAITING

    async def _open_missing_session(self, request: SessionMessage) -> Outcome:
        """Open an offline session, or one that a restore has lost (DESIGN section 5)."""
        message = request.message
        if request.peer is None or not message.session_id.is_valid:
            return Outcome.REFUSED
        identification, caller = message.identification, request.peer.id
        match = await self._services.find_record(identification, OWN, caller=caller) if identification else None
        if match is None:
            return await super()._open_missing_session(request)
        # The authorization itself was the pushed record, so nobody need be asked.
        draft = replace(
            self._session_service.new_session(request, AUTHORIZE, request.peer.id),
            state=SessionState.AUTHORIZED,
            offline=1,
            provider_key=match.provider_id.key,
            provider_id=match.provider_id.text,
        )
        event = "authorized offline by the CPO's node"
        is_opened = await self._services.store.write(
            lambda tx: sessions.insert_with_event(tx, draft, event), about=request.keys(self.role)
        )
        return Outcome.OPENED if is_opened else Outcome.REFUSED
