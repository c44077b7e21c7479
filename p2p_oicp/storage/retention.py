"""Forgets of sessions what nobody will ask for any more, a little at a time.

A refused start is needed as long as it may be repeated; the story of a settled session, a session that was given up,
and who said yes to a card, for as long as the operator of the node says. Records and the sessions they belong to stay:
they are what a dispute is settled with. Beside them, what was signed and the records that were refused stay for years.

What time removes: old versions, tombstones that everybody has heard of, and old records in quarantine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from sqlalchemy import Column, Delete, Table, bindparam, delete, exists, select

from p2p_oicp.storage.datasets.models import DatasetKind
from p2p_oicp.storage.evidence import KEY_LAST_USED_LAG_SECONDS
from p2p_oicp.storage.schema import (
    conflicting_cdrs,
    dataset_records,
    dataset_versions,
    evidence,
    evidence_keys,
    evse_index,
    quarantine,
    session_events,
    sessions,
    uid_routes,
)
from p2p_oicp.storage.sessions import SessionState
from p2p_oicp.storage.sqlite.writer import Lane, Transaction
from p2p_oicp.storage.statements import Statement, compiled
from p2p_oicp.storage.store import Store

_OLD_SESSIONS = compiled(
    select(sessions.c.role, sessions.c.session_key)
    .where(sessions.c.state == bindparam("state_"), sessions.c.updated_at < bindparam("cutoff_"))
    .limit(bindparam("limit"))
)
_belongs_to_unsettled_session = exists().where(
    sessions.c.role == session_events.c.role,
    sessions.c.session_key == session_events.c.session_key,
    sessions.c.state != SessionState.SETTLED,
)
_OLD_EVENTS = compiled(
    select(session_events.c.id)
    .where(session_events.c.at < bindparam("cutoff_"), ~_belongs_to_unsettled_session)
    .order_by(session_events.c.at)
    .limit(bindparam("limit"))
)
_DELETE_SESSION = compiled(
    delete(sessions).where(sessions.c.role == bindparam("role_"), sessions.c.session_key == bindparam("key_"))
)
_DELETE_SESSION_EVENTS = compiled(
    delete(session_events).where(
        session_events.c.role == bindparam("role_"), session_events.c.session_key == bindparam("key_")
    )
)
_DELETE_EVENT = compiled(delete(session_events).where(session_events.c.id == bindparam("id_")))
#: Cards that were seen before a time; they are looked for beside the writer, for no index finds them.
OLD_UID_ROUTES = compiled(
    select(uid_routes.c.uid_key).where(uid_routes.c.authorized_at < bindparam("cutoff_")).limit(bindparam("limit"))
)
_DELETE_UID_ROUTE = compiled(
    delete(uid_routes).where(
        uid_routes.c.uid_key == bindparam("uid_"), uid_routes.c.authorized_at < bindparam("cutoff_")
    )
)


def _delete_oldest(table: Table, time: Column[float]) -> Delete:
    """Return what deletes old rows of a table that is in order of time: it looks at the first ones only."""
    oldest = select(table.c.id, time.label("at")).order_by(table.c.id).limit(bindparam("limit")).subquery()
    return delete(table).where(table.c.id.in_(select(oldest.c.id).where(oldest.c.at < bindparam("cutoff_"))))


_DELETE_EVIDENCE = compiled(_delete_oldest(evidence, evidence.c.at))
_DELETE_EVIDENCE_KEYS = compiled(delete(evidence_keys).where(evidence_keys.c.last_used_at < bindparam("cutoff_")))
_DELETE_CONFLICTING_CDRS = compiled(_delete_oldest(conflicting_cdrs, conflicting_cdrs.c.received_at))


def purge_refused_sessions(tx: Transaction, cutoff: float, limit: int) -> int:
    """Forget up to ``most`` starts that were refused before a time; return how many it were."""
    return _purge_sessions(tx, SessionState.REFUSED, cutoff, limit)


def purge_expired_sessions(tx: Transaction, cutoff: float, limit: int) -> int:
    """Forget up to ``most`` sessions that have expired before a time, without a record; return how many it were."""
    return _purge_sessions(tx, SessionState.EXPIRED, cutoff, limit)


def _purge_sessions(tx: Transaction, state: SessionState, cutoff: float, limit: int) -> int:
    rows = tx.all(_OLD_SESSIONS, state_=state, cutoff_=cutoff, limit=limit)
    for row in rows:
        tx.run(_DELETE_SESSION_EVENTS, role_=row["role"], key_=row["session_key"])
        tx.run(_DELETE_SESSION, role_=row["role"], key_=row["session_key"])
    return len(rows)


def purge_session_events(tx: Transaction, cutoff: float, limit: int) -> int:
    """Forget up to ``most`` events from before a time, of sessions that are over; return how many it were."""
    rows = tx.all(_OLD_EVENTS, cutoff_=cutoff, limit=limit)
    tx.run_many(_DELETE_EVENT, [{"id_": row["id"]} for row in rows])
    return len(rows)


def purge_evidence(tx: Transaction, cutoff: float, limit: int) -> int:
    """Forget those of the ``most`` oldest signed exchanges that are from before a time; return how many it were.

    The keys that nothing is signed with since then, there are few of them, go as well, and count.
    """
    deleted_keys = tx.run(_DELETE_EVIDENCE_KEYS, cutoff_=cutoff - KEY_LAST_USED_LAG_SECONDS)
    return deleted_keys + tx.run(_DELETE_EVIDENCE, cutoff_=cutoff, limit=limit)


def purge_conflicting_cdrs(tx: Transaction, cutoff: float, limit: int) -> int:
    """Forget those of the ``most`` oldest refused records that are from before a time; return how many it were."""
    return tx.run(_DELETE_CONFLICTING_CDRS, cutoff_=cutoff, limit=limit)


def purge_uid_routes(tx: Transaction, uid_keys: Iterable[str], cutoff: float) -> int:
    """Forget cards, unless they were seen since; return how many it were."""
    return sum(tx.run(_DELETE_UID_ROUTE, uid_=uid_key, cutoff_=cutoff) for uid_key in uid_keys)


_PURGE_CHUNK_SIZE = 200

_records, _versions, _quarantine = dataset_records.c, dataset_versions.c, quarantine.c
_DELETE_VERSIONS = compiled(
    delete(dataset_versions).where(
        _versions.id.in_(
            select(_versions.id)
            .where(_versions.dataset == bindparam("dataset_"), _versions.until < bindparam("cutoff_"))
            .order_by(_versions.until)
            .limit(_PURGE_CHUNK_SIZE)
        )
    )
)
_SELECT_EXPIRED_TOMBSTONES = compiled(
    select(_records.id, _records.change, _records.changed_at)
    .where(_records.deleted == 1, _records.dataset == bindparam("dataset_"), _records.changed_at < bindparam("cutoff_"))
    .order_by(_records.changed_at)
    .limit(_PURGE_CHUNK_SIZE)
)
_DELETE_RECORD = compiled(delete(dataset_records).where(_records.id == bindparam("id_")))
_DELETE_EVSE_INDEX_ROW = compiled(delete(evse_index).where(evse_index.c.record_id == bindparam("id_")))
_RECORD_PURGE = Statement(
    "INSERT INTO dataset_purges (dataset, change, at) VALUES (:dataset, :change, :at) ON CONFLICT (dataset) DO UPDATE SET "
    "change = max(change, excluded.change), at = max(at, excluded.at)",
    {},
)
_DELETE_QUARANTINED = compiled(
    delete(quarantine).where(
        _quarantine.id.in_(
            select(_quarantine.id)
            .where(_quarantine.last_seen_at < bindparam("cutoff_"))
            .order_by(_quarantine.last_seen_at)
            .limit(_PURGE_CHUNK_SIZE)
        )
    )
)


async def purge(store: Store, cutoffs: Mapping[DatasetKind, float], quarantine_cutoff: float) -> int:
    """Remove what ended before these times (seconds since the epoch), a little at a time; return how much it was.

    A cursor or a LastCall from before a purged tombstone cannot be served by changes any more; ``dataset_purges`` says so.
    """
    removed = 0
    for dataset, cutoff in cutoffs.items():
        removed += await _run_until_empty(store, partial(_purge_versions, dataset=dataset, cutoff=cutoff))
        removed += await _run_until_empty(store, partial(_purge_tombstones, dataset=dataset, cutoff=cutoff))
    return removed + await _run_until_empty(store, partial(_purge_quarantine, cutoff=quarantine_cutoff))


async def _run_until_empty(store: Store, job: partial[int]) -> int:
    removed = 0
    while count := await store.write(job, Lane.BULK):
        removed += count
    return removed


def _purge_versions(tx: Transaction, dataset: DatasetKind, cutoff: float) -> int:
    return tx.run(_DELETE_VERSIONS, dataset_=dataset, cutoff_=cutoff)


def _purge_quarantine(tx: Transaction, cutoff: float) -> int:
    return tx.run(_DELETE_QUARANTINED, cutoff_=cutoff)


def _purge_tombstones(tx: Transaction, dataset: DatasetKind, cutoff: float) -> int:
    rows = tx.all(_SELECT_EXPIRED_TOMBSTONES, dataset_=dataset, cutoff_=cutoff)
    for row in rows:
        tx.run(_DELETE_RECORD, id_=row["id"])
        tx.run(_RECORD_PURGE, dataset=dataset, change=row["change"], at=row["changed_at"])
        if dataset is DatasetKind.EVSE_DATA:
            tx.run(_DELETE_EVSE_INDEX_ROW, id_=row["id"])
    return len(rows)
