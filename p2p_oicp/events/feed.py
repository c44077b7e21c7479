"""The feed: new events as they are committed, read once for all who subscribe.

**Live.** A commit that has written events wakes the feed, which reads them in one query, gives them their names once,
and keeps the last ones in memory. Nothing waits in a queue of a subscription: each reads at its own pace, from memory,
or from the database what is no more there. So a slow one costs neither memory nor the others.
**Nobody subscribed.** The store is not observed, and nothing is read.
**Late ones.** Whoever goes on after an event reads the rest from the database, a hundred at a time, one reader after
the other, until it has reached what is in memory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

import structlog

from p2p_oicp.errors import StoreError
from p2p_oicp.events.types import EventData, MissedEvents, parse_id
from p2p_oicp.events.view import EventFilter, EventView, ViewedEvent
from p2p_oicp.peers import PeerRegistry
from p2p_oicp.storage import Store, event_queries

log = structlog.get_logger(__name__)

# New events are read so often at most, together.
_BATCH_SECONDS = 0.05
# Events that another process has written (a command) are looked for so often.
_CHECK_SECONDS = 5.0
_STORE_ERROR_SECONDS = 2.0
_MAX_EVENTS_IN_MEMORY = 1000
# Giving a hundred their names takes the event loop about 2 ms.
_EVENTS_PER_READ = 100
# Writing to a client takes the event loop some tens of microseconds.
_WOKEN_AT_ONCE = 5

#: Writes events as they are sent.
Renderer = Callable[[Sequence[ViewedEvent]], bytes]


class EventChunk:
    """Consecutive events, as they were read once for all; there is at least one."""

    def __init__(self, events: Sequence[ViewedEvent]) -> None:
        self.events = events
        self.first = events[0].number
        self.last = events[-1].number
        self._rendered: dict[tuple[EventFilter, Renderer], bytes] = {}

    def __repr__(self) -> str:
        return f"<EventChunk {self.first}-{self.last}>"

    def selected(self, event_filter: EventFilter, after: int) -> list[ViewedEvent]:
        """Return the events with higher numbers than ``after`` that a filter selects."""
        return [each for each in self.events if each.number > after and event_filter.selects(each)]

    def rendered(self, event_filter: EventFilter, after: int, render: Renderer) -> bytes:
        """Return the same as they are sent; for subscriptions with equal filters it is written once."""
        if after >= self.first:
            return render(self.selected(event_filter, after))
        key = (event_filter, render)
        if (known := self._rendered.get(key)) is None:
            known = self._rendered[key] = render(self.selected(event_filter, after))
        return known


class NewEvents(NamedTuple):
    """What a subscription has read; ``missed`` tells of what was deleted before it could be read."""

    chunk: EventChunk
    after: int
    missed: MissedEvents | None = None


class EventFeed:
    """Reads new events for all subscriptions.

    Args:
        store: of the event log.
        view: gives events their names.
        now: seconds since the epoch.
    """

    def __init__(self, store: Store, view: EventView, now: Callable[[], float]) -> None:
        self.view = view
        self.now = now
        self._store = store
        self._subscriptions: dict[EventSubscription, None] = {}
        self._chunks: deque[EventChunk] = deque()
        self._position: int | None = None
        self._wakeup = asyncio.Event()
        self._reading_old = asyncio.Lock()
        self._is_closed = False

    @classmethod
    async def open(cls, store: Store, registry: PeerRegistry, now: Callable[[], float]) -> Self:
        """Return the feed of a database whose present epoch has begun."""
        return cls(store, EventView(store, registry, await event_queries.read_epochs(store)), now)

    def __repr__(self) -> str:
        return f"<EventFeed subscriptions={len(self._subscriptions)} position={self._position}>"

    def __len__(self) -> int:
        """Return the number of subscriptions."""
        return len(self._subscriptions)

    async def last_number(self) -> int:
        """Return the number of the newest event, as of the last commit."""
        return await event_queries.last_number(self._store)

    async def subscribe(self, event_filter: EventFilter, after: str | None = None) -> EventSubscription:
        """Return a subscription to the events after the one with an id (None: to those that come); use it by ``with``.

        Raises ValueError if the id is none.
        """
        last, is_exact = await self.last_number(), True
        if after is not None:
            position, is_exact = self.view.epochs.position_after(*parse_id(after), last)
        else:
            position = last
        missed = None
        if not is_exact:
            text = "they were lost with the database that had them; one that is older was restored"
            missed = self.view.missed(after or "", position + 1, self.now(), text)
        return EventSubscription(self, event_filter, position, missed)

    def subscribe_after(self, event_filter: EventFilter, number: int) -> EventSubscription:
        """Return a subscription to the events with higher numbers; use it by ``with``."""
        return EventSubscription(self, event_filter, number, None)

    def add(self, subscription: EventSubscription) -> None:
        """Read for a subscription from now on."""
        self._subscriptions[subscription] = None
        if self._is_closed:
            subscription.end()
        self._wakeup.set()

    def remove(self, subscription: EventSubscription) -> None:
        """Read for a subscription no more."""
        self._subscriptions.pop(subscription, None)
        self._wakeup.set()

    def close(self) -> None:
        """End all subscriptions: the node is stopping."""
        self._is_closed = True
        for subscription in self._subscriptions:
            subscription.end()

    async def run(self) -> None:
        """Read for all subscriptions until cancelled."""
        try:
            while True:
                self._wakeup.clear()
                if not self._subscriptions:
                    self._rest()
                    await self._wakeup.wait()
                    continue
                await self._read_new()
                await asyncio.sleep(_BATCH_SECONDS)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_CHECK_SECONDS):
                        await self._wakeup.wait()
        finally:
            self._rest()

    def _rest(self) -> None:
        self._store.observe_events(None)
        self._chunks.clear()
        self._position = None

    async def _read_new(self) -> None:
        try:
            if self._position is None:
                # Order: observed first, or what is committed in between would be read late.
                self._store.observe_events(self._wakeup.set)
                self._position = await self.last_number()
                await self._notify()
            while chunk := await self._read(self._position):
                self._position = chunk.last
                self._chunks.append(chunk)
                while chunk.last - self._chunks[0].last > _MAX_EVENTS_IN_MEMORY:
                    self._chunks.popleft()
                await self._notify()
        except StoreError as error:
            log.warning("events.not_read", error=error)
            await asyncio.sleep(_STORE_ERROR_SECONDS)
            self._wakeup.set()

    async def _notify(self) -> None:
        """Wake all subscriptions, a few at a time: each writes at once, and requests get their turn in between."""
        for number, subscription in enumerate([*self._subscriptions], 1):
            subscription.notify()
            if number % _WOKEN_AT_ONCE == 0:
                await asyncio.sleep(0)

    async def _read(self, after: int) -> EventChunk | None:
        numbered = await event_queries.events_after(self._store, after, _EVENTS_PER_READ)
        return EventChunk([await self.view.view(each) for each in numbered]) if numbered else None

    async def chunk_after(self, number: int) -> EventChunk | None:
        """Return the events that follow a number, of the database if they are not in memory; None if none do yet.

        Raises StoreError.
        """
        if self._position is None or number >= self._position:
            return None
        for chunk in reversed(self._chunks):
            if chunk.first <= number + 1 <= chunk.last:
                return chunk
            if chunk.last <= number:
                break
        async with self._reading_old:
            return await self._read(number)


class EventSubscription:
    """The events of one filter, from a position on; a context manager.

    Attributes:
        filter: which events are selected.
        position: the number of the last event that was read, selected or not.
        missed: tells of what was lost before the first one.
    """

    def __init__(self, feed: EventFeed, event_filter: EventFilter, position: int, missed: MissedEvents | None) -> None:
        self.filter = event_filter
        self.position = position
        self.missed = missed
        self._feed = feed
        self._news = asyncio.Event()
        self._is_ended = False

    def __repr__(self) -> str:
        return f"<EventSubscription position={self.position}>"

    def __enter__(self) -> Self:
        self._feed.add(self)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._feed.remove(self)

    @property
    def is_ended(self) -> bool:
        """Whether nothing more is read: the node stops, or nobody is there to read for."""
        return self._is_ended

    @property
    def last_id(self) -> str:
        """The id of the last event that was read, selected or not."""
        return self._feed.view.id_of(self.position)

    async def __aiter__(self) -> AsyncIterator[EventData | MissedEvents]:
        """Return the selected events one after the other, until it is ended. Raises StoreError."""
        if self.missed is not None:
            yield self.missed
        while not self._is_ended:
            if (new := await self.read(_CHECK_SECONDS)) is None:
                continue
            if new.missed is not None:
                yield new.missed
            for event in new.chunk.selected(self.filter, new.after):
                yield event.data

    def notify(self) -> None:
        """Wake the reader: there may be new events."""
        self._news.set()

    def end(self) -> None:
        """Let the reader read nothing more."""
        self._is_ended = True
        self._news.set()

    async def read(self, timeout: float) -> NewEvents | None:  # noqa: ASYNC109 - a heartbeat follows, and no error
        """Wait for events; None: there were none for so many seconds, or it is ended.

        Events that the filter does not select are read as well: there may be none in what is returned. Raises
        StoreError.
        """
        while not self._is_ended:
            # Order: cleared before it is looked, so that nothing that comes in between is overlooked.
            self._news.clear()
            if (chunk := await self._feed.chunk_after(self.position)) is not None:
                return self._take(chunk)
            try:
                async with asyncio.timeout(timeout):
                    await self._news.wait()
            except TimeoutError:
                return None
        return None

    def _take(self, chunk: EventChunk) -> NewEvents:
        after, missed = self.position, None
        if chunk.first > after + 1:
            view, text = self._feed.view, "they are older than [storage] event_days, or cannot be read, as the log says"
            missed = view.missed(self.last_id, chunk.first, self._feed.now(), text)
        self.position = chunk.last
        return NewEvents(chunk, after, missed)
