"""The workers of all peers: one for the outbox of each, and those of its state.

Peers come and go while a node runs; so do their workers.

The workers of state: a replicator per peer and kind, and a crawler per peer that does not push.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial

from p2p_oicp.concurrency import TaskSupervisor, Worker
from p2p_oicp.delivery import DatasetReplicator, ExponentialBackoff, OutboxDispatcher, PeerDatasetTarget
from p2p_oicp.oicp.operations import Party
from p2p_oicp.peering import PeersChanged
from p2p_oicp.peering.evidence_recorder import RecordingPeerClient
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import Services
from p2p_oicp.roles.datasets.pull_client import DatasetPuller
from p2p_oicp.roles.datasets.types import DATASET_TYPES, DatasetType
from p2p_oicp.roles.delivery_targets import PeerDeliveryTarget


class PeerWorkerPool:
    """Starts and stops workers; ``greet`` says hello to a new peer."""

    def __init__(
        self,
        services: Services,
        *,
        supervisor: TaskSupervisor,
        backoff: ExponentialBackoff,
        send_hello: Callable[[Peer], Awaitable[None]],
    ) -> None:
        self._services = services
        self._supervisor = supervisor
        self._backoff = backoff
        self._send_hello = send_hello
        self._task_names: dict[str, list[str]] = {}

    def on_peers_changed(self, change: PeersChanged) -> None:
        """Start and stop workers as peers come and go."""
        for removed in (*change.removed, *change.changed):
            self.stop(removed)
        for peer in (*change.added, *change.changed):
            self.start(peer)

    def start(self, peer: Peer) -> None:
        """Let workers work for ``peer``, and say hello to it."""
        services = self._services
        wakeup = services.wakeups.register(peer.name, peer.name)
        target = PeerDeliveryTarget(services.registry, RecordingPeerClient(services.peers, services.recorder))
        dispatcher = OutboxDispatcher(
            target, store=services.store, wakeup=wakeup, clock=services.clock, backoff=self._backoff
        )
        # A peer's name alone could be that of other work ("expiry").
        workers = [(f"letters to {peer.name}", dispatcher), *workers_for_peer(peer, services, self._backoff)]
        for name, worker in workers:
            self._supervisor.start_service(name, worker.run)
        hello_task = f"hello to {peer.name}"
        self._supervisor.start_task(hello_task, partial(self._send_hello, peer))
        self._task_names[peer.name] = [hello_task, *(name for name, _ in workers)]

    def stop(self, peer: Peer) -> None:
        """Let nobody work for ``peer`` any more; what it is owed stays in the database."""
        for name in self._task_names.pop(peer.name, ()):
            self._supervisor.stop(name)
        self._services.wakeups.unregister(peer.name)


def workers_for_peer(peer: Peer, context: Services, backoff: ExponentialBackoff) -> Iterator[tuple[str, Worker]]:
    """Return the workers of one peer's state, with their names: what it is owed, and what is fetched from it."""
    for dataset_type in datasets_for_peer(peer, context.local_peer):
        wakeup = context.wakeups.register(peer.name, f"{dataset_type.name} to {peer.name}", dataset_type.name)
        yield (
            wakeup.destination,
            DatasetReplicator(
                peer,
                dataset_type,
                store=context.store,
                target=PeerDatasetTarget(peer, context.peers),
                wakeup=wakeup,
                clock=context.clock,
                backoff=backoff,
            ),
        )
    if peer.pull_interval is not None and not peer.is_self:
        yield f"crawler of {peer.name}", DatasetPuller(context, peer, peer.pull_interval, backoff)


def datasets_for_peer(peer: Peer, local_peer: Peer) -> list[DatasetType]:
    """Return the kinds of state that a peer wants from this company: a CPO's for EMPs, an EMP's for CPOs."""
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
