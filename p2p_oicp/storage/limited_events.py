"""Events of what others do wrong, and of what fails: as often as they want, which must not fill the database.

Of each cause (type, peer, subject, what) the first event is written at once; those of the next minute are counted, and
the last of them is written at its end, with the count. Of requests that nobody has proved, the subject, which is what
they say, is no cause: so each kind of refusal has an event a minute, whatever is sent.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec
import structlog

from p2p_oicp.clock import Clock
from p2p_oicp.errors import StoreError
from p2p_oicp.storage import job_keys
from p2p_oicp.storage.event_log import Event, EventType, emit
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.transactions import Lane, Transaction

log = structlog.get_logger(__name__)

_INTERVAL_SECONDS = 60.0
# Beyond so many, further causes wait for the next minute, and only the latest event of all of them is written.
_MAX_CAUSES = 500
_MAX_TEXT_LENGTH = 300
# Their subject is what a request says.
_TYPES_OF_REQUESTS = frozenset({EventType.REFUSAL, EventType.FINDING})


class _Cause(msgspec.Struct):
    """What happened of a cause since its last event was written; ``until`` (monotonic) nothing more is written."""

    until: float
    count: int = 0
    last: Event | None = None


class LimitedEventLog:
    """Writes events, at most one a minute of each cause.

    Args:
        store: of the event log.
        clock: tells the minutes.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._causes: dict[tuple[str, ...], _Cause] = {}
        self._due: list[Event] = []
        self._added = asyncio.Event()

    def __repr__(self) -> str:
        return f"<LimitedEventLog causes={len(self._causes)} due={len(self._due)}>"

    def add(self, event: Event) -> None:
        """Add an event, which is written a moment later, by itself or in the count of a later one."""
        if len(event.text) > _MAX_TEXT_LENGTH:
            event = msgspec.structs.replace(event, text=f"{event.text[:_MAX_TEXT_LENGTH]}…")
        is_anonymous = event.type in _TYPES_OF_REQUESTS and not event.peer
        key = (event.type, event.what, event.peer, "" if is_anonymous else event.subject)
        cause = self._causes.get(key)
        if cause is None and len(self._causes) >= _MAX_CAUSES:
            cause = self._causes.setdefault((event.type,), _Cause(self._clock.monotonic() + _INTERVAL_SECONDS))
        if cause is None:
            self._causes[key] = _Cause(self._clock.monotonic() + _INTERVAL_SECONDS)
            self._due.append(event)
            self._added.set()
            return
        cause.count += 1
        cause.last = event

    async def run(self) -> None:
        """Write what is due, until cancelled."""
        while True:
            self._added.clear()
            self._collect(self._clock.monotonic())
            await self._write()
            with suppress(TimeoutError):
                async with asyncio.timeout(_INTERVAL_SECONDS / 10 if self._causes else None):
                    await self._added.wait()

    def _collect(self, now: float) -> None:
        """Take the events whose minute is over; a cause of which nothing has happened since is forgotten."""
        for key, cause in [*self._causes.items()]:
            if cause.until > now:
                continue
            if cause.last is None:
                del self._causes[key]
                continue
            self._due.append(msgspec.structs.replace(cause.last, count=cause.count))
            self._causes[key] = _Cause(now + _INTERVAL_SECONDS)

    async def _write(self) -> None:
        events, self._due = self._due, []
        if not events:
            return

        def job(tx: Transaction) -> None:
            for event in events:
                emit(tx, event)

        try:
            await self._store.write(job, Lane.BULK, job_keys.ANY_ORDER)
        except StoreError as error:
            log.warning("events.not_recorded", events=len(events), error=error)
