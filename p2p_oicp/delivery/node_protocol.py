"""Requests between nodes below ``/p2p/v1``, beside OICP: the client's side.

**Session status** (``GET sessions/{SessionID}``): the state of a session at the peer, for a start whose response was
lost.

**Store epochs** (fields of ``POST hello``): each node sends the epoch of its database, and the one that it knows of the
other's. So each learns when the other's database was replaced or restored (it gets our datasets again), and when its
own was: then it asks for the CDRs that it has lost, and accepts messages of sessions that it does not have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote, urlencode

import orjson
import structlog

from p2p_oicp.client import AuthenticatedPeerClient
from p2p_oicp.delivery.wakeup import Wakeup, WakeupRegistry
from p2p_oicp.errors import PeerProtocolError, PeerRejected
from p2p_oicp.oicp import OperatorID, ProviderID, SessionID
from p2p_oicp.oicp.enums import StatusCodeValue
from p2p_oicp.peers import Peer
from p2p_oicp.storage import Store, peer_state

log = structlog.get_logger(__name__)

_STATUS_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """A session as the peer has it: its `SessionState` there, and the CPO's partner session id."""

    state: str
    cpo_partner_session_id: str | None = None


class SessionStatusClient(Protocol):
    """Asks peers for the status of sessions."""

    async def get_status(
        self, peer: Peer, party: OperatorID | ProviderID, session_id: SessionID
    ) -> SessionStatus | None:
        """Return the status of a session of our ``party`` at a peer, None if it has none. Raises PeerError."""


class HttpSessionStatusClient:
    """Session status over HTTP."""

    def __init__(self, client: AuthenticatedPeerClient) -> None:
        self._client = client

    async def get_status(
        self, peer: Peer, party: OperatorID | ProviderID, session_id: SessionID
    ) -> SessionStatus | None:
        party_parameter = "operator" if isinstance(party, OperatorID) else "provider"
        path = f"/p2p/v1/sessions/{quote(session_id.text)}?{urlencode({party_parameter: party.text})}"
        try:
            _, body = await self._client.request(peer, "GET", path, deadline=_STATUS_TIMEOUT_SECONDS)
        except PeerRejected as error:
            # Any other system answers 404 as well, to a path that it does not have; only a node adds this code.
            if error.code == StatusCodeValue.SESSION_INVALID:
                return None
            raise
        try:
            members = orjson.loads(body)
            return SessionStatus(str(members["state"]), members.get("CPOPartnerSessionID"))
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise PeerProtocolError(peer.name, f"its session status cannot be read: {error!r}") from error


class StoreEpochExchange:
    """Compares store epochs with peers, and starts the resync that a new one requires.

    Args:
        store: has the epochs that are known of peers.
        wakeups: a peer with a new epoch is woken, so that replication starts again.
        own_epoch: the epoch of our database.
        store_replaced: is set when a peer saw an older epoch of ours; None where no CDRs can be missing (no EMP).

    """

    def __init__(
        self,
        store: Store,
        wakeups: WakeupRegistry,
        own_epoch: peer_state.StoreEpoch,
        store_replaced: Wakeup | None,
    ) -> None:
        self._store_replaced = store_replaced
        self._own_epoch = own_epoch
        self._store = store
        self._wakeups = wakeups

    async def hello_fields(self, peer: Peer) -> dict[str, int | None]:
        """Return the fields of a hello to a peer: our epoch, and the last one of the peer's database."""
        peer_epoch = await self._store.write(lambda tx: peer_state.peer_epoch(tx, peer.id))
        return {"store": self._own_epoch.epoch_id, "remembers": peer_epoch}

    async def record_hello(self, peer: Peer, fields: dict[str, object]) -> None:
        """Record the fields of a peer's hello; fields that are missing or of another type are ignored."""
        peer_epoch, remembered_epoch = fields.get("store"), fields.get("remembers")
        if _is_epoch_id(remembered_epoch) and remembered_epoch != self._own_epoch.epoch_id:
            await self._record_epoch_mismatch(peer)
        if isinstance(peer_epoch, int) and _is_epoch_id(peer_epoch):
            await self._record_peer_epoch(peer, peer_epoch)

    async def _record_peer_epoch(self, peer: Peer, epoch_id: int) -> None:
        if await self._store.write(lambda tx: peer_state.record_peer_epoch(tx, peer.id, epoch_id)):
            log.warning(
                "peer.store_epoch_changed",
                peer=peer.name,
                meaning="its database was replaced: it gets all our datasets again",
            )
            self._wakeups.notify_all(peer.id)

    async def _record_epoch_mismatch(self, peer: Peer) -> None:
        if await self._store.write(lambda tx: peer_state.mark_epoch_mismatch(tx, peer.id)):
            meaning = "our database was replaced or restored: the peer's records are asked for again"
            log.warning("peer.saw_older_epoch", peer=peer.name, meaning=meaning)
            if self._store_replaced is not None:
                self._store_replaced.set()


def _is_epoch_id(value: object) -> bool:
    # bool is an int in Python; and a larger number would not fit into SQLite's integers.
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62
