"""The worker that empties one destination's outbox."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Protocol

import structlog

from p2p_oicp.clock import Clock
from p2p_oicp.delivery.backoff import FAILURES_THAT_OPEN_THE_CIRCUIT, Backoff
from p2p_oicp.delivery.bells import Bell
from p2p_oicp.errors import PeerBroken, PeerBusy, PeerError, PeerRejected, StoreError
from p2p_oicp.storage import Store, Transaction, destinations, outbox
from p2p_oicp.storage.outbox import Letter

log = structlog.get_logger(__name__)

_AT_ONCE = 8
# Said without an OICP code, these come from a web server before the peer: it is being changed, or its url is wrong.
_NOBODY_THERE = frozenset({404, 405})


class Carrier(Protocol):
    """Knows how letters of a destination travel and what their arrival means."""

    async def carry(self, letter: Letter) -> None:
        """Bring it there; raises errors.PeerError, PeerRejected where it is refused for good."""

    def arrived(self, tx: Transaction, letter: Letter, now: float) -> None:
        """Change what an acknowledged delivery changes, in the transaction that removes the letter."""


class OutboxWorker:
    """Sends the letters of one destination: sessions side by side, each session's letters in their order."""

    def __init__(self, carrier: Carrier, *, store: Store, bell: Bell, clock: Clock, backoff: Backoff) -> None:
        self._destination = bell.destination
        self._carrier = carrier
        self._store = store
        self._bell = bell
        self._clock = clock
        self._backoff = backoff

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                pause = await self._round()
            except StoreError as error:
                log.warning("outbox.store_failed", destination=self._destination, error=str(error))
                pause = self._backoff.after_a_store_failure
            if pause is None or pause > 0:
                await self._bell.wait(pause)

    async def _round(self) -> float | None:
        """Send what is due; return the seconds until something may be due, None if nothing waits."""
        now = self._clock.time()
        health = destinations.health_now(self._store, self._destination)
        if now < health.next_try_at <= now + self._backoff.longest:
            return health.next_try_at - now
        # An open circuit is probed with one letter.
        most = 1 if health.failures >= FAILURES_THAT_OPEN_THE_CIRCUIT else _AT_ONCE
        letters = self._due(now, most)
        if not letters:
            return self._until_next(now)
        sent = await asyncio.gather(*(self._send(letter) for letter in letters), return_exceptions=True)
        for failure in filter(None, sent):  # only now, so that no sending goes on behind the next round's back
            raise failure
        return 0.0

    def _due(self, now: float, most: int) -> list[Letter]:
        too_far = now + self._backoff.longest
        rows = self._store.look_up(outbox.DUE, destination_=self._destination, now_=now, too_far_=too_far, most=most)
        return outbox.letters(rows)

    def _until_next(self, now: float) -> float | None:
        at = self._store.look_up(outbox.NEXT_DUE, destination_=self._destination)[0]["at"]
        return None if at is None else max(0.01, at - now)

    async def _send(self, letter: Letter) -> None:
        event = log.bind(destination=self._destination, operation=letter.operation, session_id=letter.session_key)
        try:
            await self._carrier.carry(letter)
        except PeerError as error:
            if isinstance(error, PeerRejected) and not _nobody_there(error):
                event.warning("outbox.refused", error=str(error), code=error.code)
                await self._store.write(partial(self._refused, letter=letter, error=error))
                return
            event.info("outbox.postponed", error=str(error), attempts=letter.attempts + 1)
            await self._store.write(partial(self._failed, letter=letter, error=error))
        except StoreError:
            raise  # our own loopback's database: not the letter's fault
        except Exception as error:  # noqa: BLE001 - a letter that meets a bug must not stop the others
            event.exception("outbox.bug", attempts=letter.attempts + 1)
            bug = PeerBroken(self._destination, f"a bug of this node: {type(error).__name__}: {error}")
            await self._store.write(partial(self._failed, letter=letter, error=bug))
        else:
            event.info("outbox.delivered", attempts=letter.attempts + 1)
            await self._store.write(lambda tx: self._arrived(tx, letter))

    def _arrived(self, tx: Transaction, letter: Letter) -> None:
        now = self._clock.time()
        outbox.remove(tx, letter.id)
        self._carrier.arrived(tx, letter, now)
        destinations.answered(tx, self._destination, now)

    def _refused(self, tx: Transaction, letter: Letter, error: PeerRejected) -> None:
        now = self._clock.time()
        outbox.bury(tx, letter.id, now, str(error))
        destinations.answered(tx, self._destination, now)

    def _failed(self, tx: Transaction, letter: Letter, error: PeerError) -> None:
        now = self._clock.time()
        asked = error.retry_after if isinstance(error, PeerBusy) else None
        wait = max(self._backoff.wait(letter.attempts + 1), min(asked or 0.0, self._backoff.longest))
        outbox.postpone(tx, letter.id, now + wait, str(error))
        failures = destinations.health(tx, self._destination).failures + 1
        pause = max(self._backoff.circuit_pause(failures), min(asked or 0.0, self._backoff.longest))
        destinations.failed(tx, self._destination, failures, now + pause, error)


def _nobody_there(error: PeerRejected) -> bool:
    return error.code is None and error.http_status in _NOBODY_THERE
