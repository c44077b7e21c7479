"""How far a copy of a dataset lags behind, for people: counted up to a bound, for they look at it often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import bindparam, func, select

from p2p_oicp.storage.datasets.change_feed import (
    OF_GROUP,
    LaggingGroup,
    ReplicaScope,
    lagging_groups_query,
    of_group,
    to_lagging_group,
)
from p2p_oicp.storage.schema import cursors, dataset_records
from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.store import Store

# What people are shown need not be exact; a national dataset is not counted at each look.
_MAX_COUNTED_CHANGES = 10_000
_MAX_COUNTED_GROUPS = 100

_records, _cursors = dataset_records.c, cursors.c
# Only an index is read (but for what an audience may see), and of the records, which are long, the first.
_changes_behind = select(_records.change).where(*OF_GROUP, _records.change > bindparam("after"))
_counted = _changes_behind.limit(bindparam("limit")).subquery()
_COUNT_CHANGES = compiled(select(func.count().label("changes")).select_from(_counted))
_SELECT_FIRST_CHANGE = compiled(
    _changes_behind.with_only_columns(_records.changed_at).order_by(_records.change).limit(1)
)
_SELECT_ANY_CURSOR = compiled(
    select(_cursors.change)
    .where(_cursors.peer == bindparam("peer_"), _cursors.dataset == bindparam("dataset_"))
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class ReplicaLag:
    """How far a copy lags behind: at least so many changes, the oldest from ``since`` (None: it does not lag).

    ``total``: how many records the groups that lag have, deleted ones included; None where there are too many to count.
    ``is_without_copy``: the other side has nothing of the dataset, as far as this node knows.
    """

    changes: int = 0
    total: int | None = None
    since: float | None = None
    is_without_copy: bool = False


async def read_lag(store: Store, scope: ReplicaScope) -> ReplicaLag:
    """Return how far a copy lags behind, for people; large numbers are cut. Raises StoreError."""
    statement, parameters = await lagging_groups_query(scope)
    groups = [to_lagging_group(row) for row in await store.query(statement, **parameters)]
    if not groups:
        return ReplicaLag()
    counted = groups[:_MAX_COUNTED_GROUPS]
    oldest = []
    for group in counted:
        parameters = {**of_group(scope, group), "after": group.cursor or 0}
        oldest += [first["changed_at"] for first in await store.query(_SELECT_FIRST_CHANGE, **parameters)]
    changes = await _count_changes(store, scope, {group: group.cursor or 0 for group in counted})
    total = None
    if changes < _MAX_COUNTED_CHANGES and len(counted) == len(groups):
        total = await _count_changes(store, scope, dict.fromkeys(counted, 0))
    has_copy = await store.query(_SELECT_ANY_CURSOR, peer_=scope.peer, dataset_=scope.dataset)
    # A group whose object has changed, and none of its records: one change, of now.
    return ReplicaLag(
        max(changes, len(groups)),
        None if total == _MAX_COUNTED_CHANGES else total,
        min(oldest, default=None),
        not has_copy,
    )


async def _count_changes(store: Store, scope: ReplicaScope, cursors_: Mapping[LaggingGroup, int]) -> int:
    """Return how many records have changed behind the cursors of groups; counting ends at a bound for all of them."""
    count = 0
    for group, cursor in cursors_.items():
        parameters = {**of_group(scope, group), "after": cursor}
        (row,) = await store.query(_COUNT_CHANGES, **parameters, limit=_MAX_COUNTED_CHANGES - count)
        count += row["changes"]
        if count == _MAX_COUNTED_CHANGES:
            break
    return count
