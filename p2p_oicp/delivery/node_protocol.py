"""Requests between nodes below ``/p2p/v1``, beside OICP: the client's side (DESIGN section 4).

**Session status** (``GET sessions/{SessionID}``): what a peer knows of a session, for a start whose response was lost
and for a message of a session that a restored database does not have.

**Session export** (``GET sessions``, ``GET cdrs``): all that a peer has of the time that a restored database has lost,
in pages. With ``evidence=false`` a page of sessions only lists them, with ``records=false`` a page of CDRs: some
hundred bytes each instead of thousands, so that only what is missing is fetched whole, under the same cursor. A node
that does not know these parameters sends everything.

**Verdicts** (``POST cdr-verdicts``): what the EMP's backend says of a CDR, after the CDR was acknowledged.

**Probe** (``POST probe``): a body that is discarded, to see whether one of its size comes through.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import quote, urlencode

import msgspec
import orjson

from p2p_oicp.client import AuthenticatedPeerClient
from p2p_oicp.errors import PeerProtocolError, PeerRejected
from p2p_oicp.oicp import OperatorID, SessionID
from p2p_oicp.oicp.enums import StatusCodeValue
from p2p_oicp.oicp.message import JSON_ERRORS
from p2p_oicp.peers import Peer
from p2p_oicp.peers.models import PartyID
from p2p_oicp.storage.outbox import OutboxMessage

#: The operation of a verdict in the outbox; it is none of OICP.
CDR_VERDICT = "CdrVerdict"
SESSIONS_PATH, CDRS_PATH, VERDICTS_PATH = "/p2p/v1/sessions", "/p2p/v1/cdrs", "/p2p/v1/cdr-verdicts"
PROBE_PATH = "/p2p/v1/probe"
#: The state of a session that a node does not know, or that is none of the asking party's.
UNKNOWN = "unknown"

_STATUS_TIMEOUT_SECONDS = 5.0
_EXPORT_TIMEOUT_SECONDS = 30.0
_VERDICT_TIMEOUT_SECONDS = 10.0
_PROBE_TIMEOUT_SECONDS = 30.0
_NOT_FOUND = 404

ItemT = TypeVar("ItemT")


class SessionEvent(msgspec.Struct, frozen=True):
    """One line of a session's log; ``at`` in seconds since the epoch."""

    at: float
    event: str


class SessionStatus(msgspec.Struct, frozen=True, rename="pascal", omit_defaults=True):
    """A session as a node has it, for its other party; a listed one has only ``state``, ids, time and mark.

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


class ExportedCdr(msgspec.Struct, frozen=True, rename="pascal", omit_defaults=True):
    """A CDR as a node has stored it, byte for byte, and its `CdrState` there.

    Attributes:
        session_id: of the CDR.
        digest: the SHA-256 of the bytes, in hexadecimal digits.
        record: the bytes; empty where the CDR is only listed.
    """

    state: str
    session_id: str = msgspec.field(default="", name="SessionID")
    digest: str = ""
    code: str = ""
    text: str = ""
    received_at: float = 0.0
    record: msgspec.Raw = msgspec.Raw(b"")


class ExportPage(msgspec.Struct, frozen=True, rename="pascal"):
    """A page of an export as it is sent; ``cursor`` continues it, None: it is the last one."""

    items: msgspec.Raw
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[ItemT]):
    """A page of an export, read; ``cursor`` continues it, None: it is the last one."""

    items: list[ItemT]
    cursor: str | None


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

    async def export_sessions(
        self, peer: Peer, party: PartyID, since: float, cursor: str, *, with_evidence: bool
    ) -> Page[SessionStatus]:
        """Return a page of the sessions of our ``party`` that were opened since (seconds since the epoch)."""

    async def export_cdrs(
        self, peer: Peer, party: PartyID, since: float, cursor: str, *, with_records: bool
    ) -> Page[ExportedCdr]:
        """Return a page of the CDRs of our ``party`` that the peer has received since (seconds since the epoch)."""

    async def send_verdict(self, peer: Peer, message: OutboxMessage) -> None:
        """Send a verdict of the outbox to the CPO's node; PeerRejected where it is refused for good."""

    async def send_probe(self, peer: Peer, party: PartyID, size: int) -> None:
        """Send a body of so many bytes, which the peer discards; PeerBusy: it has had one within the minute."""


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
        except JSON_ERRORS as error:
            raise PeerProtocolError(peer.name, f"its session status cannot be read: {error}") from error

    async def export_sessions(
        self, peer: Peer, party: PartyID, since: float, cursor: str, *, with_evidence: bool
    ) -> Page[SessionStatus]:
        query = _export_query(party, since, cursor) | ({} if with_evidence else {"evidence": "false"})
        return await self._export(peer, f"{SESSIONS_PATH}?{urlencode(query)}", cursor, SessionStatus)

    async def export_cdrs(
        self, peer: Peer, party: PartyID, since: float, cursor: str, *, with_records: bool
    ) -> Page[ExportedCdr]:
        query = _export_query(party, since, cursor) | ({} if with_records else {"records": "false"})
        return await self._export(peer, f"{CDRS_PATH}?{urlencode(query)}", cursor, ExportedCdr)

    async def _export(self, peer: Peer, path: str, cursor: str, item_type: type[ItemT]) -> Page[ItemT]:
        _, body = await self._client.request(peer, "GET", path, deadline=_EXPORT_TIMEOUT_SECONDS)
        try:
            page = _decode_page(body)
            items = msgspec.json.decode(page.items, type=list[item_type])  # type: ignore[valid-type]
        except JSON_ERRORS as error:
            raise PeerProtocolError(peer.name, f"its export cannot be read: {error}") from error
        if page.cursor == cursor:
            raise PeerProtocolError(peer.name, "its export has a page that continues with itself")
        return Page(items, page.cursor)

    async def send_verdict(self, peer: Peer, message: OutboxMessage) -> None:
        path = f"{VERDICTS_PATH}?{urlencode({'provider': message.sender_id or ''})}"
        await self._client.request(peer, "POST", path, message.body, deadline=_VERDICT_TIMEOUT_SECONDS)

    async def send_probe(self, peer: Peer, party: PartyID, size: int) -> None:
        body = orjson.dumps({"padding": "x" * (size - len('{"padding":""}'))})
        path = f"{PROBE_PATH}?{urlencode(_party_query(party))}"
        await self._client.request(peer, "POST", path, body, deadline=_PROBE_TIMEOUT_SECONDS)


def _party_query(party: PartyID) -> dict[str, str]:
    return {"operator" if isinstance(party, OperatorID) else "provider": party.text}


def _export_query(party: PartyID, since: float, cursor: str) -> dict[str, str]:
    return _party_query(party) | {"since": f"{since:.3f}", "cursor": cursor}


def _code_in(body: bytes) -> str | None:
    try:
        members = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    status = members.get("StatusCode") if isinstance(members, Mapping) else None
    return str(status.get("Code")) if isinstance(status, Mapping) else None
