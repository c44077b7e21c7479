"""The workers of all peers: one for the outbox of each, one for each kind of state that it is owed.

Peers come and go while a node runs; so do their workers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from p2p_oicp.delivery import Backoff, Courier, OutboxWorker, Replicator, StateKind, Supervisor
from p2p_oicp.peers import Peer
from p2p_oicp.roles.carriers import PeerCarrier
from p2p_oicp.roles.context import RoleContext
from p2p_oicp.trust import Change


class Crew:
    """Starts and stops workers.

    ``kinds_for`` says which kinds of state a peer is owed; ``greet`` says hello to a new one.
    """

    def __init__(
        self,
        context: RoleContext,
        *,
        courier: Courier,
        supervisor: Supervisor,
        backoff: Backoff,
        kinds_for: Callable[[Peer], Iterable[StateKind]],
        greet: Callable[[Peer], Awaitable[None]],
    ) -> None:
        self._greet = greet
        self._context = context
        self._courier = courier
        self._supervisor = supervisor
        self._backoff = backoff
        self._kinds_for = kinds_for
        self._working_for: dict[str, list[str]] = {}

    def follow(self, change: Change) -> None:
        """Start and stop workers as peers come and go."""
        for gone in (*change.removed, *change.changed):
            self.stop(gone)
        for peer in (*change.added, *change.changed):
            self.start(peer)
            self._supervisor.run_once(f"hello to {peer.name}", partial(self._greet, peer))

    def start(self, peer: Peer) -> None:
        """Let workers work for ``peer``."""
        context, names = self._context, [peer.name]
        carrier = PeerCarrier(context.registry, self._courier)
        bell = context.bells.hang(peer.name, peer.name)
        worker = OutboxWorker(carrier, store=context.store, bell=bell, clock=context.clock, backoff=self._backoff)
        self._supervisor.keep_running(peer.name, worker.run)
        for kind in self._kinds_for(peer):
            names.append(f"{kind.name} to {peer.name}")
            self._supervisor.keep_running(names[-1], self._replicator(peer, kind, names[-1]).run)
        self._working_for[peer.name] = names

    def stop(self, peer: Peer) -> None:
        """Let nobody work for ``peer`` any more; what it is owed stays in the database."""
        for name in self._working_for.pop(peer.name, ()):
            self._supervisor.stop(name)
        self._context.bells.take_down(peer.name)

    def _replicator(self, peer: Peer, kind: StateKind, name: str) -> Replicator:
        context = self._context
        return Replicator(
            peer,
            kind,
            store=context.store,
            courier=self._courier,
            bell=context.bells.hang(peer.name, name),
            clock=context.clock,
            backoff=self._backoff,
        )
