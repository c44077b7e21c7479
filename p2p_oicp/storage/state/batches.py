"""A push or a pull too large for one transaction: staged, decided, then applied piece by piece.

(1) The records are staged, which nobody sees. (2) It is checked as a whole; then it is either dropped, or *decided*:
from here on it will be applied, whatever happens. (3) Pieces of it are applied, each a short job between those of
others. (4) What it does not name is withdrawn. (5) What was staged is cleared. A crash before the decision leaves
nothing, a crash after it is made good at the next start, before anybody is served. So a push is all or nothing, and
a large one holds nobody up.

Only one push of a kind and source may be under way; ``Keeper`` sees to it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

import orjson
from sqlalchemy import bindparam, delete, exists, func, insert, select, update

from p2p_oicp.storage.state.apply import put, put_groups, withdraw, withdraw_keys
from p2p_oicp.storage.state.direct import is_repetition, remember
from p2p_oicp.storage.state.model import Applied, Group, Kind, Must, Push, Record, Replaces
from p2p_oicp.storage.state.tables import batches, staged, state_groups, state_records
from p2p_oicp.storage.statements import Statement, compiled
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.tables import counters
from p2p_oicp.storage.writer import Lane, Transaction

#: Records of one job: about a millisecond.
PIECE = 250
_PIECE_TO_CHECK = 5_000
_PIECE_TO_CLEAR = 2_000
_PLACE_BITS = 32
_STAGED, _DECIDED = "staged", "decided"
_MOST_NAMED = 100

Now = Callable[[], float]

_b, _s, _t = batches.c, staged.c, state_records.c
_OPEN = Statement(
    "INSERT INTO batches (kind, source, state, plan) VALUES (:kind, :source, 'staged', :plan) RETURNING id", {}
)
_STAGE = compiled(insert(staged).values({name: bindparam(name) for name in _s.keys()}))  # noqa: SIM118 - columns
_ALL = compiled(select(_b.id, _b.kind, _b.source, _b.state, _b.plan, _b.done, _b.decided_change).order_by(_b.id))
_DECIDE = compiled(
    update(batches)
    .where(_b.id == bindparam("id_"))
    .values(state=_DECIDED, plan=bindparam("plan"), decided_change=bindparam("decided_change"))
)
_DONE = compiled(update(batches).where(_b.id == bindparam("id_")).values(done=bindparam("done")))
_CLOSE = compiled(delete(batches).where(_b.id == bindparam("id_")))
_CLEAR = compiled(delete(staged).where(_s.id > bindparam("after"), _s.id <= bindparam("until")))
_NEXT = compiled(
    select(_s.id, _s.key, _s.group_key, _s.facet, _s.facts, _s.raw)
    .where(_s.id > bindparam("after"), _s.id <= bindparam("until"))
    .order_by(_s.id)
    .limit(PIECE)
)
_LAST = compiled(select(func.max(_s.id).label("id")).where(_s.id > bindparam("after"), _s.id <= bindparam("until")))
_NAMED = compiled(select(_s.key).where(_s.id > bindparam("after"), _s.id <= bindparam("until"), _s.raw.is_not(None)))
_NEWEST_CHANGE = compiled(select(func.max(counters.c.value).label("value")).where(counters.c.name == "change"))
_same = (_t.kind == bindparam("kind_"), _t.key == _s.key, _t.source == bindparam("source_"), _t.deleted == 0)
_in_reach = (_s.id > bindparam("after"), _s.id <= bindparam("until"), _s.raw.is_not(None))
_EXISTING = compiled(select(_s.key).where(*_in_reach, exists().where(*_same)).limit(_MOST_NAMED))
_MISSING = compiled(select(_s.key).where(*_in_reach, ~exists().where(*_same)).limit(_MOST_NAMED))
_OLDER = compiled(
    select(_t.id, _t.key, _t.group_key, _t.change)
    .where(
        _t.kind == bindparam("kind_"),
        _t.source == bindparam("source_"),
        _t.group_key == bindparam("group_"),
        _t.change > bindparam("after"),
        _t.change <= bindparam("until"),
        _t.deleted == 0,
    )
    .order_by(_t.change)
    .limit(_PIECE_TO_CHECK)
)
_GROUPS = compiled(
    select(state_groups.c.group_key).where(
        state_groups.c.kind == bindparam("kind_"), state_groups.c.source == bindparam("source_")
    )
)


class Batch:
    """One large push on its way."""

    def __init__(self, store: Store, number: int, push: Push, now: Now) -> None:
        self._store = store
        self._number = number
        self._push = push
        self._now = now
        self._first = number << _PLACE_BITS
        self._staged = self._first
        self._new_heads = 0

    @classmethod
    async def open(cls, store: Store, push: Push, now: Now) -> Batch:
        """Begin; ``push`` says everything but the records, which are staged."""
        plan = _plan(push)
        row = await store.write(lambda tx: tx.one(_OPEN, kind=push.kind, source=push.source, plan=plan), Lane.BULK)
        return cls(store, int(row["id"]) if row else 0, push, now)

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
        await self._store.write(lambda tx: tx.run(_CLOSE, id_=self._number), Lane.BULK)

    async def _end(self) -> int:
        """Return the id of the last record staged, in this or an earlier life of the program."""
        rows = await self._store.read(_LAST, after=self._first, until=self._first + (1 << _PLACE_BITS) - 1)
        return int(rows[0]["id"] or self._first)

    async def apply(self, groups: Sequence[Group] | None = None) -> Applied:
        """Decide and apply; ``groups`` where they were not known at the beginning."""
        if groups is not None:
            self._push = replace(self._push, groups=tuple(groups))
        wrong = await self._contradictions()
        decided = None if wrong else await self._store.write(self._decide, Lane.BULK)
        if decided is None:
            await self.drop()
            return Applied(contradictions=wrong)
        return Applied(self._new_heads + await self.finish(0, decided))

    async def _contradictions(self) -> tuple[str, ...]:
        if self._push.must is None:
            return ()
        statement = _EXISTING if self._push.must is Must.BE_NEW else _MISSING
        found: list[str] = []
        for after in range(self._first, self._staged, _PIECE_TO_CHECK):
            rows = await self._store.scan(
                statement,
                kind_=self._push.kind,
                source_=self._push.source,
                after=after,
                until=after + _PIECE_TO_CHECK,
            )
            found += [row["key"] for row in rows]
        return tuple(found)

    def _decide(self, tx: Transaction) -> int | None:
        """Return the change number up to which everything is older than this push; None for a repetition."""
        now = self._now()
        if is_repetition(tx, self._push, now):
            return None
        self._new_heads = put_groups(tx, self._push.kind, self._push.source, self._push.groups, now)
        row = tx.one(_NEWEST_CHANGE)
        newest = int(row["value"] or 0) if row else 0
        tx.run(_DECIDE, id_=self._number, plan=_plan(self._push), decided_change=newest)
        return newest

    async def finish(self, done: int, decided: int) -> int:
        """Apply what is not ``done`` yet; return how many records changed."""
        changed, done, end = 0, max(done, self._first), await self._end()
        while done < end:
            more, done = await self._store.write(partial(self._piece, done=done, end=end), Lane.BULK)
            changed += more
        changed += await self._withdraw_unnamed(end, decided)
        await self._store.write(lambda tx: remember(tx, self._push, self._now()), Lane.BULK)
        await self.drop()
        return changed

    def _piece(self, tx: Transaction, done: int, end: int) -> tuple[int, int]:
        rows = tx.all(_NEXT, after=done, until=end)
        now, kind, source = self._now(), self._push.kind, self._push.source
        changed = put(tx, kind, source, [_record(row) for row in rows if row["raw"] is not None], now)
        changed += withdraw_keys(tx, kind, source, [row["key"] for row in rows if row["raw"] is None], now)
        last = int(rows[-1]["id"]) if rows else end
        tx.run(_DONE, id_=self._number, done=last)
        return changed, last

    async def _replaced(self) -> list[str]:
        if self._push.replaces is Replaces.GROUPS:
            return [group.key for group in self._push.groups]
        if self._push.replaces is Replaces.SOURCE:
            rows = await self._store.read(_GROUPS, kind_=self._push.kind, source_=self._push.source)
            return [row["group_key"] for row in rows]
        return []

    async def _withdraw_unnamed(self, end: int, decided: int) -> int:
        groups = await self._replaced()
        if not groups:
            return 0
        named = {row["key"] for row in await self._store.scan(_NAMED, after=self._first, until=end)}
        return sum([await self._withdraw_group(group, named, decided) for group in groups])

    async def _withdraw_group(self, group: str, named: set[str], decided: int) -> int:
        """Withdraw what was valid before this push and is not named by it."""
        changed, after = 0, 0
        kind, source = self._push.kind, self._push.source
        while True:
            rows = await self._store.scan(_OLDER, kind_=kind, source_=source, group_=group, after=after, until=decided)
            if not rows:
                return changed
            after = int(rows[-1]["change"])
            leaving = [row for row in rows if row["key"] not in named]
            for start in range(0, len(leaving), PIECE):
                piece = leaving[start : start + PIECE]
                changed += await self._store.write(partial(self._withdraw, rows=piece), Lane.BULK)

    def _withdraw(self, tx: Transaction, rows: Sequence[sqlite3.Row]) -> int:
        return withdraw(tx, self._push.kind, self._push.source, rows, self._now())


async def finish_batches(store: Store, now: Now) -> None:
    """Make good what a crash interrupted: apply what was decided, drop what was not. Call it before serving."""
    for row in await store.read(_ALL):
        batch = _batch(store, row, now)
        if row["state"] == _DECIDED:
            await batch.finish(row["done"], row["decided_change"])
        else:
            await batch.drop()


async def finish_decided(store: Store, kind: Kind, source: str, now: Now) -> None:
    """Apply what was decided for one kind and source, and was interrupted by an error."""
    for row in await store.read(_ALL):
        if (row["kind"], row["source"], row["state"]) == (kind, source, _DECIDED):
            await _batch(store, row, now).finish(row["done"], row["decided_change"])


def _batch(store: Store, row: sqlite3.Row, now: Now) -> Batch:
    return Batch(store, int(row["id"]), _push(row["kind"], row["source"], row["plan"]), now)


def _clear(tx: Transaction, after: int, until: int) -> int:
    return tx.run(_CLEAR, after=after, until=until)


def _stage(tx: Transaction, piece: Sequence[dict[str, object]]) -> None:
    tx.run_many(_STAGE, piece)


def _staged_row(record: Record) -> dict[str, object]:
    return {
        "key": record.key,
        "group_key": record.group_key,
        "facet": record.facet,
        "facts": None if record.facts is None else orjson.dumps(record.facts),
        "raw": record.raw,
    }


def _record(row: sqlite3.Row) -> Record:
    facts = None if row["facts"] is None else orjson.loads(row["facts"])
    return Record(row["key"], row["group_key"], row["raw"], row["facet"], facts)


def _plan(push: Push) -> bytes:
    groups = [[group.key, group.party, group.head.decode(), group.audience] for group in push.groups]
    digest = push.digest.hex() if push.digest is not None else None
    return orjson.dumps({"groups": groups, "must": push.must, "replaces": push.replaces, "digest": digest})


def _push(kind: int, source: str, plan: bytes) -> Push:
    told = orjson.loads(plan)
    return Push(
        kind=Kind(kind),
        source=source,
        groups=tuple(Group(key, party, head.encode(), audience) for key, party, head, audience in told["groups"]),
        must=Must(told["must"]) if told["must"] else None,
        replaces=Replaces(told["replaces"]),
        digest=bytes.fromhex(told["digest"]) if told["digest"] else None,
    )
