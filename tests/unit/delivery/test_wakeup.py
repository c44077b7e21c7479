"""Wake-ups reach the workers that may have work; delays grow, are clamped, and only then jittered."""

import asyncio

import pytest

from p2p_oicp.delivery import ExponentialBackoff, PeerLiveness, WakeupRegistry
from p2p_oicp.storage.peer_state import Destination


@pytest.mark.parametrize(
    ("failures", "expected"), [(1, 0.5), (2, 1.0), (3, 2.0), (10, 256.0), (11, 300.0), (4000, 300.0)]
)
def test_delays_double_up_to_the_maximum(failures, expected):
    assert ExponentialBackoff(0.5, 300.0, jitter=lambda: 0.0).delay(failures) == expected


def test_the_maximum_delay_is_jittered_too():
    assert ExponentialBackoff(0.5, 300.0, jitter=lambda: 1.0).delay(4000) == 225.0


@pytest.mark.parametrize(("failures", "delay"), [(0, 0.0), (1, 0.0), (2, 0.0), (3, 0.5), (4, 1.0), (99, 300.0)])
def test_the_circuit_opens_at_the_third_failure_in_a_row(failures, delay):
    assert ExponentialBackoff(0.5, 300.0, jitter=lambda: 0.0).open_circuit_delay(failures) == delay


@pytest.mark.parametrize(
    ("notify", "woken"),
    [
        (lambda registry: registry.notify_outbox("emp"), [("emp", "")]),
        (lambda registry: registry.notify_dataset("evse status"), [("emp", "evse status"), ("hub", "evse status")]),
        (lambda registry: registry.notify_all("emp"), [("emp", ""), ("emp", "evse data"), ("emp", "evse status")]),
    ],
    ids=["outbox", "dataset", "all of a peer"],
)
def test_a_notification_wakes_only_the_workers_that_may_have_work(notify, woken):
    registry = WakeupRegistry()
    wakeups = [
        registry.register(Destination(peer, dataset))
        for peer in ("emp", "hub")
        for dataset in ("", "evse data", "evse status")
    ]
    notify(registry)
    assert [wakeup.destination for wakeup in wakeups if wakeup.is_set] == woken


async def test_a_peer_that_calls_and_cannot_be_called_is_tried_again_every_ten_seconds_and_not_at_each_call(
    store, clock
):
    registry = WakeupRegistry()
    wakeup = registry.register(Destination("emp", "hello"))
    liveness, tried_at = PeerLiveness(registry, store, clock), []
    for second in range(25):
        waiting = asyncio.create_task(wakeup.wait(3600))  # the last try was in vain
        await asyncio.sleep(0)
        if liveness.has_backoff("emp"):
            await liveness.mark_alive("emp")
            tried_at.append(second)
        wakeup.set()
        await waiting
        clock.now += 1
    assert tried_at == [0, 10, 20]


@pytest.mark.parametrize(
    ("channel", "expected"),
    [(None, ["", "evse data", "pull"]), ("evse data", ["evse data"]), ("pull evse data", ["pull"]), ("other", [])],
)
async def test_a_person_has_channels_tried_again_as_status_calls_them(store, clock, channel, expected):
    registry = WakeupRegistry()
    for name in ("", "evse data", "pull"):
        registry.register(Destination("emp", name))
    assert await PeerLiveness(registry, store, clock).retry("emp", channel) == expected
