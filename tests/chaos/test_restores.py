"""Restores of either node or both, and a backend that refuses, under load: one round each; any number by the script."""

import pytest

from tests.chaos.fault_rounds import run_restore_round
from tests.chaos.restores import RESTORE_ACTIONS
from tests.chaos.testbed import start_testbed


@pytest.mark.parametrize("name", RESTORE_ACTIONS)
async def test_the_books_are_even_after_a_restore_and_after_a_refusal(name, tmp_path):
    # Nodes of their own: what one restore has left unconfirmed, or without evidence, the next one would not get back.
    async with start_testbed(tmp_path, secure="signed") as testbed:
        await testbed.push()
        await run_restore_round(testbed, RESTORE_ACTIONS[name])
