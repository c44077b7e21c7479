"""After a restore: fetches from the peers what this node's database has lost, and delivers CDRs that were held.

Messages of lost sessions need not wait for it (`LostSessions`): it makes the books whole again. Each peer is asked
until it has told everything once (``session-export``, DESIGN section 4). A peer without that extension is asked for its
CDRs by GetChargeDetailRecords.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

import structlog

from p2p_oicp.concurrency import periodic
from p2p_oicp.delivery.node_protocol import ExportedCdr, NodeClient, SessionStatus
from p2p_oicp.delivery.store_epochs import StoreEpochs
from p2p_oicp.errors import PeerError, PeerRejected, Refusal
from p2p_oicp.oicp import ChargeDetailRecord, InvalidMessage, SessionID
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.peers import Peer, Profile
from p2p_oicp.peers.models import PartyID
from p2p_oicp.roles.context import OperationRequest, Services
from p2p_oicp.roles.lost_sessions import LostSessions
from p2p_oicp.roles.settlement import CdrHandler
from p2p_oicp.storage import Row, cdrs, sessions
from p2p_oicp.storage.cdrs import CdrState, Verdict

log = structlog.get_logger(__name__)

_CDR = OPERATION_BY_NAME["ChargeDetailRecord"]
_INTERVAL_SECONDS = 60.0
_PERHAPS_DELIVERED = (
    "it was unconfirmed before this node's database was lost: nobody can tell whether our backend has it"
)
# The peer goes by its own clock, which may be wrong. What is here already costs nothing.
_OVERLAP_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class RoleRecovery:
    """What one role of the node does after a restore.

    Attributes:
        lost_sessions: rebuilds its sessions.
        cdr_handler: stores its CDRs.
        fetch_from_stranger: fetches what a peer without ``session-export`` has, since a time; None: nothing can be.
    """

    lost_sessions: LostSessions
    cdr_handler: CdrHandler
    fetch_from_stranger: Callable[[Peer, float], Awaitable[bool]] | None = None

    @property
    def name(self) -> str:
        return self.cdr_handler.role


class RecoveryJob:
    """Background job of a node that was restored at some time; each hello wakes it.

    Args:
        services: of the node.
        epochs: what was lost.
        nodes: asks peers.
        roles: of this node.
    """

    def __init__(
        self, services: Services, epochs: StoreEpochs, nodes: NodeClient, roles: Sequence[RoleRecovery]
    ) -> None:
        self._services = services
        self._epochs = epochs
        self._nodes = nodes
        self._roles = roles

    async def run(self) -> None:
        await periodic("recovery", _INTERVAL_SECONDS, self.run_once, wakeup=self._epochs.hello_received, at_start=True)

    async def run_once(self) -> None:
        """Ask each peer that has not told everything yet, and try to deliver what was held."""
        for role in self._roles:
            for peer in self._services.registry.all():
                since = self._epochs.lost_since(role.name, peer)
                if since is not None and not peer.is_self:
                    await self._recover(role, peer, since - _OVERLAP_SECONDS)
            await self._release_held(role)

    async def _recover(self, role: RoleRecovery, peer: Peer, since: float) -> None:
        party = self._own_party(role, peer)
        if party is None:
            return
        try:
            counts = await self._fetch(role, peer, party, since)
        except PeerError as error:
            log.info("recovery.failed", peer=peer.name, reason=error.reason)
            return
        if counts is not None:
            await self._services.store.write(lambda tx: self._epochs.complete_recovery(tx, role.name, peer))
            log.warning("recovery.completed", peer=peer.name, role=role.name, **counts)

    def _own_party(self, role: RoleRecovery, peer: Peer) -> PartyID | None:
        """Return whom a peer is asked for; None if it is not of the other role."""
        local_peer = self._services.local_peer
        if role.name == "cpo":
            return local_peer.operators[0] if peer.providers or peer.default_route else None
        return local_peer.providers[0] if peer.operators or peer.default_route else None

    async def _fetch(self, role: RoleRecovery, peer: Peer, party: PartyID, since: float) -> dict[str, int] | None:
        """Return how many sessions and CDRs were fetched; None if the peer is to be asked again."""
        if peer.profile is Profile.OICP and not peer.default_route:
            try:
                sessions_of_peer = self._nodes.export_sessions(peer, party, since)
                statuses = [status async for status in sessions_of_peer]
                if any(status.unconfirmed for status in statuses) and not self._epochs.has_named(peer):
                    return None  # its hello is still to come, and proves what it has lost itself
                opened = [await self._open(role, peer, status) for status in statuses]
                # Only where the peer has proved that it was restored, too: else nobody knows the session but itself.
                doubted = {
                    SessionID(status.session_id).key
                    for status in statuses
                    if status.unconfirmed and self._epochs.lost_by(peer, status.created_at)
                }
                # Order: the CDRs after their sessions.
                stored = [
                    await self._store(role, peer, cdr, doubted)
                    async for cdr in self._nodes.export_cdrs(peer, party, since)
                ]
            except PeerRejected:
                log.info("recovery.not_offered", peer=peer.name)
            else:
                return {"sessions": sum(opened), "cdrs": sum(stored)}
        fetch = role.fetch_from_stranger
        return {} if fetch is None or await fetch(peer, since) else None

    async def _open(self, role: RoleRecovery, peer: Peer, status: SessionStatus) -> bool:
        """Insert a session that this node does not have; return whether it was one."""
        session_id = SessionID(status.session_id)
        if sessions.get_now(self._services.store, role.name, session_id.key) is not None:
            return False
        # Only a time that was lost: nothing else is believed of a message that comes by itself, either.
        is_lost_time = any(self._epochs.lost(status.created_at + error) for error in (0.0, _OVERLAP_SECONDS))
        if not is_lost_time:
            return False
        lost = role.lost_sessions
        claim = await lost.read_claim(peer, status)
        if not (lost.is_debt_unconfirmed(claim, session_id) or lost.is_believed(claim, session_id)):
            return False
        return await lost.insert_rebuilt(session_id, claim, f"fetched from {peer.name} after a restore")

    async def _store(self, role: RoleRecovery, peer: Peer, exported: ExportedCdr, doubted: Collection[str]) -> bool:
        """Store a CDR that this node does not have; return whether it was one."""
        try:
            record = ChargeDetailRecord.from_json(bytes(exported.record))
        except InvalidMessage as error:
            log.warning("recovery.unreadable_cdr", peer=peer.name, reason=str(error))
            return False
        operator = record.evse_id.operator
        sender_id = operator.text if operator is not None else None
        request = OperationRequest(_CDR, record, peer, sender_id, body=bytes(exported.record))
        if role.name == "emp" and record.session_id.key in doubted:
            return await role.cdr_handler.hold_for_person(request, _PERHAPS_DELIVERED)
        try:
            return await role.cdr_handler.store_exported(request, _verdict(exported))
        except Refusal as refusal:
            log.warning("recovery.cdr_refused", peer=peer.name, session_id=record.session_id.text, reason=refusal.info)
            return False

    async def _release_held(self, role: RoleRecovery) -> None:
        for row in await self._services.store.query(cdrs.HELD, role_=role.name):
            if row["doubts"] is not None:
                continue  # a person is to decide
            request = held_request(self._services, row)
            if request is not None and await role.cdr_handler.release_held(request):
                log.warning("cdr.released", role=role.name, session_id=row["session_key"])


def held_request(services: Services, row: Row) -> OperationRequest[ChargeDetailRecord] | None:
    """Return a CDR that was held as the request that brought it; None if its sender is a peer no more."""
    sender = services.registry.by_id(row["peer"]) if row["peer"] else services.local_peer
    record = ChargeDetailRecord.from_json(row["body"])
    operator = record.evse_id.operator
    if sender is None or operator is None:
        return None
    return OperationRequest(_CDR, record, sender, operator.text, body=row["body"])


def _verdict(exported: ExportedCdr) -> Verdict:
    """Return what the state of a CDR at the EMP's node means at the CPO's."""
    if exported.state in {CdrState.ACCEPTED, CdrState.DISPUTED}:
        return Verdict(CdrState(exported.state), exported.code, exported.text)
    return Verdict(CdrState.DELIVERED, is_final=False)
