"""What was recorded is written, whoever stops waiting for it; the ring is used by one thread at a time."""

import asyncio
import threading
from contextlib import suppress

import pytest

from p2p_oicp.client.recording import ExchangeLog, RawExchange
from p2p_oicp.storage.exchanges import Exchange, ExchangeFilter, MemoryExchangeRing, RingLimits
from tests.support.waiting import eventually

EXCHANGE = RawExchange(exchange=Exchange(at=1.0, seconds=0.1, direction="in", method="POST", path="/api/oicp/x"))


class SlowRing(MemoryExchangeRing):
    """A ring whose first write lasts until ``go_on`` is set."""

    def __init__(self) -> None:
        super().__init__(RingLimits(100, 100_000))
        self.has_begun, self.go_on = threading.Event(), threading.Event()
        self.users = self.most_users = 0

    def append(self, exchanges) -> None:
        self.users += 1
        self.most_users = max(self.users, self.most_users)
        self.has_begun.set()
        self.go_on.wait(10)
        super().append(exchanges)
        self.users -= 1

    def read(self, selection):
        self.most_users = max(self.users + 1, self.most_users)
        return super().read(selection)


@pytest.fixture
async def slow():
    ring = SlowRing()
    exchanges = ExchangeLog(ring, 1000)
    yield ring, exchanges
    ring.go_on.set()
    await exchanges.close()


async def cancelled(task: asyncio.Task[object]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_reader_that_gives_up_lets_nobody_use_the_ring_beside_it(slow):
    ring, exchanges = slow
    exchanges.record(EXCHANGE)
    first = asyncio.create_task(exchanges.read(ExchangeFilter()))
    await eventually(ring.has_begun.is_set)
    await cancelled(first)
    exchanges.record(EXCHANGE)
    second = asyncio.create_task(exchanges.read(ExchangeFilter()))
    await asyncio.wait((second,), timeout=0.1)
    ring.go_on.set()
    assert [each.number for each in (await second).exchanges] == [1, 2]
    assert ring.most_users == 1


async def test_what_a_reader_that_gives_up_has_begun_to_write_is_written(slow):
    ring, exchanges = slow
    exchanges.record(EXCHANGE)
    first = asyncio.create_task(exchanges.flush())
    await eventually(ring.has_begun.is_set)
    exchanges.record(EXCHANGE)
    second = asyncio.create_task(exchanges.flush())
    await asyncio.sleep(0)
    for each in (second, first):
        await cancelled(each)
    ring.go_on.set()
    assert [each.number for each in (await exchanges.read(ExchangeFilter())).exchanges] == [1, 2]
