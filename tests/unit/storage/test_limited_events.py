"""What others do wrong as often as they want is an event a minute of each cause."""

import asyncio
from contextlib import asynccontextmanager

from p2p_oicp.storage.event_log import Event, EventType
from p2p_oicp.storage.event_queries import events_after
from p2p_oicp.storage.limited_events import LimitedEventLog
from tests.support.clocks import ManualClock
from tests.support.waiting import eventually


def refusal(peer: str = "peer:1", operation: str = "AuthorizeStart", code: str = "018", text: str = "why") -> Event:
    return Event(EventType.REFUSAL, code, 1.0, operation, peer=peer, text=text)


async def written(store) -> list[Event]:
    return [each.event for each in await events_after(store, 0, 10_000)]


@asynccontextmanager
async def running(events: LimitedEventLog):
    task = asyncio.ensure_future(events.run())
    yield
    task.cancel()
    await asyncio.wait((task,))


async def test_the_first_of_each_cause_is_written_at_once(store):
    events = LimitedEventLog(store, ManualClock())
    async with running(events):
        for _ in range(5):
            for peer in ("peer:1", "peer:2"):
                events.add(refusal(peer))
        await eventually(lambda: written(store))
        assert [(each.peer, each.count) for each in await written(store)] == [("peer:1", 1), ("peer:2", 1)]


async def test_those_of_the_next_minute_are_counted_in_one(store):
    clock = ManualClock()
    events = LimitedEventLog(store, clock)
    for number in range(5):
        events.add(refusal(text=f"reason {number}"))
    clock.now += 61
    async with running(events):
        await eventually(lambda: written(store))
        found = [(each.text, each.count) for each in await written(store)]
    assert found == [("reason 0", 1), ("reason 4", 4)]


async def test_what_nobody_has_proved_has_one_event_of_each_code(store):
    events = LimitedEventLog(store, ManualClock())
    for number in range(1000):
        events.add(refusal(peer="", operation=f"operation {number}", code=("017", "300")[number % 2]))
    async with running(events):
        await eventually(lambda: written(store))
    assert [each.what for each in await written(store)] == ["017", "300"]


async def test_however_many_causes_there_are_the_events_are_bounded(store):
    events = LimitedEventLog(store, ManualClock())
    for number in range(5000):
        events.add(refusal(peer=f"peer:{number}", text="x" * 5000))
    async with running(events):
        await eventually(lambda: written(store))
    found = await written(store)
    assert len(found) <= 501
    assert max(len(each.text) for each in found) < 400


async def test_each_backend_is_a_cause_of_its_own(store):
    events = LimitedEventLog(store, ManualClock())
    for name in ("north", "south"):
        events.add(Event(EventType.BACKEND, "not_answering", 1.0, name))
    async with running(events):
        await eventually(lambda: written(store))
    assert [each.subject for each in await written(store)] == ["north", "south"]
