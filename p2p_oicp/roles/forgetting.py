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
    """``history_days``: so long the stories of settled sessions are kept."""

    def __init__(self, context: RoleContext, history_days: float) -> None:
        self._context = context
        self._history_days = history_days

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                await self.forget()
            except StoreError as error:
                log.warning("forgetting.store_failed", error=str(error))
            await asyncio.sleep(_INTERVAL_SECONDS)

    async def forget(self) -> int:
        """Forget what is old enough now; return how many sessions and events it were."""
        now = self._context.now()
        refused, told = now - _REFUSALS_DAYS * _DAY_SECONDS, now - self._history_days * _DAY_SECONDS
        forgotten = await self._until_done(partial(forgetting.refusals, before=refused, most=_AT_ONCE))
        forgotten += await self._until_done(partial(forgetting.stories, before=told, most=_AT_ONCE))
        if forgotten:
            log.info("forgetting.done", forgotten=forgotten)
        return forgotten

    async def _until_done(self, job: Callable[[Transaction], int]) -> int:
        total = 0
        while count := await self._context.store.write(job, Lane.BULK):
            total += count
        return total
