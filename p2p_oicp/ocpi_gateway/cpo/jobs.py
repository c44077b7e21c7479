"""What is due at a time, and what is tried again: one background task for each partner.

A wake-up (`Wakeup`) says that something has changed; the database says what. So nothing depends on a wake-up: what is
pending is found at the next round.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from p2p_oicp.delivery.wakeup import Wakeup
from p2p_oicp.errors import PeerError, StoreError
from p2p_oicp.ocpi_gateway.cpo.cdrs import CdrReceiver
from p2p_oicp.ocpi_gateway.cpo.context import CpoContext
from p2p_oicp.ocpi_gateway.cpo.location_export import LocationExporter
from p2p_oicp.ocpi_gateway.cpo.prices import PriceExporter
from p2p_oicp.ocpi_gateway.cpo.pulls import PartnerPuller
from p2p_oicp.ocpi_gateway.cpo.sessions import SessionReceiver
from p2p_oicp.ocpi_gateway.cpo.tokens import TokenPublisher, try_to_send
from p2p_oicp.ocpi_gateway.node_calls import NodeRefused, NodeUnavailable
from p2p_oicp.ocpi_mapping.terms import CITRINEOS
from p2p_oicp.storage import Transaction
from p2p_oicp.storage.ocpi import commands, objects, sessions
from p2p_oicp.storage.ocpi.objects import ObjectKind, ObjectState

log = structlog.get_logger(__name__)

#: Changes of a second are pushed together.
COALESCE_SECONDS: Final = 1.0
#: What the node, or the partner, could not take is tried again after so many seconds.
RETRY_SECONDS: Final = 10.0
#: A CitrineOS never tells the status of an EVSE.
STATUS_POLL_SECONDS: Final = 60.0
#: Sessions and commands of which nothing was received for so long are deleted.
HISTORY_SECONDS: Final = 90 * 86_400.0
_DAY = 86_400.0


class Due:
    """Something that is done again after a number of seconds, or never (0)."""

    def __init__(self, seconds: float, now: float) -> None:
        self._seconds = seconds
        self._due_at = now + seconds

    def is_due(self, now: float) -> bool:
        """Return whether it is due, and begin to wait anew if it is."""
        if not self._seconds or now < self._due_at:
            return False
        self._due_at = now + self._seconds
        return True


class PartnerJobs:
    """The background task of one partner.

    Args:
        context: of the partner.
        locations, prices, tokens, sessions_, cdrs, puller: what is done.
    """

    def __init__(
        self,
        context: CpoContext,
        locations: LocationExporter,
        prices: PriceExporter,
        tokens: TokenPublisher,
        sessions_: SessionReceiver,
        cdrs: CdrReceiver,
        puller: PartnerPuller,
    ) -> None:
        self.wakeup = Wakeup(f"ocpi {context.name}")
        self._context = context
        self._locations = locations
        self._prices = prices
        self._tokens = tokens
        self._sessions = sessions_
        self._cdrs = cdrs
        self._puller = puller
        self._are_prices_due = True
        self._is_pull_due = False
        now = context.clock.monotonic()
        self._pull = Due(context.partners.settings.pull_interval, now)
        self._poll = Due(STATUS_POLL_SECONDS if context.settings.profile == CITRINEOS else 0.0, now)
        self._cleaning = Due(_DAY, now)
        self._next_price_change = float("inf")

    def on_prices_changed(self) -> None:
        """Have prices pushed again."""
        self._are_prices_due = True
        self.wakeup.set()

    def on_registered(self) -> None:
        """Have all lists read, and all tokens sent: the partner is registered, or has other endpoints."""
        self._is_pull_due = True
        self.wakeup.set()

    async def run(self) -> None:
        """Do what is due, until cancelled."""
        while True:
            await self._round()
            if await self.wakeup.wait(RETRY_SECONDS, idle=True):
                # A burst of changes is one push.
                await Wakeup("coalesce").wait(COALESCE_SECONDS, idle=True)

    async def _round(self) -> None:
        now = self._context.clock.monotonic()
        if self._context.partners.get(self._context.name).is_callable:
            if self._is_pull_due or self._pull.is_due(now):
                self._is_pull_due = False
                await self._puller.try_all()
            elif self._poll.is_due(now):
                await self._attempt("status poll", lambda: self._puller.pull("locations"))
        await self._attempt("locations", self._locations.export)
        if self._are_prices_due or self._context.clock.time() >= self._next_price_change:
            self._are_prices_due = not await self._attempt("prices", self._push_prices)
        await self._attempt("sessions", self._carry_pending)
        await self._attempt("tokens", self._tokens.expire)
        await try_to_send(self._tokens, self._context.name)
        if self._cleaning.is_due(now):
            await self._attempt("history", self._clean)

    async def _push_prices(self) -> None:
        await self._prices.export()
        change = await self._prices.next_change()
        self._next_price_change = float("inf") if change is None else change.timestamp()

    async def _carry_pending(self) -> None:
        """Carry what a crash has interrupted, or the node could not take; the sessions first, for CDRs name them."""
        for kind, carry in ((ObjectKind.SESSION, self._sessions.carry), (ObjectKind.CDR, self._cdrs.carry)):
            pending = await objects.list_in_state(self._context.store, self._context.name, kind, ObjectState.PENDING)
            for stored in pending:
                await carry(stored)

    async def _clean(self) -> None:
        cutoff = self._context.clock.time() - HISTORY_SECONDS

        def job(tx: Transaction) -> None:
            sessions.remove_old(tx, cutoff)
            commands.remove_old(tx, cutoff)

        await self._context.write(job)

    async def _attempt(self, what: str, work: Callable[[], Awaitable[object]]) -> bool:
        """Do something; return False, and log it, where it has to be done again."""
        try:
            await work()
        except (NodeRefused, NodeUnavailable, PeerError, StoreError) as error:
            log.warning("ocpi.job_delayed", partner=self._context.name, job=what, reason=str(error))
            return False
        return True
