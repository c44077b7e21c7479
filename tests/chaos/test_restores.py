"""Restores of either node or both, and a backend that refuses, under load: one round each; any number by the script."""

import asyncio
import sys

import pytest

from tests.chaos.fault_rounds import run_restore_round
from tests.chaos.restores import RESTORE_ACTIONS, RestoreAction
from tests.chaos.testbed import set_clock, start_testbed

SHIFTED = (sys.executable, "-m", "tests.chaos.shifted_clock")
# Nodes that sign refuse each other if their clocks differ by more than 5 minutes (tests/chaos/test_clock_jumps.py).
CLOCKS = [
    ("old-backup-cpo", "node a", "signed", 240),
    ("old-backup-cpo", "node b", "mtls", -1800),
    ("old-backup-emp", "node b", "signed", -240),
    ("old-backup-emp", "node a", "mtls", 1800),
    ("empty-cpo", "node a", "mtls", -1800),
    ("empty-emp", "node a", "signed", -240),
]
JUMPS = [("old-backup-cpo", "mtls", -1800), ("old-backup-emp", "mtls", 1800), ("old-backup-both", "signed", -240)]


@pytest.mark.parametrize("name", RESTORE_ACTIONS)
async def test_the_books_are_even_after_a_restore_and_after_a_refusal(name, tmp_path):
    # Nodes of their own: what one restore has left unconfirmed, or without evidence, the next one would not get back.
    async with start_testbed(tmp_path, secure="signed") as testbed:
        await testbed.push()
        await run_restore_round(testbed, RESTORE_ACTIONS[name])


@pytest.mark.parametrize(("name", "node", "secure", "seconds"), CLOCKS)
async def test_the_books_are_even_though_a_clock_is_wrong(name, node, secure, seconds, tmp_path):
    async with start_testbed(tmp_path, secure=secure, command=SHIFTED) as testbed:
        set_clock(testbed.cluster[node], seconds)
        await testbed.push()
        await run_restore_round(testbed, RESTORE_ACTIONS[name])


@pytest.mark.parametrize(("name", "secure", "seconds"), JUMPS)
async def test_the_books_are_even_though_a_clock_jumps_between_a_backup_and_its_restore(
    name, secure, seconds, tmp_path
):
    action = RESTORE_ACTIONS[name]

    async def start(testbed) -> None:
        await asyncio.gather(action.start(testbed), jump(testbed))

    async def jump(testbed) -> None:
        await asyncio.sleep(testbed.rng.uniform(0.5, 3.0))
        set_clock(testbed.rng.choice((testbed.a, testbed.b)), seconds)

    async with start_testbed(tmp_path, seed=abs(seconds), secure=secure, command=SHIFTED) as testbed:
        await testbed.push()
        await run_restore_round(testbed, RestoreAction(start, action.finish))
