"""The workers of all peers: one for the outbox of each, and those of its state.

Peers come and go while a node runs; so do their workers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from p2p_oicp.delivery import Backoff, OutboxWorker, Supervisor
from p2p_oicp.peers import Peer
from p2p_oicp.roles.carriers import PeerCarrier
from p2p_oicp.roles.context import RoleContext
from p2p_oicp.roles.state.workers import workers_for
from p2p_oicp.trust import Change


class Crew:
    """Starts and stops workers; ``greet`` says hello to a new peer."""

    def __init__(
        self,
        context: RoleContext,
        *,
        supervisor: Supervisor,
        backoff: Backoff,
        greet: Callable[[Peer], Awaitable[None]],
    ) -> None:
        self._context = context
        self._supervisor = supervisor
        self._backoff = backoff
        self._greet = greet
        self._working_for: dict[str, list[str]] = {}

    def follow(self, change: Change) -> None:
        """Start and stop workers as peers come and go."""
        for gone in (*change.removed, *change.changed):
            self.stop(gone)
        for peer in (*change.added, *change.changed):
            self.start(peer)

    def start(self, peer: Peer) -> None:
        """Let workers work for ``peer``, and say hello to it."""
        context = self._context
        bell = context.bells.hang(peer.name, peer.name)
        carrier = PeerCarrier(context.registry, context.courier)
        outbox = OutboxWorker(carrier, store=context.store, bell=bell, clock=context.clock, backoff=self._backoff)
        # A peer's name alone could be that of other work ("expiry").
        workers = [(f"letters to {peer.name}", outbox), *workers_for(peer, context, self._backoff)]
        for name, worker in workers:
            self._supervisor.keep_running(name, worker.run)
        hello = f"hello to {peer.name}"
        self._supervisor.run_once(hello, partial(self._greet, peer))
        self._working_for[peer.name] = [hello, *(name for name, _ in workers)]

    def stop(self, peer: Peer) -> None:
        """Let nobody work for ``peer`` any more; what it is owed stays in the database."""
        for name in self._working_for.pop(peer.name, ()):
            self._supervisor.stop(name)
        self._context.bells.take_down(peer.name)
