"""Asks a peer's node what it knows of a session (``GET /p2p/v1/sessions/{SessionID}``, DESIGN section 4).

Knows a peer's store again: one that was replaced, or restored from a backup, gets our state anew.

Both nodes say which store they have and which one they remember of the other. So each learns when the other's was
replaced, and when its own was: then it asks for what it has lost, and believes in sessions that it does not know.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote, urlencode

import orjson
import structlog

from p2p_oicp.client import HttpTransport
from p2p_oicp.delivery.wakeup import WakeupRegistry
from p2p_oicp.errors import PeerProtocolError, PeerRejected
from p2p_oicp.oicp import OperatorID, ProviderID, SessionID
from p2p_oicp.oicp.operations import api_root
from p2p_oicp.peers import Peer
from p2p_oicp.storage import Store, peer_state

_STATUS_TIMEOUT_SECONDS = 5.0
_SESSION_INVALID = "400"


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """What the other side says of a session: its state there (``storage.lifecycle``), and its partner session id."""

    state: str
    cpo_partner_session_id: str | None = None


class SessionStatusClient(Protocol):
    """What roles need in order to ask; raises errors.PeerError where the peer does not say."""

    async def get_status(
        self, peer: Peer, party: OperatorID | ProviderID, session_id: SessionID
    ) -> SessionStatus | None:
        """Return what ``peer`` knows of a session of ours (``party``), None if it never heard of it."""


class HttpSessionStatusClient:
    """Asks over HTTP."""

    def __init__(self, client: HttpTransport) -> None:
        self._client = client

    async def get_status(
        self, peer: Peer, party: OperatorID | ProviderID, session_id: SessionID
    ) -> SessionStatus | None:
        """Ask; see ``Enquirer``."""
        party_parameter = "operator" if isinstance(party, OperatorID) else "provider"
        url = (
            f"{api_root(peer.url)}/p2p/v1/sessions/{quote(session_id.text)}?{urlencode({party_parameter: party.text})}"
        )
        try:
            _, body = await self._client.get_json(url, deadline=_STATUS_TIMEOUT_SECONDS, peer=peer.name)
        except PeerRejected as error:
            # Any other system says 404, too, to a path that it does not have; only a node gives this code with it.
            if error.code == _SESSION_INVALID:
                return None
            raise
        try:
            members = orjson.loads(body)
            return SessionStatus(str(members["state"]), members.get("CPOPartnerSessionID"))
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise PeerProtocolError(peer.name, f"its report of a session cannot be read: {error!r}") from error


log = structlog.get_logger(__name__)


class StoreEpochExchange:
    """What we and our peers say of our stores; ``replaced`` is set when a peer remembers an earlier one of ours."""

    def __init__(
        self,
        store: Store,
        wakeups: WakeupRegistry,
        own_epoch: peer_state.StoreEpoch,
        store_replaced: asyncio.Event | None,
    ) -> None:
        self._store_replaced = store_replaced
        self._own_epoch = own_epoch
        self._store = store
        self._wakeups = wakeups

    async def hello_fields(self, peer: str) -> dict[str, int | None]:
        """Return what we tell a peer: our store, and the one we remember of it."""
        peer_epoch = await self._store.write(lambda tx: peer_state.peer_epoch(tx, peer))
        return {"store": self._own_epoch.epoch_id, "remembers": peer_epoch}

    async def record_hello(self, peer: str, fields: dict[str, object]) -> None:
        """Take what a peer says; a system that says nothing is left as it is."""
        peer_epoch, remembered_epoch = fields.get("store"), fields.get("remembers")
        if _is_epoch_id(remembered_epoch) and remembered_epoch != self._own_epoch.epoch_id:
            await self._record_epoch_mismatch(peer)
        if isinstance(peer_epoch, int) and _is_epoch_id(peer_epoch):
            await self._record_peer_epoch(peer, peer_epoch)

    async def _record_peer_epoch(self, peer: str, epoch_id: int) -> None:
        if await self._store.write(lambda tx: peer_state.record_peer_epoch(tx, peer, epoch_id)):
            log.warning("peer.store_epoch_changed", peer=peer, meaning="it gets our whole state again")
            self._wakeups.notify_all(peer)

    async def _record_epoch_mismatch(self, peer: str) -> None:
        if await self._store.write(lambda tx: peer_state.mark_epoch_mismatch(tx, peer)):
            meaning = "our database was replaced or restored: the peer's records are asked for again"
            log.warning("peer.saw_older_epoch", peer=peer, meaning=meaning)
            if self._store_replaced is not None:
                self._store_replaced.set()


def _is_epoch_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62
