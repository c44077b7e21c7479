"""The wall clock of a node jumps while letters wait: everything arrives, once, and soon."""

import asyncio
import sys

import pytest
import pytest_asyncio

from tests.faults import books
from tests.faults.world import world

pytestmark = pytest.mark.asyncio(loop_scope="module")

MINUTES, DAY = 600, 86_400
JUMPS = {"10 minutes ahead": MINUTES, "10 minutes back": -MINUTES, "a day ahead": DAY, "a day back": -DAY}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory):
    """Nodes whose clocks can be set wrong."""
    command = (sys.executable, "-m", "tests.faults.shifted")
    async with world(tmp_path_factory.mktemp("world"), command=command) as on:
        await on.push()
        yield on


async def a_failed_attempt_is_written_down(on):
    async with asyncio.timeout(20):
        while not books.rows(on.a, "SELECT 1 FROM outbox WHERE attempts > 0"):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("who", ["a", "b"])
@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
async def test_a_clock_that_jumps_while_letters_wait_delays_nothing(on, who, jump):
    node = getattr(on, who)
    (node.directory / "clock").write_text("0")
    sessions = {await on.authorize(evse): evse for evse in on.csms.evses[:3]}
    await on.to_b.refuse()
    for session, evse in sessions.items():
        await on.csms.tell_all(session, evse, "csms")
        await on.csms.set_status(evse, "OutOfService")
    await a_failed_attempt_is_written_down(on)
    (node.directory / "clock").write_text(str(jump))
    await on.to_b.open()
    await on.balances()
    (node.directory / "clock").write_text("0")  # and back
    await on.csms.drive(1)
    await on.balances()
