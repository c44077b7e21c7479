"""Keeps the store from growing with every refused card: what is old and over is forgotten, every hour."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import structlog

from p2p_oicp.errors import StoreError
from p2p_oicp.roles.context import RoleContext
from p2p_oicp.storage import Lane, Transaction, forgetting

log = structlog.get_logger(__name__)

_DAY_SECONDS = 86_400.0
# Far longer than a request is repeated (box H4): long enough to answer a driver's complaint.
_REFUSALS_DAYS = 7.0
_INTERVAL_SECONDS = 3600.0
_AT_ONCE = 500


class Forgetting:
    """``history_days``: so long are kept the stories of settled sessions, those given up, and whose card is whose.

    ``evidence_days``: so long are kept signed exchanges with their keys, and records that were refused.
    """

    def __init__(self, context: RoleContext, history_days: float, evidence_days: float) -> None:
        self._context = context
        self._history_days = history_days
        self._evidence_days = evidence_days

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                await self.forget()
            except StoreError as error:
                log.warning("forgetting.store_failed", error=str(error))
            await asyncio.sleep(_INTERVAL_SECONDS)

    async def forget(self) -> int:
        """Forget what is old enough now; return how many rows it were."""
        refused, told = self._before(_REFUSALS_DAYS), self._before(self._history_days)
        proven = self._before(self._evidence_days)
        jobs = (
            partial(forgetting.refusals, before=refused),
            partial(forgetting.given_up, before=told),
            partial(forgetting.stories, before=told),
            partial(forgetting.signed_exchanges, before=proven),
            partial(forgetting.refused_records, before=proven),
        )
        forgotten = sum([await self._until_done(partial(job, most=_AT_ONCE)) for job in jobs])
        forgotten += await self._cards(told)
        if forgotten:
            log.info("forgetting.done", forgotten=forgotten)
        return forgotten

    def _before(self, days: float) -> float:
        return self._context.now() - days * _DAY_SECONDS

    async def _cards(self, before: float) -> int:
        total, store = 0, self._context.store
        while rows := await store.scan(forgetting.OLD_CARDS, before_=before, most=_AT_ONCE):
            keys = [row["uid_key"] for row in rows]
            total += await store.write(partial(forgetting.these_cards, uid_keys=keys, before=before), Lane.BULK)
        return total

    async def _until_done(self, job: Callable[[Transaction], int]) -> int:
        total = 0
        while count := await self._context.store.write(job, Lane.BULK):
            total += count
        return total
