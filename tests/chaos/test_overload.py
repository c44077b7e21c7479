"""Far more than the nodes can bear, for two seconds; ``scripts/overload`` does it for half a minute."""

import pytest

from tests.chaos.overload import press, weather

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_storm_of_statuses_delays_and_refuses_no_authorization_at_either_listener(on):
    storm = await weather(on, 2.0)
    assert not storm.faults, str(storm)
    assert storm.backend.statuses[200], str(storm)
    assert storm.peer.statuses[200], str(storm)
    assert len(storm.calm.seconds) > 3, str(storm)
    await on.push()
    await on.state_becomes_equal()


async def test_under_overload_answers_are_bounded_and_the_nodes_are_well_afterwards(on):
    # The two rates are of short windows, and others use the machine as well: what counts is that it recovers.
    outcome = await press(on, 2.0, factor=20, patience=15.0)
    print(outcome)  # how many times the sustainable load it was: that depends on the machine
    assert not outcome.faults, str(outcome)
    assert outcome.pressing.statuses[200], str(outcome)
    assert outcome.pressing.statuses[503] + outcome.pressing.statuses[429], str(outcome)
