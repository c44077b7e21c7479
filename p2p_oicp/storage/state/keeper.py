"""The one door to state: one push of a kind and source after the other, however large they are."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from p2p_oicp.storage.state.batches import Batch, Now, finish_decided
from p2p_oicp.storage.state.direct import MOST_AT_ONCE, apply_at_once
from p2p_oicp.storage.state.model import Applied, Group, Kind, Push
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.writer import Lane

# A change of a single status is not held up by bulk work.
_FEW = 10


class Keeper:
    """Applies pushes; ``now`` gives seconds since the epoch."""

    def __init__(self, store: Store, now: Now) -> None:
        self._store = store
        # What is written on the wire with milliseconds is compared with what is stored (LastCall).
        self._now: Now = lambda: round(now(), 3)
        self._locks: defaultdict[tuple[Kind, str], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._interrupted: set[tuple[Kind, str]] = set()

    async def apply(self, push: Push) -> Applied:
        """Apply a push, all or nothing; contradictions are returned, and nothing is changed then."""
        async with self._locks[push.kind, push.source]:
            await self._make_good(push.kind, push.source)
            size = len(push.records) + len(push.gone)
            if size <= MOST_AT_ONCE:
                lane = Lane.INTERACTIVE if size <= _FEW else Lane.BULK
                applied = await self._store.write(lambda tx: apply_at_once(tx, push, self._now()), lane)
                if applied is not None:
                    return applied
            batch = await self.stage(push)
            await batch.stage(push.records, push.gone)
            return await self._decided(push.kind, push.source, batch, push.groups)

    async def stage(self, push: Push) -> Batch:
        """Begin a push whose records come little by little; hand it to ``take``, or drop it."""
        return await Batch.open(self._store, push, self._now)

    async def take(self, push: Push, batch: Batch, groups: Sequence[Group]) -> Applied:
        """Apply what was staged, all or nothing."""
        async with self._locks[push.kind, push.source]:
            await self._make_good(push.kind, push.source)
            return await self._decided(push.kind, push.source, batch, groups)

    async def _decided(self, kind: Kind, source: str, batch: Batch, groups: Sequence[Group]) -> Applied:
        self._interrupted.add((kind, source))
        applied = await batch.apply(groups)
        self._interrupted.discard((kind, source))
        return applied

    async def _make_good(self, kind: Kind, source: str) -> None:
        """Finish what an error or a cancellation interrupted, before anything newer is applied."""
        if (kind, source) in self._interrupted:
            await finish_decided(self._store, kind, source, self._now)
            self._interrupted.discard((kind, source))
