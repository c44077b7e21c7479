"""What a crash interrupted: found at the next start, before anybody is served."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog
from sqlalchemy import bindparam, select

from p2p_oicp.storage.state import plans
from p2p_oicp.storage.state.batches import Batch
from p2p_oicp.storage.state.large import LargePush
from p2p_oicp.storage.state.model import Push, Request
from p2p_oicp.storage.state.plans import Now
from p2p_oicp.storage.state.tables import journal
from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.store import Store

log = structlog.get_logger(__name__)

_IN_BACKUP = compiled(select(journal.c.request).where(journal.c.id == bindparam("number")))


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
        elif is_decided and (body := await _journaled(store, number)) is not None:
            interrupted.append(Interrupted(number, push, Request(party, body), row["decided_change"]))
        else:
            if is_decided:  # somebody removed its file: what was applied of it stays
                log.error("push.journal_missing", source=push.source, kind=push.kind.name, todo="push everything again")
            await LargePush.interrupted(store, push, now, number=number).drop()
    await asyncio.to_thread(store.journal.keep_only, {found.number for found in interrupted})
    return interrupted


async def _journaled(store: Store, number: int) -> bytes | None:
    """Return the request of a decided push; a store that was restored has it within, whatever lies beside it."""
    rows = await store.read(_IN_BACKUP, number=number)
    return rows[0]["request"] if rows else await asyncio.to_thread(store.journal.read, number)
