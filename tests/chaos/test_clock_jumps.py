"""The wall clock of a node jumps while letters wait: everything arrives, once, and soon.

Where the nodes sign, nobody believes a node whose clock is wrong: everything arrives as soon as it is right again.
"""

import sys

import pytest
import pytest_asyncio

from tests.chaos import ledger
from tests.chaos.testbed import world
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

MINUTES, DAY = 600, 86_400
JUMPS = {"10 minutes ahead": MINUTES, "10 minutes back": -MINUTES, "a day ahead": DAY, "a day back": -DAY}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["none", "signed"])
async def shared(request, tmp_path_factory):
    """Nodes whose clocks can be set wrong."""
    command = (sys.executable, "-m", "tests.chaos.shifted_clock")
    async with world(tmp_path_factory.mktemp("world"), secure=request.param, command=command) as on:
        await on.push()
        yield on


def set_clock(node, seconds: int) -> None:
    (node.directory / "clock").write_text(str(seconds))


async def until_a_letter_waits(on, because: str) -> None:
    """Wait until a failed attempt, and when the next one is due, are written down."""
    query = f"SELECT 1 FROM outbox WHERE state = 'waiting' AND attempts > 0 AND last_error LIKE '%{because}%'"
    await eventually(lambda: ledger.rows(on.a, query), timeout=20)


async def letters_wait(on) -> None:
    """Let node A owe node B letters and statuses that could not be delivered so far."""
    sessions = {await on.authorize(evse): evse for evse in on.csms.evses[:3]}
    await on.to_b.refuse()
    for session, evse in sessions.items():
        await on.csms.tell_all(session, evse, "csms")
        await on.csms.set_status(evse, "OutOfService")
    await until_a_letter_waits(on, because="")


@pytest.mark.parametrize("who", ["a", "b", "ab"])
@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
async def test_a_clock_that_jumps_while_letters_wait_loses_nothing_and_delays_nothing(on, who, jump):
    nodes = [getattr(on, each) for each in who]
    await letters_wait(on)
    for node in nodes:
        set_clock(node, jump)
    await on.to_b.open()
    if on.a.spec.require and len(nodes) == 1:
        await until_a_letter_waits(on, because="check both clocks")
    else:
        await on.balances()
    for node in nodes:
        set_clock(node, 0)
    await on.csms.drive(1)
    await on.balances()
