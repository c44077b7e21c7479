"""The state at any time in the past: every version of a record, and what was valid at a moment."""

from __future__ import annotations

import sqlite3

from p2p_oicp.storage.statements import Statement
from p2p_oicp.storage.store import Store

_COLUMNS = "kind, key, source, group_key, change, since, until, deleted, raw"
_ALL = f"""
SELECT {_COLUMNS} FROM state_versions
UNION ALL
SELECT kind, key, source, group_key, change, changed_at AS since, NULL AS until, deleted, raw FROM state_records
"""  # noqa: S608 - our own text
#: Every version of the records with a key, or with keys that begin with it and a ``|`` (prices of an EVSE).
OF_KEY = Statement(
    f"SELECT * FROM ({_ALL}) WHERE kind IN (SELECT value FROM json_each(:kinds)) "  # noqa: S608 - our own text
    "AND (key = :key OR key BETWEEN :key || '|' AND :key || '|~') ORDER BY kind, source, key, change",
    {},
)
#: What was valid at a moment, of one kind.
AT = Statement(
    f"SELECT * FROM ({_ALL}) WHERE kind = :kind AND deleted = 0 AND since <= :at AND (until IS NULL OR until > :at) "  # noqa: S608 - our own text
    "AND (:source IS NULL OR source = :source) ORDER BY source, key",
    {},
)


async def valid_at(store: Store, kind: int, at: float, source: str | None = None) -> list[sqlite3.Row]:
    """Return the records of a kind that were valid at a moment (seconds since the epoch)."""
    return await store.scan(AT, kind=kind, at=at, source=source)
