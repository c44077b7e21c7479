"""What is in a log line, and how many there are."""

import io
import json
import logging
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


def test_other_errors_are_all_written(log):
    logger, out = log("text")
    for _ in range(5):
        logger.error("other", error=ValueError("bad"))
    assert out.getvalue().count("error=bad") == 5


def test_printable_keeps_what_it_may_and_json_reads_what_it_writes():
    assert printable("Zoë Ünïcødé 日本 \N{GRINNING FACE}") == "Zoë Ünïcødé 日本 \N{GRINNING FACE}"
    assert printable("a\n\tb\r", keep="\n\t") == "a\n\tb\\u000d"
    assert json.loads(f'"{printable(EVIL)}"') == EVIL
