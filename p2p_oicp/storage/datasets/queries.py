"""Queries for pulls and for people: records by key and by group, pages of EVSE data, versions of the past.

A pull without pages is answered by joining the stored bytes of each group; a page of EVSE data by joining *runs* of
records that a response describes in the same words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Text, and_, bindparam, exists, func, literal, or_, select

from p2p_oicp.storage.datasets.models import DatasetKind
from p2p_oicp.storage.dialects import Dialect
from p2p_oicp.storage.schema import dataset_groups, dataset_purges, dataset_records
from p2p_oicp.storage.statements import Statement, compiled, list_parameter, listed, optional, written
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.transactions import Row, Transaction

_records, _groups, _purges = dataset_records.c, dataset_groups.c, dataset_purges.c
_of_its_group = and_(
    _groups.dataset == _records.dataset, _groups.source == _records.source, _groups.group_key == _records.group_key
)

#: Live records by key, of one source or of all (but ``excluded_sources``); of one key, the newest copy comes first.
RECORDS_BY_KEY = compiled(
    select(_records.key, _records.source, _records.group_key, _records.raw, _records.filter_value, _records.changed_at)
    .where(
        _records.dataset == bindparam("dataset_"),
        _records.key.in_(listed("keys")),
        _records.deleted == 0,
        or_(optional("source_", Text).is_(None), _records.source == bindparam("source_")),
        or_(optional("excluded_sources", Text).is_(None), _records.source.not_in(listed("excluded_sources"))),
    )
    .order_by(_records.key, _records.changed_at.desc())
)
# PostgreSQL's types of what may be NULL, which does not filter.
_TYPES = {
    **dict.fromkeys(("source_", "excluded_sources", "filter_values", "groups"), "TEXT"),
    **dict.fromkeys(("since", "at"), "FLOAT8"),
}


def _by_group(d: Dialect, condition: str = "") -> str:
    """Return the statement of live records, joined to one text for each group."""
    return f"""
SELECT g.group_key, g.party, g.wrapper, g.source, r.records FROM (
  SELECT source, group_key, {d.joined_bytes("raw", ",")} AS records
  FROM dataset_records
  WHERE dataset = :dataset_ AND deleted = 0 {condition}
    AND (:source_ IS NULL OR source = :source_)
    AND (:excluded_sources IS NULL OR source NOT IN ({d.listed("excluded_sources")}))
    AND (:filter_values IS NULL OR filter_value IN ({d.listed("filter_values")}))
    AND (:groups IS NULL OR group_key IN ({d.listed("groups")}))
    AND (:since IS NULL OR changed_at >= :since)
  GROUP BY source, group_key
) AS r JOIN dataset_groups AS g ON g.dataset = :dataset_ AND g.source = r.source AND g.group_key = r.group_key
ORDER BY g.group_key, g.source
"""


_RECORDS_BY_GROUP = written(_by_group, _TYPES)
# A statement of its own, without `:keys IS NULL OR`: so the index by key is used.
_RECORDS_BY_GROUP_OF_KEYS = written(lambda d: _by_group(d, f"AND key IN ({d.listed('keys')})"), _TYPES)
#: The live records of a source with these keys that are in another group.
IN_OTHER_GROUPS = compiled(
    select(_records.key, _records.group_key, _groups.party)
    .join(dataset_groups, _of_its_group)
    .where(
        _records.dataset == bindparam("dataset_"),
        _records.source == bindparam("source_"),
        _records.key.in_(listed("keys")),
        _records.group_key != bindparam("group_"),
        _records.deleted == 0,
    )
)
#: The bytes of one source's record.
RECORD_OF_SOURCE = compiled(
    select(_records.raw).where(
        _records.dataset == bindparam("dataset_"),
        _records.key == bindparam("key_"),
        _records.source == bindparam("source_"),
        _records.deleted == 0,
    )
)
#: The keys of a source's records in either of two groups.
# Parameters and no list: a statement that unpacks one takes four times as long, and each CDR asks.
KEYS_BY_GROUP = compiled(
    select(_records.group_key, _records.key).where(
        _records.dataset == bindparam("dataset_"),
        _records.source == bindparam("source_"),
        _records.group_key.in_([bindparam("group_"), bindparam("other_group_")]),
        _records.deleted == 0,
    )
)
#: The groups and bytes of the records that were deleted since a time, of one source or of all.
DELETED_SINCE = compiled(
    select(_groups.source, _groups.group_key, _groups.party, _records.raw)
    .join(dataset_groups, _of_its_group)
    .where(
        _records.dataset == bindparam("dataset_"),
        _records.deleted == 1,
        _records.changed_at >= bindparam("since"),
        or_(optional("source_", Text).is_(None), _records.source == bindparam("source_")),
        or_(optional("excluded_sources", Text).is_(None), _records.source.not_in(listed("excluded_sources"))),
    )
)
#: All sources that have any data.
SOURCES = compiled(select(_groups.source).distinct())
#: Whose data a source has of a dataset.
PARTIES = compiled(
    select(_groups.party)
    .distinct()
    .where(_groups.dataset == bindparam("dataset_"), _groups.source == bindparam("source_"))
)
_has_records = exists().where(
    dataset_records.c.dataset == _groups.dataset,
    dataset_records.c.source == _groups.source,
    dataset_records.c.group_key == _groups.group_key,
    dataset_records.c.deleted == 0,
)
#: All groups of all sources, and whether they have records.
GROUPS = compiled(
    select(
        _groups.dataset,
        _groups.source,
        _groups.group_key,
        _groups.party,
        _groups.audience,
        _groups.wrapper,
        _has_records.label("has_records"),
    )
)
#: How many records a source has of a party.
COUNT_OF_PARTY = compiled(
    select(func.count().label("records")).where(
        dataset_records.c.source == bindparam("source_"),
        dataset_records.c.deleted == 0,
        or_(
            dataset_records.c.group_key == bindparam("party_"),
            dataset_records.c.group_key.like(bindparam("party_") + literal("|%")),
        ),
    )
)
# What the target has of the group is replaced; versions have no key but their id.
_MOVE_GROUP = tuple(
    Statement(text, {})
    for table, key in (("dataset_groups", "group_key"), ("dataset_records", "key"), ("dataset_versions", ""))
    for text in (
        (
            f"DELETE FROM {table} WHERE dataset = :dataset AND source = :target AND {key} IN "
            f"(SELECT {key} FROM {table} WHERE dataset = :dataset AND source = :source AND group_key = :group_key)"
        ),
        (
            f"UPDATE {table} SET source = :target "
            "WHERE dataset = :dataset AND source = :source AND group_key = :group_key"
        ),
    )
    if key or text.startswith("UPDATE")
)
_MOVE_EVSE_INDEX = Statement(
    "UPDATE evse_index SET source = :target WHERE source = :source AND group_key = :group_key", {}
)

# The cursors of our backends, which have copies of all sources (`change_feed`): what counts no more is withdrawn there.
_MOVE_CURSORS = tuple(
    Statement(text, {})
    for text in (
        (
            "DELETE FROM cursors WHERE dataset = :dataset AND group_key = :target || '/' || :group_key AND peer IN "
            "(SELECT peer FROM cursors WHERE dataset = :dataset AND group_key = :source || '/' || :group_key)"
        ),
        (
            "UPDATE cursors SET group_key = :target || '/' || :group_key "
            "WHERE dataset = :dataset AND group_key = :source || '/' || :group_key"
        ),
    )
)


def move_group(tx: Transaction, group: Row, target: str) -> None:
    """Move a group, a row of ``GROUPS``, with its records and the backends' cursors to another source."""
    parameters = {"target": target, "source": group["source"], "group_key": group["group_key"]}
    for statement in (*_MOVE_GROUP, *_MOVE_CURSORS):
        tx.run(statement, dataset=group["dataset"], **parameters)
    if group["dataset"] == DatasetKind.EVSE_DATA:
        tx.run(_MOVE_EVSE_INDEX, **parameters)


#: Up to which change, and which time, tombstones of a dataset were removed.
LAST_PURGE = compiled(select(_purges.change, _purges.at).where(_purges.dataset == bindparam("dataset_")))


async def records_by_key(
    store: Store,
    dataset: DatasetKind,
    keys: Iterable[str],
    *,
    source: str | None,
    excluded_sources: Sequence[str] | None,
) -> dict[str, bytes]:
    """Return live records by key, of one source or of all (None); of several copies, the newest. Raises StoreError."""
    rows = await store.query(
        RECORDS_BY_KEY,
        dataset_=dataset,
        keys=list_parameter(keys),
        source_=source,
        excluded_sources=list_parameter(excluded_sources),
    )
    return {row["key"]: row["raw"] for row in reversed(rows)}


async def records_by_group(
    store: Store,
    dataset: DatasetKind,
    *,
    source: str | None,
    excluded_sources: Sequence[str] | None,
    filter_values: Sequence[str] | None = None,
    group_keys: Sequence[str] | None = None,
    keys: Sequence[str] | None = None,
    since: float | None = None,
) -> list[Row]:
    """Return live records by group: rows of ``group_key``, ``party``, ``wrapper``, ``source``, ``records``.

    ``records`` are the bytes of all records of the group, with commas between them. A filter that is None does not
    filter; ``since`` is in seconds since the epoch. Raises StoreError.
    """
    filters = {
        "dataset_": dataset,
        "source_": source,
        "excluded_sources": list_parameter(excluded_sources),
        "filter_values": list_parameter(filter_values),
        "groups": list_parameter(group_keys),
        "since": since,
    }
    if keys is None:
        return await store.query_bulk(_RECORDS_BY_GROUP, **filters)
    return await store.query_bulk(_RECORDS_BY_GROUP_OF_KEYS, **filters, keys=list_parameter(keys))


#: Records of one query of a page: read in less than 0.1 ms, for which leaving the event loop is not worth it.
PAGE_CHUNK_SIZE = 50
#: Separates the records of a run; no JSON text has this character.
RECORD_SEPARATOR = b"\x01"
# Only a delta looks at earlier versions, to tell an update from an insert.
_SELECT_RUNS = written(
    lambda d: (
        f"""
SELECT CASE WHEN :since IS NULL THEN '' WHEN {d.is_true("r.deleted")} THEN 'delete'
         WHEN EXISTS (SELECT 1 FROM dataset_versions AS v WHERE v.dataset = r.dataset AND v.key = r.key
                      AND v.source = r.source AND v.deleted = 0 AND v.since <= :since AND v.until > :since)
         THEN 'update' ELSE 'insert' END AS change,
       r.changed_at, r.filter_value, r.source, r.group_key, count(*),
       {d.joined_bytes("substr(r.raw, 2)", RECORD_SEPARATOR.decode())}
FROM dataset_records AS r
WHERE r.id IN ({d.listed_numbers("ids")}) AND (:since IS NOT NULL OR r.deleted = 0)
GROUP BY 1, 2, 3, 4, 5
"""
    ),
    _TYPES,
)
_SELECT_OPERATOR = compiled(
    select(_groups.party, _groups.wrapper).where(
        _groups.dataset == int(DatasetKind.EVSE_DATA),
        _groups.source == bindparam("source_"),
        _groups.group_key == bindparam("group_"),
    )
)


class RecordLabel(NamedTuple):
    """What the response to a pull adds to a record.

    ``delta_type`` is insert, update or delete in a delta, otherwise empty; ``changed_at`` is in seconds since the
    epoch; ``geo_format`` is the notation of all its coordinates, empty if it is not known.
    """

    delta_type: str
    changed_at: float
    geo_format: str
    source: str
    group_key: str


class RecordRun(NamedTuple):
    """Records with the same label.

    ``record_tails`` are their bytes without the opening brace, separated by `RECORD_SEPARATOR`: the caller puts the
    members of the label before each of them.
    """

    label: RecordLabel
    record_count: int
    record_tails: bytes


async def load_runs(store: Store, ids: Sequence[int], since: float | None) -> list[RecordRun]:
    """Return the records of up to `PAGE_CHUNK_SIZE` ids; a deleted one only in a delta. Raises StoreError.

    Records that changed together come as one row: with a row each, a page costs twice as much, and the reading thread
    hands Python's lock over at every row. A whole large page in one row would need more memory than the C library
    has at hand, and to get that from the system costs more than all the rest.
    """
    rows = await store.query_inline(_SELECT_RUNS, ids=list_parameter(ids), since=since)
    return [RecordRun(RecordLabel(*label), count, tails) for *label, count, tails in rows]


async def operator_of(store: Store, label: RecordLabel) -> tuple[str, bytes]:
    """Return the operator of a record, and the JSON object around the records of its push. Raises StoreError."""
    rows = await store.query_inline(_SELECT_OPERATOR, source_=label.source, group_=label.group_key)
    return (rows[0]["party"], rows[0]["wrapper"]) if rows else ("", b"{}")


async def operator_wrapper(store: Store, source: str, group_key: str) -> bytes:
    """Return the JSON object around an operator's EVSE data, ``{}`` where a source has none. Raises StoreError."""
    rows = await store.query_inline(_SELECT_OPERATOR, source_=source, group_=group_key)
    return rows[0]["wrapper"] if rows else b"{}"


_VERSION_COLUMNS = "dataset, key, source, group_key, change, since, until, deleted, raw"
_ALL_VERSIONS = f"""
SELECT {_VERSION_COLUMNS} FROM dataset_versions
UNION ALL
SELECT dataset, key, source, group_key, change, changed_at AS since, NULL AS until, deleted, raw FROM dataset_records
"""
# With the groups of products, which have a default price: their keys end with ``|``, where a product has its id.
_ALL_VERSIONS_AND_GROUPS = f"""
{_ALL_VERSIONS}
UNION ALL
SELECT dataset, group_key || '|' AS key, source, group_key, wrapper_change AS change, wrapper_since AS since,
NULL AS until, 0 AS deleted, wrapper AS raw FROM dataset_groups WHERE dataset = {int(DatasetKind.PRICING_PRODUCT)}
"""
#: All versions of the records with a key, and of those whose key begins with it and ``|``: the prices of an EVSE.
#: For output to people: ``source`` is the name of the peer.
VERSIONS_BY_KEY = written(
    lambda d: (
        "SELECT dataset, key, coalesce((SELECT name FROM peers WHERE id = source), source) AS source, "
        f"since, until, deleted, raw FROM ({_ALL_VERSIONS_AND_GROUPS}) AS versions "
        f"WHERE dataset IN ({d.listed_numbers('datasets')}) "
        "AND (key = :key OR key BETWEEN :key || '|' AND :key || '|~') ORDER BY dataset, source, key, change"
    ),
    {"key": "TEXT"},
)
#: The keys of the groups in which an operator offers its products: one for each provider, and for all.
GROUPS_OF_OPERATOR = Statement(
    "SELECT DISTINCT group_key FROM dataset_groups WHERE dataset = :dataset "
    "AND group_key BETWEEN :operator || '|' AND :operator || '|~' ORDER BY group_key",
    {},
)
#: The records of a dataset that were valid at a time.
VERSIONS_VALID_AT = written(
    lambda _: (
        f"SELECT * FROM ({_ALL_VERSIONS}) AS versions WHERE dataset = :dataset AND deleted = 0 AND since <= :at "
        "AND (until IS NULL OR until > :at) AND key NOT LIKE '%|' AND (:source IS NULL OR source = :source) "
        "ORDER BY source, key"
    ),
    {"source": "TEXT", "at": "FLOAT8"},
)


async def valid_at(store: Store, dataset: int, at: float, source: str | None = None) -> list[Row]:
    """Return the records of a dataset that were valid at a time, in seconds since the epoch. Raises StoreError."""
    return await store.query_bulk(VERSIONS_VALID_AT, dataset=dataset, at=at, source=source)
