"""kill -9 of a node amid a stream of events and a storm of webhooks: by id, none is missed and none is seen twice.

Five rounds here; EVENT_ROUNDS=20 for more.
"""

import os

from tests.chaos.event_rounds import event_bed

ROUNDS = int(os.environ.get("EVENT_ROUNDS", "5"))


async def test_a_client_and_a_receiver_miss_no_event_and_see_none_twice(tmp_path):
    async with event_bed(tmp_path, seed=ROUNDS) as bed:
        for _ in range(ROUNDS):
            await bed.round()
        newest = await bed.settle()
        logged = (await bed.log())[:newest]
        streamed, received = [event.id for event in bed.streamed], bed.receiver.ids
        # The stream: each once, in order, even where the connection broke within an event.
        assert streamed[: len(logged)] == logged
        # The receiver: at least once; whoever drops the ids that were there before has each once, in order.
        once = list(dict.fromkeys(received))
        assert once[: len(logged)] == logged
        assert len(logged) > ROUNDS * 10
