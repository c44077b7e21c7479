"""A charge point operator's backend: charging points with meters, drivers who swipe cards, and its own books.

It behaves as an existing CSMS behind a clearing house does: it pushes statuses, asks for authorization, notifies, sends
one CDR a session, and obeys remote starts and stops. What happens at the charging points is told by the caller; a
refused step is no error here, its answer is returned. No answer at all is a PeerError.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    Code,
    EvseID,
    EvseStatusRecord,
    Identification,
    Message,
    OperatorEvseStatus,
    OperatorID,
    PushEvseStatus,
    RFIDMifareFamilyIdentification,
    SessionID,
)
from p2p_oicp.simulator.answers import acknowledged, refused, said_yes
from p2p_oicp.simulator.charging import ChargingPoint, ChargingSession
from p2p_oicp.simulator.journal import Journal
from p2p_oicp.simulator.line import Line
from p2p_oicp.simulator.story_clock import StoryClock


class Csms:
    """The backend of one operator; an async context manager. ``sessions`` and ``points`` are its books."""

    def __init__(
        self, *, name: str, operator: OperatorID, points: Iterable[ChargingPoint], journal: Journal, clock: StoryClock
    ) -> None:
        self.name = name
        self.operator = operator
        self.points = {point.evse_id: point for point in points}
        self.sessions: dict[SessionID, ChargingSession] = {}
        self._clock = clock
        self._counter = 0
        self._announced: dict[EvseID, str] = {}
        self._line = Line(
            owner=name,
            journal=journal,
            handlers={"AuthorizeRemoteStart": self._start_remotely, "AuthorizeRemoteStop": self._stop_remotely},
        )

    async def __aenter__(self) -> Self:
        await self._line.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._line.__aexit__(kind, exc, trace)

    @property
    def url(self) -> str:
        """Where the node reaches this backend."""
        return self._line.url

    def connect(self, name: str, url: str) -> None:
        """Say which node to use, by its backend API's URL."""
        self._line.connect(name, url)

    @property
    def statuses(self) -> dict[EvseID, str]:
        """The status of every EVSE, as its charging point has it."""
        return {point.evse_id: point.status for point in self.points.values()}

    async def push_all_statuses(self) -> Message:
        """Replace what the node knows of our statuses (fullLoad)."""
        return await self._push(ActionType.FULL_LOAD, list(self.points.values()))

    async def push_changed_statuses(self) -> Message | None:
        """Push the statuses that differ from what was pushed last; None if there are none."""
        changed = [point for point in self.points.values() if self._announced.get(point.evse_id) != point.status]
        return await self._push(ActionType.UPDATE, changed) if changed else None

    async def swipe(self, evse_id: EvseID, uid: UID) -> tuple[ChargingSession | None, Message]:
        """Let a driver hold a card to a charging point; return the session, if there is one now, and the answer."""
        identification = _card(uid)
        partner_session_id = self._next_partner_session_id()
        answer = await self._line.ask(
            "AuthorizeStart",
            self.operator.text,
            AuthorizeStart(
                operator_id=self.operator,
                evse_id=evse_id,
                cpo_partner_session_id=partner_session_id,
                identification=identification,
            ),
        )
        if not isinstance(answer, AuthorizationStart) or not said_yes(answer) or answer.session_id is None:
            return None, answer
        return self._open(answer.session_id, evse_id, identification, partner_session_id), answer

    async def begin(self, session: ChargingSession) -> Message:
        """Let energy flow, and say so."""
        self._clock.advance(60)
        session.charging_start = self._clock.now()
        return await self._notify(session.start_notification())

    async def charge(self, session: ChargingSession, energy: Decimal, *, minutes: int) -> Message:
        """Let ``energy`` kWh flow within some minutes, and say how far it has come."""
        self._clock.advance(60 * minutes)
        session.point.meter += energy
        session.readings.append(session.point.meter)
        return await self._notify(session.progress_notification(self._clock.now()))

    async def swipe_to_stop(self, session: ChargingSession, uid: UID) -> Message:
        """Let a driver hold a card to a charging point that is in use; return the answer."""
        answer = await self._line.ask(
            "AuthorizeStop",
            self.operator.text,
            AuthorizeStop(
                session_id=session.session_id,
                operator_id=self.operator,
                cpo_partner_session_id=session.partner_session_id,
                evse_id=session.point.evse_id,
                identification=_card(uid),
            ),
        )
        if said_yes(answer):
            self._cease(session)
        return answer

    async def leave(self, session: ChargingSession) -> Message:
        """Let the driver unplug, and say that the session is over."""
        if not session.has_ceased:
            self._cease(session)
        self._clock.advance(60)
        session.session_end = self._clock.now()
        session.point.status = "Available"
        return await self._notify(session.end_notification())

    async def send_cdr(self, session: ChargingSession) -> Message:
        """Send the session's CDR; the same one, if it was sent before."""
        self._clock.advance(1)
        session.cdr = session.cdr or session.charge_detail_record()
        return await self._line.ask("ChargeDetailRecord", self.operator.text, session.cdr)

    async def _push(self, action: ActionType, points: Sequence[ChargingPoint]) -> Message:
        records = tuple(EvseStatusRecord(evse_id=point.evse_id, evse_status=point.status) for point in points)
        push = PushEvseStatus(
            action_type=action,
            operator_evse_status=OperatorEvseStatus(
                operator_id=self.operator, operator_name=self.name, evse_status_records=records
            ),
        )
        answer = await self._line.ask("PushEvseStatus", self.operator.text, push)
        if said_yes(answer):
            self._announced.update((point.evse_id, point.status) for point in points)
        return answer

    async def _notify(self, notification: Message) -> Message:
        return await self._line.ask("ChargingNotifications", self.operator.text, notification)

    async def _start_remotely(self, request: AuthorizeRemoteStart) -> Message:
        point = self.points.get(request.evse_id)
        if point is None:
            return refused(Code.UNKNOWN_EVSE_ID)
        if request.session_id is None:
            return refused(Code.SESSION_INVALID)
        if point.status != "Available":
            return refused(Code.EVSE_ALREADY_IN_USE)
        session = self._open(
            request.session_id, request.evse_id, request.identification, self._next_partner_session_id()
        )
        return acknowledged(session.session_id, cpo_partner_session_id=session.partner_session_id)

    async def _stop_remotely(self, request: AuthorizeRemoteStop) -> Message:
        session = self.sessions.get(request.session_id)
        if session is None or session.has_ceased:
            return refused(Code.SESSION_INVALID)
        self._cease(session)
        return acknowledged(session.session_id, cpo_partner_session_id=session.partner_session_id)

    def _open(
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

    def _cease(self, session: ChargingSession) -> None:
        self._clock.advance(60)
        session.charging_end = self._clock.now()
        session.has_ceased = True

    def _next_partner_session_id(self) -> str:
        self._counter += 1
        return f"{self.name}-{self._counter:04}"


def _card(uid: UID) -> Identification:
    return Identification(rfid_mifare_family=RFIDMifareFamilyIdentification(uid=uid))
