"""What a crash interrupted: found at the next start, before anybody is served."""

from __future__ import annotations

from dataclasses import dataclass

from p2p_oicp.storage.state import plans
from p2p_oicp.storage.state.batches import Batch
from p2p_oicp.storage.state.large import LargePush, journaled
from p2p_oicp.storage.state.model import Push, Request
from p2p_oicp.storage.state.plans import Now
from p2p_oicp.storage.store import Store


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A large push that was decided and not wholly applied: ``push`` lacks its records, which ``request`` has."""

    number: int
    push: Push
    request: Request
    decided: int


async def recover(store: Store, now: Now) -> list[Interrupted]:
    """Apply the pulls that were decided, drop what was not; return the pushes that must be applied again."""
    interrupted: list[Interrupted] = []
    for row in await store.read(plans.ALL):
        push, party = plans.push_of(row)
        number, is_decided = int(row["id"]), row["state"] == plans.DECIDED
        if party is None:
            decided = row["decided_change"] if is_decided else None
            batch = Batch(store, number, push, now, decided=decided, done=row["done"])
            await (batch.finish() if is_decided else batch.drop())
        elif is_decided:
            request = await journaled(store, number, party)
            interrupted.append(Interrupted(number, push, request, row["decided_change"]))
        else:
            await LargePush(store, push, now, number=number).drop()
    return interrupted
