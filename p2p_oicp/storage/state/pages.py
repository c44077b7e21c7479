"""A page of EVSE data: the bytes of some records, and what a pull says of each beside them.

A page comes as one row. A row a record costs twice as much, and a thread that fetches rows beside a busy event loop
waits for Python's lock at each of them.
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

# So many are read in 0.1 ms; the way to a thread and back costs as much.
_FEW = 100
# JSON has no such characters.
_BETWEEN_RECORDS, _BETWEEN_WORDS = "\x01", "\x02"
# Only a page of a delta needs to look at earlier versions.
_CHANGE = """CASE WHEN :since IS NULL THEN '' WHEN r.deleted THEN 'delete'
  WHEN EXISTS (SELECT 1 FROM state_versions AS v WHERE v.kind = r.kind AND v.key = r.key AND v.source = r.source
               AND v.deleted = 0 AND v.since <= :since AND v.until > :since) THEN 'update'
  ELSE 'insert' END"""
_PAGE = Statement(
    f"""
SELECT group_concat(label, char(1)) AS labels, CAST(group_concat(rest, char(1)) AS BLOB) AS rests FROM (
  SELECT {_CHANGE} || char(2) || CAST(round(1000 * r.changed_at) AS INTEGER) || char(2) || r.facet || char(2)
         || json_quote(r.source) || char(2) || json_quote(r.group_key) AS label,
         CAST(substr(r.raw, 2) AS TEXT) AS rest
  FROM state_records AS r
  WHERE r.id IN (SELECT value FROM json_each(:ids)) AND (:since IS NOT NULL OR r.deleted = 0)
  ORDER BY r.id)
""",  # noqa: S608 - our own text
    {},
)
_g = state_groups.c
_GROUP = compiled(
    select(_g.party, _g.head).where(
        _g.kind == int(Kind.EVSE_DATA), _g.source == bindparam("source_"), _g.group_key == bindparam("group_")
    )
)


class Label(NamedTuple):
    """What is known of a record beside its bytes: many records of a page have the same.

    ``change`` is insert, update or delete in a delta, else empty; ``changed_at`` in milliseconds since the epoch;
    ``notation`` the one of its places, empty where that is not known.
    """

    change: str
    changed_at: int
    notation: str
    source: str
    group_key: str


class Page(NamedTuple):
    """Records in their order: what is known of each, and its bytes from the second one on, behind the brace."""

    labels: list[str]
    rests: list[bytes]


async def page(store: Store, ids: Sequence[int], since: float | None) -> Page:
    """Return the records of these ids; one that was withdrawn is left out, in a delta it is a ``delete``."""
    asked = {"ids": orjson.dumps(list(ids)).decode(), "since": since}
    (row,) = store.look_up(_PAGE, **asked) if len(ids) <= _FEW else await store.scan(_PAGE, **asked)
    if row["rests"] is None:
        return Page([], [])
    return Page(row["labels"].split(_BETWEEN_RECORDS), row["rests"].split(_BETWEEN_RECORDS.encode()))


def label_of(text: str) -> Label:
    """Take a label apart."""
    change, changed_at, notation, source, group_key = text.split(_BETWEEN_WORDS)
    return Label(change, int(changed_at), notation, orjson.loads(source), orjson.loads(group_key))


def operator_of(store: Store, label: Label) -> tuple[str, bytes]:
    """Return the operator whose record it is, and the JSON object around the records of its push."""
    rows = store.look_up(_GROUP, source_=label.source, group_=label.group_key)
    return (rows[0]["party"], rows[0]["head"]) if rows else ("", b"{}")
