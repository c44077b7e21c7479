"""What pulls read: valid records by group and by key.

Pages of EVSE data: the bytes of records, those together of which a pull says the same.

Records that changed together, of one operator, come as one row. A row a record costs twice as much, and hands Python's
lock to other threads each time; all of a large page in one row is more memory than the C library keeps at hand, and
getting that costs more than all the rest.

The state at any time in the past: every version of a record, and what was valid at a moment.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, or_, select

from p2p_oicp.storage.datasets.models import DatasetKind
from p2p_oicp.storage.schema import dataset_groups, dataset_purges, dataset_records
from p2p_oicp.storage.statements import Statement, compiled, list_parameter, listed
from p2p_oicp.storage.store import Store

_records, _groups, _purges = dataset_records.c, dataset_groups.c, dataset_purges.c

#: Records by key, of all sources (but ``excluded_sources``, in JSON) or one; the newest copy of a key first.
RECORDS_BY_KEY = compiled(
    select(_records.key, _records.source, _records.group_key, _records.raw, _records.filter_value, _records.changed_at)
    .where(
        _records.dataset == bindparam("dataset_"),
        _records.key.in_(listed("keys")),
        _records.deleted == 0,
        or_(bindparam("source_").is_(None), _records.source == bindparam("source_")),
        or_(bindparam("excluded_sources").is_(None), _records.source.not_in(listed("excluded_sources"))),
    )
    .order_by(_records.key, _records.changed_at.desc())
)

#: Valid records, joined to one text a group; NULL parameters do not filter. The others are JSON.
RECORDS_BY_GROUP = Statement(
    """
SELECT g.group_key, g.party, g.wrapper, g.source, r.records FROM (
  SELECT source, group_key, CAST(group_concat(CAST(raw AS TEXT), ',') AS BLOB) AS records
  FROM dataset_records
  WHERE dataset = :dataset_ AND deleted = 0
    AND (:source_ IS NULL OR source = :source_)
    AND (:excluded_sources IS NULL OR source NOT IN (SELECT value FROM json_each(:excluded_sources)))
    AND (:filter_values IS NULL OR filter_value IN (SELECT value FROM json_each(:filter_values)))
    AND (:groups IS NULL OR group_key IN (SELECT value FROM json_each(:groups)))
    AND (:since IS NULL OR changed_at >= :since)
  GROUP BY source, group_key
) AS r JOIN dataset_groups AS g ON g.dataset = :dataset_ AND g.source = r.source AND g.group_key = r.group_key
ORDER BY g.group_key, g.source
""",
    {},
)
#: As ``GROUPED``, of these keys only.
RECORDS_BY_GROUP_AND_KEY = Statement(
    """
SELECT g.group_key, g.party, g.wrapper, g.source, r.records FROM (
  SELECT source, group_key, CAST(group_concat(CAST(raw AS TEXT), ',') AS BLOB) AS records
  FROM dataset_records
  WHERE dataset = :dataset_ AND deleted = 0 AND key IN (SELECT value FROM json_each(:keys))
    AND (:source_ IS NULL OR source = :source_)
    AND (:excluded_sources IS NULL OR source NOT IN (SELECT value FROM json_each(:excluded_sources)))
    AND (:filter_values IS NULL OR filter_value IN (SELECT value FROM json_each(:filter_values)))
  GROUP BY source, group_key
) AS r JOIN dataset_groups AS g ON g.dataset = :dataset_ AND g.source = r.source AND g.group_key = r.group_key
ORDER BY g.group_key, g.source
""",
    {},
)
#: The keys of a source's valid records in some groups.
KEYS_BY_GROUP = compiled(
    select(_records.group_key, _records.key).where(
        _records.dataset == bindparam("dataset_"),
        _records.source == bindparam("source_"),
        _records.group_key.in_(listed("groups")),
        _records.deleted == 0,
    )
)
#: Everybody of whom there is anything.
SOURCES = compiled(select(_groups.source).distinct())
LAST_PURGE = compiled(select(_purges.change, _purges.at).where(_purges.dataset == bindparam("dataset_")))


#: So many records are read at once, in less than 0.1 ms: too little to leave the event loop for.
PAGE_CHUNK_SIZE = 50
#: Stands between records; JSON has no such character.
RECORD_SEPARATOR = b"\x01"
# Only a delta needs to look at earlier versions.
_SELECT_RUNS = Statement(
    """
SELECT CASE WHEN :since IS NULL THEN '' WHEN r.deleted THEN 'delete'
         WHEN EXISTS (SELECT 1 FROM dataset_versions AS v WHERE v.dataset = r.dataset AND v.key = r.key
                      AND v.source = r.source AND v.deleted = 0 AND v.since <= :since AND v.until > :since)
         THEN 'update' ELSE 'insert' END AS change,
       r.changed_at, r.filter_value, r.source, r.group_key, count(*),
       CAST(group_concat(CAST(substr(r.raw, 2) AS TEXT), char(1)) AS BLOB)
FROM dataset_records AS r
WHERE r.id IN (SELECT value FROM json_each(:ids)) AND (:since IS NOT NULL OR r.deleted = 0)
GROUP BY 1, 2, 3, 4, 5
""",
    {},
)
_groups = dataset_groups.c
_SELECT_OPERATOR = compiled(
    select(_groups.party, _groups.wrapper).where(
        _groups.dataset == int(DatasetKind.EVSE_DATA),
        _groups.source == bindparam("source_"),
        _groups.group_key == bindparam("group_"),
    )
)


class RecordLabel(NamedTuple):
    """What a pull says of a record beside its own members.

    ``change`` is insert, update or delete in a delta, else empty; ``changed_at`` in seconds since the epoch;
    ``notation`` the one of its places, empty where that is not known.
    """

    delta_type: str
    changed_at: float
    geo_format: str
    source: str
    group_key: str


class RecordRun(NamedTuple):
    """``records`` many with the same label: their bytes behind the opening brace, with ``BETWEEN`` between them."""

    label: RecordLabel
    record_count: int
    record_tails: bytes


def load_runs(store: Store, ids: Sequence[int], since: float | None) -> list[RecordRun]:
    """Return ``MOST_AT_ONCE`` records at most; one that was withdrawn is left out, in a delta it is a ``delete``."""
    rows = store.query_inline(_SELECT_RUNS, ids=list_parameter(ids), since=since)
    return [RecordRun(RecordLabel(*label), count, tails) for *label, count, tails in rows]


def operator_of(store: Store, label: RecordLabel) -> tuple[str, bytes]:
    """Return the operator whose record it is, and the JSON object around the records of its push."""
    rows = store.query_inline(_SELECT_OPERATOR, source_=label.source, group_=label.group_key)
    return (rows[0]["party"], rows[0]["wrapper"]) if rows else ("", b"{}")


_VERSION_COLUMNS = "dataset, key, source, group_key, change, since, until, deleted, raw"
_ALL_VERSIONS = f"""
SELECT {_VERSION_COLUMNS} FROM dataset_versions
UNION ALL
SELECT dataset, key, source, group_key, change, changed_at AS since, NULL AS until, deleted, raw FROM dataset_records
"""  # noqa: S608 - our own text
#: Every version of the records with a key, or with keys that begin with it and a ``|`` (prices of an EVSE).
VERSIONS_BY_KEY = Statement(
    f"SELECT * FROM ({_ALL_VERSIONS}) WHERE dataset IN (SELECT value FROM json_each(:datasets)) "  # noqa: S608 - our own text
    "AND (key = :key OR key BETWEEN :key || '|' AND :key || '|~') ORDER BY dataset, source, key, change",
    {},
)
#: What was valid at a moment, of one dataset.
VERSIONS_VALID_AT = Statement(
    f"SELECT * FROM ({_ALL_VERSIONS}) WHERE dataset = :dataset AND deleted = 0 AND since <= :at "  # noqa: S608 - our own text
    "AND (until IS NULL OR until > :at) AND (:source IS NULL OR source = :source) ORDER BY source, key",
    {},
)


async def valid_at(store: Store, dataset: int, at: float, source: str | None = None) -> list[sqlite3.Row]:
    """Return the records of a dataset that were valid at a moment (seconds since the epoch)."""
    return await store.query_bulk(VERSIONS_VALID_AT, dataset=dataset, at=at, source=source)
