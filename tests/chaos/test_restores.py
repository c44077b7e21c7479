"""Restores of either node or both, and a backend that refuses, under load: one round each; any number by the script."""

import pytest

from tests.chaos.fault_rounds import run_restore_round
from tests.chaos.restores import RESTORE_ACTIONS

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECURE = "signed"


@pytest.mark.parametrize("name", RESTORE_ACTIONS)
async def test_the_books_are_even_after_a_restore_and_after_a_refusal(testbed, name):
    testbed.rng.seed(name)
    await run_restore_round(testbed, RESTORE_ACTIONS[name])
