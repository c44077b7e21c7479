"""A simulated charge point operator's backend (CSMS): charging points with meters, sessions, and their messages.

It behaves as an existing CSMS behind a clearing house does: it pushes statuses, requests authorizations, notifies,
sends one CDR for each session, and executes remote starts and stops. The caller makes things happen at the charging
points. A refusal is no error here: the response is returned. No response at all is a PeerError.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from decimal import Decimal
from types import TracebackType
from typing import Self

from p2p_oicp.oicp import (
    UID,
    ActionType,
    AuthorizationStart,
    AuthorizeRemoteStart,
    AuthorizeRemoteStop,
    AuthorizeStart,
    AuthorizeStop,
    ChargeDetailRecord,
    ChargingNotificationEnd,
    ChargingNotificationProgress,
    ChargingNotificationStart,
    EvseID,
    EvseStatusRecord,
    Identification,
    Message,
    NotificationType,
    OperatorEvseStatus,
    OperatorID,
    PushEvseData,
    PushEvseStatus,
    RFIDMifareFamilyIdentification,
    SessionID,
    StatusCodeValue,
)
from p2p_oicp.simulator.backend_connection import (
    DEFAULT_ADDRESS,
    BackendAddress,
    BackendConnection,
    acknowledgement,
    refusal,
)
from p2p_oicp.simulator.exchange_log import ExchangeLog, is_accepted


class SimulatedClock:
    """A Clock whose wall time moves only by ``advance``: half an hour of charging takes no time.

    Its monotonic time is the machine's, so that timeouts and durations stay real.
    """

    def __init__(self, start: datetime) -> None:
        self._time = start.timestamp()
        self._zone: tzinfo | None = start.tzinfo

    def time(self) -> float:
        """Return simulated seconds since the epoch."""
        return self._time

    def monotonic(self) -> float:
        """Return real seconds since an arbitrary start."""
        return time.monotonic()

    def now(self) -> datetime:
        """Return the simulated time, aware, in the time zone of the start."""
        return datetime.fromtimestamp(self._time, self._zone)

    def advance(self, seconds: float) -> None:
        """Move the simulated time forward."""
        self._time += seconds


@dataclass
class ChargingPoint:
    """One EVSE; ``meter`` is in kWh, ``status`` one of EVSEStatusType (OICP 2.3, CPO data types)."""

    evse_id: EvseID
    meter: Decimal = Decimal(0)
    status: str = "Available"


@dataclass
class ChargingSession:
    """One session of the CSMS; ``meter_readings`` are in kWh, from the first to the latest."""

    session_id: SessionID
    partner_session_id: str
    operator: OperatorID
    point: ChargingPoint
    identification: Identification
    session_start: datetime
    meter_readings: list[Decimal] = field(init=False)
    charging_start: datetime = field(init=False)
    charging_end: datetime = field(init=False)
    session_end: datetime = field(init=False)
    charging_stopped: bool = field(init=False, default=False)
    cdr: ChargeDetailRecord | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        # Until they happen, all times are that of the start: a session without charging has a CDR, too.
        self.charging_start = self.charging_end = self.session_end = self.session_start
        self.meter_readings = [self.point.meter]

    @property
    def consumed_energy(self) -> Decimal:
        """Energy so far, in kWh."""
        return self.meter_readings[-1] - self.meter_readings[0]

    def start_notification(self) -> ChargingNotificationStart:
        """Return the notification that energy flows now."""
        return ChargingNotificationStart(
            type=NotificationType.START,
            session_id=self.session_id,
            cpo_partner_session_id=self.partner_session_id,
            identification=self.identification,
            evse_id=self.point.evse_id,
            charging_start=self.charging_start,
            session_start=self.session_start,
            meter_value_start=self.meter_readings[0],
            operator_id=self.operator,
        )

    def progress_notification(self, now: datetime) -> ChargingNotificationProgress:
        """Return the notification of the energy so far."""
        return ChargingNotificationProgress(
            type=NotificationType.PROGRESS,
            session_id=self.session_id,
            cpo_partner_session_id=self.partner_session_id,
            identification=self.identification,
            evse_id=self.point.evse_id,
            charging_start=self.charging_start,
            event_occurred=now,
            session_start=self.session_start,
            consumed_energy_progress=self.consumed_energy,
            operator_id=self.operator,
        )

    def end_notification(self) -> ChargingNotificationEnd:
        """Return the notification that the session has ended."""
        return ChargingNotificationEnd(
            type=NotificationType.END,
            session_id=self.session_id,
            cpo_partner_session_id=self.partner_session_id,
            identification=self.identification,
            evse_id=self.point.evse_id,
            charging_start=self.charging_start,
            charging_end=self.charging_end,
            session_start=self.session_start,
            session_end=self.session_end,
            consumed_energy=self.consumed_energy,
            meter_value_start=self.meter_readings[0],
            meter_value_end=self.meter_readings[-1],
            operator_id=self.operator,
        )

    def charge_detail_record(self) -> ChargeDetailRecord:
        """Return the record to bill by."""
        return ChargeDetailRecord(
            session_id=self.session_id,
            cpo_partner_session_id=self.partner_session_id,
            partner_product_id="AC1",
            evse_id=self.point.evse_id,
            identification=self.identification,
            charging_start=self.charging_start,
            charging_end=self.charging_end,
            session_start=self.session_start,
            session_end=self.session_end,
            meter_value_start=self.meter_readings[0],
            meter_value_end=self.meter_readings[-1],
            consumed_energy=self.consumed_energy,
        )


class Csms:
    """The backend of one operator; an async context manager.

    Attributes:
        points: its charging points, by EvseID.
        sessions: its sessions, by SessionID; what the demo compares with the contract system's.
    """

    def __init__(
        self,
        *,
        name: str,
        operator: OperatorID,
        points: Iterable[ChargingPoint],
        exchange_log: ExchangeLog,
        clock: SimulatedClock,
        address: BackendAddress = DEFAULT_ADDRESS,
    ) -> None:
        self.name = name
        self.operator = operator
        self.points = {point.evse_id: point for point in points}
        self.sessions: dict[SessionID, ChargingSession] = {}
        self._clock = clock
        self._counter = 0
        self._pushed_statuses: dict[EvseID, str] = {}
        self._connection = BackendConnection(
            owner=name,
            exchange_log=exchange_log,
            address=address,
            handlers={
                "AuthorizeRemoteStart": self._handle_remote_start,
                "AuthorizeRemoteStop": self._handle_remote_stop,
            },
        )

    async def __aenter__(self) -> Self:
        await self._connection.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._connection.__aexit__(exc_type, exc, traceback)

    @property
    def url(self) -> str:
        """Where the node reaches this backend."""
        return self._connection.url

    def connect(self, name: str, url: str) -> None:
        """Set the node to use, by the URL of its backend API."""
        self._connection.connect(name, url)

    @property
    def statuses(self) -> dict[EvseID, str]:
        """The current status of every EVSE."""
        return {point.evse_id: point.status for point in self.points.values()}

    def set_status(self, evse_id: EvseID, status: str) -> None:
        """Change the status of an EVSE; the node learns of it by the next push."""
        self.points[evse_id].status = status

    async def push_all_statuses(self) -> Message:
        """Replace all statuses that the node has of this operator (fullLoad)."""
        return await self._push_statuses(ActionType.FULL_LOAD, list(self.points.values()))

    async def push_changed_statuses(self) -> Message | None:
        """Push the statuses that differ from what was pushed last; None if there are none."""
        changed = [point for point in self.points.values() if self._pushed_statuses.get(point.evse_id) != point.status]
        return await self._push_statuses(ActionType.UPDATE, changed) if changed else None

    async def swipe(self, evse_id: EvseID, uid: UID) -> tuple[ChargingSession | None, Message]:
        """Swipe a card at a charging point; return the session, None if it was refused, and the response."""
        identification = _rfid_identification(uid)
        partner_session_id = self._next_partner_session_id()
        response = await self._connection.send_request(
            "AuthorizeStart",
            self.operator.text,
            AuthorizeStart(
                operator_id=self.operator,
                evse_id=evse_id,
                cpo_partner_session_id=partner_session_id,
                identification=identification,
            ),
        )
        if not isinstance(response, AuthorizationStart) or not is_accepted(response) or response.session_id is None:
            return None, response
        return self._open_session(response.session_id, evse_id, identification, partner_session_id), response

    async def start_charging(self, session: ChargingSession) -> Message:
        """Let energy flow, and notify."""
        self._clock.advance(60)
        session.charging_start = self._clock.now()
        return await self._send_notification(session.start_notification())

    async def charge(self, session: ChargingSession, energy: Decimal, *, minutes: int) -> Message:
        """Let ``energy`` kWh flow within ``minutes``, and notify of the progress."""
        self._clock.advance(60 * minutes)
        session.point.meter += energy
        session.meter_readings.append(session.point.meter)
        return await self._send_notification(session.progress_notification(self._clock.now()))

    async def swipe_to_stop(self, session: ChargingSession, uid: UID) -> Message:
        """Swipe a card at a charging point that is in use; return the response."""
        response = await self._connection.send_request(
            "AuthorizeStop",
            self.operator.text,
            AuthorizeStop(
                session_id=session.session_id,
                operator_id=self.operator,
                cpo_partner_session_id=session.partner_session_id,
                evse_id=session.point.evse_id,
                identification=_rfid_identification(uid),
            ),
        )
        if is_accepted(response):
            self._stop_charging(session)
        return response

    async def end_session(self, session: ChargingSession) -> Message:
        """Unplug, and notify of the end."""
        if not session.charging_stopped:
            self._stop_charging(session)
        self._clock.advance(60)
        session.session_end = self._clock.now()
        session.point.status = "Available"
        return await self._send_notification(session.end_notification())

    async def send_cdr(self, session: ChargingSession) -> Message:
        """Send the session's CDR; a repeated call sends the same one."""
        self._clock.advance(1)
        session.cdr = session.cdr or session.charge_detail_record()
        return await self._connection.send_request("ChargeDetailRecord", self.operator.text, session.cdr)

    async def push_evse_data(self, push: PushEvseData) -> Message:
        """Push the records of its EVSEs."""
        return await self._connection.send_request("PushEvseData", self.operator.text, push)

    async def _push_statuses(self, action: ActionType, points: Sequence[ChargingPoint]) -> Message:
        records = tuple(EvseStatusRecord(evse_id=point.evse_id, evse_status=point.status) for point in points)
        push = PushEvseStatus(
            action_type=action,
            operator_evse_status=OperatorEvseStatus(
                operator_id=self.operator, operator_name=self.name, evse_status_records=records
            ),
        )
        response = await self._connection.send_request("PushEvseStatus", self.operator.text, push)
        # A refused push is repeated with the next changes.
        if is_accepted(response):
            self._pushed_statuses.update((point.evse_id, point.status) for point in points)
        return response

    async def _send_notification(self, notification: Message) -> Message:
        return await self._connection.send_request("ChargingNotifications", self.operator.text, notification)

    async def _handle_remote_start(self, request: AuthorizeRemoteStart) -> Message:
        point = self.points.get(request.evse_id)
        if point is None:
            return refusal(StatusCodeValue.UNKNOWN_EVSE_ID)
        if request.session_id is None:
            return refusal(StatusCodeValue.SESSION_INVALID)
        if point.status != "Available":
            return refusal(StatusCodeValue.EVSE_ALREADY_IN_USE)
        session = self._open_session(
            request.session_id, request.evse_id, request.identification, self._next_partner_session_id()
        )
        return acknowledgement(session.session_id, cpo_partner_session_id=session.partner_session_id)

    async def _handle_remote_stop(self, request: AuthorizeRemoteStop) -> Message:
        session = self.sessions.get(request.session_id)
        if session is None or session.charging_stopped:
            return refusal(StatusCodeValue.SESSION_INVALID)
        self._stop_charging(session)
        return acknowledgement(session.session_id, cpo_partner_session_id=session.partner_session_id)

    def _open_session(
        self, session_id: SessionID, evse_id: EvseID, identification: Identification, partner_session_id: str
    ) -> ChargingSession:
        point = self.points[evse_id]
        point.status = "Occupied"
        session = ChargingSession(
            session_id=session_id,
            partner_session_id=partner_session_id,
            operator=self.operator,
            point=point,
            identification=identification,
            session_start=self._clock.now(),
        )
        self.sessions[session_id] = session
        return session

    def _stop_charging(self, session: ChargingSession) -> None:
        self._clock.advance(60)
        session.charging_end = self._clock.now()
        session.charging_stopped = True

    def _next_partner_session_id(self) -> str:
        self._counter += 1
        return f"{self.name}-{self._counter:04}"


def _rfid_identification(uid: UID) -> Identification:
    return Identification(rfid_mifare_family=RFIDMifareFamilyIdentification(uid=uid))
