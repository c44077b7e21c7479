"""The quarantine: records of peers that failed validation, with their findings, for a person to look at.

A record that arrives again is counted, not stored again. At most `MAX_RECORDS_PER_SOURCE` records of a source are
stored; the oldest are evicted first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from sqlalchemy import bindparam, select

from p2p_oicp.oicp import Finding
from p2p_oicp.oicp.findings import summarize
from p2p_oicp.storage import job_keys
from p2p_oicp.storage.event_log import Event, EventType, emit
from p2p_oicp.storage.peers import name_of
from p2p_oicp.storage.schema import quarantine
from p2p_oicp.storage.statements import Statement, compiled
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.transactions import Lane, Transaction

# Records of one transaction of the bulk lane.
_CHUNK_SIZE = 100
#: Longer records are cut off: enough of them remains to recognise them.
MAX_RECORD_BYTES = 64 * 1024
_MAX_FINDINGS_IN_EVENT = 3
#: Per source. The oldest are evicted.
MAX_RECORDS_PER_SOURCE = 10_000

_quarantine = quarantine.c
_UPSERT = Statement(
    "INSERT INTO quarantine (source, operation, digest, findings, record, first_seen_at, last_seen_at) "
    "VALUES (:source, :operation, :digest, :findings, :record, :now, :now) "
    "ON CONFLICT (source, operation, digest) DO UPDATE SET occurrences = quarantine.occurrences + 1, "
    "last_seen_at = excluded.last_seen_at, findings = excluded.findings RETURNING occurrences",
    {},
)
_EVICT_OLDEST = Statement(
    "DELETE FROM quarantine WHERE source = :source AND id <= (SELECT id FROM quarantine WHERE source = :source "
    "ORDER BY id DESC LIMIT 1 OFFSET :limit)",
    {},
)
_COLUMNS = (
    _quarantine.id,
    name_of(_quarantine.source).label("source"),
    _quarantine.operation,
    _quarantine.findings,
    _quarantine.record,
    _quarantine.first_seen_at,
    _quarantine.last_seen_at,
    _quarantine.occurrences,
)
# For the administration, which shows and takes the names of peers.
LIST_ALL = compiled(select(*_COLUMNS).order_by(_quarantine.source, _quarantine.operation, _quarantine.id))
LIST_BY_SOURCE = compiled(
    select(*_COLUMNS)
    .where(name_of(_quarantine.source) == bindparam("source_"))
    .order_by(_quarantine.operation, _quarantine.id)
)


@dataclass(frozen=True, slots=True)
class QuarantinedRecord:
    """A record that failed validation, and why."""

    raw: bytes
    findings: tuple[Finding, ...]

    @property
    def reason(self) -> str:
        """The first findings, in one line."""
        return summarize(self.findings)


async def add(store: Store, source: str, operation: str, records: Sequence[QuarantinedRecord], now: float) -> int:
    """Store rejected records; return how many of them were not stored before.

    Args:
        store: the store that they are stored in.
        source: the peer that sent them.
        operation: the name of the operation that they belong to.
        records: the newest last.
        now: seconds since the epoch.

    """
    if not records:
        return 0
    rows = [
        {
            "source": source,
            "operation": operation,
            "digest": hashlib.blake2b(record.raw, digest_size=16).digest(),
            "findings": orjson.dumps(
                [
                    {
                        "severity": finding.severity,
                        "pointer": finding.pointer,
                        "code": finding.code,
                        "message": finding.message,
                    }
                    for finding in record.findings
                ]
            ),
            "record": record.raw[:MAX_RECORD_BYTES],
            "now": now,
        }
        for record in records[-MAX_RECORDS_PER_SOURCE:]
    ]
    added, about = 0, (job_keys.quarantine_of(source),)
    for start in range(0, len(rows), _CHUNK_SIZE):
        added += await store.write(partial(_upsert_rows, rows=rows[start : start + _CHUNK_SIZE]), Lane.BULK, about)
    await store.write(lambda tx: tx.run(_EVICT_OLDEST, source=source, limit=MAX_RECORDS_PER_SOURCE), Lane.BULK, about)
    return added


def _upsert_rows(tx: Transaction, rows: Sequence[dict[str, Any]]) -> int:
    """Return how many of the rows are new."""
    seen_counts = [tx.one(_UPSERT, **row) for row in rows]
    added = [row for row, seen in zip(rows, seen_counts, strict=True) if seen is not None and seen["occurrences"] == 1]
    if added:
        emit(tx, _event_of(added))
    return len(added)


def _event_of(rows: Sequence[dict[str, Any]]) -> Event:
    """Return the event of new records; its text is about the first one, and repeats nothing of it."""
    first = rows[0]
    findings = orjson.loads(first["findings"])[:_MAX_FINDINGS_IN_EVENT]
    text = ", ".join(f"{finding['pointer']}: {finding['code']}" for finding in findings)
    return Event(
        EventType.FINDING,
        "quarantined",
        first["now"],
        first["operation"],
        peer=first["source"],
        text=text,
        count=len(rows),
    )
