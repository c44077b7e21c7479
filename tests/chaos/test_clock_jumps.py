"""The wall clock of a node jumps while messages wait: each is delivered once, without delay.

Nodes that sign refuse a node whose clock is wrong: its messages are delivered as soon as the clock is right again.
"""

import sys

import pytest
import pytest_asyncio

from tests.chaos import ledger
from tests.chaos.testbed import set_clock, start_testbed
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

MINUTES, DAY = 600, 86_400
JUMPS = {"10 minutes ahead": MINUTES, "10 minutes back": -MINUTES, "a day ahead": DAY, "a day back": -DAY}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["none", "signed"])
async def shared(request, tmp_path_factory):
    """Nodes with adjustable clocks."""
    command = (sys.executable, "-m", "tests.chaos.shifted_clock")
    async with start_testbed(tmp_path_factory.mktemp("testbed"), secure=request.param, command=command) as testbed:
        await testbed.push()
        yield testbed


async def wait_for_failed_attempt(testbed, because: str) -> None:
    """Wait until a failed attempt and the time of the next one are stored."""
    query = f"SELECT 1 FROM outbox WHERE state = 'waiting' AND attempts > 0 AND last_error LIKE '%{because}%'"
    await eventually(lambda: ledger.rows(testbed.a, query), timeout=20)


async def make_messages_wait(testbed) -> None:
    """Leave messages and statuses for node B waiting at node A after a failed attempt."""
    sessions = {await testbed.authorize(evse): evse for evse in testbed.csms.evses[:3]}
    await testbed.proxy_to_b.close()
    for session, evse in sessions.items():
        await testbed.csms.send_session_messages(session, evse, "csms")
        await testbed.csms.set_status(evse, "OutOfService")
    await wait_for_failed_attempt(testbed, because="")


@pytest.mark.parametrize("who", ["a", "b", "ab"])
@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
async def test_a_clock_that_jumps_while_messages_wait_loses_nothing_and_delays_nothing(testbed, who, jump):
    nodes = [getattr(testbed, each) for each in who]
    await make_messages_wait(testbed)
    for node in nodes:
        set_clock(node, jump)
    await testbed.proxy_to_b.open()
    if testbed.a.spec.require and len(nodes) == 1:
        await wait_for_failed_attempt(testbed, because="check both clocks")
    else:
        await testbed.check_ledger()
    for node in nodes:
        set_clock(node, 0)
    await testbed.csms.run_sessions(1)
    await testbed.check_ledger()
