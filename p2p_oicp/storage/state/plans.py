"""What is kept of a push that is too large for one transaction, from its decision to its end; and parts of applying it.

The row of ``batches`` says what must be done; its records are in ``staged`` (pulls) or in the journal (pushes).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

import orjson
from sqlalchemy import bindparam, delete, func, select, update

from p2p_oicp.storage.state.apply import put_groups, withdraw
from p2p_oicp.storage.state.direct import is_repetition
from p2p_oicp.storage.state.model import Group, Kind, Must, Push, Replaces
from p2p_oicp.storage.state.tables import batches, journal, state_groups, state_records
from p2p_oicp.storage.statements import Statement, compiled
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.tables import counters
from p2p_oicp.storage.writer import Lane, Transaction

#: Records of one job: a millisecond, for which an authorization may have to wait.
PIECE = 50
# Jobs that wait at once, so that the writer can commit several of them together while nobody else writes.
_TOGETHER = 8
#: An id in ``staged`` is the batch's number and a place.
PLACE_BITS = 32
OPEN, DECIDED = "staged", "decided"
_PIECE_TO_LOOK_AT = 5_000

_EVER = 2**63 - 1

T = TypeVar("T")
Now = Callable[[], float]

_b, _t = batches.c, state_records.c
_OPEN = Statement(
    "INSERT INTO batches (kind, source, state, plan) VALUES (:kind, :source, 'staged', :plan) RETURNING id", {}
)
ALL = compiled(select(_b.id, _b.kind, _b.source, _b.state, _b.plan, _b.done, _b.decided_change).order_by(_b.id))
_DECIDE = compiled(
    update(batches)
    .where(_b.id == bindparam("id_"))
    .values(state=DECIDED, plan=bindparam("plan"), decided_change=bindparam("decided_change"))
)
_SETTLE = compiled(update(batches).where(_b.id == bindparam("id_")).values(state=OPEN))
_CLOSE = compiled(delete(batches).where(_b.id == bindparam("id_")))
_FORGET = compiled(delete(journal).where(journal.c.id == bindparam("id_")))
_NEWEST_CHANGE = compiled(select(func.max(counters.c.value).label("value")).where(counters.c.name == "change"))
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
    .limit(_PIECE_TO_LOOK_AT)
)
_GROUPS = compiled(
    select(state_groups.c.group_key).where(
        state_groups.c.kind == bindparam("kind_"), state_groups.c.source == bindparam("source_")
    )
)


async def open_batch(store: Store, push: Push) -> int:
    """Begin; return the batch's number."""
    plan = plan_of(push)
    row = await store.write(lambda tx: tx.one(_OPEN, kind=push.kind, source=push.source, plan=plan), Lane.BULK)
    return int(row["id"]) if row else 0


def decide(tx: Transaction, number: int, push: Push, now: float) -> tuple[int, int] | None:
    """From here on the push is applied, whatever happens; None for a repetition, of which nothing is done.

    Return the change number up to which everything is older, and how many groups are new or have another head.
    """
    if is_repetition(tx, push, now):
        return None
    heads = put_groups(tx, push.kind, push.source, push.groups, now)
    row = tx.one(_NEWEST_CHANGE)
    newest = int(row["value"] or 0) if row else 0
    tx.run(_DECIDE, id_=number, plan=plan_of(push), decided_change=newest)
    return newest, heads


def settle(tx: Transaction, number: int) -> None:
    """All of it is applied: what was staged is only to be cleared, and what is left of it is not applied again."""
    tx.run(_SETTLE, id_=number)


def close(tx: Transaction, number: int) -> None:
    """Nothing is left to do."""
    tx.run(_CLOSE, id_=number)
    tx.run(_FORGET, id_=number)


async def unnamed(store: Store, push: Push, named: Collection[str], until: int = _EVER) -> list[sqlite3.Row]:
    """Return what a push withdraws by not naming it: valid since a change up to ``until``, where the push replaces."""
    found: list[sqlite3.Row] = []
    for group in await _replaced(store, push):
        after = 0
        while rows := await store.scan(
            _OLDER, kind_=push.kind, source_=push.source, group_=group, after=after, until=until
        ):
            after = int(rows[-1]["change"])
            found += (row for row in rows if row["key"] not in named)
    return found


async def withdraw_rows(store: Store, push: Push, rows: Sequence[sqlite3.Row], now: Now) -> int:
    """Withdraw rows, some at a time; return how many that were."""

    def job(tx: Transaction, rows: Sequence[sqlite3.Row]) -> int:
        return withdraw(tx, push.kind, push.source, rows, now())

    return await in_pieces(store, job, rows)


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Return what ``work`` returns. Who is cancelled meanwhile waits for its end: the writer does it all the same."""
    working = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait((working,))
        raise


async def in_pieces(store: Store, job: Callable[..., int], rows: Sequence[object]) -> int:
    """Do a job (``tx``, ``rows``) with rows, some at a time; return how many that changed."""
    pieces = [rows[start : start + PIECE] for start in range(0, len(rows), PIECE)]
    changed = 0
    for first in range(0, len(pieces), _TOGETHER):
        jobs = [partial(job, rows=piece) for piece in pieces[first : first + _TOGETHER]]
        changed += sum(await asyncio.gather(*(store.write(each, Lane.BULK) for each in jobs)))
    return changed


async def _replaced(store: Store, push: Push) -> list[str]:
    if push.replaces is Replaces.GROUPS:
        return [group.key for group in push.groups]
    if push.replaces is Replaces.SOURCE:
        rows = await store.read(_GROUPS, kind_=push.kind, source_=push.source)
        return [row["group_key"] for row in rows]
    return []


def plan_of(push: Push) -> bytes:
    """Return what must be known of a push after a crash."""
    groups = [[group.key, group.party, group.head.decode(), group.audience] for group in push.groups]
    return orjson.dumps(
        {
            "groups": groups,
            "must": push.must,
            "replaces": push.replaces,
            "digest": push.digest.hex() if push.digest is not None else None,
            "party": push.request.party if push.request is not None else None,
        }
    )


def push_of(row: sqlite3.Row) -> tuple[Push, str | None]:
    """Return the push that a row of ``batches`` is about, without its records; and its party, if it is journaled."""
    told = orjson.loads(row["plan"])
    push = Push(
        kind=Kind(row["kind"]),
        source=row["source"],
        groups=tuple(Group(key, party, head.encode(), audience) for key, party, head, audience in told["groups"]),
        must=Must(told["must"]) if told["must"] else None,
        replaces=Replaces(told["replaces"]),
        digest=bytes.fromhex(told["digest"]) if told["digest"] else None,
    )
    return push, told["party"]
