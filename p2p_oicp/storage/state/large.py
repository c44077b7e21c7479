"""A push too large for one transaction: all of it is applied or nothing, and it holds nobody up.

(1) It is checked as a whole. (2) The request is written into the journal, as it came. (3) It is *decided*: from here on
it will be applied, whatever happens. (4) Its records are applied some at a time, in short jobs between those of others.
(5) What it does not name is withdrawn, and the journal is cleared. A crash before the decision leaves nothing; after
it, the journal's requests are applied again at the next start, before anybody is served, which changes only what was
left to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import orjson
from sqlalchemy import bindparam, delete, func, insert, select

from p2p_oicp.storage.state import plans
from p2p_oicp.storage.state.apply import put, withdraw_keys
from p2p_oicp.storage.state.direct import remember
from p2p_oicp.storage.state.model import Applied, Must, Push, Record, Request
from p2p_oicp.storage.state.plans import PIECE, PLACE_BITS, Now
from p2p_oicp.storage.state.tables import journal, state_records
from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.writer import Lane, Transaction

_PIECE_TO_CHECK = 5_000
_BYTES_A_PART = 512 * 1024

_j, _t = journal.c, state_records.c
_WRITE = compiled(insert(journal).values(id=bindparam("id"), part=bindparam("part")))
_parts = (_j.id > bindparam("after"), _j.id <= bindparam("until"))
_READ = compiled(select(_j.part).where(*_parts).order_by(_j.id))
_CLEAR = compiled(delete(journal).where(*_parts))
_LIVING = compiled(
    select(_t.key).where(
        _t.kind == bindparam("kind_"),
        _t.source == bindparam("source_"),
        _t.deleted == 0,
        _t.key.in_(select(func.json_each(bindparam("keys")).table_valued("value").c.value)),
    )
)


class LargePush:
    """One large push whose records are all here."""

    def __init__(self, store: Store, push: Push, now: Now, *, number: int = 0, decided: int | None = None) -> None:
        self._store = store
        self._push = push
        self._now = now
        self._number = number
        self._decided = decided
        self._done = 0

    @property
    def is_decided(self) -> bool:
        """Whether it will be applied, whatever happens."""
        return self._decided is not None

    async def apply(self) -> Applied:
        """Check, decide and apply."""
        wrong = await self._contradictions()
        if wrong:
            return Applied(contradictions=wrong)
        self._number = await plans.open_batch(self._store, self._push)
        await self._write_journal()
        push, number = self._push, self._number
        decided = await self._store.write(lambda tx: plans.decide(tx, number, push, self._now()), Lane.BULK)
        if decided is None:
            await self.drop()
            return Applied()
        self._decided, heads = decided
        return Applied(heads + await self.finish())

    async def _contradictions(self) -> tuple[str, ...]:
        if self._push.must is None:
            return ()
        wrong: set[str] = set()
        for start in range(0, len(self._push.records), _PIECE_TO_CHECK):
            keys = {record.key for record in self._push.records[start : start + _PIECE_TO_CHECK]}
            rows = await self._store.scan(
                _LIVING, kind_=self._push.kind, source_=self._push.source, keys=orjson.dumps(list(keys)).decode()
            )
            living = {row["key"] for row in rows}
            wrong |= living if self._push.must is Must.BE_NEW else keys - living
        return tuple(sorted(wrong))

    async def _write_journal(self) -> None:
        body = self._push.request.body if self._push.request is not None else b""
        first = self._number << PLACE_BITS
        for place, start in enumerate(range(0, len(body), _BYTES_A_PART), start=1):
            part = body[start : start + _BYTES_A_PART]
            await self._store.write(partial(_write, number=first + place, part=part), Lane.BULK)

    async def finish(self) -> int:
        """Apply what is not done yet; return how many records changed. After an error it can be called again."""
        changed = 0
        while self._done < len(self._push.records):
            piece = self._push.records[self._done : self._done + PIECE]
            changed += await self._store.write(partial(self._put, records=piece), Lane.BULK)
            self._done += len(piece)
        for start in range(0, len(self._push.gone), PIECE):
            keys = self._push.gone[start : start + PIECE]
            changed += await self._store.write(partial(self._withdraw, keys=keys), Lane.BULK)
        named = {record.key for record in self._push.records}
        changed += await plans.withdraw_unnamed(self._store, self._push, named, self._decided or 0, self._now)
        await self._store.write(self._close, Lane.BULK)
        return changed

    def _put(self, tx: Transaction, records: Sequence[Record]) -> int:
        return put(tx, self._push.kind, self._push.source, records, self._now())

    def _withdraw(self, tx: Transaction, keys: Sequence[str]) -> int:
        return withdraw_keys(tx, self._push.kind, self._push.source, keys, self._now())

    def _close(self, tx: Transaction) -> None:
        remember(tx, self._push, self._now())
        _clear(tx, self._number)

    async def drop(self) -> None:
        """Forget it; nothing of it was applied."""
        await self._store.write(partial(_clear, number=self._number), Lane.BULK)


def _write(tx: Transaction, number: int, part: bytes) -> None:
    tx.run(_WRITE, id=number, part=part)


def _clear(tx: Transaction, number: int) -> None:
    tx.run(_CLEAR, after=number << PLACE_BITS, until=(number + 1 << PLACE_BITS) - 1)
    plans.close(tx, number)


async def journaled(store: Store, number: int, party: str) -> Request:
    """Return the request that is in the journal under a batch's number."""
    rows = await store.scan(_READ, after=number << PLACE_BITS, until=(number + 1 << PLACE_BITS) - 1)
    return Request(party, b"".join(row["part"] for row in rows))
