"""Sessions of a partner into charging notifications (GATEWAY 9.5).

A session is stored, then bound to its session of OICP, then the node is sent what the new form says, and only then what
was sent is recorded: after a crash in between the same notifications are sent again, which the node recognises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import structlog
from msgspec.structs import replace as replace_struct

from p2p_oicp.ocpi.sessions import Session
from p2p_oicp.ocpi_gateway.cpo.context import CpoContext
from p2p_oicp.ocpi_gateway.cpo.correlation import Correlated, Correlator, known_session
from p2p_oicp.ocpi_gateway.cpo.intake import ObjectIntake, Received
from p2p_oicp.ocpi_gateway.node_calls import NodeRefused, NodeUnavailable
from p2p_oicp.ocpi_gateway.requests import ModuleRequest, ModuleResult, OcpiProblem
from p2p_oicp.ocpi_mapping.sessions import to_notifications
from p2p_oicp.ocpi_mapping.terms import CITRINEOS
from p2p_oicp.oicp.charging import ChargingNotification, NotificationType
from p2p_oicp.storage import Transaction
from p2p_oicp.storage.ocpi import findings, objects, sessions
from p2p_oicp.storage.ocpi.findings import StoredFinding
from p2p_oicp.storage.ocpi.objects import ObjectKind, ObjectState, StoredObject
from p2p_oicp.storage.ocpi.sessions import OcpiSession

log = structlog.get_logger(__name__)

_KIND = ObjectKind.SESSION
FOREIGN_TOKEN = "foreign_token"  # noqa: S105 - a reason


class SessionReceiver:
    """The receiver's interface of sessions.

    Args:
        context: of the partner.
        correlator: finds the session of OICP.
    """

    def __init__(self, context: CpoContext, correlator: Correlator) -> None:
        self._context = context
        self._correlator = correlator
        self.intake = ObjectIntake(context, _KIND, Session)

    async def handle(self, request: ModuleRequest) -> ModuleResult:
        """Serve GET, PUT and PATCH of one session."""
        id_ = self.intake.id_in_path(request.segments, "session_id")
        if request.verb == "GET":
            return ModuleResult((await self.intake.get(id_)).value)
        if request.verb == "PUT":
            self.intake.check_path(request, "session_id")
            await self.receive(request.body or {})
            return ModuleResult()
        try:
            received = await self.intake.patch(id_, request.body or {})
        except OcpiProblem as problem:
            if problem.http_status == 404:  # noqa: PLR2004 - the object is fetched, as a whole
                self._context.background.start_logged(f"sessions of {self._context.name}", self._fetch_all)
            raise
        await self._carry_new(received)
        return ModuleResult()

    async def receive(self, value: Mapping[str, Any]) -> bool:
        """Store a session and carry what is new of it; return whether anything is."""
        received = await self.intake.put(value)
        await self._carry_new(received)
        return received.is_changed

    async def _carry_new(self, received: Received) -> None:
        if received.is_changed:
            await self.carry(received.stored)

    async def _fetch_all(self) -> None:
        """Fetch the sessions of now: OCPI has no request for a single one."""
        since = {"date_from": self._context.now().replace(hour=0, minute=0, second=0, microsecond=0).isoformat()}
        async for page in self._context.partners.pages(self._context.name, "sessions", "SENDER", since):
            for value in page.objects:
                await self.receive(self.intake.checked(value))

    async def carry(self, stored: StoredObject) -> None:
        """Send the node what a session says; what the node cannot take now stays pending."""
        key = f"session {stored.id.object_key}"
        try:
            async with self._context.one_at_a_time(key):
                await self._carry(stored)
        except NodeUnavailable as error:
            log.warning("ocpi.session_delayed", partner=self._context.name, session=stored.object_id, reason=str(error))

    async def _carry(self, stored: StoredObject) -> None:
        current = await objects.get_now(self._context.store, stored.id)
        if current is None or current.state not in {ObjectState.PENDING, ObjectState.WAITING}:
            return
        if is_foreign(self._context, current.value):
            await self._context.write(lambda tx: objects.set_state(tx, current, ObjectState.CARRIED, FOREIGN_TOKEN))
            return
        correlated = await self._correlator.session_of(current)
        if correlated.session is None:
            # Tried again when its CDR comes, or a command.
            reason = correlated.hold
            await self._context.write(lambda tx: objects.set_state(tx, current, ObjectState.WAITING, reason))
            log.info("ocpi.session_unbound", partner=self._context.name, session=current.object_id, reason=reason)
            return
        await self._notify(current, correlated)

    async def _notify(self, stored: StoredObject, correlated: Correlated) -> None:
        session = correlated.session
        if session is None:
            return
        value = stored.value
        evse_id = await self._correlator.evse_id_of(value["location_id"], value["evse_uid"])
        previous = replace(stored, body=session.body).value if session.body else None
        result = to_notifications(value, previous, known_session(session, evse_id), self._context.terms())
        found = self._context.findings_of(_KIND, stored.object_id, result.losses)
        for notification in result.notifications:
            found += await self._send(notification, stored)
        carried = _after(session, result.notifications, stored, self._context.clock.time())

        def job(tx: Transaction) -> None:
            sessions.put(tx, carried)
            objects.set_state(tx, stored, ObjectState.CARRIED, session_key=session.session_key)
            findings.replace_all(tx, self._context.name, _KIND, stored.object_id, found)

        await self._context.write(job)

    async def _send(self, notification: dict[str, Any], stored: StoredObject) -> list[StoredFinding]:
        """Send one notification; a refusal is a finding, for the CDR is what counts."""
        try:
            await self._context.node.deliver(ChargingNotification, notification)
        except NodeRefused as refused:
            text = f"the node refuses the notification {notification['Type']}: {refused}"
            log.warning("ocpi.notification_refused", partner=self._context.name, session=stored.object_id, reason=text)
            return [self._context.finding(_KIND, stored.object_id, f"refused-{notification['Type'].lower()}", text)]
        return []


def is_foreign(context: CpoContext, value: Mapping[str, Any]) -> bool:
    """Whether an object is of a driver of somebody else: some partners send theirs to everybody."""
    if context.settings.profile != CITRINEOS:
        return False
    token = value["cdr_token"]
    party = (str(token["country_code"]).upper(), str(token["party_id"]).upper())
    ours = {
        (role.country_code.upper(), role.party_id.upper()) for role in context.partners.own_parties(context.settings)
    }
    return party not in ours


def _after(session: OcpiSession, notifications: list[dict[str, Any]], stored: StoredObject, now: float) -> OcpiSession:
    """Return a session with what the node was sent of it."""
    facts = session.facts
    for notification in notifications:
        if notification["Type"] == NotificationType.START:
            facts = replace_struct(facts, started=True)
        if notification["Type"] == NotificationType.PROGRESS:
            value = stored.value
            facts = replace_struct(facts, last_progress=value["last_updated"], kwh=str(value["kwh"]))
    return replace(session, facts=facts, body=stored.body, updated_at=now)
