"""Retention: deleting expired rows in small batches, so that the writer stays responsive.

Kept forever: CDRs and their sessions (disputes). The cutoffs come from the caller (`roles.retention`):

- refused starts: as long as they may be repeated (300 s, RULES H4), and some days for complaints;
- events of settled sessions, expired sessions without a CDR, uid routes: ``history_days``;
- recorded exchanges with their keys, conflicting CDRs: ``evidence_days`` (years);
- old versions and tombstones of dataset records, quarantined records: by dataset.

Each function deletes up to ``limit`` rows and returns how many it deleted; the caller repeats it until that is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from sqlalchemy import Column, Delete, Table, bindparam, delete, exists, func, select

from p2p_oicp.storage import job_keys
from p2p_oicp.storage.datasets.models import DatasetKind
from p2p_oicp.storage.evidence import KEY_LAST_USED_LAG_SECONDS
from p2p_oicp.storage.schema import (
    cdrs,
    conflicting_cdrs,
    dataset_records,
    dataset_versions,
    evidence,
    evidence_keys,
    evse_index,
    quarantine,
    session_aliases,
    session_events,
    sessions,
    uid_routes,
)
from p2p_oicp.storage.sessions import SessionState
from p2p_oicp.storage.statements import compiled, written
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.transactions import Lane, Transaction

_OLD_SESSIONS = compiled(
    select(sessions.c.role, sessions.c.session_key)
    .where(sessions.c.state == bindparam("state_"), sessions.c.updated_at < bindparam("cutoff_"))
    .limit(bindparam("limit"))
)
# Events are deleted by their own age, but only of sessions that are settled (or deleted): open ones need them all.
_belongs_to_unsettled_session = exists().where(
    sessions.c.role == session_events.c.role,
    sessions.c.session_key == session_events.c.session_key,
    sessions.c.state != SessionState.SETTLED,
)
_OLD_EVENTS = compiled(
    select(session_events.c.id)
    .where(
        session_events.c.id < bindparam("end_"),
        session_events.c.at < bindparam("cutoff_"),
        ~_belongs_to_unsettled_session,
    )
    .order_by(session_events.c.id)
    .limit(bindparam("limit"))
)
_NEXT_EVENT = compiled(
    select(session_events.c.id, session_events.c.at)
    .where(session_events.c.id >= bindparam("id_"))
    .order_by(session_events.c.id)
    .limit(1)
)
_LAST_EVENT_ID = compiled(select(func.max(session_events.c.id).label("id")))
_DELETE_SESSION = compiled(
    delete(sessions).where(sessions.c.role == bindparam("role_"), sessions.c.session_key == bindparam("key_"))
)
_DELETE_SESSION_EVENTS = compiled(
    delete(session_events).where(
        session_events.c.role == bindparam("role_"), session_events.c.session_key == bindparam("key_")
    )
)
_DELETE_SESSION_ALIASES = compiled(
    delete(session_aliases).where(
        session_aliases.c.role == bindparam("role_"), session_aliases.c.session_key == bindparam("key_")
    )
)
_DELETE_EVENT = compiled(delete(session_events).where(session_events.c.id == bindparam("id_")))
#: UIDs that were authorized before a time; read outside of the writer, for no index finds them.
OLD_UID_ROUTES = compiled(
    select(uid_routes.c.uid_key).where(uid_routes.c.authorized_at < bindparam("cutoff_")).limit(bindparam("limit"))
)
_DELETE_UID_ROUTE = compiled(
    delete(uid_routes).where(
        uid_routes.c.uid_key == bindparam("uid_"), uid_routes.c.authorized_at < bindparam("cutoff_")
    )
)


def _delete_oldest(table: Table, time: Column[float]) -> Delete:
    """Return the deletion of old rows among the first ``limit`` of a table whose ids are in the order of time.

    Without an index on the time: it would cost each insertion a page more, and these tables are the large ones.
    """
    oldest = select(table.c.id, time.label("at")).order_by(table.c.id).limit(bindparam("limit")).subquery()
    return delete(table).where(table.c.id.in_(select(oldest.c.id).where(oldest.c.at < bindparam("cutoff_"))))


_DELETE_EVIDENCE = compiled(_delete_oldest(evidence, evidence.c.at))
_DELETE_EVIDENCE_KEYS = compiled(delete(evidence_keys).where(evidence_keys.c.last_used_at < bindparam("cutoff_")))
_DELETE_CONFLICTING_CDRS = compiled(_delete_oldest(conflicting_cdrs, conflicting_cdrs.c.received_at))


def purge_refused_sessions(tx: Transaction, cutoff: float, limit: int) -> int:
    """Delete starts that were refused before a time, with their events."""
    return _purge_sessions(tx, SessionState.REFUSED, cutoff, limit)


def purge_expired_sessions(tx: Transaction, cutoff: float, limit: int) -> int:
    """Delete sessions that expired before a time without a CDR, with their events."""
    return _purge_sessions(tx, SessionState.EXPIRED, cutoff, limit)


def _purge_sessions(tx: Transaction, state: SessionState, cutoff: float, limit: int) -> int:
    rows = tx.all(_OLD_SESSIONS, state_=state, cutoff_=cutoff, limit=limit)
    for row in rows:
        tx.run(_DELETE_SESSION_EVENTS, role_=row["role"], key_=row["session_key"])
        tx.run(_DELETE_SESSION_ALIASES, role_=row["role"], key_=row["session_key"])
        tx.run(_DELETE_SESSION, role_=row["role"], key_=row["session_key"])
    return len(rows)


def purge_session_events(tx: Transaction, cutoff: float, limit: int) -> int:
    """Delete events from before a time, of sessions that are settled or deleted."""
    rows = tx.all(_OLD_EVENTS, end_=_first_event_since(tx, cutoff), cutoff_=cutoff, limit=limit)
    tx.run_many(_DELETE_EVENT, [{"id_": row["id"]} for row in rows])
    return len(rows)


def _first_event_since(tx: Transaction, cutoff: float) -> int:
    """Return the id of the first event that is as young as ``cutoff``; if there is none, the id after the last.

    By halves, for ids are in the order of time (but for what a clock that was set back has written, which stays a
    little longer), and an index on the time would cost each event a page more.
    """
    last = tx.one(_LAST_EVENT_ID)
    first, end = 0, 1 + ((last["id"] or 0) if last is not None else 0)
    while first < end:
        middle = (first + end) // 2
        row = tx.one(_NEXT_EVENT, id_=middle)
        if row is None or row["at"] >= cutoff:
            end = middle
        else:
            first = row["id"] + 1
    return first


def purge_evidence(tx: Transaction, cutoff: float, limit: int) -> int:
    """Delete exchanges from before a time, and the (few) keys that were not used since; return the sum."""
    # Order: a key outlives its exchanges, since `last_used_at` may lag behind the last of them.
    deleted_keys = tx.run(_DELETE_EVIDENCE_KEYS, cutoff_=cutoff - KEY_LAST_USED_LAG_SECONDS)
    return deleted_keys + tx.run(_DELETE_EVIDENCE, cutoff_=cutoff, limit=limit)


def purge_conflicting_cdrs(tx: Transaction, cutoff: float, limit: int) -> int:
    """Delete conflicting CDRs that were received before a time."""
    return tx.run(_DELETE_CONFLICTING_CDRS, cutoff_=cutoff, limit=limit)


def purge_uid_routes(tx: Transaction, uid_keys: Iterable[str], cutoff: float) -> int:
    """Delete the routes of UIDs that were not authorized since; return how many."""
    return sum(tx.run(_DELETE_UID_ROUTE, uid_=uid_key, cutoff_=cutoff) for uid_key in uid_keys)


# A bulk job of about a ms, for which an interactive one may have to wait.
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
# Products and prices are kept as long as the CDRs that were made under them.
_DATASETS_OF_CDRS = frozenset({DatasetKind.PRICING_PRODUCT, DatasetKind.EVSE_PRICING})
_SELECT_FIRST_CDR = compiled(select(cdrs.c.received_at, cdrs.c.session_end).order_by(cdrs.c.id).limit(1))
# A session expires 30 days after its last message; its CDR may come late.
_MAX_SESSION_SECONDS = 62 * 86_400.0
_RECORD_PURGE = written(
    lambda d: (
        "INSERT INTO dataset_purges (dataset, change, at) VALUES (:dataset, :change, :at) "
        f"ON CONFLICT (dataset) DO UPDATE SET change = {d.greatest('dataset_purges.change', 'excluded.change')}, "
        f"at = {d.greatest('dataset_purges.at', 'excluded.at')}"
    )
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


async def purge_datasets(store: Store, cutoffs: Mapping[DatasetKind, float], quarantine_cutoff: float) -> int:
    """Delete dataset versions, tombstones and quarantined records that ended before these times; return how many.

    ``dataset_purges`` records the newest tombstone that was purged: a cursor or a LastCall from before it cannot be
    served by changes any more, and gets a snapshot.
    """
    removed, under_cdrs = 0, await _begin_of_first_cdr(store)
    for dataset, latest in cutoffs.items():
        cutoff = min(latest, under_cdrs) if dataset in _DATASETS_OF_CDRS else latest
        removed += await delete_in_batches(store, partial(_purge_versions, dataset=dataset, cutoff=cutoff))
        removed += await delete_in_batches(store, partial(_purge_tombstones, dataset=dataset, cutoff=cutoff))
    return removed + await delete_in_batches(store, partial(_purge_quarantine, cutoff=quarantine_cutoff))


async def _begin_of_first_cdr(store: Store) -> float:
    """Return a time before which no session began whose CDR this node has; infinity without CDRs."""
    rows = await store.query(_SELECT_FIRST_CDR)
    return min(rows[0]["received_at"], rows[0]["session_end"]) - _MAX_SESSION_SECONDS if rows else math.inf


async def delete_in_batches(store: Store, job: Callable[[Transaction], int]) -> int:
    """Run a job of the bulk lane until it deletes nothing more; return how many rows it deleted."""
    removed = 0
    while count := await store.write(job, Lane.BULK, (job_keys.HOUSEKEEPING,)):
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
