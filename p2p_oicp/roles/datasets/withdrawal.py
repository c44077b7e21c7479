"""What becomes of the records of a party that was taken away (RULES L18).

**One of ours** (it is not in ``node.toml`` any more): its records are deleted, and replication withdraws them at the
peers. **One of a peer's** (it is not in the peer's entry any more): its records are kept under a source that is no
peer, so that they count no more (`context.RemovedPeers`). They count again when the party comes back, for the peer
would not send again what was acknowledged.

Sessions of such a party that are not over are shown to whoever takes it away.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import structlog

from p2p_oicp.oicp import OperatorID, ProviderID
from p2p_oicp.oicp.operations import Party
from p2p_oicp.peering import PeersChanged
from p2p_oicp.peers import Peer
from p2p_oicp.peers.models import PartyID
from p2p_oicp.roles.context import Services
from p2p_oicp.roles.datasets.types import DATASET_TYPES
from p2p_oicp.storage import Row, job_keys, sessions
from p2p_oicp.storage.datasets import queries
from p2p_oicp.storage.datasets.models import OWN, Changeset, DatasetKind, RecordGroup, ReplaceScope

log = structlog.get_logger(__name__)

#: Behind the id of a peer: the source of records of parties that were taken away from it.
WITHDRAWN_SUFFIX = " (withdrawn)"
_MAX_LISTED_SESSIONS = 20


class PartyWithdrawal:
    """Withdraws the records of parties that were taken away."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def withdraw_own(self) -> None:
        """Delete our own records of parties that are ours no more; call it before anything is served."""
        withdrawn: dict[str, PartyID] = {}
        for row in await self._services.store.query(queries.GROUPS):
            party = _party_of(row)
            if row["source"] != OWN or self._services.local_peer.handles_party(party) or not row["has_records"]:
                continue
            withdrawn[party.key] = party
            await self._delete(row)
        for party in withdrawn.values():
            listed = await self.open_sessions([party])
            log.warning("party.withdrawn", party=party.text, meaning="it is ours no more", open_sessions=listed)

    async def _delete(self, row: Row) -> None:
        dataset = DatasetKind(row["dataset"])
        group = RecordGroup(row["group_key"], row["party"], row["wrapper"], row["audience"])
        async with self._services.datasets.exclusive(dataset, OWN) as update:
            await update.apply(
                Changeset(dataset=dataset, source=OWN, groups=(group,), replace_scope=ReplaceScope.GROUPS)
            )
        self._services.wakeups.notify_dataset(DATASET_TYPES[dataset].name)

    async def update_peers(self) -> None:
        """Let the records of a peer's parties count, and those of its former parties not."""
        is_changed = False
        for row in await self._services.store.query(queries.GROUPS):
            source, party = row["source"], _party_of(row)
            peer = self._services.registry.by_id(source.removesuffix(WITHDRAWN_SUFFIX))
            if peer is None or source == OWN:
                continue
            target = peer.id if self._is_responsible(peer, party) else peer.id + WITHDRAWN_SUFFIX
            if target != source:
                is_changed = True
                about = (job_keys.dataset_of(row["dataset"], source), job_keys.dataset_of(row["dataset"], target))
                job = partial(queries.move_group, group=row, target=target)
                await self._services.store.write(job, about=about)
                log.warning("party.records_moved", peer=peer.name, party=party.text, counts=target == peer.id)
        if is_changed:
            self._services.removed_peers.forget()
            self._services.wakeups.notify_backends()

    def _is_responsible(self, peer: Peer, party: PartyID) -> bool:
        if peer.handles_party(party):
            return True
        responsible = self._services.registry.resolve_party(party)
        return peer.is_hub and (responsible is None or responsible.id == peer.id)

    async def on_peers_changed(self, change: PeersChanged, previous: Iterable[Peer]) -> None:
        """Follow a change of the peers; ``previous`` are the entries that were changed or removed."""
        await self._report(change, previous)
        await self.update_peers()

    async def _report(self, change: PeersChanged, previous: Iterable[Peer]) -> None:
        """Log the open sessions of parties that were taken away from a peer, or with it."""
        current = {peer.id: peer for peer in (*change.changed, *change.added)}
        for before in previous:
            now = current.get(before.id)
            removed = [party for party in before.parties if now is None or not now.handles_party(party)]
            if removed and (listed := await self.open_sessions(removed, before.id)):
                names = [party.text for party in removed]
                log.warning("party.removed", peer=before.name, parties=names, open_sessions=listed)

    async def open_sessions(self, parties: Iterable[PartyID], peer_id: str = "") -> list[str]:
        """Return the SessionIDs of some parties' sessions that are not over: those with one peer, or with all."""
        found: dict[str, None] = {}
        for party in parties:
            rows = await self._services.store.query(sessions.OPEN_OF_PARTY, party_=party.key, peer_=peer_id)
            found |= dict.fromkeys(str(row["session_id"]) for row in rows)
        return [*found][:_MAX_LISTED_SESSIONS]


def _party_of(row: Row) -> PartyID:
    is_emp = DATASET_TYPES[DatasetKind(row["dataset"])].publisher is Party.EMP
    return ProviderID(row["party"]) if is_emp else OperatorID(row["party"])
