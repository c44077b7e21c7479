"""Background workers of the peers, which start and stop as peers are added, changed and removed, and of our backends.

A peer has a dispatcher for its outbox, a replicator for each dataset that it gets from us, a puller if it does not
push its own datasets, and one task that sends hello. A backend has a dispatcher for its outbox, and a
replicator for each dataset that it wants to be told of.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial

import structlog

from p2p_oicp.backends import BackendRegistry, OwnBackend
from p2p_oicp.concurrency import TaskSupervisor, Worker
from p2p_oicp.delivery import (
    BackendDatasetTarget,
    DatasetReplicator,
    ExponentialBackoff,
    NodeClient,
    OutboxDispatcher,
    PeerDatasetTarget,
)
from p2p_oicp.errors import StoreError
from p2p_oicp.oicp.operations import Party
from p2p_oicp.peering import PeersChanged
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import Services
from p2p_oicp.roles.datasets.operator_names import NAMED_DATASETS, NamingCodec
from p2p_oicp.roles.datasets.publishing import view_of_copy
from p2p_oicp.roles.datasets.pull_client import HUB_PULL_INTERVAL_SECONDS, DatasetPuller
from p2p_oicp.roles.datasets.types import DATASET_TYPES, DatasetType
from p2p_oicp.roles.datasets.withdrawal import PartyWithdrawal
from p2p_oicp.roles.delivery_targets import BackendDeliveryTarget, PeerDeliveryTarget
from p2p_oicp.roles.verdicts import PendingVerdicts
from p2p_oicp.storage import Transaction, job_keys, peer_state
from p2p_oicp.storage.datasets.change_feed import ReplicaScope
from p2p_oicp.storage.peer_state import Destination

log = structlog.get_logger(__name__)


class PeerWorkerPool:
    """Owns the workers of all peers; an observer of `peering.PeerDirectory`.

    Args:
        services: of the node.
        nodes: tells peers' nodes what OICP has no message for.
        supervisor: runs the workers, and restarts one that fails.
        backoff: the waits of dispatchers, replicators and pullers after failures.
        send_hello: sends hello to a peer again and again.
    """

    def __init__(
        self,
        services: Services,
        *,
        nodes: NodeClient,
        supervisor: TaskSupervisor,
        backoff: ExponentialBackoff,
        send_hello: Callable[[Peer], Awaitable[None]],
    ) -> None:
        self._services = services
        self._nodes = nodes
        self._supervisor = supervisor
        self._backoff = backoff
        self._send_hello = send_hello
        self._task_names: dict[str, list[str]] = {}
        self._peers: dict[str, Peer] = {}
        self._withdrawal = PartyWithdrawal(services)
        self._changes = 0

    def __repr__(self) -> str:
        return f"<PeerWorkerPool peers={len(self._task_names)}>"

    def on_peers_changed(self, change: PeersChanged) -> None:
        """Stop the workers of removed peers, start those of added ones, and restart those of changed ones."""
        for removed in (*change.removed, *change.changed):
            self.stop(removed)
        for peer in (*change.added, *change.changed):
            self.start(peer)
        self._services.wakeups.notify_backends()
        previous = [self._peers.pop(peer.id) for peer in (*change.removed, *change.changed) if peer.id in self._peers]
        self._peers |= {peer.id: peer for peer in (*change.added, *change.changed)}
        if previous or change.added:
            self._changes += 1
            apply = partial(self._withdrawal.on_peers_changed, change, previous)
            self._supervisor.start_task(f"parties of peers, change {self._changes}", apply)

    def start(self, peer: Peer) -> None:
        """Start the workers of a peer in a task of their own: a pairing is answered without waiting for them.

        A wake-up in between is not lost: every worker looks for work when it starts.
        """
        start_task = f"start of {peer.name}"
        self._task_names[peer.id] = [start_task]
        self._supervisor.start_task(start_task, partial(self._start_workers, peer))

    async def _start_workers(self, peer: Peer) -> None:
        services = self._services
        wakeup = services.wakeups.register(Destination(peer.id))
        target = PeerDeliveryTarget(peer, services, self._nodes)
        dispatcher = OutboxDispatcher(
            target, store=services.store, wakeup=wakeup, clock=services.clock, backoff=self._backoff
        )
        await self._until_refiltered(peer)
        # Not the name alone: a peer may have the name of another task ("session expiry").
        workers = [
            (f"outbox of {peer.name}", dispatcher),
            *[each async for each in workers_for_peer(peer, services, self._backoff)],
        ]
        for name, worker in workers:
            self._supervisor.start_service(name, worker.run)
        hello_task = f"hello to {peer.name}"
        self._supervisor.start_task(hello_task, partial(self._send_hello, peer))
        self._task_names[peer.id] = [hello_task, *(name for name, _ in workers)]

    async def _until_refiltered(self, peer: Peer) -> None:
        """Wait until the database can be written: by the filter of before, a copy would get what it may not have."""
        while True:
            try:
                return await _mark_refiltered(peer, self._services)
            except StoreError as error:
                log.warning("peer.start_delayed", peer=peer.name, error=error)
                await asyncio.sleep(self._backoff.store_error_delay)

    def stop(self, peer: Peer) -> None:
        """Stop the workers of a peer; its outbox stays in the database, for the case that it comes back."""
        # Order: workers first, then their wake-ups, which a worker that still runs would wait on for ever.
        for name in self._task_names.pop(peer.id, ()):
            self._supervisor.stop(name)
        self._services.wakeups.unregister(peer.id)


def workers_for_backends(
    backends: BackendRegistry, verdicts: PendingVerdicts | None, services: Services, backoff: ExponentialBackoff
) -> Iterator[tuple[str, Worker]]:
    """Return the workers of our own backends, with their names: each has its own, so that none waits for another."""
    for own in backends.all:
        yield from workers_for_backend(own, verdicts, services, backoff)


def workers_for_backend(
    own: OwnBackend, verdicts: PendingVerdicts | None, services: Services, backoff: ExponentialBackoff
) -> Iterator[tuple[str, Worker]]:
    """Return the workers of one of our own backends, with their names; ``verdicts`` are those of the EMP's role."""
    if "emp" in own.roles and verdicts is not None:
        wakeup = services.wakeups.register(Destination(own.destination))
        target = BackendDeliveryTarget(own, verdicts, services)
        dispatcher = OutboxDispatcher(
            target, store=services.store, wakeup=wakeup, clock=services.clock, backoff=backoff
        )
        yield f"outbox of {own.destination}", dispatcher
    yield from _replicators_for_backend(own, services, backoff)


def _replicators_for_backend(
    own: OwnBackend, services: Services, backoff: ExponentialBackoff
) -> Iterator[tuple[str, Worker]]:
    """Return what replicates to one of our backends what all partners have published, and we ourselves."""
    for dataset_type, scope in _scopes_of_backend(own, services):
        if own.receiver is None:
            return
        yield (
            f"{dataset_type.name} to {own.destination}",
            DatasetReplicator(
                scope,
                dataset_type,
                store=services.store,
                target=BackendDatasetTarget(own.destination, own.receiver),
                wakeup=services.wakeups.register(Destination(own.destination, dataset_type.name)),
                clock=services.clock,
                backoff=backoff,
            ),
        )


def _scopes_of_backend(own: OwnBackend, services: Services) -> Iterator[tuple[DatasetType, ReplicaScope]]:
    for dataset_type in DATASET_TYPES.values():
        if own.receiver is not None and dataset_type.operation.name in own.pushes:
            audiences = dataset_type.audiences_of(own.parties)
            yield (
                dataset_type,
                ReplicaScope(own.destination, dataset_type.dataset, audiences, services.removed_peers.ids),
            )


def _scopes_of_peer(peer: Peer, local_peer: Peer) -> Iterator[tuple[DatasetType, ReplicaScope]]:
    for dataset_type in datasets_for_peer(peer, local_peer):
        yield dataset_type, ReplicaScope(peer.id, dataset_type.dataset, dataset_type.audiences_of(peer))


def replicas_of(owner: str, backends: BackendRegistry, services: Services) -> dict[str, ReplicaScope]:
    """Return the datasets that are replicated to a peer (by its id) or to a backend (by its destination), by name."""
    if (peer := services.registry.by_id(owner)) is not None:
        scopes = _scopes_of_peer(peer, services.local_peer)
    else:
        own = next((each for each in backends.all if each.destination == owner), None)
        scopes = _scopes_of_backend(own, services) if own is not None else iter(())
    return {dataset_type.name: scope for dataset_type, scope in scopes}


async def workers_for_peer(
    peer: Peer, services: Services, backoff: ExponentialBackoff
) -> AsyncIterator[tuple[str, Worker]]:
    """Return the workers of a peer's datasets, with their names."""
    for dataset_type, scope in _scopes_of_peer(peer, services.local_peer):
        wakeup = services.wakeups.register(Destination(peer.id, dataset_type.name))
        is_named = peer.traits.names_operators and dataset_type.dataset in NAMED_DATASETS
        text = await peer_state.published_filter(services.store, wakeup.destination)
        is_filtered = bool(text) or peer.publish is not None
        on_moved = partial(services.wakeups.notify_all, peer.id)
        view = view_of_copy(peer, dataset_type.dataset, services.store, text, on_moved) if is_filtered else None
        yield (
            f"{dataset_type.name} to {peer.name}",
            DatasetReplicator(
                replace(scope, view=view),
                NamingCodec(dataset_type, services.store) if is_named else dataset_type,
                store=services.store,
                target=PeerDatasetTarget(peer, services.peers, services.agreements),
                wakeup=wakeup,
                clock=services.clock,
                backoff=backoff,
            ),
        )
    # For peers that do not push: the clearing house, and simple implementations.
    if peer.is_pulled:
        interval = HUB_PULL_INTERVAL_SECONDS if peer.pull_interval is None and peer.is_hub else peer.pull_interval
        yield f"pull from {peer.name}", DatasetPuller(services, peer, interval, backoff)


async def _mark_refiltered(peer: Peer, services: Services) -> None:
    """Have the copies of another filter start again with snapshots: they withdraw what is published no more.

    The filter is stored when the copy is whole: after a crash in between it starts again.
    """
    text = "" if peer.publish is None else peer.publish.to_text()
    outdated = [
        dataset_type
        for dataset_type in datasets_for_peer(peer, services.local_peer)
        if text != await peer_state.published_filter(services.store, Destination(peer.id, dataset_type.name))
    ]

    def mark(tx: Transaction) -> None:
        for dataset_type in outdated:
            if not peer_state.mark_stale(tx, peer.id, dataset_type.dataset):
                # A copy of nothing is what any filter shows of it.
                peer_state.set_published_filter(tx, Destination(peer.id, dataset_type.name), text)

    if outdated:
        await services.store.write(mark, about=(job_keys.destination(peer.id),))


def datasets_for_peer(peer: Peer, local_peer: Peer) -> list[DatasetType]:
    """Return the datasets that are replicated to a peer: a CPO's to EMPs, an EMP's to CPOs, if it serves the push."""
    if peer.is_self:
        return []
    is_published = {
        Party.CPO: bool(local_peer.operators and (peer.providers or peer.default_route)),
        Party.EMP: bool(local_peer.providers and (peer.operators or peer.default_route)),
    }
    return [
        dataset_type
        for dataset_type in DATASET_TYPES.values()
        if is_published[dataset_type.publisher] and peer.serves(dataset_type.operation.name)
    ]
