"""Records of peers that cannot be used: set aside with what is wrong with them, for a person to see."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import orjson
from sqlalchemy import bindparam, select

from p2p_oicp.oicp import Finding
from p2p_oicp.storage.state.tables import quarantine
from p2p_oicp.storage.statements import Statement, compiled
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.writer import Lane, Transaction

_PIECE = 100
_MOST_BYTES = 64 * 1024
#: Of one peer; the oldest give way.
MOST_OF_A_SOURCE = 10_000

_q = quarantine.c
_PUT = Statement(
    "INSERT INTO quarantine (source, operation, digest, findings, record, first_seen_at, last_seen_at) "
    "VALUES (:source, :operation, :digest, :findings, :record, :now, :now) "
    "ON CONFLICT (source, operation, digest) DO UPDATE SET times = times + 1, last_seen_at = excluded.last_seen_at, "
    "findings = excluded.findings RETURNING times",
    {},
)
_MAKE_ROOM = Statement(
    "DELETE FROM quarantine WHERE source = :source AND id <= (SELECT id FROM quarantine WHERE source = :source "
    "ORDER BY id DESC LIMIT 1 OFFSET :most)",
    {},
)
_COLUMNS = (_q.id, _q.source, _q.operation, _q.findings, _q.record, _q.first_seen_at, _q.last_seen_at, _q.times)
LIST = compiled(select(*_COLUMNS).order_by(_q.source, _q.operation, _q.id))
OF_SOURCE = compiled(select(*_COLUMNS).where(_q.source == bindparam("source_")).order_by(_q.operation, _q.id))


@dataclass(frozen=True, slots=True)
class SetAside:
    """A record that cannot be used, and why."""

    raw: bytes
    findings: tuple[Finding, ...]

    @property
    def reason(self) -> str:
        """Say what is wrong, in one line."""
        return "; ".join(f"{finding.pointer}: {finding.message}" for finding in self.findings[:3])


async def set_aside(store: Store, source: str, operation: str, records: Sequence[SetAside], now: float) -> int:
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
                    {"severity": found.severity, "pointer": found.pointer, "code": found.code, "message": found.message}
                    for found in record.findings
                ]
            ),
            "record": record.raw[:_MOST_BYTES],
            "now": now,
        }
        for record in records[-MOST_OF_A_SOURCE:]
    ]
    new = 0
    for start in range(0, len(rows), _PIECE):
        new += await store.write(partial(_put, rows=rows[start : start + _PIECE]), Lane.BULK)
    await store.write(lambda tx: tx.run(_MAKE_ROOM, source=source, most=MOST_OF_A_SOURCE), Lane.BULK)
    return new


def _put(tx: Transaction, rows: Sequence[dict[str, object]]) -> int:
    """Keep rows; return how many are new."""
    times = [tx.one(_PUT, **row) for row in rows]
    return sum(row is not None and row["times"] == 1 for row in times)
