"""Sessions that nothing is heard of: they expire, so that the list of open ones says what is going on.

Keeps the store from growing with every refused card: what is old and over is forgotten, every hour.

The worker that removes what is older than the settings keep it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from p2p_oicp.errors import StoreError
from p2p_oicp.roles.context import Services
from p2p_oicp.storage import Lane, Transaction, retention, sessions
from p2p_oicp.storage.datasets.models import DatasetKind
from p2p_oicp.storage.retention import purge

log = structlog.get_logger(__name__)

_RUNS_PER_TTL = 10
_MAX_EXPIRY_INTERVAL_SECONDS = 60.0
_EXPIRY_CHUNK_SIZE = 500


class SessionExpiryJob:
    """Expires sessions; both times are in seconds.

    ``authorize_ttl``: authorized, and nothing came after. ``session_ttl``: under way, and nothing was heard since.
    """

    def __init__(self, services: Services, *, authorize_ttl: float, session_ttl: float) -> None:
        self._services = services
        self._authorize_ttl = authorize_ttl
        self._session_ttl = session_ttl
        self._interval = min(_MAX_EXPIRY_INTERVAL_SECONDS, min(authorize_ttl, session_ttl) / _RUNS_PER_TTL)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                await self.run_once()
            except StoreError as error:
                log.exception("expiry.store_failed", error=str(error))
            await asyncio.sleep(self._interval)

    async def run_once(self) -> None:
        """Expire what is due now."""
        has_more = True
        while has_more:
            expired = await self._services.store.write(
                lambda tx: sessions.expire(
                    tx,
                    self._services.now(),
                    authorize_ttl=self._authorize_ttl,
                    session_ttl=self._session_ttl,
                    limit=_EXPIRY_CHUNK_SIZE,
                ),
                Lane.BULK,
            )
            for key in expired:
                log.info("session.expired", session_id=key)
            has_more = len(expired) == _EXPIRY_CHUNK_SIZE


_DAY_SECONDS = 86_400.0
# Far longer than a request is repeated (box H4): long enough to answer a driver's complaint.
_REFUSED_SESSION_DAYS = 7.0
_PURGE_INTERVAL_SECONDS = 3600.0
_PURGE_CHUNK_SIZE = 500


class SessionRetentionJob:
    """``history_days``: so long are kept the stories of settled sessions, those given up, and whose card is whose.

    ``evidence_days``: so long are kept signed exchanges with their keys, and records that were refused.
    """

    def __init__(self, services: Services, history_days: float, evidence_days: float) -> None:
        self._services = services
        self._history_days = history_days
        self._evidence_days = evidence_days

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                await self.run_once()
            except StoreError as error:
                log.warning("retention.store_failed", error=str(error))
            await asyncio.sleep(_PURGE_INTERVAL_SECONDS)

    async def run_once(self) -> int:
        """Forget what is old enough now; return how many rows it were."""
        refused_cutoff, history_cutoff = self._cutoff(_REFUSED_SESSION_DAYS), self._cutoff(self._history_days)
        evidence_cutoff = self._cutoff(self._evidence_days)
        jobs = (
            partial(retention.purge_refused_sessions, cutoff=refused_cutoff),
            partial(retention.purge_expired_sessions, cutoff=history_cutoff),
            partial(retention.purge_session_events, cutoff=history_cutoff),
            partial(retention.purge_evidence, cutoff=evidence_cutoff),
            partial(retention.purge_conflicting_cdrs, cutoff=evidence_cutoff),
        )
        purged = sum([await self._run_until_done(partial(job, limit=_PURGE_CHUNK_SIZE)) for job in jobs])
        purged += await self._purge_uid_routes(history_cutoff)
        if purged:
            log.info("retention.purged", forgotten=purged)
        return purged

    def _cutoff(self, days: float) -> float:
        return self._services.now() - days * _DAY_SECONDS

    async def _purge_uid_routes(self, cutoff: float) -> int:
        total, store = 0, self._services.store
        while rows := await store.query_bulk(retention.OLD_UID_ROUTES, cutoff_=cutoff, limit=_PURGE_CHUNK_SIZE):
            keys = [row["uid_key"] for row in rows]
            total += await store.write(partial(retention.purge_uid_routes, uid_keys=keys, cutoff=cutoff), Lane.BULK)
        return total

    async def _run_until_done(self, job: Callable[[Transaction], int]) -> int:
        total = 0
        while count := await self._services.store.write(job, Lane.BULK):
            total += count
        return total


_SECONDS_PER_DAY = 86_400.0
_DATASET_PURGE_INTERVAL_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """How many days earlier versions, tombstones and quarantined records are kept."""

    history_days: float
    status_history_days: float
    quarantine_days: float


class DatasetRetentionJob:
    """Removes what is too old, every hour."""

    def __init__(self, context: Services, policy: RetentionPolicy) -> None:
        self._context = context
        self._policy = policy

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                await self.run_once()
            except StoreError as error:
                log.warning("dataset_retention.store_failed", error=str(error))
            await asyncio.sleep(_DATASET_PURGE_INTERVAL_SECONDS)

    async def run_once(self) -> int:
        """Remove what is too old now; return how much it was."""
        now, policy = self._context.now(), self._policy
        cutoffs = dict.fromkeys(DatasetKind, now - policy.history_days * _SECONDS_PER_DAY)
        cutoffs[DatasetKind.EVSE_STATUS] = now - policy.status_history_days * _SECONDS_PER_DAY
        removed = await purge(self._context.store, cutoffs, now - policy.quarantine_days * _SECONDS_PER_DAY)
        if removed:
            log.info("dataset_retention.purged", removed=removed)
        return removed
