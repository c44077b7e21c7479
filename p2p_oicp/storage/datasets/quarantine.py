"""Records of peers that cannot be used: set aside with what is wrong with them, for a person to see."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import orjson
from sqlalchemy import bindparam, select

from p2p_oicp.oicp import Finding
from p2p_oicp.storage.schema import quarantine
from p2p_oicp.storage.sqlite.writer import Lane, Transaction
from p2p_oicp.storage.statements import Statement, compiled
from p2p_oicp.storage.store import Store

_CHUNK_SIZE = 100
_MAX_RECORD_BYTES = 64 * 1024
#: Of one peer; the oldest give way.
MAX_RECORDS_PER_SOURCE = 10_000

_quarantine = quarantine.c
_UPSERT = Statement(
    "INSERT INTO quarantine (source, operation, digest, findings, record, first_seen_at, last_seen_at) "
    "VALUES (:source, :operation, :digest, :findings, :record, :now, :now) "
    "ON CONFLICT (source, operation, digest) DO UPDATE SET occurrences = occurrences + 1, "
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
    _quarantine.source,
    _quarantine.operation,
    _quarantine.findings,
    _quarantine.record,
    _quarantine.first_seen_at,
    _quarantine.last_seen_at,
    _quarantine.occurrences,
)
LIST_ALL = compiled(select(*_COLUMNS).order_by(_quarantine.source, _quarantine.operation, _quarantine.id))
LIST_BY_SOURCE = compiled(
    select(*_COLUMNS).where(_quarantine.source == bindparam("source_")).order_by(_quarantine.operation, _quarantine.id)
)


@dataclass(frozen=True, slots=True)
class QuarantinedRecord:
    """A record that cannot be used, and why."""

    raw: bytes
    findings: tuple[Finding, ...]

    @property
    def reason(self) -> str:
        """Say what is wrong, in one line."""
        return "; ".join(f"{finding.pointer}: {finding.message}" for finding in self.findings[:3])


async def add(store: Store, source: str, operation: str, records: Sequence[QuarantinedRecord], now: float) -> int:
    """Keep records aside; one that was seen before is counted. Return how many were never seen."""
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
            "record": record.raw[:_MAX_RECORD_BYTES],
            "now": now,
        }
        for record in records[-MAX_RECORDS_PER_SOURCE:]
    ]
    added = 0
    for start in range(0, len(rows), _CHUNK_SIZE):
        added += await store.write(partial(_upsert_rows, rows=rows[start : start + _CHUNK_SIZE]), Lane.BULK)
    await store.write(lambda tx: tx.run(_EVICT_OLDEST, source=source, limit=MAX_RECORDS_PER_SOURCE), Lane.BULK)
    return added


def _upsert_rows(tx: Transaction, rows: Sequence[dict[str, object]]) -> int:
    """Keep rows; return how many are new."""
    seen_counts = [tx.one(_UPSERT, **row) for row in rows]
    return sum(row is not None and row["occurrences"] == 1 for row in seen_counts)
