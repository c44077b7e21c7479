"""A push too large for one transaction: all of it is applied or nothing, and it holds nobody up.

(1) It is checked as a whole. (2) The request is written into the journal, as it came but without PINs. (3) It is
*decided*: from here on it will be applied, whatever happens. (4) Its records are applied some at a time, in short jobs
between those of others. (5) What it does not name is withdrawn, and the journal is cleared. A crash before the decision
leaves nothing; after it, the journal's requests are applied again at the next start, before anybody is served, which
changes only what was left to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Sequence

import orjson
from sqlalchemy import bindparam, func, select

from p2p_oicp.errors import StoreError
from p2p_oicp.storage.state import plans
from p2p_oicp.storage.state.apply import put, withdraw_keys
from p2p_oicp.storage.state.direct import is_repetition, remember
from p2p_oicp.storage.state.model import Applied, Must, Push, Record
from p2p_oicp.storage.state.plans import Now
from p2p_oicp.storage.state.tables import state_records
from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.writer import Lane, Transaction

_PIECE_TO_CHECK = 5_000

_t = state_records.c
_LIVING = compiled(
    select(_t.key).where(
        _t.kind == bindparam("kind_"),
        _t.source == bindparam("source_"),
        _t.deleted == 0,
        _t.key.in_(select(func.json_each(bindparam("keys")).table_valued("value").c.value)),
    )
)


class LargePush:
    """One large push whose records are all here; ``leaving`` are the rows that it does not name and withdraws."""

    def __init__(self, store: Store, push: Push, now: Now, leaving: Sequence[sqlite3.Row] = ()) -> None:
        self._store = store
        self._push = push
        self._now = now
        self._leaving: Sequence[sqlite3.Row] | None = leaving
        self._number = 0
        self._decided: int | None = None

    @classmethod
    def interrupted(cls, store: Store, push: Push, now: Now, *, number: int, decided: int | None = None) -> LargePush:
        """Return a push that a crash interrupted."""
        large = cls(store, push, now)
        large._number, large._decided, large._leaving = number, decided, None
        return large

    @property
    def is_decided(self) -> bool:
        """Whether it will be applied, whatever happens."""
        return self._decided is not None

    async def apply(self) -> Applied:
        """Check, decide and apply."""
        wrong = await self._contradictions()
        if wrong:
            return Applied(contradictions=wrong)
        try:
            heads = await plans.to_its_end(self._decide())
        finally:
            if not self.is_decided:
                await asyncio.shield(self.drop())
        return Applied(heads + await self.finish()) if self.is_decided else Applied()

    async def _decide(self) -> int:
        """Journal it and decide, unless it is a repetition; return how many groups are new or have another head."""
        self._number = await plans.open_batch(self._store, self._push)
        body = self._push.request.body if self._push.request is not None else b""
        await asyncio.to_thread(self._store.journal.write, self._number, body)
        decided = await self._store.write(lambda tx: plans.decide(tx, self._number, self._push, self._now()), Lane.BULK)
        self._decided, heads = decided or (None, 0)
        return heads

    async def _contradictions(self) -> tuple[str, ...]:
        if self._push.must is None or await self._store.write(self._is_repetition, Lane.BULK):
            return ()  # a repetition meets its own records; nothing is done of it
        wrong: set[str] = set()
        for start in range(0, len(self._push.records), _PIECE_TO_CHECK):
            keys = {record.key for record in self._push.records[start : start + _PIECE_TO_CHECK]}
            rows = await self._store.scan(
                _LIVING, kind_=self._push.kind, source_=self._push.source, keys=orjson.dumps(list(keys)).decode()
            )
            living = {row["key"] for row in rows}
            wrong |= living if self._push.must is Must.BE_NEW else keys - living
        return tuple(sorted(wrong))

    async def finish(self) -> int:
        """Apply it; return how many records changed. After an error, again: what is done already costs a comparison."""
        changed = await plans.in_pieces(self._store, self._put, self._push.records)
        changed += await plans.in_pieces(self._store, self._withdraw, self._push.gone)
        changed += await plans.withdraw_rows(self._store, self._push, await self._unnamed(), self._now)
        await self._store.write(self._close, Lane.BULK)
        await asyncio.to_thread(self._store.journal.remove, self._number)
        return changed

    async def _unnamed(self) -> Sequence[sqlite3.Row]:
        """Return what is left to withdraw; after an error or a crash, it is looked for anew."""
        leaving, self._leaving = self._leaving, None
        if leaving is not None:
            return leaving
        named = {record.key for record in self._push.records}
        return await plans.unnamed(self._store, self._push, named, self._decided or 0)

    def _is_repetition(self, tx: Transaction) -> bool:
        return is_repetition(tx, self._push, self._now())

    def _put(self, tx: Transaction, rows: Sequence[Record]) -> int:
        return put(tx, self._push.kind, self._push.source, rows, self._now())

    def _withdraw(self, tx: Transaction, rows: Sequence[str]) -> int:
        return withdraw_keys(tx, self._push.kind, self._push.source, rows, self._now())

    def _close(self, tx: Transaction) -> None:
        remember(tx, self._push, self._now())
        plans.close(tx, self._number)

    async def drop(self) -> None:
        """Forget it; nothing of it was applied. What cannot be removed now is removed at the next start."""
        await asyncio.to_thread(self._store.journal.remove, self._number)
        with contextlib.suppress(StoreError):
            await self._store.write(lambda tx: plans.close(tx, self._number), Lane.BULK)
