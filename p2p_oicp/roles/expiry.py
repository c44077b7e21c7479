"""Sessions that nothing is heard of: they expire, so that the list of open ones says what is going on."""

from __future__ import annotations

import asyncio

import structlog

from p2p_oicp.errors import StoreError
from p2p_oicp.roles.context import RoleContext
from p2p_oicp.storage import Lane, sessions

log = structlog.get_logger(__name__)

_LOOKS_PER_TTL = 10
_LONGEST_PAUSE_SECONDS = 60.0
_AT_ONCE = 500


class Expiry:
    """Expires sessions; both times are in seconds.

    ``authorize_ttl``: authorized, and nothing came after. ``session_ttl``: under way, and nothing was heard since.
    """

    def __init__(self, context: RoleContext, *, authorize_ttl: float, session_ttl: float) -> None:
        self._context = context
        self._authorize_ttl = authorize_ttl
        self._session_ttl = session_ttl
        self._pause = min(_LONGEST_PAUSE_SECONDS, min(authorize_ttl, session_ttl) / _LOOKS_PER_TTL)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                await self.look()
            except StoreError as error:
                log.exception("expiry.store_failed", error=str(error))
            await asyncio.sleep(self._pause)

    async def look(self) -> None:
        """Expire what is due now."""
        more = True
        while more:
            expired = await self._context.store.write(
                lambda tx: sessions.expire(
                    tx,
                    self._context.now(),
                    authorize_ttl=self._authorize_ttl,
                    session_ttl=self._session_ttl,
                    most=_AT_ONCE,
                ),
                Lane.BULK,
            )
            for key in expired:
                log.info("session.expired", session_id=key)
            more = len(expired) == _AT_ONCE
