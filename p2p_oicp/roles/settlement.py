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
data that this node pushed, or if the session is older than this node's database (`RestoredSessionVerifier`).

GetChargeDetailRecords is answered from the store, with the CDRs as they came, delivered ones included.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import ClassVar, TypeVar, cast

import structlog
from msgspec.structs import replace

from p2p_oicp.backends import Backend
from p2p_oicp.errors import PeerError, PeerRejected, Refusal
from p2p_oicp.oicp import (
    Acknowledgement,
    ChargeDetailRecord,
    ChargingNotification,
    ChargingNotificationProgress,
    EvseDataRecord,
    GetChargeDetailRecords,
    StatusCodeValue,
)
from p2p_oicp.oicp.cdr_checks import check_plausibility
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import EMP_BACKEND, OperationRequest, OperationResponse, Services
from p2p_oicp.roles.responses import PageRequest, SessionIds, acknowledgement_response
from p2p_oicp.roles.sessions import AUTHORIZE, SessionService
from p2p_oicp.storage import Transaction, cdrs, outbox, peer_state, sessions
from p2p_oicp.storage.cdrs import CdrFilter, CdrRow, InsertResult
from p2p_oicp.storage.datasets import queries
from p2p_oicp.storage.datasets.models import ALL_PROVIDERS, OWN, DatasetKind
from p2p_oicp.storage.sessions import Session, SessionState, next_state_after_notification
from p2p_oicp.storage.statements import list_parameter

log = structlog.get_logger(__name__)

T = TypeVar("T")

# How wrong a charging station's clock may be.
_MAX_CLOCK_SKEW_SECONDS = 300.0
# After its creation a database waits so long for a peer's hello before it calls that peer's session unknown.
_HELLO_GRACE_SECONDS = 60.0
# "at least 5 minutes between two progress notifications" (CPO-02, best practice; the code by RULES section 4).
_MIN_PROGRESS_INTERVAL_SECONDS = 300.0
# The newest progress replaces one that is still waiting: it says all that the earlier one does.
_PROGRESS = "Progress"
_TIMESTAMP_FIELDS = ("session_start", "charging_start", "event_occurred", "charging_end")

SessionMessage = OperationRequest[ChargingNotification] | OperationRequest[ChargeDetailRecord]


class RestoredSessionVerifier:
    """Recognizes sessions that an earlier database of this node had: it was lost, or restored from an older backup.

    Three things must come together: the peer has seen an earlier store epoch of this node (`delivery.node_protocol`),
    the session is older than this database, and our own backend, which authorized the driver, accepts the message.
    """

    def __init__(self, services: Services, backend: Backend) -> None:
        self._services = services
        self._backend = backend

    async def verify(self, request: SessionMessage) -> bool:
        """Return whether the session of a message is one; raise Refusal 021, so that the peer sends it again later.

        That is raised if the backend does not answer, or if the peer's hello is still to come.
        """
        if request.peer is None or not await self._predates_store(request, request.peer):
            return False
        try:
            reply = cast("Acknowledgement", await self._backend.call(request.operation, request.message))
        except PeerRejected:
            return False
        except PeerError as error:
            info = f"the EMP's backend, which may know this session, did not answer: {error}"
            raise Refusal(StatusCodeValue.SYSTEM_ERROR, info) from error
        session_id = request.message.session_id.text
        log.warning("session.restored", session_id=session_id, peer=request.peer.name, known=reply.result)
        return reply.result

    async def _predates_store(self, request: SessionMessage, peer: Peer) -> bool:
        rows = await self._services.store.query(peer_state.EPOCH_STATUS, peer_=peer.id)
        if not rows:
            return False
        if rows[0]["store_epoch"] is None and self._services.now() < rows[0]["created_at"] + _HELLO_GRACE_SECONDS:
            raise Refusal(
                StatusCodeValue.SYSTEM_ERROR,
                f"{peer.name} and this node have not said hello yet; send it again in a moment",
            )
        if not rows[0]["saw_older_epoch"]:
            return False
        values = [getattr(request.message, name, None) for name in _TIMESTAMP_FIELDS]
        timestamps = [value.timestamp() for value in values if isinstance(value, datetime)]
        return bool(timestamps) and min(timestamps) < rows[0]["created_at"] + _MAX_CLOCK_SKEW_SECONDS


class CdrHandler:
    """Stores and forwards the messages of a session; one subclass per role."""

    role: ClassVar[str]

    def __init__(self, services: Services, session_service: SessionService) -> None:
        self._services = services
        self._session_service = session_service

    async def _create_missing_session(self, request: SessionMessage) -> bool:
        """Open the session of a message whose session is unknown, if there is a reason to; return whether."""
        del request
        return False

    async def _run_in_session(self, request: SessionMessage, job: Callable[[Transaction], T]) -> T:
        """Run a job that finds the session; run it again if the session could be opened for it."""
        try:
            return await self._services.store.write(job)
        except Refusal as refusal:
            if refusal.code != StatusCodeValue.SESSION_INVALID or not await self._create_missing_session(request):
                raise
        return await self._services.store.write(job)

    def _check_notification(self, session: Session, notification: ChargingNotification) -> float | None:
        """Return the time of the session's last progress, in seconds since 1970; raise Refusal 022."""
        del notification
        return session.progress_at

    def _destination(self, session: Session) -> str:
        return session.peer

    async def charging_notifications(self, request: OperationRequest[ChargingNotification]) -> OperationResponse:
        """Store a notification and enqueue it; a duplicate is only acknowledged (H4)."""
        session = await self._run_in_session(request, lambda tx: self._store_notification(tx, request))
        self._services.wakeups.notify_outbox(self._destination(session))
        return acknowledgement_response(ids=SessionIds.from_session(session))

    def _store_notification(self, tx: Transaction, request: OperationRequest[ChargingNotification]) -> Session:
        session, now = self._session_service.find(tx, request), self._services.now()
        key, notification_type = session.session_key, str(request.message.type)
        event = f"notification {notification_type}"
        # Invariant: (session, digest) is unique among events, so a duplicate has no second effect.
        if not sessions.add_event(tx, self.role, key, now, event, request.body, digest=request.digest):
            return session  # a duplicate: it was enqueued with the first one
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
        return session

    async def charge_detail_record(self, request: OperationRequest[ChargeDetailRecord]) -> OperationResponse:
        """Store the CDR of a session; a duplicate is only acknowledged (H4), a different CDR is refused with 400."""
        session, insert_result = await self.store_cdr(request)
        if insert_result is InsertResult.CONFLICT:
            raise Refusal(
                StatusCodeValue.SESSION_INVALID,
                f"session {session.session_id} has a different charge detail record already",
            )
        return acknowledgement_response(ids=SessionIds.from_session(session))

    async def store_cdr(self, request: OperationRequest[ChargeDetailRecord]) -> tuple[Session, InsertResult]:
        """Store a CDR and enqueue it for the next hop; raise Refusal 400 or 022."""
        session, insert_result = await self._run_in_session(request, lambda tx: self._insert_cdr(tx, request))
        self._services.wakeups.notify_outbox(self._destination(session))
        return session, insert_result

    def _insert_cdr(
        self, tx: Transaction, request: OperationRequest[ChargeDetailRecord]
    ) -> tuple[Session, InsertResult]:
        session = self._session_service.find(tx, request)
        _check_same_evse(session, request.message)
        now = self._services.now()
        insert_result = cdrs.insert(tx, _cdr_row(self.role, session, request), now)
        if insert_result is InsertResult.NEW:
            sessions.transition(tx, self.role, session.session_key, now, SessionState.ENDED)
            sessions.add_event(tx, self.role, session.session_key, now, "charge detail record", request.body)
            self._enqueue(tx, request, session, now)
        elif insert_result is InsertResult.CONFLICT:
            # Committed although it is refused: the two CDRs are the evidence of a dispute.
            sessions.add_event(tx, self.role, session.session_key, now, "another record refused", request.body)
        return session, insert_result

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


def _check_same_evse(session: Session, record: ChargeDetailRecord | ChargingNotification) -> None:
    """Raise Refusal 022 for another EVSE than the session's (C8); a start may have come without an EvseID."""
    if session.evse_key and record.evse_id.key != session.evse_key:
        info = f"EvseID {record.evse_id} is not the EVSE of session {session.session_id}, {session.evse_key}"
        raise Refusal(StatusCodeValue.DATA_ERROR, info)


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


def _cdr_row(role: str, session: Session, request: OperationRequest[ChargeDetailRecord]) -> CdrRow:
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
    )


class CpoCdrHandler(CdrHandler):
    """The CPO side: from our backend to the EMP peer of the session."""

    role = "cpo"

    def _check_notification(self, session: Session, notification: ChargingNotification) -> float | None:
        return _check_progress(session, notification)

    async def store_cdr(self, request: OperationRequest[ChargeDetailRecord]) -> tuple[Session, InsertResult]:
        """Store a CDR unchanged, and log where it contradicts our own EVSE data and pricing products."""
        session, insert_result = await super().store_cdr(request)
        if insert_result is InsertResult.NEW:
            record = request.message
            # After the commit, and only logged: a CDR is never refused for what our own data says of it.
            findings = check_plausibility(record, self._evse_data_record(record), self._product_ids(session))
            if findings:
                log.warning(
                    "cdr.plausibility_warning",
                    session_id=session.session_id,
                    findings=[str(finding) for finding in findings],
                )
        return session, insert_result

    def _evse_data_record(self, record: ChargeDetailRecord) -> EvseDataRecord | None:
        keys = list_parameter([record.evse_id.key])
        rows = self._services.store.query_inline(
            queries.RECORDS_BY_KEY, dataset_=DatasetKind.EVSE_DATA, keys=keys, source_=OWN, excluded_sources=None
        )
        return EvseDataRecord.from_json(rows[0]["raw"]) if rows else None

    def _product_ids(self, session: Session) -> list[str] | None:
        """Return the ProductIDs that are offered to the session's EMP; None if no pricing products were pushed."""
        groups = [f"{session.operator_key}|{audience}" for audience in (ALL_PROVIDERS, session.provider_key)]
        rows = self._services.store.query_inline(
            queries.KEYS_BY_GROUP,
            dataset_=DatasetKind.PRICING_PRODUCT,
            source_=OWN,
            groups=list_parameter(groups),
        )
        return [row["key"].removeprefix(f"{row['group_key']}|") for row in rows] or None


class EmpCdrHandler(CdrHandler):
    """The EMP side: from the CPO peer to our backend."""

    role = "emp"

    def __init__(
        self, services: Services, session_service: SessionService, restored_sessions: RestoredSessionVerifier
    ) -> None:
        super().__init__(services, session_service)
        self._restored_sessions = restored_sessions

    def _destination(self, session: Session) -> str:
        del session
        return EMP_BACKEND

    async def _create_missing_session(self, request: SessionMessage) -> bool:
        """Open an offline session, or one of an earlier database (DESIGN section 5)."""
        message = request.message
        if request.peer is None or not message.session_id.is_valid:
            return False
        draft = replace(
            self._session_service.new_session(request, AUTHORIZE, request.peer.id), state=SessionState.AUTHORIZED
        )
        match = await self._services.find_authorization(message.identification, OWN) if message.identification else None
        if match is not None:
            # The authorization itself was the pushed record, so the backend need not be asked.
            draft = replace(draft, offline=1, provider_key=match.provider_id.key, provider_id=match.provider_id.text)
            return await self._create_session(draft, "authorized offline by the CPO's node")
        if not self._session_exists(message.session_id.key) and await self._restored_sessions.verify(request):
            provider = self._services.local_peer.providers[0]
            draft = replace(draft, provider_key=provider.key, provider_id=provider.text)
            return await self._create_session(draft, "known to our backend from an earlier database")
        return False

    def _session_exists(self, session_key: str) -> bool:
        return bool(self._services.store.query_inline(sessions.GET, role_=self.role, key_=session_key))

    async def _create_session(self, draft: Session, event: str) -> bool:
        return await self._services.store.write(lambda tx: self._insert_session(tx, draft, event))

    def _insert_session(self, tx: Transaction, draft: Session, event: str) -> bool:
        """Insert the session; return False if its id is in use, by a refused start or by another party."""
        if sessions.insert_or_get(tx, draft) is not None:
            return False
        sessions.add_event(tx, self.role, draft.session_key, draft.created_at, event)
        return True


class CdrQueryHandler:
    """GetChargeDetailRecords: of our own backend at an EMP's node, of EMP peers at a CPO's node."""

    def __init__(self, role: str, services: Services) -> None:
        self._role = role
        self._services = services

    async def get_charge_detail_records(self, request: OperationRequest[GetChargeDetailRecords]) -> OperationResponse:
        """Return one page of the CDRs whose SessionEnd is between ``From`` and ``To`` (EMP-02)."""
        message, page = request.message, PageRequest.from_query(request.query)
        if message.to < message.from_:
            raise Refusal(StatusCodeValue.DATA_ERROR, "From is after To")
        peer = request.peer
        parameters = CdrFilter(
            role=self._role,
            provider_key=message.provider_id.key,
            since=message.from_.timestamp(),
            until=message.to.timestamp(),
            # A peer gets the CDRs of its own sessions only, whatever ProviderID the request names.
            peer=peer.id if peer is not None and self._role == "cpo" else "",
            session_keys=tuple(session_id.key for session_id in message.session_id),
            operator_keys=tuple(operator.key for operator in message.operator_id),
            forwarded=message.cdr_forwarded,
        ).parameters()
        total = (await self._services.store.query(cdrs.COUNT, **parameters))[0]["records"]
        rows = await self._services.store.query(cdrs.PAGE, **parameters, size_=page.size, offset_=page.offset)
        return page.response([row["body"] for row in rows], total)
