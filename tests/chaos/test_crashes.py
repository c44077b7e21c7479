"""kill -9 of either node at random moments, under load: five rounds here, any number with ``scripts/faults``."""

import pytest

from tests.chaos.fault_rounds import FAULT_ACTIONS, run_round

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECURE = "mixed"

ROUNDS = ["kill", "kill-both", "kill", "kill-line", "kill"]
WITH_A_LARGE_PUSH = {1, 4}


@pytest.mark.parametrize(
    ("number", "fault_action"), list(enumerate(ROUNDS)), ids=[f"{n}-{name}" for n, name in enumerate(ROUNDS)]
)
async def test_a_crash_loses_nothing_and_delivers_nothing_twice(testbed, number, fault_action):
    testbed.rng.seed(number)
    await run_round(testbed, FAULT_ACTIONS[fault_action], large=number in WITH_A_LARGE_PUSH)
