"""Asks a peer's node what it knows of a session (``GET /p2p/v1/sessions/{SessionID}``, DESIGN section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote, urlencode

import orjson

from p2p_oicp.errors import PeerBroken, PeerRejected
from p2p_oicp.oicp import OperatorID, ProviderID, SessionID
from p2p_oicp.oicp.operation import root_of
from p2p_oicp.peers import Peer
from p2p_oicp.transport import OicpClient

_DEADLINE_SECONDS = 5.0
_UNKNOWN_SESSION = "400"


@dataclass(frozen=True, slots=True)
class SessionReport:
    """What the other side says of a session: its state there (``storage.lifecycle``), and its partner session id."""

    state: str
    cpo_partner_session_id: str | None = None


class Enquirer(Protocol):
    """What roles need in order to ask; raises errors.PeerError where the peer does not say."""

    async def ask(self, peer: Peer, party: OperatorID | ProviderID, session_id: SessionID) -> SessionReport | None:
        """Return what ``peer`` knows of a session of ours (``party``), None if it never heard of it."""


class PeerEnquirer:
    """Asks over HTTP."""

    def __init__(self, client: OicpClient) -> None:
        self._client = client

    async def ask(self, peer: Peer, party: OperatorID | ProviderID, session_id: SessionID) -> SessionReport | None:
        """Ask; see ``Enquirer``."""
        claim = "operator" if isinstance(party, OperatorID) else "provider"
        url = f"{root_of(peer.url)}/p2p/v1/sessions/{quote(session_id.text)}?{urlencode({claim: party.text})}"
        try:
            _, body = await self._client.get_json(url, deadline=_DEADLINE_SECONDS, peer=peer.name)
        except PeerRejected as error:
            # Any other system says 404, too, to a path that it does not have; only a node gives this code with it.
            if error.code == _UNKNOWN_SESSION:
                return None
            raise
        try:
            told = orjson.loads(body)
            return SessionReport(str(told["state"]), told.get("CPOPartnerSessionID"))
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise PeerBroken(peer.name, f"its report of a session cannot be read: {error!r}") from error
