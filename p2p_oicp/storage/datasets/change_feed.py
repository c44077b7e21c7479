"""The change feed of the datasets, and the watermarks of the datasets that are pulled.

**Replication** asks in which groups a copy lags behind its cursor (`lagging_groups`), then for the changes behind it
(`load_changes`) or for a snapshot (`live_ids`, `load_records`). Cursors are rows of `peer_state`. A peer has a copy of
our own groups; a backend of ours has one of everybody's, but of those that are peers no more (`is_withdrawn`).

**Pulls** store a watermark: the time, by the peer's clock, up to which its EVSE data has been pulled.
"""

from __future__ import annotations

from array import array
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Select, Text, and_, bindparam, case, delete, func, literal, or_, select

from p2p_oicp.storage import job_keys
from p2p_oicp.storage.datasets.models import OWN, DatasetKind
from p2p_oicp.storage.schema import (
    cursors,
    dataset_groups,
    dataset_purges,
    dataset_records,
    dataset_versions,
    watermarks,
)
from p2p_oicp.storage.statements import (
    Statement,
    compiled,
    inserting_named,
    list_parameter,
    listed,
    listed_numbers,
    optional,
)
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.transactions import Row

# Read inline: they take 1 ms, which is what the way to a thread and back costs under load.
_MAX_INLINE_ROWS = 200

_records, _groups, _cursors, _versions, _purges = (
    dataset_records.c,
    dataset_groups.c,
    cursors.c,
    dataset_versions.c,
    dataset_purges.c,
)


def _visible_to_audiences(column: ColumnElement[Any]) -> ColumnElement[bool]:
    return or_(optional("audiences", Text).is_(None), column.in_(listed("audiences")))


def _select_groups(cursor_key: ColumnElement[str], is_withdrawn: ColumnElement[bool]) -> Select[tuple[Any, ...]]:
    cursor = and_(
        _cursors.peer == bindparam("peer_"), _cursors.dataset == _groups.dataset, _cursors.group_key == cursor_key
    )
    return (
        select(
            _groups.source,
            _groups.group_key,
            _groups.party,
            _groups.wrapper,
            _groups.wrapper_change,
            _groups.last_change,
            _cursors.change.label("cursor"),
            func.coalesce(_purges.change, 0).label("purged_change"),
            is_withdrawn.label("is_withdrawn"),
        )
        .select_from(
            dataset_groups.outerjoin(cursors, cursor).outerjoin(dataset_purges, _purges.dataset == _groups.dataset)
        )
        .where(_groups.dataset == bindparam("dataset_"), _visible_to_audiences(_groups.audience))
    )


_lags = or_(_cursors.change.is_(None), _cursors.change != _groups.last_change)
_SELECT_LAGGING_GROUPS = compiled(
    _select_groups(_groups.group_key, literal(value=False))
    .where(_groups.source == OWN, _lags)
    .order_by(_groups.group_key)
)
_is_excluded = and_(optional("excluded_sources", Text).is_not(None), _groups.source.in_(listed("excluded_sources")))
# A group of a peer has a cursor of its own; two peers may have had the same operator.
_cursor_key = case((_groups.source == OWN, _groups.group_key), else_=_groups.source + "/" + _groups.group_key)
# What is withdrawn comes first: the same operator may be another peer's now, whose data follow.
_SELECT_LAGGING_GROUPS_OF_ALL = compiled(
    _select_groups(_cursor_key, _is_excluded)
    .where(or_(and_(_is_excluded, _cursors.change.is_not(None)), and_(~_is_excluded, _lags)))
    .order_by(_is_excluded.desc(), _groups.group_key, _groups.source)
)
#: The records of a group that a copy has.
OF_GROUP = (
    _records.dataset == bindparam("dataset_"),
    _records.source == bindparam("source_"),
    _records.group_key == bindparam("group_"),
    _visible_to_audiences(_records.filter_value),
)
# Only for records that are newer than the cursor in their present life: they may have had an earlier one.
_was_valid_at_cursor, _raw_at_cursor = (
    select(column)
    .where(
        _versions.dataset == _records.dataset,
        _versions.key == _records.key,
        _versions.source == bindparam("source_"),
        _versions.change <= bindparam("after"),
    )
    .order_by(_versions.change.desc())
    .limit(1)
    .scalar_subquery()
    for column in (case((_versions.deleted == 0, 1), else_=0), _versions.raw)
)
_SELECT_CHANGES = compiled(
    select(
        _records.change,
        _records.deleted,
        _records.key,
        _records.raw,
        case((_records.created_change <= bindparam("after"), 1), else_=func.coalesce(_was_valid_at_cursor, 0)).label(
            "existed_at_cursor"
        ),
    )
    .where(*OF_GROUP, _records.change > bindparam("after"))
    .order_by(_records.change)
    .limit(bindparam("limit"))
)
# Records that are created behind `until` are left to the changes that follow a snapshot.
_SELECT_LIVE_IDS = compiled(
    select(_records.id)
    .where(*OF_GROUP, _records.deleted == 0, _records.created_change <= bindparam("until"))
    .order_by(_records.id)
)
_SELECT_ANY_LIVE = compiled(select(_records.id).where(*OF_GROUP, _records.deleted == 0).limit(1))
_SELECT_RAW_AT_CURSOR = compiled(
    select(_records.key, _raw_at_cursor.label("raw")).where(*OF_GROUP, _records.key.in_(listed("keys")))
)
_by_ids = (
    select(_records.id, _records.key, _records.raw).where(_records.id.in_(listed_numbers("ids"))).order_by(_records.id)
)
_SELECT_ANY_BY_IDS = compiled(_by_ids)
_SELECT_BY_IDS = compiled(_by_ids.where(_records.deleted == 0))
_SELECT_LIVE_RECORDS = compiled(
    select(_records.key, _records.raw).where(
        _records.dataset == bindparam("dataset_"), _records.source == OWN, _records.deleted == 0
    )
)
_peer_filter = (watermarks.c.peer == bindparam("peer_"), watermarks.c.dataset == bindparam("dataset_"))
_SELECT_WATERMARK = compiled(select(watermarks.c.at).where(*_peer_filter))
_UPSERT_WATERMARK = inserting_named(watermarks, "peer", "dataset", "at", instead="OR REPLACE")
_DELETE_WATERMARK = compiled(delete(watermarks).where(*_peer_filter))


class RecordView(Protocol):
    """Which records of a dataset of ours a filtered copy has."""

    @property
    def text(self) -> str:
        """Return what identifies the filter."""

    @property
    def is_changed(self) -> bool:
        """Return whether the copy was made by another view."""

    @property
    def earlier(self) -> RecordView | None:
        """Return that other view; None: the copy has everything."""

    @property
    def follows_evse_data(self) -> bool:
        """Return whether an EVSE may come into view, or go out of it, by a change of its own record.

        Then the copies of other datasets are made again.
        """

    def on_moved(self) -> None:
        """Wake those who make such copies again."""

    async def shown(self, records: Sequence[tuple[str, bytes]]) -> list[bool]:
        """Return, for each key and bytes of a record, whether the copy has it. Raises StoreError."""


@dataclass(frozen=True, slots=True)
class ReplicaScope:
    """The copy that a peer has of a dataset of ours, or a backend of ours of everybody's.

    Attributes:
        peer: the id of the peer, or the destination of the backend.
        dataset: the dataset.
        audiences: what the copy may have; None does not limit it.
        excluded_sources: for a backend, returns the sources that are peers no more; None: a copy of our own groups.
        view: which records the copy has; None: all that the audiences may see.
    """

    peer: str
    dataset: DatasetKind
    audiences: Sequence[str] | None
    excluded_sources: Callable[[], Awaitable[Sequence[str] | None]] | None = None
    view: RecordView | None = None


class GroupID(Protocol):
    """A group of a dataset."""

    @property
    def source(self) -> str:
        """Return whose group it is."""

    @property
    def group_key(self) -> str:
        """Return its key."""


@dataclass(frozen=True, slots=True)
class LaggingGroup:
    """A group in which a copy lags behind.

    ``cursor`` is the newest change that the copy has, None if it has nothing of the group; ``purged_change`` is the
    newest tombstone that was removed: from a cursor before it, only a snapshot leads on. ``is_withdrawn``: the copy has
    to lose the group.
    """

    source: str
    group_key: str
    party: str
    wrapper: bytes
    wrapper_change: int
    last_change: int
    cursor: int | None
    purged_change: int
    is_withdrawn: bool

    @property
    def cursor_key(self) -> str:
        """The key of the group's cursor."""
        return self.group_key if self.source == OWN else f"{self.source}/{self.group_key}"


@dataclass(frozen=True, slots=True)
class ChangedRecord:
    """One record behind a cursor, in its newest state; ``existed_at_cursor``: whether it was live at the cursor."""

    change: int
    deleted: bool
    key: str
    raw: bytes
    existed_at_cursor: bool


async def lagging_groups(store: Store, scope: ReplicaScope) -> list[LaggingGroup]:
    """Return the groups in which the copy lags behind. Raises StoreError."""
    statement, parameters = await lagging_groups_query(scope)
    return [to_lagging_group(row) for row in await store.query_inline(statement, **parameters)]


async def lagging_groups_query(scope: ReplicaScope) -> tuple[Statement, dict[str, object]]:
    """Return the statement that finds these groups, and its parameters."""
    parameters: dict[str, object] = {
        "dataset_": scope.dataset,
        "peer_": scope.peer,
        "audiences": list_parameter(scope.audiences),
    }
    if scope.excluded_sources is None:
        return _SELECT_LAGGING_GROUPS, parameters
    return _SELECT_LAGGING_GROUPS_OF_ALL, {
        **parameters,
        "excluded_sources": list_parameter(await scope.excluded_sources()),
    }


def to_lagging_group(row: Row) -> LaggingGroup:
    """Return a row of `lagging_groups_query`."""
    return LaggingGroup(**{**dict(row), "is_withdrawn": bool(row["is_withdrawn"])})


def of_group(scope: ReplicaScope, group: GroupID) -> dict[str, object]:
    """Return the parameters of `OF_GROUP`."""
    return {
        "dataset_": scope.dataset,
        "source_": group.source,
        "group_": group.group_key,
        "audiences": list_parameter(scope.audiences),
    }


async def load_changes(
    store: Store, scope: ReplicaScope, group: GroupID, after: int, limit: int
) -> list[ChangedRecord]:
    """Return up to ``limit`` changed records of a group behind the change ``after``, in order. Raises StoreError."""
    parameters = {**of_group(scope, group), "after": after}
    # Nearly all deltas are short. Only one that fills the inline limit is read again in a thread.
    rows = await store.query_inline(_SELECT_CHANGES, limit=min(limit, _MAX_INLINE_ROWS), **parameters)
    if len(rows) == _MAX_INLINE_ROWS < limit:
        rows = await store.query(_SELECT_CHANGES, limit=limit, **parameters)
    return [
        ChangedRecord(row["change"], bool(row["deleted"]), row["key"], row["raw"], bool(row["existed_at_cursor"]))
        for row in rows
    ]


async def load_raw_at_cursor(
    store: Store, scope: ReplicaScope, group: GroupID, after: int, keys: Iterable[str]
) -> dict[str, bytes]:
    """Return the bytes that records had at the change ``after``, by key, where they are known. Raises StoreError."""
    parameters = {**of_group(scope, group), "after": after, "keys": list_parameter(keys)}
    rows = await store.query(_SELECT_RAW_AT_CURSOR, **parameters)
    return {row["key"]: row["raw"] for row in rows if row["raw"] is not None}


async def live_ids(store: Store, scope: ReplicaScope, group: GroupID, until: int) -> array[int]:
    """Return the ids of the live records of a group that existed at the change ``until``. Raises StoreError."""
    rows = await store.query_bulk(_SELECT_LIVE_IDS, **of_group(scope, group), until=until)
    return array("q", (row["id"] for row in rows))


async def is_empty(store: Store, scope: ReplicaScope, group: GroupID) -> bool:
    """Return whether a group has no live records. Raises StoreError."""
    return not await store.query(_SELECT_ANY_LIVE, **of_group(scope, group))


async def load_records(store: Store, ids: Iterable[int]) -> Sequence[tuple[int, bytes]]:
    """Return id and bytes of the records of these ids that are still live. Raises StoreError."""
    rows = await store.query_bulk(_SELECT_BY_IDS, ids=list_parameter(ids))
    return [(row["id"], row["raw"]) for row in rows]


async def load_keyed_records(
    store: Store, ids: Iterable[int], *, with_deleted: bool = False
) -> list[tuple[int, str, bytes]]:
    """Return id, key and bytes of the same, or of deleted ones as well. Raises StoreError."""
    statement = _SELECT_ANY_BY_IDS if with_deleted else _SELECT_BY_IDS
    rows = await store.query_bulk(statement, ids=list_parameter(ids))
    return [(row["id"], row["key"], row["raw"]) for row in rows]


async def load_own_records(store: Store, dataset: DatasetKind) -> list[tuple[str, bytes]]:
    """Return key and bytes of all live records of ours. Raises StoreError."""
    return [(row["key"], row["raw"]) for row in await store.query_bulk(_SELECT_LIVE_RECORDS, dataset_=dataset)]


async def get_watermark(store: Store, peer: str, dataset: DatasetKind) -> float | None:
    """Return the watermark in seconds since the epoch; None: everything has to be pulled. Raises StoreError."""
    rows = await store.query(_SELECT_WATERMARK, peer_=peer, dataset_=dataset)
    return float(rows[0]["at"]) if rows else None


async def set_watermark(store: Store, peer: str, dataset: DatasetKind, at: float) -> None:
    """Store that everything up to ``at`` (seconds since the epoch) has been pulled. Raises StoreError."""
    await store.write(
        lambda tx: tx.run(_UPSERT_WATERMARK, peer=peer, dataset=dataset, at=at), about=(job_keys.destination(peer),)
    )


async def clear_watermark(store: Store, peer: str, dataset: DatasetKind) -> None:
    """Let the next pull fetch everything. Raises StoreError."""
    await store.write(
        lambda tx: tx.run(_DELETE_WATERMARK, peer_=peer, dataset_=dataset), about=(job_keys.destination(peer),)
    )
