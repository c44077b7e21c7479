"""What this node knows of sessions and CDRs, told to the other party of them.

`SessionExport` serves ``GET /p2p/v1/sessions/{SessionID}`` and the extension ``session-export`` (DESIGN section 4),
`CdrQueryHandler` GetChargeDetailRecords. A peer gets what is between it and this node only: any other session is
*unknown* to it, whether it exists or not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import orjson

from p2p_oicp.delivery.node_protocol import UNKNOWN, ExportedCdr, ExportPage, SessionEvent, SessionStatus
from p2p_oicp.delivery.store_epochs import StoreEpochs
from p2p_oicp.errors import ConfigurationError, Refusal
from p2p_oicp.oicp import GetChargeDetailRecords, SessionID, StatusCodeValue
from p2p_oicp.peering.evidence_recorder import EvidenceService
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import OperationRequest, OperationResponse, Services
from p2p_oicp.roles.responses import PageRequest, status_code
from p2p_oicp.storage import Row, cdrs, sessions
from p2p_oicp.storage.cdrs import CdrFilter
from p2p_oicp.storage.sessions import REFUSED_STATES, Session

_NOT_FOUND, _BAD_REQUEST = 404, 400
# A session comes with its signed exchanges, some 5 kB each; a CDR with signed meter values has up to 50 kB.
_SESSIONS_PER_PAGE, _CDRS_PER_PAGE = 100, 100


class SessionExport:
    """Answers other nodes' questions about the sessions between them and this node."""

    def __init__(self, services: Services, epochs: StoreEpochs, evidence: EvidenceService) -> None:
        self._services = services
        self._epochs = epochs
        self._evidence = evidence

    async def get_status(
        self, session_id: SessionID, peer: Peer, our_role: str, *, with_evidence: bool
    ) -> OperationResponse:
        """Return a session with ``peer``; for any other HTTP 404 with 400, and what this node's restores have lost."""
        session = await sessions.get_now(self._services.store, our_role, session_id.key)
        if session is None or session.peer != peer.id:
            info = f"SessionID {session_id} is no session between {peer.name} and this node"
            members = {
                "StatusCode": status_code(StatusCodeValue.SESSION_INVALID, info),
                "state": UNKNOWN,
                "Gaps": [list(gap) for gap in self._epochs.gaps],
                "StoreCreatedAt": self._epochs.current.created_at,
                "Hello": self._epochs.hello_members(),
            }
            return OperationResponse(orjson.dumps(members), http_status=_NOT_FOUND, is_refusal=True)
        status = await self._status(session, peer, with_evidence=with_evidence)
        if status.unconfirmed:
            status = msgspec.structs.replace(status, hello=self._epochs.hello_members())
        return OperationResponse(msgspec.json.encode(status))

    async def export_sessions(
        self, peer: Peer, our_role: str, since: float, cursor: str, *, with_evidence: bool
    ) -> OperationResponse:
        """Return a page of the sessions with ``peer`` that were opened since; ``cursor`` is the key of the last one."""
        rows = await self._services.store.query_bulk(
            sessions.OPENED_SINCE,
            role_=our_role,
            peer_=peer.id,
            since_=since,
            key_=cursor,
            limit=_SESSIONS_PER_PAGE,
        )
        found = sessions.from_rows(rows)
        opened = [session for session in found if session.state not in REFUSED_STATES]  # a refused start has no session
        if with_evidence:
            items = [await self._status(session, peer, with_evidence=True) for session in opened]
        else:
            items = [await self._listed(session) for session in opened]
        last = found[-1].session_key if len(found) == _SESSIONS_PER_PAGE else None
        return _page(items, last)

    async def export_cdrs(
        self, peer: Peer, our_role: str, since: float, cursor: str, *, with_records: bool
    ) -> OperationResponse:
        """Return a page of the CDRs of sessions with ``peer`` that were received since; raise Refusal 022."""
        after_id = _parse_number(cursor or "0")
        rows = await self._services.store.query_bulk(
            cdrs.RECEIVED_SINCE,
            role_=our_role,
            peer_=peer.id,
            since_=since,
            after_=after_id,
            limit=_CDRS_PER_PAGE,
        )
        items = [_exported_cdr(row, with_record=with_records) for row in rows]
        return _page(items, str(rows[-1]["id"]) if len(rows) == _CDRS_PER_PAGE else None)

    async def _listed(self, session: Session) -> SessionStatus:
        return SessionStatus(
            state=session.state,
            session_id=session.session_id,
            created_at=session.created_at,
            unconfirmed=await self._is_unconfirmed(session),
        )

    async def _is_unconfirmed(self, session: Session) -> bool:
        cdr = await cdrs.get_status_now(self._services.store, session.role, session.session_key)
        return bool(session.unconfirmed or (cdr and cdr.is_unconfirmed))

    async def _status(self, session: Session, peer: Peer, *, with_evidence: bool) -> SessionStatus:
        events = await self._services.store.query(sessions.EVENTS, role_=session.role, key_=session.session_key)
        return SessionStatus(
            state=session.state,
            kind=session.kind,
            session_id=session.session_id,
            operator_id=session.operator_id,
            provider_id=session.provider_id,
            evse_id=session.evse_id,
            identification_key=session.identification_key,
            stop_identification_keys=session.stop_identification_keys,
            cpo_partner_session_id=session.cpo_partner_session_id,
            emp_partner_session_id=session.emp_partner_session_id,
            created_at=session.created_at,
            refusal_code=sessions.refusal_code(session),
            stop_accepted=session.stop_response is not None,
            unconfirmed=await self._is_unconfirmed(session),
            events=tuple(SessionEvent(row["at"], row["event"]) for row in events),
            evidence=await self._evidence_of(session, peer) if with_evidence else None,
        )

    async def _evidence_of(self, session: Session, peer: Peer) -> str | None:
        try:
            return (await self._evidence.export(session.session_id, peer.name, refresh=False)).decode()
        except ConfigurationError:
            return None  # nothing was signed


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
        # Our own backend may be that of one of our providers (`hub`): the CDRs of the others are not its own.
        company = self._services.local_peer if self._role == "emp" else peer
        parameters = CdrFilter(
            role=self._role,
            provider_key=message.provider_id.key,
            since=message.from_.timestamp(),
            until=message.to.timestamp(),
            # A peer gets the CDRs of its own sessions only, whatever ProviderID the request names.
            peer=peer.id if peer is not None and self._role == "cpo" else "",
            provider_keys=tuple(party.key for party in company.providers) if company is not None else (),
            session_keys=tuple(session_id.key for session_id in message.session_id),
            operator_keys=tuple(operator.key for operator in message.operator_id),
            forwarded=message.cdr_forwarded,
        ).parameters()
        total = (await self._services.store.query(cdrs.COUNT, **parameters))[0]["records"]
        rows = await self._services.store.query(cdrs.PAGE, **parameters, size_=page.size, offset_=page.offset)
        return page.response([row["body"] for row in rows], total)


def _exported_cdr(row: Row, *, with_record: bool) -> ExportedCdr:
    listed = ExportedCdr(
        row["state"],
        row["session_key"],
        row["digest"].hex(),
        row["verdict_code"] or "",
        row["verdict_text"] or "",
        row["received_at"],
    )
    return msgspec.structs.replace(listed, record=msgspec.Raw(row["body"])) if with_record else listed


def _page(items: Sequence[SessionStatus | ExportedCdr], cursor: str | None) -> OperationResponse:
    return OperationResponse(msgspec.json.encode(ExportPage(msgspec.Raw(msgspec.json.encode(items)), cursor)))


def parse_since(text: str) -> float:
    """Return the ``since`` of an export, in seconds since the epoch; raise Refusal 022."""
    try:
        since = float(text)
    except ValueError:
        since = math.nan
    if not math.isfinite(since):
        raise _bad_request(f"since={text[:40]}: expected seconds since 1970")
    return since


def _parse_number(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):  # noqa: PLR2004 - fits into 64 bits
        raise _bad_request(f"cursor={cursor[:40]}: it is none of ours; begin again without one")
    return int(cursor)


def _bad_request(info: str) -> Refusal:
    return Refusal(StatusCodeValue.DATA_ERROR, info, http_status=_BAD_REQUEST)
