"""The one door to state: one push of a kind and source after the other, however large they are."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from p2p_oicp.storage.state.batches import Batch
from p2p_oicp.storage.state.direct import MOST_AT_ONCE, apply_at_once
from p2p_oicp.storage.state.large import LargePush
from p2p_oicp.storage.state.model import SAME, Applied, Group, Kind, Push, Record, Replaces
from p2p_oicp.storage.state.plans import Now, to_its_end, unnamed
from p2p_oicp.storage.state.recovery import Interrupted, recover
from p2p_oicp.storage.statements import Statement
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.writer import Lane

# A change of a single status is not held up by bulk work.
_FEW = 10

Whose = tuple[Kind, str]

# Some records in one row: for rows of their own, Python's lock would change hands at each one.
_BETWEEN = "\x1f"
_DIGEST_DIGITS = 32
_DIGESTS = Statement(
    """
    SELECT max(change) AS newest, group_concat(hex(digest) || key, char(31)) AS told FROM (
      SELECT change, digest, key FROM state_records
      WHERE kind = :kind AND source = :source AND group_key = :group AND deleted = 0 AND change > :after
      ORDER BY change LIMIT 1000
    )
    """,
    {},
)


class Turn:
    """The time in which nobody else begins to change the state of one kind and source.

    ``under_way`` are changes of few records that are in the writer's queue already, in their order.
    """

    def __init__(
        self,
        store: Store,
        now: Now,
        unfinished: dict[Whose, Batch | LargePush],
        under_way: set[asyncio.Future[Applied]],
    ) -> None:
        self._store = store
        self._now = now
        self._unfinished = unfinished
        self._living: Mapping[str, set[str]] = {}
        self._under_way = under_way

    async def digests(self, kind: Kind, source: str, group: str) -> dict[bytes, str]:
        """Return the key of every valid record of a group by its digest."""
        await self._settled()
        found: dict[bytes, str] = {}
        after = 0
        while True:
            (row,) = await self._store.scan(_DIGESTS, kind=kind, source=source, group=group, after=after)
            if row["told"] is None:
                break
            after = row["newest"]
            found.update(map(_digest_and_key, row["told"].split(_BETWEEN)))
        self._living = {group: set(found.values())}
        return found

    async def begin(self, push: Push) -> Awaitable[Applied]:
        """Begin to apply a push; what is returned tells when that is done, and the turn need not wait for it.

        So many changes of single records share one commit. What needs more than one job is done when this returns.
        """
        if len(push.records) + len(push.gone) <= _FEW and push.replaces is Replaces.NOTHING:
            applying = asyncio.ensure_future(self._store.write(lambda tx: apply_at_once(tx, push, (), self._now())))
            self._under_way.add(applying)
            applying.add_done_callback(self._under_way.discard)
            return asyncio.shield(applying)  # a caller that gives up does not take it back
        applied = asyncio.get_running_loop().create_future()
        applied.set_result(await self._apply(push))
        return applied

    async def _apply(self, push: Push) -> Applied:
        """Apply a push, all or nothing; contradictions are returned, and nothing is changed then."""
        await self._settled()
        leaving = await self._leaving(push)
        push = replace(push, records=[record for record in push.records if record.raw != SAME])
        size = len(push.records) + len(push.gone) + len(leaving)
        if size <= MOST_AT_ONCE:
            lane = Lane.INTERACTIVE if size <= _FEW else Lane.BULK
            return await to_its_end(self._store.write(lambda tx: apply_at_once(tx, push, leaving, self._now()), lane))
        large = LargePush(self._store, push, self._now, leaving)
        return await self._carry_out(push, large, large.apply())

    async def _leaving(self, push: Push) -> Sequence[sqlite3.Row]:
        """Return what a push withdraws by not naming it."""
        if push.replaces is Replaces.NOTHING:
            return ()
        named = {record.key for record in push.records}
        if push.replaces is Replaces.GROUPS and all(
            group.key in self._living and self._living[group.key] <= named for group in push.groups
        ):
            return ()
        return await unnamed(self._store, push, named)

    async def take(self, push: Push, batch: Batch, groups: Sequence[Group]) -> Applied:
        """Apply what was staged, all or nothing."""
        await self._settled()
        return await self._carry_out(push, batch, batch.apply(groups))

    async def _settled(self) -> None:
        """Wait until what is read is what was pushed."""
        if self._under_way:
            await asyncio.wait(self._under_way)

    async def _carry_out(self, push: Push, what: Batch | LargePush, applying: Awaitable[Applied]) -> Applied:
        try:
            return await applying
        except BaseException:
            if what.is_decided:
                self._unfinished[push.kind, push.source] = what
            raise


def _digest_and_key(told: str) -> tuple[bytes, str]:
    return bytes.fromhex(told[:_DIGEST_DIGITS]), told[_DIGEST_DIGITS:]


class Keeper:
    """Gives turns; ``now`` gives seconds since the epoch."""

    def __init__(self, store: Store, now: Now) -> None:
        self._store = store
        # What is written on the wire with milliseconds is compared with what is stored (LastCall).
        self._now: Now = lambda: round(now(), 3)
        self._locks: defaultdict[Whose, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._unfinished: dict[Whose, Batch | LargePush] = {}
        self._under_way: defaultdict[Whose, set[asyncio.Future[Applied]]] = defaultdict(set)

    @asynccontextmanager
    async def turn(self, kind: Kind, source: str) -> AsyncIterator[Turn]:
        """Wait until nobody else changes the state of this kind and source."""
        async with self._locks[kind, source]:
            if (kind, source) in self._unfinished:  # an error interrupted it: before anything newer
                await self._unfinished[kind, source].finish()
                del self._unfinished[kind, source]
            yield Turn(self._store, self._now, self._unfinished, self._under_way[kind, source])

    async def apply(self, push: Push) -> Applied:
        """Apply a push in a turn of its own."""
        async with self.turn(push.kind, push.source) as turn:
            return await (await turn.begin(push))

    async def recover(self) -> list[Interrupted]:
        """Make good what a crash interrupted; return the pushes that must be read again. Call it before serving."""
        return await recover(self._store, self._now)

    async def again(self, interrupted: Interrupted, records: Sequence[Record], gone: Sequence[str]) -> int:
        """Apply a push that a crash interrupted; return how many records that changed."""
        push = replace(interrupted.push, records=records, gone=gone)
        number, decided = interrupted.number, interrupted.decided
        return await LargePush.interrupted(self._store, push, self._now, number=number, decided=decided).finish()

    async def forget(self, interrupted: Interrupted) -> None:
        """Leave a push that a crash interrupted as it is: what was applied of it stays."""
        await LargePush.interrupted(self._store, interrupted.push, self._now, number=interrupted.number).drop()

    async def stage(self, push: Push) -> Batch:
        """Begin a pull, whose records come little by little and need no turn yet."""
        return await Batch.open(self._store, push, self._now)

    async def take(self, push: Push, batch: Batch, groups: Sequence[Group]) -> Applied:
        """Apply what was staged, in a turn of its own."""
        async with self.turn(push.kind, push.source) as turn:
            return await turn.take(push, batch, groups)
