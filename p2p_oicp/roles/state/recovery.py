"""At the start of a node: what a crash left half done is done, before anybody is served."""

from __future__ import annotations

import structlog

from p2p_oicp.oicp import read_records
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import Incoming, RoleContext
from p2p_oicp.roles.state.kinds import KINDS
from p2p_oicp.roles.state.taking import take_over_again
from p2p_oicp.storage.state.model import OWN
from p2p_oicp.storage.state.recovery import Interrupted

log = structlog.get_logger(__name__)


async def make_good(context: RoleContext) -> None:
    """Apply the large pushes and pulls that were decided, drop those that were not.

    A push of a peer that is gone is dropped, too: what it may speak for is not known. It was never told that its push
    was taken.
    """
    for interrupted in await context.keeper.recover():
        kind = KINDS[interrupted.push.kind]
        owner = _owner(context, interrupted)
        if owner is None:
            await context.keeper.forget(interrupted)
            log.warning("state.push_of_nobody", kind=kind.name, source=interrupted.push.source)
            continue
        reading = read_records(kind.operation.request, interrupted.request.body)
        incoming = Incoming(kind.operation, reading.envelope, owner, interrupted.request.party, reading)
        changed = await take_over_again(context, interrupted, incoming, kind, owner)
        log.warning("state.push_made_good", kind=kind.name, source=interrupted.push.source, changed=changed)


def _owner(context: RoleContext, interrupted: Interrupted) -> Peer | None:
    """Return whose push it was, None for a peer that is gone."""
    source = interrupted.push.source
    return context.me if source == OWN else context.registry.by_name(source)
