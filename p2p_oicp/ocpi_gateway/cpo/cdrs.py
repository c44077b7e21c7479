"""CDRs of a partner: money. Each is stored before it is acknowledged, and carried to the node once (GATEWAY 9.6).

Some partners never send a CDR twice, so that one which cannot be carried is acknowledged as well, and *held*: a person
assigns it to a session, or drops it. The node itself refuses a second CDR for a session, and acknowledges the same one
again; so after a crash anywhere the CDR is sent again, and counts once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import structlog

from p2p_oicp.errors import ConfigurationError
from p2p_oicp.ocpi.base import encode_json
from p2p_oicp.ocpi.envelope import OcpiStatus
from p2p_oicp.ocpi.sessions import Cdr
from p2p_oicp.ocpi_gateway.cpo.context import CpoContext
from p2p_oicp.ocpi_gateway.cpo.correlation import Correlator, known_session
from p2p_oicp.ocpi_gateway.cpo.intake import ObjectIntake
from p2p_oicp.ocpi_gateway.cpo.sessions import FOREIGN_TOKEN, SessionReceiver, is_foreign
from p2p_oicp.ocpi_gateway.node_calls import NodeRefused, NodeUnavailable
from p2p_oicp.ocpi_gateway.requests import ModuleRequest, ModuleResult, OcpiProblem, unknown_object
from p2p_oicp.ocpi_mapping.cdrs import to_record
from p2p_oicp.oicp import ChargeDetailRecord, SessionID
from p2p_oicp.storage import Transaction
from p2p_oicp.storage import sessions as node_sessions
from p2p_oicp.storage.ocpi import findings, objects, sessions
from p2p_oicp.storage.ocpi.objects import ObjectKind, ObjectState, StoredObject
from p2p_oicp.storage.ocpi.sessions import OcpiSession, OcpiSessionState, OpenedBy, SessionFacts
from p2p_oicp.storage.sessions import REFUSED_STATES

log = structlog.get_logger(__name__)

_KIND = ObjectKind.CDR


class CdrReceiver:
    """The receiver's interface of CDRs, and what a person does about those that are held.

    Args:
        context: of the partner.
        correlator: finds the session of OICP.
        sessions_: carries what waits for the session that a CDR makes known.
    """

    def __init__(self, context: CpoContext, correlator: Correlator, sessions_: SessionReceiver) -> None:
        self._context = context
        self._correlator = correlator
        self._sessions = sessions_
        self.intake = ObjectIntake(context, _KIND, Cdr)

    async def handle(self, request: ModuleRequest) -> ModuleResult:
        """Serve GET of one CDR, and POST."""
        if request.verb == "GET":
            return ModuleResult((await self.find(request.segments["cdr_id"])).value)
        stored = await self.receive(request.body or {})
        url = f"{self._context.partners.settings.url}/2.2.1/emsp/cdrs/{stored.object_id}"
        return ModuleResult(headers={"Location": url})

    async def find(self, cdr_id: str) -> StoredObject:
        """Return a CDR by its id; raise OcpiProblem if there is none, ConfigurationError if there are several."""
        found = await objects.find_now(self._context.store, self._context.name, _KIND, cdr_id)
        if not found:
            raise unknown_object(f"the CDR {cdr_id}")
        if len(found) > 1:
            raise ConfigurationError(f"{cdr_id} is the id of {len(found)} CDRs, of different parties")
        return found[0]

    async def receive(self, value: Mapping[str, Any]) -> StoredObject:
        """Store a CDR and carry it; raise OcpiProblem 2001 for another form of one that is there."""
        id_ = self.intake.id_of(value)

        def job(tx: Transaction) -> tuple[StoredObject, bool]:
            existing = objects.get(tx, id_)
            if existing is None:
                return self.intake.put_in(tx, id_, value).stored, True
            is_same = _content(existing.value) == _content({**value, "id": existing.object_id})
            if not is_same:
                text = "another CDR with this id and another content was refused"
                finding = self._context.finding(_KIND, existing.object_id, "conflict", text)
                findings.add(tx, self._context.name, replace(finding, body=encode_json(value)))
            return existing, is_same

        stored, is_accepted = await self._context.write(job)
        if not is_accepted:
            log.warning("ocpi.cdr_conflict", partner=self._context.name, cdr=stored.object_id)
            raise OcpiProblem(OcpiStatus.INVALID_PARAMETERS, f"/id: the CDR {stored.object_id} has another content")
        await self.carry(stored)
        return stored

    async def carry(self, stored: StoredObject) -> None:
        """Send the node the record of a CDR; what it cannot take now stays pending."""
        try:
            async with self._context.one_at_a_time(f"cdr {stored.id.object_key}"):
                await self._carry(stored)
        except NodeUnavailable as error:
            log.warning("ocpi.cdr_delayed", partner=self._context.name, cdr=stored.object_id, reason=str(error))

    async def _carry(self, stored: StoredObject) -> None:
        current = await objects.get_now(self._context.store, stored.id)
        if current is None or current.state is not ObjectState.PENDING:
            return
        value = current.value
        if is_foreign(self._context, value):
            await self._context.write(lambda tx: objects.set_state(tx, current, ObjectState.CARRIED, FOREIGN_TOKEN))
            return
        if value.get("credit"):
            await self._hold(current, "credit_cdr")
            return
        correlated = await self._correlator.session_of(current)
        session = correlated.session
        if session is None:
            await self._hold(current, "uncorrelated" if correlated.hold == "unknown" else correlated.hold)
            return
        await self._carry_waiting_session(session)
        await self._deliver(
            current, value, await sessions.get_now(self._context.store, session.partner, session.session_id)
        )

    async def _carry_waiting_session(self, session: OcpiSession) -> None:
        """Carry the Session of a CDR first: it may have belonged to nothing until now."""
        if session.ocpi_id:
            found = await objects.find_now(self._context.store, self._context.name, ObjectKind.SESSION, session.ocpi_id)
            for stored in found:
                await self._sessions.carry(stored)

    async def _deliver(self, stored: StoredObject, value: dict[str, Any], session: OcpiSession | None) -> None:
        known = known_session(session, None) if session is not None else None
        result = to_record(value, known)
        if result.record is None or session is None:
            await self._hold(stored, result.parked or "uncorrelated")
            return
        try:
            await self._context.node.deliver(ChargeDetailRecord, result.record)
        except NodeRefused as refused:
            await self._hold(stored, f"refused: {refused}", session.session_key)
            return
        found = self._context.findings_of(_KIND, stored.object_id, result.losses)
        now = self._context.clock.time()

        def job(tx: Transaction) -> None:
            objects.set_state(tx, stored, ObjectState.CARRIED, session_key=session.session_key)
            sessions.put(tx, replace(session, state=OcpiSessionState.CLOSED, updated_at=now))
            findings.replace_all(tx, self._context.name, _KIND, stored.object_id, found)

        await self._context.write(job)
        log.info("ocpi.cdr_carried", partner=self._context.name, cdr=stored.object_id, session_id=session.session_id)

    async def _hold(self, stored: StoredObject, reason: str, session_key: str = "") -> None:
        """Let a CDR wait for a person."""
        await self._context.write(
            lambda tx: objects.set_state(tx, stored, ObjectState.HELD, reason, session_key or stored.session_key)
        )
        log.warning("ocpi.cdr_held", partner=self._context.name, cdr=stored.object_id, reason=reason)
        self._context.held(stored.object_id, reason)

    # What a person does

    async def assign(self, cdr_id: str, session_id: str) -> StoredObject:
        """Carry a held CDR as that of a session, and return what became of it; raise ConfigurationError."""
        stored = await self._held(cdr_id)
        session = await sessions.get_now(self._context.store, self._context.name, session_id)
        if session is None:
            session = await self._session_of_node(session_id, stored)
        assigned = session

        def job(tx: Transaction) -> None:
            if sessions.get(tx, self._context.name, assigned.session_id) is None:
                sessions.put(tx, assigned)
            objects.set_state(tx, stored, ObjectState.PENDING, session_key=assigned.session_key)

        await self._context.write(job)
        await self.carry(stored)
        return await self.find(cdr_id)

    async def _session_of_node(self, session_id: str, stored: StoredObject) -> OcpiSession:
        """Return a session of the node that no partner has named; raise ConfigurationError if it can have no CDR."""
        session = await node_sessions.get_now(self._context.store, "cpo", SessionID(session_id).key)
        if session is None or session.state in REFUSED_STATES:
            raise ConfigurationError(
                f"{session_id} is no session of this node that may have a CDR: see `sessions list`"
            )
        token = stored.value["cdr_token"]
        facts = SessionFacts(
            uid=token["uid"],
            contract_id=token["contract_id"],
            evse_id=session.evse_id,
            provider_id=session.provider_id,
            emp_partner_session_id=session.emp_partner_session_id or "",
        )
        now, opened_by = self._context.clock.time(), OpenedBy.AUTHORIZE
        return OcpiSession(self._context.name, session.session_id, opened_by, session.created_at, now, facts=facts)

    async def drop(self, cdr_id: str) -> StoredObject:
        """Decide that a held CDR is carried nowhere; raise ConfigurationError."""
        stored = await self._held(cdr_id)
        await self._context.write(lambda tx: objects.set_state(tx, stored, ObjectState.DROPPED, stored.reason))
        log.warning("ocpi.cdr_dropped", partner=self._context.name, cdr=stored.object_id, reason=stored.reason)
        return await self.find(cdr_id)

    async def _held(self, cdr_id: str) -> StoredObject:
        stored = await self.find(cdr_id)
        if stored.state is not ObjectState.HELD:
            raise ConfigurationError(f"the CDR {cdr_id} is {stored.state}, not held")
        return stored


def _content(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return what counts of a CDR: not the time at which it was written."""
    return {name: member for name, member in value.items() if name != "last_updated"}
