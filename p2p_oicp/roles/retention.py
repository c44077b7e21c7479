"""Background jobs that expire silent sessions and delete what is older than the settings keep it.

All of them work in small transactions of the bulk lane, so that the writer stays responsive.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from p2p_oicp.concurrency import periodic
from p2p_oicp.roles.context import Services
from p2p_oicp.storage import Lane, Transaction, event_log, job_keys, retention, sessions
from p2p_oicp.storage.datasets.models import DatasetKind

log = structlog.get_logger(__name__)

_DAY_SECONDS = 86_400.0
# A session expires at most a tenth of its time too late, and never more than a minute.
_RUNS_PER_TTL = 10
_MAX_EXPIRY_INTERVAL_SECONDS = 60.0
_PURGE_INTERVAL_SECONDS = 3600.0
# Rows per transaction: a longer one would make interactive jobs wait.
_CHUNK_SIZE = 500
# Duplicates come within 300 s (H4); the rest is for a driver's complaint.
_REFUSED_SESSION_DAYS = 7.0


class SessionExpiryJob:
    """Expires sessions without news, so that the list of open sessions shows what is going on.

    Args:
        services: of the node.
        authorize_ttl: seconds after which an authorized session that never started expires.
        session_ttl: seconds without news after which a session under way expires, if it has no CDR.
    """

    def __init__(self, services: Services, *, authorize_ttl: float, session_ttl: float) -> None:
        self._services = services
        self._authorize_ttl = authorize_ttl
        self._session_ttl = session_ttl
        self._interval = min(_MAX_EXPIRY_INTERVAL_SECONDS, min(authorize_ttl, session_ttl) / _RUNS_PER_TTL)

    async def run(self) -> None:
        await periodic("session expiry", self._interval, self.run_once)

    async def run_once(self) -> None:
        """Expire all sessions that are due."""
        has_more = True
        while has_more:
            expired = await self._services.store.write(self._expire_some, Lane.BULK, (job_keys.HOUSEKEEPING,))
            for key in expired:
                log.info("session.expired", session_id=key)
            has_more = len(expired) == _CHUNK_SIZE

    def _expire_some(self, tx: Transaction) -> list[str]:
        return sessions.expire(
            tx,
            self._services.now(),
            authorize_ttl=self._authorize_ttl,
            session_ttl=self._session_ttl,
            limit=_CHUNK_SIZE,
        )


class SessionRetentionJob:
    """Deletes old rows about sessions, every hour. CDRs and their sessions are kept for ever (disputes).

    Args:
        services: of the node.
        history_days: for the events of settled sessions, expired sessions without a CDR, and preferred peers of UIDs.
        evidence_days: for recorded exchanges with their keys, and for CDRs that were refused.
        event_days: for the event log.
    """

    def __init__(self, services: Services, history_days: float, evidence_days: float, event_days: float) -> None:
        self._services = services
        self._event_days = event_days
        self._history_days = history_days
        self._evidence_days = evidence_days

    async def run(self) -> None:
        await periodic("session retention", _PURGE_INTERVAL_SECONDS, self.run_once)

    async def run_once(self) -> int:
        """Delete what is old enough now; return how many rows it was."""
        refused_cutoff, history_cutoff = self._cutoff(_REFUSED_SESSION_DAYS), self._cutoff(self._history_days)
        evidence_cutoff = self._cutoff(self._evidence_days)
        jobs: tuple[Callable[..., int], ...] = (
            partial(retention.purge_refused_sessions, cutoff=refused_cutoff),
            partial(retention.purge_expired_sessions, cutoff=history_cutoff),
            partial(retention.purge_session_events, cutoff=history_cutoff),
            partial(retention.purge_evidence, cutoff=evidence_cutoff),
            partial(retention.purge_conflicting_cdrs, cutoff=evidence_cutoff),
            partial(event_log.purge, cutoff=self._cutoff(self._event_days)),
        )
        store = self._services.store
        purged = sum([await retention.delete_in_batches(store, partial(job, limit=_CHUNK_SIZE)) for job in jobs])
        purged += await self._purge_uid_routes(history_cutoff)
        if purged:
            log.info("retention.purged", rows=purged)
        return purged

    def _cutoff(self, days: float) -> float:
        return self._services.now() - days * _DAY_SECONDS

    async def _purge_uid_routes(self, cutoff: float) -> int:
        # Selected by a reader and deleted by key: the table has no index by time, and a scan in the writer would block.
        total, store = 0, self._services.store
        while rows := await store.query_bulk(retention.OLD_UID_ROUTES, cutoff_=cutoff, limit=_CHUNK_SIZE):
            keys = [row["uid_key"] for row in rows]
            job = partial(retention.purge_uid_routes, uid_keys=keys, cutoff=cutoff)
            total += await store.write(job, Lane.BULK, (job_keys.HOUSEKEEPING,))
        return total


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """Days for which old versions of dataset records (of statuses: another number) and quarantined records are kept."""

    history_days: float
    status_history_days: float
    quarantine_days: float


class DatasetRetentionJob:
    """Deletes old versions, tombstones and quarantined records of datasets, every hour."""

    def __init__(self, services: Services, policy: RetentionPolicy) -> None:
        self._services = services
        self._policy = policy

    async def run(self) -> None:
        await periodic("dataset retention", _PURGE_INTERVAL_SECONDS, self.run_once)

    async def run_once(self) -> int:
        """Delete what is old enough now; return how many rows it was."""
        now, policy = self._services.now(), self._policy
        cutoffs = dict.fromkeys(DatasetKind, now - policy.history_days * _DAY_SECONDS)
        cutoffs[DatasetKind.EVSE_STATUS] = now - policy.status_history_days * _DAY_SECONDS
        quarantine_cutoff = now - policy.quarantine_days * _DAY_SECONDS
        removed = await retention.purge_datasets(self._services.store, cutoffs, quarantine_cutoff)
        if removed:
            log.info("dataset_retention.purged", rows=removed)
        return removed
