"""What replication reads: which of our groups a peer's copy lags behind in, and what changed since.

Up to which time, of the other side's clock, a peer that is pulled has been pulled.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, case, delete, func, insert, or_, select

from p2p_oicp.storage.datasets.models import OWN, DatasetKind
from p2p_oicp.storage.schema import (
    cursors,
    dataset_groups,
    dataset_purges,
    dataset_records,
    dataset_versions,
    watermarks,
)
from p2p_oicp.storage.statements import compiled, list_parameter, listed
from p2p_oicp.storage.store import Store

# So many are read in 1 ms, which is what the way to a thread and back costs under load.
_MAX_INLINE_ROWS = 200

_records, _groups, _cursors, _versions, _purges = (
    dataset_records.c,
    dataset_groups.c,
    cursors.c,
    dataset_versions.c,
    dataset_purges.c,
)


def _visible_to_audiences(column: ColumnElement[Any]) -> ColumnElement[bool]:
    return or_(bindparam("audiences").is_(None), column.in_(listed("audiences")))


_SELECT_LAGGING_GROUPS = compiled(
    select(
        _groups.group_key,
        _groups.party,
        _groups.wrapper,
        _groups.wrapper_change,
        _groups.last_change,
        _cursors.change.label("cursor"),
        func.coalesce(_purges.change, 0).label("purged_change"),
    )
    .select_from(
        dataset_groups.outerjoin(
            cursors,
            and_(
                _cursors.peer == bindparam("peer_"),
                _cursors.dataset == _groups.dataset,
                _cursors.group_key == _groups.group_key,
            ),
        ).outerjoin(dataset_purges, _purges.dataset == _groups.dataset)
    )
    .where(
        _groups.dataset == bindparam("dataset_"),
        _groups.source == OWN,
        _visible_to_audiences(_groups.audience),
        or_(_cursors.change.is_(None), _cursors.change != _groups.last_change),
    )
    .order_by(_groups.group_key)
)
_group_filter = (
    _records.dataset == bindparam("dataset_"),
    _records.source == OWN,
    _records.group_key == bindparam("group_"),
    _visible_to_audiences(_records.filter_value),
)
_was_valid_at_cursor = (
    select(_versions.deleted == 0)
    .where(
        _versions.dataset == _records.dataset,
        _versions.key == _records.key,
        _versions.source == OWN,
        _versions.change <= bindparam("after"),
    )
    .order_by(_versions.change.desc())
    .limit(1)
    .scalar_subquery()
)
_SELECT_CHANGES = compiled(
    select(
        _records.change,
        _records.deleted,
        _records.raw,
        case((_records.created_change <= bindparam("after"), 1), else_=func.coalesce(_was_valid_at_cursor, 0)).label(
            "existed_at_cursor"
        ),
    )
    .where(*_group_filter, _records.change > bindparam("after"))
    .order_by(_records.change)
    .limit(bindparam("limit"))
)
_SELECT_LIVE_IDS = compiled(
    select(_records.id)
    .where(*_group_filter, _records.deleted == 0, _records.created_change <= bindparam("until"))
    .order_by(_records.id)
)
_SELECT_ANY_LIVE = compiled(select(_records.id).where(*_group_filter, _records.deleted == 0).limit(1))
_SELECT_BY_IDS = compiled(
    select(_records.id, _records.raw).where(_records.id.in_(listed("ids")), _records.deleted == 0).order_by(_records.id)
)


@dataclass(frozen=True, slots=True)
class ReplicaScope:
    """Whose copy of which dataset it is; ``audiences`` as JSON, what the peer may see (None: all)."""

    peer: str
    dataset: DatasetKind
    audiences: str | None


@dataclass(frozen=True, slots=True)
class LaggingGroup:
    """A group of ours that the peer's copy lags behind in; ``cursor`` is None where it has nothing of it."""

    group_key: str
    party: str
    wrapper: bytes
    wrapper_change: int
    last_change: int
    cursor: int | None
    purged_change: int


@dataclass(frozen=True, slots=True)
class ChangedRecord:
    """One record behind a cursor; ``existed_at_cursor`` says whether it was valid at the cursor."""

    change: int
    deleted: bool
    raw: bytes
    existed_at_cursor: bool


def lagging_groups(store: Store, scope: ReplicaScope) -> list[LaggingGroup]:
    """Return the groups that this copy lags behind in."""
    rows = store.query_inline(
        _SELECT_LAGGING_GROUPS, dataset_=scope.dataset, peer_=scope.peer, audiences=scope.audiences
    )
    return [LaggingGroup(**dict(row)) for row in rows]


async def load_changes(
    store: Store, scope: ReplicaScope, group_key: str, after: int, limit: int
) -> list[ChangedRecord]:
    """Return what changed of a group behind ``after``, in order; each record once, in its last_change state."""
    parameters = {"dataset_": scope.dataset, "group_": group_key, "audiences": scope.audiences, "after": after}
    rows = store.query_inline(_SELECT_CHANGES, limit=_MAX_INLINE_ROWS, **parameters)
    if len(rows) == _MAX_INLINE_ROWS < limit:
        rows = await store.query(_SELECT_CHANGES, limit=limit, **parameters)
    return [
        ChangedRecord(row["change"], bool(row["deleted"]), row["raw"], bool(row["existed_at_cursor"])) for row in rows
    ]


async def live_ids(store: Store, scope: ReplicaScope, group_key: str, until: int) -> array[int]:
    """Return the ids of the valid records of a group that were there at change ``until``."""
    rows = await store.query_bulk(
        _SELECT_LIVE_IDS, dataset_=scope.dataset, group_=group_key, audiences=scope.audiences, until=until
    )
    return array("q", (row["id"] for row in rows))


async def is_empty(store: Store, scope: ReplicaScope, group_key: str) -> bool:
    """Say whether nothing of a group is valid any more."""
    return not await store.query(_SELECT_ANY_LIVE, dataset_=scope.dataset, group_=group_key, audiences=scope.audiences)


async def load_records(store: Store, ids: Iterable[int]) -> Sequence[tuple[int, bytes]]:
    """Return the records of these ids that are still valid."""
    rows = await store.query_bulk(_SELECT_BY_IDS, ids=list_parameter(ids))
    return [(row["id"], row["raw"]) for row in rows]


_watermarks = watermarks.c
_peer_filter = (_watermarks.peer == bindparam("peer_"), _watermarks.dataset == bindparam("dataset_"))
_SELECT_WATERMARK = compiled(select(_watermarks.at).where(*_peer_filter))
_UPSERT_WATERMARK = compiled(
    insert(watermarks).values({name: bindparam(name) for name in ("peer", "dataset", "at")}).prefix_with("OR REPLACE")
)
_DELETE_WATERMARK = compiled(delete(watermarks).where(*_peer_filter))


async def get_watermark(store: Store, peer: str, dataset: DatasetKind) -> float | None:
    """Return the time in seconds since the epoch, None where everything must be pulled."""
    rows = await store.query(_SELECT_WATERMARK, peer_=peer, dataset_=dataset)
    return float(rows[0]["at"]) if rows else None


async def set_watermark(store: Store, peer: str, dataset: DatasetKind, at: float) -> None:
    """Note that everything up to ``at`` is here."""
    await store.write(lambda tx: tx.run(_UPSERT_WATERMARK, peer=peer, dataset=dataset, at=at))


async def clear_watermark(store: Store, peer: str, dataset: DatasetKind) -> None:
    """Pull everything the next time."""
    await store.write(lambda tx: tx.run(_DELETE_WATERMARK, peer_=peer, dataset_=dataset))
