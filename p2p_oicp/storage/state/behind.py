"""What replication reads: which of our groups a peer's copy lags behind in, and what changed since."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Select, and_, bindparam, case, func, or_, select

from p2p_oicp.storage.state.model import OWN, Kind
from p2p_oicp.storage.state.tables import cursors, state_groups, state_records, state_sweeps, state_versions
from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.store import Store

# So many are read in 1 ms, which is what the way to a thread and back costs under load.
_FEW = 200

_r, _g, _c, _v, _w = state_records.c, state_groups.c, cursors.c, state_versions.c, state_sweeps.c


def _in_list(name: str) -> Select[tuple[Any]]:
    return select(func.json_each(bindparam(name)).table_valued("value").c.value)


def _seen_by_audience(column: ColumnElement[Any]) -> ColumnElement[bool]:
    return or_(bindparam("audiences").is_(None), column.in_(_in_list("audiences")))


_GROUPS = compiled(
    select(
        _g.group_key,
        _g.party,
        _g.head,
        _g.head_change,
        _g.newest,
        _c.change.label("cursor"),
        func.coalesce(_w.change, 0).label("swept"),
    )
    .select_from(
        state_groups.outerjoin(
            cursors,
            and_(_c.peer == bindparam("peer_"), _c.kind == _g.kind, _c.group_key == _g.group_key),
        ).outerjoin(state_sweeps, _w.kind == _g.kind)
    )
    .where(
        _g.kind == bindparam("kind_"),
        _g.source == OWN,
        _seen_by_audience(_g.audience),
        or_(_c.change.is_(None), _c.change != _g.newest),
    )
    .order_by(_g.group_key)
)
_own = (
    _r.kind == bindparam("kind_"),
    _r.source == OWN,
    _r.group_key == bindparam("group_"),
    _seen_by_audience(_r.facet),
)
_lived_then = (
    select(_v.deleted == 0)
    .where(_v.kind == _r.kind, _v.key == _r.key, _v.source == OWN, _v.change <= bindparam("after"))
    .order_by(_v.change.desc())
    .limit(1)
    .scalar_subquery()
)
_CHANGED = compiled(
    select(
        _r.change,
        _r.deleted,
        _r.raw,
        case((_r.created_change <= bindparam("after"), 1), else_=func.coalesce(_lived_then, 0)).label("had"),
    )
    .where(*_own, _r.change > bindparam("after"))
    .order_by(_r.change)
    .limit(bindparam("most"))
)
_LIVING = compiled(select(_r.id).where(*_own, _r.deleted == 0, _r.created_change <= bindparam("until")).order_by(_r.id))
_HAS_LIVING = compiled(select(_r.id).where(*_own, _r.deleted == 0).limit(1))
_OF_IDS = compiled(select(_r.id, _r.raw).where(_r.id.in_(_in_list("ids")), _r.deleted == 0).order_by(_r.id))


@dataclass(frozen=True, slots=True)
class Copy:
    """Whose copy of which kind it is; ``audiences`` as JSON, what the peer may see (None: all)."""

    peer: str
    kind: Kind
    audiences: str | None


@dataclass(frozen=True, slots=True)
class GroupBehind:
    """A group of ours that the peer's copy lags behind in; ``cursor`` is None where it has nothing of it."""

    group_key: str
    party: str
    head: bytes
    head_change: int
    newest: int
    cursor: int | None
    swept: int


@dataclass(frozen=True, slots=True)
class Changed:
    """One record behind a cursor; ``had`` says whether it was valid at the cursor."""

    change: int
    deleted: bool
    raw: bytes
    had: bool


def groups(store: Store, copy: Copy) -> list[GroupBehind]:
    """Return the groups that this copy lags behind in."""
    rows = store.look_up(_GROUPS, kind_=copy.kind, peer_=copy.peer, audiences=copy.audiences)
    return [GroupBehind(**dict(row)) for row in rows]


async def changed(store: Store, copy: Copy, group: str, after: int, most: int) -> list[Changed]:
    """Return what changed of a group behind ``after``, in order; each record once, in its newest state."""
    asked = {"kind_": copy.kind, "group_": group, "audiences": copy.audiences, "after": after}
    rows = store.look_up(_CHANGED, most=_FEW, **asked)
    if len(rows) == _FEW < most:
        rows = await store.read(_CHANGED, most=most, **asked)
    return [Changed(row["change"], bool(row["deleted"]), row["raw"], bool(row["had"])) for row in rows]


async def living(store: Store, copy: Copy, group: str, until: int) -> array[int]:
    """Return the ids of the valid records of a group that were there at change ``until``."""
    rows = await store.scan(_LIVING, kind_=copy.kind, group_=group, audiences=copy.audiences, until=until)
    return array("q", (row["id"] for row in rows))


async def is_empty(store: Store, copy: Copy, group: str) -> bool:
    """Say whether nothing of a group is valid any more."""
    return not await store.read(_HAS_LIVING, kind_=copy.kind, group_=group, audiences=copy.audiences)


async def raws(store: Store, ids: Iterable[int]) -> Sequence[tuple[int, bytes]]:
    """Return the records of these ids that are still valid."""
    rows = await store.scan(_OF_IDS, ids=orjson.dumps(list(ids)).decode())
    return [(row["id"], row["raw"]) for row in rows]
