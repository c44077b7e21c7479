"""Records of a pull on their way in: a few are kept in memory, many are staged while the others are still coming."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from p2p_oicp.errors import StoreError
from p2p_oicp.storage.state.batches import Batch
from p2p_oicp.storage.state.direct import MOST_AT_ONCE
from p2p_oicp.storage.state.keeper import Keeper
from p2p_oicp.storage.state.model import Applied, Group, Push, Record


class Intake:
    """Takes the records of one pull, one by one; end it with ``apply``, and with ``drop`` after any error."""

    def __init__(self, keeper: Keeper, push: Push) -> None:
        self._keeper = keeper
        self._push = push
        self._records: list[Record] = []
        self._gone: list[str] = []
        self._batch: Batch | None = None

    async def put(self, record: Record) -> None:
        """Take a record that is to be there."""
        self._records.append(record)
        await self._stage_many()

    async def withdraw(self, key: str) -> None:
        """Take the key of a record that is to go."""
        self._gone.append(key)
        await self._stage_many()

    async def apply(self, groups: Sequence[Group]) -> Applied:
        """Apply everything, all or nothing."""
        if self._batch is None:
            self._batch = await self._keeper.stage(self._push)
        await self._stage(self._batch)
        return await self._keeper.take(self._push, self._batch, groups)

    async def drop(self) -> None:
        """Forget everything, unless it is decided; what cannot be cleared now is cleared at the next start."""
        if self._batch is not None and not self._batch.is_decided:
            with contextlib.suppress(StoreError):
                await self._batch.drop()

    async def _stage_many(self) -> None:
        if len(self._records) + len(self._gone) <= MOST_AT_ONCE:
            return
        if self._batch is None:
            self._batch = await self._keeper.stage(self._push)
        await self._stage(self._batch)

    async def _stage(self, batch: Batch) -> None:
        await batch.stage(self._records, self._gone)
        self._records, self._gone = [], []
