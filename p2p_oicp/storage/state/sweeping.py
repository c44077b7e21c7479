"""What time removes: old versions, tombstones that everybody has heard of, and old records in quarantine."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from sqlalchemy import bindparam, delete, select

from p2p_oicp.storage.state.model import Kind
from p2p_oicp.storage.state.tables import evse_facts, quarantine, state_records, state_versions
from p2p_oicp.storage.statements import Statement, compiled
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.writer import Lane, Transaction

_PIECE = 200

_r, _v, _q = state_records.c, state_versions.c, quarantine.c
_DROP_VERSIONS = compiled(
    delete(state_versions).where(
        _v.id.in_(
            select(_v.id)
            .where(_v.kind == bindparam("kind_"), _v.until < bindparam("before"))
            .order_by(_v.until)
            .limit(_PIECE)
        )
    )
)
_OLD_TOMBSTONES = compiled(
    select(_r.id, _r.change, _r.changed_at)
    .where(_r.deleted == 1, _r.kind == bindparam("kind_"), _r.changed_at < bindparam("before"))
    .order_by(_r.changed_at)
    .limit(_PIECE)
)
_DROP_RECORD = compiled(delete(state_records).where(_r.id == bindparam("id_")))
_DROP_FACTS = compiled(delete(evse_facts).where(evse_facts.c.record_id == bindparam("id_")))
_NOTE_SWEEP = Statement(
    "INSERT INTO state_sweeps (kind, change, at) VALUES (:kind, :change, :at) ON CONFLICT (kind) DO UPDATE SET "
    "change = max(change, excluded.change), at = max(at, excluded.at)",
    {},
)
_DROP_QUARANTINE = compiled(
    delete(quarantine).where(
        _q.id.in_(select(_q.id).where(_q.last_seen_at < bindparam("before")).order_by(_q.last_seen_at).limit(_PIECE))
    )
)


async def sweep(store: Store, before: Mapping[Kind, float], quarantine_before: float) -> int:
    """Remove what ended before these times (seconds since the epoch), a little at a time; return how much it was.

    A cursor or a LastCall from before a swept tombstone cannot be served by changes any more; ``state_sweeps`` says so.
    """
    removed = 0
    for kind, time in before.items():
        removed += await _until_done(store, partial(_drop_versions, kind=kind, before=time))
        removed += await _until_done(store, partial(_drop_tombstones, kind=kind, before=time))
    return removed + await _until_done(store, partial(_drop_quarantine, before=quarantine_before))


async def _until_done(store: Store, job: partial[int]) -> int:
    removed = 0
    while count := await store.write(job, Lane.BULK):
        removed += count
    return removed


def _drop_versions(tx: Transaction, kind: Kind, before: float) -> int:
    return tx.run(_DROP_VERSIONS, kind_=kind, before=before)


def _drop_quarantine(tx: Transaction, before: float) -> int:
    return tx.run(_DROP_QUARANTINE, before=before)


def _drop_tombstones(tx: Transaction, kind: Kind, before: float) -> int:
    rows = tx.all(_OLD_TOMBSTONES, kind_=kind, before=before)
    for row in rows:
        tx.run(_DROP_RECORD, id_=row["id"])
        tx.run(_NOTE_SWEEP, kind=kind, change=row["change"], at=row["changed_at"])
        if kind is Kind.EVSE_DATA:
            tx.run(_DROP_FACTS, id_=row["id"])
    return len(rows)
