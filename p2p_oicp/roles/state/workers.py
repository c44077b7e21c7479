"""The workers of state: a replicator per peer and kind, and a crawler per peer that does not push."""

from __future__ import annotations

from collections.abc import Iterator

from p2p_oicp.delivery import Backoff, Replicator, Worker
from p2p_oicp.oicp.operation import Party
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import RoleContext
from p2p_oicp.roles.state.crawling import Crawler
from p2p_oicp.roles.state.kinds import KINDS, StateKind


def workers_for(peer: Peer, context: RoleContext, backoff: Backoff) -> Iterator[tuple[str, Worker]]:
    """Return the workers of one peer's state, with their names: what it is owed, and what is fetched from it."""
    for kind in owed_to(peer, context.me):
        bell = context.bells.hang(peer.name, f"{kind.name} to {peer.name}", kind.name)
        yield (
            bell.destination,
            Replicator(
                peer,
                kind,
                store=context.store,
                courier=context.courier,
                bell=bell,
                clock=context.clock,
                backoff=backoff,
            ),
        )
    if peer.pull_interval is not None and not peer.is_self:
        yield f"crawler of {peer.name}", Crawler(context, peer, peer.pull_interval, backoff)


def owed_to(peer: Peer, me: Peer) -> list[StateKind]:
    """Return the kinds of state that a peer wants from this company: a CPO's for EMPs, an EMP's for CPOs."""
    if peer.is_self:
        return []
    ours = {
        Party.CPO: bool(me.operators and (peer.providers or peer.default_route)),
        Party.EMP: bool(me.providers and (peer.operators or peer.default_route)),
    }
    return [kind for kind in KINDS.values() if ours[kind.publisher] and peer.serves(kind.operation.name)]
