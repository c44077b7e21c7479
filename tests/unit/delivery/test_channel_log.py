"""The log has one line for each change of a channel's state, and none for each try."""

import pytest
import structlog
from structlog.testing import capture_logs

from p2p_oicp.delivery.channel_log import LONG_FAILURE_SECONDS, ChannelLog
from p2p_oicp.errors import FailureCause, PeerError, PeerUnreachable
from tests.support.clocks import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def channel_log(clock: ManualClock) -> ChannelLog:
    return ChannelLog(structlog.get_logger(), clock)


def unreachable() -> PeerError:
    return PeerUnreachable("Beta", "connection refused")


def lines(logs) -> list[tuple[str, str]]:
    return [(entry["log_level"], entry["event"]) for entry in logs if entry["log_level"] != "debug"]


def test_a_failure_is_a_warning_once_and_its_end_is_information(channel_log):
    with capture_logs() as logs:
        for _ in range(5):
            channel_log.record_failure(unreachable(), next_try_in=3.0)
        channel_log.record_success()
        channel_log.record_success()
    assert lines(logs) == [("warning", "channel.failing"), ("info", "channel.recovered")]


def test_a_channel_that_fails_for_another_reason_is_another_line(channel_log):
    with capture_logs() as logs:
        channel_log.record_failure(unreachable(), next_try_in=3.0)
        channel_log.record_failure(unreachable().because_of(FailureCause.BODY_TOO_LARGE), next_try_in=3.0)
    assert lines(logs) == [("warning", "channel.failing"), ("warning", "channel.failing_otherwise")]


def test_after_an_hour_it_is_an_error_once(channel_log, clock):
    with capture_logs() as logs:
        for _ in range(4):
            channel_log.record_failure(unreachable(), next_try_in=3.0)
            clock.now += LONG_FAILURE_SECONDS / 2
    assert lines(logs) == [("warning", "channel.failing"), ("error", "channel.still_failing")]


def test_what_has_not_failed_does_not_recover(channel_log):
    with capture_logs() as logs:
        channel_log.record_success()
    assert logs == []
