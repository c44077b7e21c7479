"""Far more than the nodes can bear, for three seconds; ``scripts/overload`` does it for half a minute."""

import pytest

from tests.faults.overload import press

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_under_overload_answers_are_bounded_and_the_nodes_are_well_afterwards(on):
    outcome = await press(on, 3.0, factor=20)
    assert not outcome.faults, str(outcome)
    assert outcome.pressing.statuses[200], str(outcome)
    assert outcome.pressing.statuses[503] + outcome.pressing.statuses[429], str(outcome)
