"""Requests between nodes below ``/p2p/v1``, beside OICP: the client's side (DESIGN section 4).

**Session status** (``GET sessions/{SessionID}``): what a peer knows of a session, for a start whose response was lost
and for a message of a session that a restored database does not have.

**Session export** (``GET sessions``, ``GET cdrs``): all that a peer has of the time that a restored database has lost.

**Verdicts** (``POST cdr-verdicts``): what the EMP's backend says of a CDR, after the CDR was acknowledged.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urlencode

import msgspec
import orjson

from p2p_oicp.client import AuthenticatedPeerClient
from p2p_oicp.errors import PeerProtocolError, PeerRejected
from p2p_oicp.oicp import OperatorID, SessionID
from p2p_oicp.oicp.enums import StatusCodeValue
from p2p_oicp.peers import Peer
from p2p_oicp.peers.models import PartyID
from p2p_oicp.storage.outbox import OutboxMessage

#: The operation of a verdict in the outbox; it is none of OICP.
CDR_VERDICT = "CdrVerdict"
SESSIONS_PATH, CDRS_PATH, VERDICTS_PATH = "/p2p/v1/sessions", "/p2p/v1/cdrs", "/p2p/v1/cdr-verdicts"
#: The state of a session that a node does not know, or that is none of the asking party's.
UNKNOWN = "unknown"

_STATUS_TIMEOUT_SECONDS = 5.0
_EXPORT_TIMEOUT_SECONDS = 30.0
_VERDICT_TIMEOUT_SECONDS = 10.0
_NOT_FOUND = 404

ItemT = TypeVar("ItemT")


class SessionEvent(msgspec.Struct, frozen=True):
    """One line of a session's log; ``at`` in seconds since the epoch."""

    at: float
    event: str


class SessionStatus(msgspec.Struct, frozen=True, rename="pascal"):
    """A session as a node has it, for its other party.

    Attributes:
        state: its `SessionState` there, or `UNKNOWN`.
        kind: by what it was opened.
        refusal_code: of a refused one: the code that its start was refused with.
        stop_accepted: its CPO's backend has accepted a stop.
        unconfirmed: the node has rebuilt it from a message, and knows nothing of it itself.
        gaps: of an unknown one: the times of which the node's databases have lost messages.
        store_created_at: of an unknown one: when its present database was, in seconds since the epoch.
        evidence: an evidence file with its signed exchanges, if it was asked for and is there.
        hello: what the node says of its databases in hello, if it does not know the session for sure.
    """

    state: str = msgspec.field(name="state")
    kind: str = ""
    session_id: str = msgspec.field(default="", name="SessionID")
    operator_id: str = msgspec.field(default="", name="OperatorID")
    provider_id: str = msgspec.field(default="", name="ProviderID")
    evse_id: str = msgspec.field(default="", name="EvseID")
    identification_key: str = ""
    stop_identification_keys: str = ""
    cpo_partner_session_id: str | None = msgspec.field(default=None, name="CPOPartnerSessionID")
    emp_partner_session_id: str | None = msgspec.field(default=None, name="EMPPartnerSessionID")
    created_at: float = 0.0
    refusal_code: str = ""
    stop_accepted: bool = False
    unconfirmed: bool = False
    events: tuple[SessionEvent, ...] = ()
    gaps: tuple[tuple[float, float], ...] = ()
    store_created_at: float = 0.0
    evidence: str | None = None
    hello: dict[str, Any] | None = None

    @property
    def is_known(self) -> bool:
        return self.state != UNKNOWN


class ExportedCdr(msgspec.Struct, frozen=True, rename="pascal"):
    """A CDR as a node has stored it, byte for byte, and its `CdrState` there."""

    record: msgspec.Raw
    state: str
    code: str = ""
    text: str = ""
    received_at: float = 0.0


class ExportPage(msgspec.Struct, frozen=True, rename="pascal"):
    """A page of an export; ``cursor`` continues it, None: it is the last one."""

    items: msgspec.Raw
    cursor: str | None = None


_decode_status = msgspec.json.Decoder(SessionStatus).decode
_decode_page = msgspec.json.Decoder(ExportPage).decode


class NodeClient(Protocol):
    """Asks peers' nodes what they know; all methods raise PeerError."""

    async def get_status(
        self, peer: Peer, party: PartyID, session_id: SessionID, *, with_evidence: bool = False
    ) -> SessionStatus:
        """Return the status of a session of our ``party`` at a peer.

        Raises PeerRejected where the peer is no node.
        """

    def export_sessions(self, peer: Peer, party: PartyID, since: float) -> AsyncIterator[SessionStatus]:
        """Yield the sessions of our ``party`` that were opened since (seconds since the epoch), with evidence."""

    def export_cdrs(self, peer: Peer, party: PartyID, since: float) -> AsyncIterator[ExportedCdr]:
        """Yield the CDRs of our ``party`` that the peer has received since (seconds since the epoch)."""

    async def send_verdict(self, peer: Peer, message: OutboxMessage) -> None:
        """Send a verdict of the outbox to the CPO's node; PeerRejected where it is refused for good."""


class HttpNodeClient:
    """The `NodeClient` over HTTP."""

    def __init__(self, client: AuthenticatedPeerClient) -> None:
        self._client = client

    async def get_status(
        self, peer: Peer, party: PartyID, session_id: SessionID, *, with_evidence: bool = False
    ) -> SessionStatus:
        query = _party_query(party) | ({"evidence": "true"} if with_evidence else {})
        path = f"{SESSIONS_PATH}/{quote(session_id.text)}?{urlencode(query)}"
        status, body = await self._client.request(
            peer, "GET", path, deadline=_STATUS_TIMEOUT_SECONDS, expected_statuses=(_NOT_FOUND,)
        )
        # Any other system answers 404 as well, to a path that it does not have; only a node adds this code.
        if status == _NOT_FOUND and _code_in(body) != StatusCodeValue.SESSION_INVALID:
            raise PeerRejected(peer.name, "it is no node: HTTP 404", http_status=status)
        try:
            return _decode_status(body)
        except msgspec.MsgspecError as error:
            raise PeerProtocolError(peer.name, f"its session status cannot be read: {error}") from error

    async def export_sessions(self, peer: Peer, party: PartyID, since: float) -> AsyncIterator[SessionStatus]:
        async for item in self._export(peer, SESSIONS_PATH, party, since, SessionStatus):
            yield item

    async def export_cdrs(self, peer: Peer, party: PartyID, since: float) -> AsyncIterator[ExportedCdr]:
        async for item in self._export(peer, CDRS_PATH, party, since, ExportedCdr):
            yield item

    async def _export(
        self, peer: Peer, path: str, party: PartyID, since: float, item_type: type[ItemT]
    ) -> AsyncIterator[ItemT]:
        query = _party_query(party) | {"since": f"{since:.3f}"}
        cursor: str | None = ""
        while cursor is not None:
            query["cursor"] = cursor
            _, body = await self._client.request(
                peer, "GET", f"{path}?{urlencode(query)}", deadline=_EXPORT_TIMEOUT_SECONDS
            )
            try:
                page = _decode_page(body)
                items = msgspec.json.decode(page.items, type=list[item_type])  # type: ignore[valid-type]
            except msgspec.MsgspecError as error:
                raise PeerProtocolError(peer.name, f"its export cannot be read: {error}") from error
            for item in items:
                yield item
            if page.cursor == cursor:
                raise PeerProtocolError(peer.name, "its export has a page that continues with itself")
            cursor = page.cursor

    async def send_verdict(self, peer: Peer, message: OutboxMessage) -> None:
        path = f"{VERDICTS_PATH}?{urlencode({'provider': message.sender_id or ''})}"
        await self._client.request(peer, "POST", path, message.body, deadline=_VERDICT_TIMEOUT_SECONDS)


def _party_query(party: PartyID) -> dict[str, str]:
    return {"operator" if isinstance(party, OperatorID) else "provider": party.text}


def _code_in(body: bytes) -> str | None:
    try:
        members = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    status = members.get("StatusCode") if isinstance(members, Mapping) else None
    return str(status.get("Code")) if isinstance(status, Mapping) else None
