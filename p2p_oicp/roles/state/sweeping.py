"""The worker that removes what is older than the settings keep it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from p2p_oicp.errors import StoreError
from p2p_oicp.roles.context import RoleContext
from p2p_oicp.storage.state.model import Kind
from p2p_oicp.storage.state.sweeping import sweep

log = structlog.get_logger(__name__)

_DAY = 86_400.0
_INTERVAL_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Retention:
    """How many days earlier versions, tombstones and quarantined records are kept."""

    history_days: float
    status_history_days: float
    quarantine_days: float


class Sweeper:
    """Removes what is too old, every hour."""

    def __init__(self, context: RoleContext, retention: Retention) -> None:
        self._context = context
        self._retention = retention

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                await self.sweep()
            except StoreError as error:
                log.warning("sweep.failed", error=str(error))
            await asyncio.sleep(_INTERVAL_SECONDS)

    async def sweep(self) -> int:
        """Remove what is too old now; return how much it was."""
        now, kept = self._context.now(), self._retention
        before = dict.fromkeys(Kind, now - kept.history_days * _DAY)
        before[Kind.EVSE_STATUS] = now - kept.status_history_days * _DAY
        removed = await sweep(self._context.store, before, now - kept.quarantine_days * _DAY)
        if removed:
            log.info("sweep.done", removed=removed)
        return removed
