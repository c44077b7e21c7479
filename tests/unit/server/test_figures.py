"""The minutes of the last day: what is counted, what is drawn, and that memory has a bound."""

import orjson
import pytest

from p2p_oicp.server.dashboard.sparklines import draw_figures
from p2p_oicp.server.figures import MinuteFigures
from p2p_oicp.server.metrics import Metrics
from tests.support.clocks import ManualClock


async def shown(figures: MinuteFigures) -> list[dict]:
    return orjson.loads((await figures._show(None)).body)["minutes"]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def test_a_minute_has_its_own_requests_failures_and_duration(clock):
    metrics = Metrics()
    observe = metrics.observe_request("backend")
    observe("AuthorizeStart", "ok", 5.0)
    figures = MinuteFigures(metrics, clock)
    for _ in range(19):
        observe("AuthorizeStart", "ok", 0.003)
    observe("PushEvseData", "refused", 0.003)
    clock.now += 60
    await figures.measure()
    observe("AuthorizeStart", "problem", 0.2)
    clock.now += 60
    await figures.measure()
    clock.now += 60
    await figures.measure()
    found = [(each["requests"], each["failures"], each["p95"]) for each in await shown(figures)]
    assert found == [(20, 0, 0.005), (1, 1, 0.25), (0, 0, None)]


async def test_what_takes_longer_than_is_measured_is_shown_as_the_longest(clock):
    metrics = Metrics()
    figures = MinuteFigures(metrics, clock)
    metrics.observe_request("peer")("AuthorizeStart", "ok", 1000.0)
    clock.now += 60
    await figures.measure()
    assert [each["p95"] for each in await shown(figures)] == [60.0]


async def test_a_day_is_remembered_and_no_more(clock):
    figures = MinuteFigures(Metrics(), clock)
    await figures.measure()
    for _ in range(1500):
        clock.now += 60
        await figures.measure()
    assert len(await shown(figures)) == 1440


def test_curves_keep_their_peaks_and_say_what_they_show():
    minutes = [{"at": "", "seconds": 60.0, "requests": 60, "failures": 0, "p95": 0.01} for _ in range(1440)]
    minutes[700] |= {"requests": 6000, "failures": 3, "p95": 0.5}
    curves = draw_figures(minutes)
    requests, p95, failures = curves["Last 24 hours"]
    assert (requests.newest, requests.highest) == ("1.0", "100")
    assert (p95.newest, p95.highest) == ("10 ms", "500 ms")
    assert failures.highest == "3.0"
    assert " 2.0L" in requests.path
    assert requests.path.count("L") < 120
    assert curves["Last hour"][0].highest == "1.0"


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_minutes_are_drawn_as_well(count):
    minutes = [{"at": "", "seconds": 60.0, "requests": 0, "failures": 0, "p95": None}] * count
    (curve, *_) = draw_figures(minutes)["Last hour"]
    assert curve.path.count(" ") == count


def test_the_latency_of_a_peer_is_of_its_last_requests():
    metrics = Metrics()
    assert metrics.latency("Beta") is None
    for number in range(1000):
        metrics.observe_call("Beta", "AuthorizeStart", number / 1000)
    requests, p50, p95 = metrics.latency("Beta")
    assert (requests, p50, p95) == (200, 0.899, 0.99)
