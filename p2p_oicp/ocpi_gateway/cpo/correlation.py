"""Which session of OICP a Session or a CDR belongs to (GATEWAY 9): never a guess.

The partner's own words decide first: ``authorization_reference``, then ids that are bound already, then the only
session with the same token, EVSE and time. A driver who was accepted offline, by a token that we have pushed, has no
session yet: it is opened now, by an AuthorizeStart that the node answers from its authentication data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace as replace_struct

from p2p_oicp.ocpi.base import format_time
from p2p_oicp.ocpi_gateway.cpo.context import CpoContext
from p2p_oicp.ocpi_gateway.cpo.tokens import served_id
from p2p_oicp.ocpi_gateway.node_calls import NodeRefused, NodeUnavailable
from p2p_oicp.ocpi_mapping.amounts import time_of
from p2p_oicp.ocpi_mapping.ids import to_evse_id
from p2p_oicp.ocpi_mapping.sessions import correlate, identification_of
from p2p_oicp.oicp import AuthorizeStart
from p2p_oicp.oicp.enums import AuthorizationStatus, StatusCodeValue
from p2p_oicp.storage import Transaction
from p2p_oicp.storage.ocpi import evses, served, sessions
from p2p_oicp.storage.ocpi.evses import StoredEvse
from p2p_oicp.storage.ocpi.objects import ObjectKind, StoredObject
from p2p_oicp.storage.ocpi.sessions import OcpiSession, OcpiSessionState, OpenedBy, SessionFacts

# No verdict: the same question may be answered later.
_NO_VERDICT = frozenset(
    {
        StatusCodeValue.SYSTEM_ERROR_OF_HUB,
        StatusCodeValue.DATABASE_ERROR_OF_HUB,
        StatusCodeValue.SYSTEM_ERROR,
        StatusCodeValue.PARTNER_DID_NOT_RESPOND,
        StatusCodeValue.SERVICE_NOT_AVAILABLE,
    }
)


@dataclass(frozen=True, slots=True)
class Correlated:
    """The session of an object, or why there is none (``hold``)."""

    session: OcpiSession | None = None
    hold: str = ""


class Correlator:
    """Finds sessions, and opens those that began offline.

    Args:
        context: of the partner.
    """

    def __init__(self, context: CpoContext) -> None:
        self._context = context

    async def session_of(self, stored: StoredObject) -> Correlated:
        """Return the session of an object, which is bound to it from then on. Raises NodeUnavailable."""
        value, new_id = stored.value, self._context.ids.session_id()
        found = await self._context.write(lambda tx: self._find(tx, stored, value, new_id))
        if found.session is None or found.session.state is OcpiSessionState.OPEN:
            return found
        if found.session.state is OcpiSessionState.CLOSED:
            # An offline start that nobody has authorized; others are closed by their CDR.
            return Correlated(hold="not_authorized") if _is_refused(found.session) else found
        return await self._open_offline(found.session)

    def _find(self, tx: Transaction, stored: StoredObject, value: Mapping[str, Any], new_id: str) -> Correlated:
        name = self._context.name
        if stored.session_key and (session := sessions.get(tx, name, stored.session_key)) is not None:
            return Correlated(self._bound(tx, session, value))
        terms = self._context.terms()
        start, window = time_of(value["start_date_time"]), timedelta(seconds=terms.match_seconds)
        ids = (str(value.get("authorization_reference") or ""), ocpi_session_id(value) or str(value["id"]))
        candidates = sessions.candidates(tx, name, ids, (start - window).timestamp(), (start + window).timestamp())
        rows = [row for session in candidates for row in _rows(session)]
        correlation = correlate(dict(value), rows, new_id, terms, is_token_pushed=self._is_pushed(tx, value))
        if correlation.session_id is None:
            return Correlated(hold=correlation.hold or "unknown")
        session = next((each for each in candidates if each.session_id == correlation.session_id), None)
        return Correlated(self._bound(tx, session or self._offline(tx, value, new_id), value))

    def _bound(self, tx: Transaction, session: OcpiSession, value: Mapping[str, Any]) -> OcpiSession:
        """Store which Session.id a session has; one that is bound to another keeps that."""
        bound = session if session.ocpi_id else replace(session, ocpi_id=ocpi_session_id(value))
        if bound != session or session.state is OcpiSessionState.OPENING:
            sessions.put(tx, replace(bound, updated_at=self._context.clock.time()))
        return bound

    def _is_pushed(self, tx: Transaction, value: Mapping[str, Any]) -> bool:
        token = value["cdr_token"]
        return bool(served.find(tx, self._context.name, ObjectKind.TOKEN, served_id(token["type"], token["uid"])))

    def _offline(self, tx: Transaction, value: Mapping[str, Any], session_id: str) -> OcpiSession:
        """Return a session that began with a token that we have pushed, without asking."""
        token, now = value["cdr_token"], self._context.clock.time()
        location = value.get("cdr_location") or value
        facts = SessionFacts(
            uid=token["uid"],
            contract_id=token["contract_id"],
            location_id=str(location.get("location_id") or location.get("id") or ""),
            evse_uids=(str(location["evse_uid"]),),
            evse_id=self._evse_id(tx, location) or "",
            identification=identification_of(token) or {},
        )
        started_at = time_of(value["start_date_time"]).timestamp()
        state = OcpiSessionState.OPENING
        return OcpiSession(self._context.name, session_id, OpenedBy.OFFLINE, started_at, now, state, facts=facts)

    def _evse_id(self, tx: Transaction, location: Mapping[str, Any]) -> str | None:
        if "evse_id" in location:
            return to_evse_id(location["evse_id"])
        stored = evses.of_location(tx, self._context.name, str(location.get("location_id") or ""))
        return _find_uid(stored, str(location["evse_uid"]))

    async def evse_id_of(self, location_id: str, evse_uid: str) -> str | None:
        """Return the EvseID of an EVSE of the partner; None: it is unknown."""
        stored = await evses.of_location_now(self._context.store, self._context.name, location_id)
        return _find_uid(stored, evse_uid)

    async def _open_offline(self, session: OcpiSession) -> Correlated:
        """Have the node open the session: the same request again gets the same answer."""
        facts = session.facts
        if not facts.identification:
            return Correlated(hold="identification")
        request = {
            "SessionID": session.session_id,
            "OperatorID": self._context.terms().operator_id,
            "Identification": facts.identification,
            **({"EvseID": facts.evse_id} if facts.evse_id else {}),
        }
        try:
            answer = await self._context.node.ask(AuthorizeStart, request)
        except NodeRefused as refused:
            answer = {"StatusCode": {"Code": refused.code}}
        code = str(answer["StatusCode"]["Code"])
        is_authorized = answer.get("AuthorizationStatus") == AuthorizationStatus.AUTHORIZED
        if not is_authorized and code in _NO_VERDICT:
            raise NodeUnavailable(f"whether its card may charge is not decided yet: {code}")
        state = OcpiSessionState.OPEN if is_authorized else OcpiSessionState.CLOSED
        known = replace_struct(facts, provider_id=str(answer.get("ProviderID") or ""))
        opened = replace(session, state=state, facts=known, updated_at=self._context.clock.time())
        await self._context.write(lambda tx: sessions.put(tx, opened))
        return Correlated(opened) if is_authorized else Correlated(hold=f"not_authorized: {code}")


def ocpi_session_id(value: Mapping[str, Any]) -> str:
    """Return the Session.id that an object names; empty: a CDR names none."""
    if "cdr_location" in value:
        return str(value.get("session_id") or "")
    return str(value["id"])


def _find_uid(stored: Sequence[StoredEvse], uid: str) -> str | None:
    return next((evse.evse_id for evse in stored if evse.uid_key == uid.strip().lower()), None)


def _is_refused(session: OcpiSession) -> bool:
    return session.opened_by is OpenedBy.OFFLINE and not session.facts.provider_id


def _rows(session: OcpiSession) -> list[dict[str, Any]]:
    """Return a session as `correlate` reads it: once for each EVSE at which it may have begun."""
    row = {
        "SessionID": session.session_id,
        "uid": session.facts.uid,
        "contract_id": session.facts.contract_id,
        "authorized_at": format_time(datetime.fromtimestamp(session.opened_at, UTC)),
        # What is closed takes no further objects but those that name it.
        "ocpi_id": session.ocpi_id or ("-" if session.state is OcpiSessionState.CLOSED else ""),
    }
    return [row | {"evse_uid": uid} for uid in session.facts.evse_uids or ("",)]


def known_session(session: OcpiSession, evse_id: str | None) -> dict[str, Any]:
    """Return a session as the mapping reads it; ``evse_id`` is that of the object, if it is known."""
    facts = session.facts
    members = {
        "SessionID": session.session_id,
        "EvseID": evse_id or facts.evse_id,
        "Identification": facts.identification,
        "EMPPartnerSessionID": facts.emp_partner_session_id,
        "started": facts.started,
        "last_progress": facts.last_progress,
    }
    known = {name: value for name, value in members.items() if value}
    return known | ({"kwh": facts.kwh} if facts.kwh else {})
