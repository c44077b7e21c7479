"""After a restore: fetches from the peers what this node's database has lost, and delivers CDRs that were held.

Messages of lost sessions need not wait for it (`LostSessions`): it makes the books whole again. Each peer is asked
until it has told everything once (``session-export``, DESIGN section 4). A peer without that extension is asked for its
CDRs by GetChargeDetailRecords.

What is here already is not fetched again: each page is listed first, and fetched whole only if something of it is
missing. So a recovery that was interrupted goes on where it was, though it begins again, and a second restore costs
little more than what it has lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from p2p_oicp.concurrency import periodic
from p2p_oicp.delivery.node_protocol import ExportedCdr, NodeClient, SessionStatus
from p2p_oicp.delivery.store_epochs import StoreEpochs
from p2p_oicp.errors import PeerError, PeerRejected, Refusal, StoreError
from p2p_oicp.oicp import ChargeDetailRecord, InvalidMessage, SessionID
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.peers import Peer
from p2p_oicp.peers.models import PartyID
from p2p_oicp.roles.context import OperationRequest, Services
from p2p_oicp.roles.lost_sessions import Claim, LostSessions
from p2p_oicp.roles.settlement import CdrHandler
from p2p_oicp.storage import Row, cdrs, job_keys, sessions
from p2p_oicp.storage.cdrs import CdrState, CdrStatus, Verdict
from p2p_oicp.storage.epochs import MAX_CLOCK_ERROR_SECONDS

log = structlog.get_logger(__name__)

_CDR = OPERATION_BY_NAME["ChargeDetailRecord"]
_INTERVAL_SECONDS = 60.0
# One that does not answer, for half a minute, must not hold up the others.
_MAX_PEERS_AT_A_TIME = 8
# What is committed together; more would hold up the requests of now.
_MAX_STORED_AT_A_TIME = 16
_PERHAPS_DELIVERED = (
    "it was unconfirmed before this node's database was lost: nobody can tell whether our backend has it"
)
# The peer goes by its own clock, which may be wrong. What is here already costs little.
_OVERLAP_SECONDS = MAX_CLOCK_ERROR_SECONDS


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
        slots = asyncio.Semaphore(_MAX_PEERS_AT_A_TIME)
        for role in self._roles:
            peers = [peer for peer in self._services.registry.all() if not peer.is_self]
            async with asyncio.TaskGroup() as tasks:
                for peer in peers:
                    tasks.create_task(self._recover_from(role, peer, slots))
            await self._release_held(role)

    async def _recover_from(self, role: RoleRecovery, peer: Peer, slots: asyncio.Semaphore) -> None:
        async with slots:
            since = await self._epochs.lost_since(role.name, peer)
            if since is not None:
                await self._recover(role, peer, since - _OVERLAP_SECONDS)

    async def _recover(self, role: RoleRecovery, peer: Peer, since: float) -> None:
        party = self._own_party(role, peer)
        if party is None:
            return
        try:
            counts = await self._fetch(role, peer, party, since)
        except (PeerError, StoreError) as error:
            log.info("recovery.failed", peer=peer.name, reason=str(error))
            return
        if counts is not None:
            await self._services.store.write(
                lambda tx: self._epochs.complete_recovery(tx, role.name, peer), about=(job_keys.destination(peer.id),)
            )
            log.warning("recovery.completed", peer=peer.name, role=role.name, **counts)

    def _own_party(self, role: RoleRecovery, peer: Peer) -> PartyID | None:
        """Return whom a peer is asked for; None if it is not of the other role."""
        local_peer = self._services.local_peer
        if role.name == "cpo":
            return local_peer.operators[0] if peer.providers or peer.default_route else None
        return local_peer.providers[0] if peer.operators or peer.default_route else None

    async def _fetch(self, role: RoleRecovery, peer: Peer, party: PartyID, since: float) -> dict[str, int] | None:
        """Return how many sessions and CDRs were fetched; None if the peer is to be asked again."""
        if peer.is_node:
            try:
                counts = await _Import(self._services, self._epochs, self._nodes, role, peer, party, since).run()
            except PeerRejected:
                log.info("recovery.not_offered", peer=peer.name)
            else:
                return counts
        fetch = role.fetch_from_stranger
        return {} if fetch is None or await fetch(peer, since) else None

    async def _release_held(self, role: RoleRecovery) -> None:
        for row in await self._services.store.query(cdrs.HELD, role_=role.name):
            if row["doubts"] is not None:
                continue  # a person is to decide
            request = held_request(self._services, row)
            if request is not None and await role.cdr_handler.release_held(request):
                log.warning("cdr.released", role=role.name, session_id=row["session_key"])


class _Import:
    """Fetches what one peer has of the lost time, and stores what is missing here.

    Args:
        services: of the node.
        epochs: what was lost.
        nodes: asks the peer.
        role: of this node.
        peer: who is asked.
        party: whom it is asked for.
        since: the beginning of the lost time, in seconds since the epoch.
    """

    def __init__(
        self,
        services: Services,
        epochs: StoreEpochs,
        nodes: NodeClient,
        role: RoleRecovery,
        peer: Peer,
        party: PartyID,
        since: float,
    ) -> None:
        self._store = services.store
        self._now = services.now
        self._epochs = epochs
        self._nodes = nodes
        self._role = role
        self._peer = peer
        self._party = party
        self._since = since
        # Unconfirmed at the peer, which has proved that it was restored, too: nobody else knows the session.
        self._doubted: set[str] = set()
        self._awaits_hello = False
        self._slots = asyncio.Semaphore(_MAX_STORED_AT_A_TIME)

    async def run(self) -> dict[str, int] | None:
        """Return how many sessions and CDRs were new; None if the peer's hello is to be awaited. Raises PeerError."""
        opened = stored = 0
        async for statuses in self._sessions():
            # One after the other: each is verified in a thread, which takes time from the requests of now.
            claims = [await self._role.lost_sessions.read_claim(self._peer, status) for status in statuses]
            opened += sum(await asyncio.gather(*(self._open(claim) for claim in claims)))
        if self._awaits_hello:
            return None
        # Order: the CDRs after their sessions.
        async for exported in self._cdrs():
            stored += sum(await asyncio.gather(*(self._store_cdr(cdr) for cdr in exported)))
        return {"sessions": opened, "cdrs": stored}

    async def _sessions(self) -> AsyncIterator[list[SessionStatus]]:
        """Yield the sessions of each page that has some which are missing, with their evidence."""
        cursor: str | None = ""
        while cursor is not None:
            arguments = (self._peer, self._party, self._since, cursor)
            page = await self._nodes.export_sessions(*arguments, with_evidence=False)
            unconfirmed = [status for status in page.items if status.unconfirmed]
            if unconfirmed and not await self._epochs.has_named(self._peer):
                self._awaits_hello = True  # which proves what the peer has lost itself
                return
            doubted = [status for status in unconfirmed if await self._epochs.lost_by(self._peer, status.created_at)]
            self._doubted |= {SessionID(status.session_id).key for status in doubted}
            if [status for status in page.items if await self._is_missing(status)]:
                page = await self._nodes.export_sessions(*arguments, with_evidence=True)
                yield [status for status in page.items if await self._is_missing(status)]
            cursor = page.cursor

    async def _cdrs(self) -> AsyncIterator[list[ExportedCdr]]:
        """Yield the CDRs of each page that has some which are missing; of all others the verdicts are stored."""
        cursor: str | None = ""
        while cursor is not None:
            arguments = (self._peer, self._party, self._since, cursor)
            page = await self._nodes.export_cdrs(*arguments, with_records=False)
            if await self._missing(page.items):
                page = await self._nodes.export_cdrs(*arguments, with_records=True)
                yield await self._missing(page.items)
            cursor = page.cursor

    async def _missing(self, exported: Sequence[ExportedCdr]) -> list[ExportedCdr]:
        are_stored = await asyncio.gather(*(self._is_stored(cdr) for cdr in exported))
        return [cdr for cdr, is_stored in zip(exported, are_stored, strict=True) if not is_stored]

    async def _is_missing(self, status: SessionStatus) -> bool:
        """Return whether a session is not here, and began at a time that may have been lost.

        Nothing else is believed of a message that comes by itself, either.
        """
        key = SessionID(status.session_id).key
        return (
            self._epochs.may_have_lost(status.created_at)
            and await sessions.get_now(self._store, self._role.name, key) is None
        )

    async def _open(self, claim: Claim) -> bool:
        """Insert a session that this node does not have; return whether it was one."""
        session_id, lost = SessionID(claim.status.session_id), self._role.lost_sessions
        if not (lost.is_debt_unconfirmed(claim, session_id) or lost.is_believed(claim, session_id)):
            return False
        async with self._slots:
            return await lost.insert_rebuilt(session_id, claim, f"fetched from {self._peer.name} after a restore")

    async def _is_stored(self, exported: ExportedCdr) -> bool:
        """Return whether a CDR is here, byte for byte; if it is, store the verdict of it, which may have been lost."""
        key, verdict, now = SessionID(exported.session_id).key, _verdict(exported), self._now()
        status = await cdrs.get_status_now(self._store, self._role.name, key)
        if status is None or status.digest.hex() != exported.digest or status.peer != self._peer.id:
            return False
        if self._role.name == "cpo" and not _has_verdict(status, verdict):
            await self._store.write(
                lambda tx: cdrs.apply_verdict(tx, "cpo", key, verdict, now), about=(job_keys.session_of("cpo", key),)
            )
        return True

    async def _store_cdr(self, exported: ExportedCdr) -> bool:
        """Store a CDR that this node does not have; return whether it was one."""
        async with self._slots:
            return await self._store_record(exported)

    async def _store_record(self, exported: ExportedCdr) -> bool:
        try:
            record = ChargeDetailRecord.from_json(bytes(exported.record))
        except InvalidMessage as error:
            log.warning("recovery.unreadable_cdr", peer=self._peer.name, reason=str(error))
            return False
        operator = record.evse_id.operator
        sender_id = operator.text if operator is not None else None
        request = OperationRequest(_CDR, record, self._peer, sender_id, body=bytes(exported.record))
        handler = self._role.cdr_handler
        # Without a verdict our backend may not have it, and nobody but this node will tell it.
        is_decided = exported.state in {CdrState.ACCEPTED, CdrState.DISPUTED}
        if self._role.name == "emp" and is_decided and record.session_id.key in self._doubted:
            return await handler.hold_for_person(request, _PERHAPS_DELIVERED)
        try:
            return await handler.store_exported(request, _verdict(exported))
        except Refusal as refusal:
            session_id = record.session_id.text
            log.warning("recovery.cdr_refused", peer=self._peer.name, session_id=session_id, reason=refusal.info)
            return False


def _has_verdict(status: CdrStatus, verdict: Verdict) -> bool:
    known = status.verdict
    return (known.state, known.code, known.text) == (verdict.state, verdict.code, verdict.text)


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
