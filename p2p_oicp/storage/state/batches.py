"""A pull, whose records come page by page: staged, decided, then applied piece by piece.

(1) The records are staged, which nobody sees. (2) When the last one is there, it is *decided*: from here on they will
be applied, whatever happens. (3) Pieces of it are applied, each a short job between those of others. (4) What was not
pulled is withdrawn. (5) The decision is carried out, and no longer stands; what was staged is cleared. A crash before
the decision leaves nothing, a crash after it is made good at the next start. So a pull is never half of one, and a
large one holds nobody up.

Only one change of a kind and source may be under way; ``Keeper`` sees to it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

import orjson
from msgspec.structs import astuple
from sqlalchemy import bindparam, delete, func, insert, select, update

from p2p_oicp.storage.state import plans
from p2p_oicp.storage.state.apply import put, withdraw_keys
from p2p_oicp.storage.state.direct import remember
from p2p_oicp.storage.state.model import Applied, Group, Kind, Push, Record, facts_of
from p2p_oicp.storage.state.plans import PIECE, PLACE_BITS, Now
from p2p_oicp.storage.state.tables import batches, staged
from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.writer import Lane, Transaction

_PIECE_TO_CLEAR = 2_000

_b, _s = batches.c, staged.c
_STAGE = compiled(insert(staged).values({name: bindparam(name) for name in _s.keys()}))  # noqa: SIM118 - columns
_DONE = compiled(update(batches).where(_b.id == bindparam("id_")).values(done=bindparam("done")))
_in_reach = (_s.id > bindparam("after"), _s.id <= bindparam("until"))
_CLEAR = compiled(delete(staged).where(*_in_reach))
_NEXT = compiled(
    select(_s.id, _s.key, _s.group_key, _s.facet, _s.facts, _s.raw).where(*_in_reach).order_by(_s.id).limit(PIECE)
)
_LAST = compiled(select(func.max(_s.id).label("id")).where(*_in_reach))
_NAMED = compiled(select(_s.key).where(*_in_reach, _s.raw.is_not(None)))


class Batch:
    """One pull on its way; ``push`` says everything but the records, which are staged."""

    def __init__(
        self, store: Store, number: int, push: Push, now: Now, *, decided: int | None = None, done: int = 0
    ) -> None:
        self._store = store
        self._number = number
        self._push = push
        self._now = now
        self._first = number << PLACE_BITS
        self._staged = self._first
        self._decided = decided
        self._done = max(done, self._first)

    @property
    def is_decided(self) -> bool:
        """Whether it will be applied, whatever happens, and is not wholly applied yet."""
        return self._decided is not None

    @classmethod
    async def open(cls, store: Store, push: Push, now: Now) -> Batch:
        """Begin."""
        return cls(store, await plans.open_batch(store, push), push, now)

    async def stage(self, records: Iterable[Record] = (), gone: Iterable[str] = ()) -> None:
        """Put records aside; ``gone`` are keys to withdraw."""
        rows = [_staged_row(record) for record in records]
        rows += [{"key": key, "group_key": "", "facet": "", "facts": None, "raw": None} for key in gone]
        for start in range(0, len(rows), PIECE):
            piece = [
                {"id": self._staged + place, **row} for place, row in enumerate(rows[start : start + PIECE], start=1)
            ]
            self._staged += len(piece)
            await self._store.write(partial(_stage, piece=piece), Lane.BULK)

    async def drop(self) -> None:
        """Forget what was staged."""
        end = await self._end()
        for after in range(self._first, end, _PIECE_TO_CLEAR):
            piece = partial(_clear, after=after, until=min(after + _PIECE_TO_CLEAR, end))
            await self._store.write(piece, Lane.BULK)
        await self._store.write(lambda tx: plans.close(tx, self._number), Lane.BULK)

    async def _end(self) -> int:
        """Return the id of the last record staged, in this or an earlier life of the program, or about to be."""
        rows = await self._store.read(_LAST, after=self._first, until=self._first + (1 << PLACE_BITS) - 1)
        return max(int(rows[0]["id"] or 0), self._staged)

    async def apply(self, groups: Sequence[Group]) -> Applied:
        """Decide and apply; ``groups`` are those that the records are of."""
        self._push = replace(self._push, groups=tuple(groups))
        heads = await plans.to_its_end(self._decide())
        return Applied(heads + await self.finish())

    async def _decide(self) -> int:
        """Decide, unless it is a repetition; return how many groups are new or have another head."""
        decided = await self._store.write(lambda tx: plans.decide(tx, self._number, self._push, self._now()), Lane.BULK)
        self._decided, heads = decided or (None, 0)
        return heads

    async def finish(self) -> int:
        """Apply what is not done yet; return how many records changed. After an error it can be called again."""
        changed = 0 if self._decided is None else await self._complete(self._decided)
        await self.drop()
        return changed

    async def _complete(self, decided: int) -> int:
        changed, end = 0, await self._end()
        while self._done < end:
            more, self._done = await self._store.write(partial(self._piece, done=self._done, end=end), Lane.BULK)
            changed += more
        named = {row["key"] for row in await self._store.scan(_NAMED, after=self._first, until=end)}
        leaving = await plans.unnamed(self._store, self._push, named, decided)
        changed += await plans.withdraw_rows(self._store, self._push, leaving, self._now)
        await self._store.write(self._settle, Lane.BULK)
        self._decided = None  # what is left of the staged records names no longer all that stays
        return changed

    def _settle(self, tx: Transaction) -> None:
        remember(tx, self._push, self._now())
        plans.settle(tx, self._number)

    def _piece(self, tx: Transaction, done: int, end: int) -> tuple[int, int]:
        rows = tx.all(_NEXT, after=done, until=end)
        now, kind, source = self._now(), self._push.kind, self._push.source
        changed = put(tx, kind, source, [_record(row, kind) for row in rows if row["raw"] is not None], now)
        changed += withdraw_keys(tx, kind, source, [row["key"] for row in rows if row["raw"] is None], now)
        last = int(rows[-1]["id"]) if rows else end
        tx.run(_DONE, id_=self._number, done=last)
        return changed, last


def _clear(tx: Transaction, after: int, until: int) -> int:
    return tx.run(_CLEAR, after=after, until=until)


def _stage(tx: Transaction, piece: Sequence[dict[str, object]]) -> None:
    tx.run_many(_STAGE, piece)


def _staged_row(record: Record) -> dict[str, object]:
    return {
        "key": record.key,
        "group_key": record.group_key,
        "facet": record.facet,
        "facts": None if record.facts is None else orjson.dumps(astuple(record.facts)),
        "raw": record.raw,
    }


def _record(row: sqlite3.Row, kind: Kind) -> Record:
    facts = None if row["facts"] is None else facts_of(kind, orjson.loads(row["facts"]))
    return Record(row["key"], row["group_key"], row["raw"], row["facet"], facts)
