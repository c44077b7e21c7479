"""Waits grow, are clamped, and only then jittered."""

import pytest

from p2p_oicp.delivery import ExponentialBackoff


@pytest.mark.parametrize(
    ("failures", "expected"), [(1, 0.5), (2, 1.0), (3, 2.0), (10, 256.0), (11, 300.0), (4000, 300.0)]
)
def test_waits_double_up_to_the_longest(failures, expected):
    assert ExponentialBackoff(0.5, 300.0, jitter=lambda: 0.0).delay(failures) == expected


def test_the_longest_wait_is_jittered_too():
    assert ExponentialBackoff(0.5, 300.0, jitter=lambda: 1.0).delay(4000) == 225.0


@pytest.mark.parametrize(("failures", "pause"), [(0, 0.0), (1, 0.0), (2, 0.0), (3, 0.5), (4, 1.0), (99, 300.0)])
def test_the_circuit_opens_at_the_third_failure_in_a_row(failures, pause):
    assert ExponentialBackoff(0.5, 300.0, jitter=lambda: 0.0).open_circuit_delay(failures) == pause
