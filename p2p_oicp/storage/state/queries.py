"""What pulls read: valid records by group and by key."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, bindparam, func, or_, select

from p2p_oicp.storage.state.tables import state_groups, state_records, state_sweeps
from p2p_oicp.storage.statements import Statement, compiled

_r, _g, _w = state_records.c, state_groups.c, state_sweeps.c


def _in_list(name: str) -> Select[tuple[Any]]:
    return select(func.json_each(bindparam(name)).table_valued("value").c.value)


#: Records by key, of all sources (but those that are ``gone``, in JSON) or one; the newest copy of a key first.
BY_KEY = compiled(
    select(_r.key, _r.source, _r.group_key, _r.raw, _r.facet, _r.changed_at)
    .where(
        _r.kind == bindparam("kind_"),
        _r.key.in_(_in_list("keys")),
        _r.deleted == 0,
        or_(bindparam("source_").is_(None), _r.source == bindparam("source_")),
        or_(bindparam("gone").is_(None), _r.source.not_in(_in_list("gone"))),
    )
    .order_by(_r.key, _r.changed_at.desc())
)

#: Valid records, joined to one text a group; NULL parameters do not filter. The others are JSON.
GROUPED = Statement(
    """
SELECT g.group_key, g.party, g.head, g.source, r.records FROM (
  SELECT source, group_key, CAST(group_concat(CAST(raw AS TEXT), ',') AS BLOB) AS records
  FROM state_records
  WHERE kind = :kind_ AND deleted = 0
    AND (:source_ IS NULL OR source = :source_)
    AND (:gone IS NULL OR source NOT IN (SELECT value FROM json_each(:gone)))
    AND (:facets IS NULL OR facet IN (SELECT value FROM json_each(:facets)))
    AND (:groups IS NULL OR group_key IN (SELECT value FROM json_each(:groups)))
    AND (:since IS NULL OR changed_at >= :since)
  GROUP BY source, group_key
) AS r JOIN state_groups AS g ON g.kind = :kind_ AND g.source = r.source AND g.group_key = r.group_key
ORDER BY g.group_key, g.source
""",
    {},
)
#: As ``GROUPED``, of these keys only.
GROUPED_KEYS = Statement(
    """
SELECT g.group_key, g.party, g.head, g.source, r.records FROM (
  SELECT source, group_key, CAST(group_concat(CAST(raw AS TEXT), ',') AS BLOB) AS records
  FROM state_records
  WHERE kind = :kind_ AND deleted = 0 AND key IN (SELECT value FROM json_each(:keys))
    AND (:source_ IS NULL OR source = :source_)
    AND (:gone IS NULL OR source NOT IN (SELECT value FROM json_each(:gone)))
    AND (:facets IS NULL OR facet IN (SELECT value FROM json_each(:facets)))
  GROUP BY source, group_key
) AS r JOIN state_groups AS g ON g.kind = :kind_ AND g.source = r.source AND g.group_key = r.group_key
ORDER BY g.group_key, g.source
""",
    {},
)
#: The keys of a source's valid records in some groups.
KEYS_OF_GROUPS = compiled(
    select(_r.group_key, _r.key).where(
        _r.kind == bindparam("kind_"),
        _r.source == bindparam("source_"),
        _r.group_key.in_(_in_list("groups")),
        _r.deleted == 0,
    )
)
#: Everybody of whom there is anything.
SOURCES = compiled(select(_g.source).distinct())
SWEPT = compiled(select(_w.change, _w.at).where(_w.kind == bindparam("kind_")))
