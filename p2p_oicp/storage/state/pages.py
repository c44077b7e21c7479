"""Pages of EVSE data: the bytes of records, those together of which a pull says the same.

Records that changed together, of one operator, come as one row. A row a record costs twice as much, and hands Python's
lock to other threads each time; all of a large page in one row is more memory than the C library keeps at hand, and
getting that costs more than all the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import orjson
from sqlalchemy import bindparam, select

from p2p_oicp.storage.state.model import Kind
from p2p_oicp.storage.state.tables import state_groups
from p2p_oicp.storage.statements import Statement, compiled
from p2p_oicp.storage.store import Store

#: So many records are read at once, in less than 0.1 ms: too little to leave the event loop for.
MOST_AT_ONCE = 50
#: Stands between records; JSON has no such character.
BETWEEN = b"\x01"
# Only a delta needs to look at earlier versions.
_SOME = Statement(
    """
SELECT CASE WHEN :since IS NULL THEN '' WHEN r.deleted THEN 'delete'
         WHEN EXISTS (SELECT 1 FROM state_versions AS v WHERE v.kind = r.kind AND v.key = r.key
                      AND v.source = r.source AND v.deleted = 0 AND v.since <= :since AND v.until > :since)
         THEN 'update' ELSE 'insert' END AS change,
       r.changed_at, r.facet, r.source, r.group_key, count(*),
       CAST(group_concat(CAST(substr(r.raw, 2) AS TEXT), char(1)) AS BLOB)
FROM state_records AS r
WHERE r.id IN (SELECT value FROM json_each(:ids)) AND (:since IS NOT NULL OR r.deleted = 0)
GROUP BY 1, 2, 3, 4, 5
""",
    {},
)
_g = state_groups.c
_GROUP = compiled(
    select(_g.party, _g.head).where(
        _g.kind == int(Kind.EVSE_DATA), _g.source == bindparam("source_"), _g.group_key == bindparam("group_")
    )
)


class Label(NamedTuple):
    """What a pull says of a record beside its own members.

    ``change`` is insert, update or delete in a delta, else empty; ``changed_at`` in seconds since the epoch;
    ``notation`` the one of its places, empty where that is not known.
    """

    change: str
    changed_at: float
    notation: str
    source: str
    group_key: str


class Alike(NamedTuple):
    """``records`` many with the same label: their bytes behind the opening brace, with ``BETWEEN`` between them."""

    label: Label
    records: int
    rests: bytes


def some(store: Store, ids: Sequence[int], since: float | None) -> list[Alike]:
    """Return ``MOST_AT_ONCE`` records at most; one that was withdrawn is left out, in a delta it is a ``delete``."""
    rows = store.look_up(_SOME, ids=orjson.dumps(list(ids)).decode(), since=since)
    return [Alike(Label(*label), count, rests) for *label, count, rests in rows]


def operator_of(store: Store, label: Label) -> tuple[str, bytes]:
    """Return the operator whose record it is, and the JSON object around the records of its push."""
    rows = store.look_up(_GROUP, source_=label.source, group_=label.group_key)
    return (rows[0]["party"], rows[0]["head"]) if rows else ("", b"{}")
