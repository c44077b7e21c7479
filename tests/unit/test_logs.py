"""What is in a log line, and how many there are."""

import io
import json
import logging
import re
import sys

import pytest
import structlog

from p2p_oicp.errors import StoreError
from p2p_oicp.logs import configure_logs, printable
from tests.support.clocks import ManualClock

EVIL = "x\x1b[2J\r\nforged\x07\x9b31m\u202e\u2028\U000e0001\udcff"


@pytest.fixture
def log(monkeypatch, clock):
    """Return a function that configures the logs, and returns a logger and what it has written."""
    monkeypatch.setattr(logging, "basicConfig", lambda **_settings: None)

    def configure(log_format: str):
        monkeypatch.setattr(sys, "stderr", out := io.StringIO())
        configure_logs(log_format, "debug", clock)
        return structlog.get_logger("test"), out

    yield configure
    structlog.reset_defaults()


def test_a_text_log_has_no_control_characters_and_no_forged_line(log):
    logger, out = log("text")
    logger.info("peer.failed", reason=EVIL, items=[EVIL])
    (line,) = out.getvalue().removesuffix("\n").split("\n")
    assert line.isprintable()
    assert "x\\u001b[2J\\u000d\\u000aforged" in line


def test_a_stack_trace_has_its_lines_and_no_control_characters(log):
    logger, out = log("text")
    try:
        int(EVIL)
    except ValueError:
        logger.exception("a.bug", reason=EVIL)
    lines = out.getvalue().splitlines()
    assert any(line.startswith("Traceback") for line in lines)
    assert all(line.isprintable() for line in out.getvalue().split("\n"))


def test_a_json_log_is_one_line_that_says_the_same(log):
    logger, out = log("json")
    logger.info("peer.failed", reason=EVIL)
    assert out.getvalue().count("\n") == 1
    assert json.loads(out.getvalue())["reason"] == EVIL


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_store_that_fails_is_one_line_a_second_whoever_reports_it(log, clock: ManualClock, log_format):
    logger, out = log(log_format)
    for number in range(1000):
        logger.error("request.failed", number=number, error=StoreError("the disk is full"))
        clock.now += 0.01
    lines = out.getvalue().splitlines()
    assert 10 <= len(lines) <= 11
    assert all("the disk is full" in line for line in lines)
    assert "similar_lines_left_out" in lines[1]
    assert "Traceback" not in out.getvalue()


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize(("method", "event"), [("info", "oicp.refused"), ("warning", "pairing.rejected")])
def test_who_causes_an_event_with_each_request_causes_twenty_lines_and_one_a_second(
    log, clock, log_format, method, event
):
    logger, out = log(log_format)
    for number in range(10_000):
        getattr(logger, method)(
            event, peer=None, reason=f"no peer answers for FR*{number:05}", address=f"10.0.0.{number}"
        )
        clock.now += 0.001
    lines = out.getvalue().splitlines()
    assert 29 <= len(lines) <= 30
    left_out = sum(int(re.search(r"similar_lines_left_out\W+(\d+)", line)[1]) for line in lines[20:])
    assert 9_000 <= left_out + len(lines) <= 10_000


def test_other_causes_and_what_is_no_fault_are_written_meanwhile(log):
    logger, out = log("json")
    for number in range(1000):
        logger.warning("delivery.failed", peer="a", code="000")
        logger.info("outbox.delivered", peer="a", number=number)
    for cause in ({"peer": "b", "code": "000"}, {"peer": "a", "code": "017"}):
        logger.warning("delivery.failed", **cause)
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert sum(event["event"] == "outbox.delivered" for event in events) == 1000
    assert [(event["peer"], event["code"]) for event in events[-2:]] == [("b", "000"), ("a", "017")]
    assert len(events) == 1022


def test_causes_without_end_share_the_lines_of_their_event(log):
    logger, out = log("json")
    for number in range(5000):
        logger.warning("discovery.conflict", peer=f"invented {number}")
    assert out.getvalue().count("\n") == 1020


def test_records_of_libraries_are_limited_as_well(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", out := io.StringIO())
    monkeypatch.setattr(logging, "basicConfig", lambda **settings: library.addHandler(*settings["handlers"]))
    library = logging.getLogger("a.library")
    configure_logs("text", "info", clock)
    for number in range(1000):
        library.error("connection %d failed", number)
    clock.now += 1
    library.error("connection %d failed", 1000)
    assert len(out.getvalue().splitlines()) == 21
    assert "connection 1000 failed (similar lines left out: 980)" in out.getvalue()
    library.handlers.clear()
    structlog.reset_defaults()


def test_other_errors_are_all_written(log):
    logger, out = log("text")
    for _ in range(5):
        logger.error("other", error=ValueError("bad"))
    assert out.getvalue().count("error=bad") == 5


def test_printable_keeps_what_it_may_and_json_reads_what_it_writes():
    assert printable("Zoë Ünïcødé 日本 \N{GRINNING FACE}") == "Zoë Ünïcødé 日本 \N{GRINNING FACE}"
    assert printable("a\n\tb\r", keep="\n\t") == "a\n\tb\\u000d"
    assert json.loads(f'"{printable(EVIL)}"') == EVIL
