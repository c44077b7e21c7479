"""The parts of the demonstration that need no nodes."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest
from rich.console import Console

from p2p_oicp.simulator import LoggedExchange
from p2p_oicp.simulator.demo import Check, JsonTimeline, Report, RichTimeline

EXCHANGE = LoggedExchange(
    at=1.0, took=0.01, sender="CSMS", receiver="node A", operation="AuthorizeStart",
    session_id="b2688855-7f00-0002-6d8e-48d883f6abb6", result="Authorized by DE-GDF", good=True,
)  # fmt: skip
HELD = Check("A [scene]", "the card is authorized", held=True)
BROKEN = Check("A [scene]", "the CDR arrived", held=False, detail="expected 1, found [0]")


def shown(timeline) -> None:
    timeline.scene(1, "A [scene]")
    timeline.exchange(0.5, EXCHANGE)
    timeline.event(0.75, "node B is killed")
    timeline.check(HELD)
    timeline.check(BROKEN)
    timeline.summary(Report([HELD, BROKEN], exchanges=1, seconds=2.0))


def test_the_timeline_shows_exchanges_and_checks():
    stream = io.StringIO()
    shown(RichTimeline(Console(file=stream, width=120)))
    text = stream.getvalue()
    for words in (
        "1. A [scene]", "0.50 s", "CSMS → node A", "AuthorizeStart", "b2688855", "Authorized by DE-GDF",
        "node B is killed", "✓ the card is authorized", "✗ the CDR arrived", "expected 1, found [0]",
        "1 of 2 checks failed",
    ):  # fmt: skip
        assert words in text


def test_a_program_reads_the_same_as_json_lines():
    stream = io.StringIO()
    shown(JsonTimeline(stream))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["kind"] for line in lines] == ["scene", "exchange", "event", "check", "check", "summary"]
    assert lines[1] == {
        "kind": "exchange", "at": 0.5, "took": 0.01, "sender": "CSMS", "receiver": "node A", "good": True,
        "operation": "AuthorizeStart", "session_id": EXCHANGE.session_id, "result": "Authorized by DE-GDF",
    }  # fmt: skip
    assert lines[-1] == {
        "kind": "summary", "held": False, "checks": 2, "failed": ["the CDR arrived"], "exchanges": 1, "seconds": 2.0,
    }  # fmt: skip


VERDICTS = {"all held": ([HELD], True), "one failed": ([HELD, BROKEN], False), "nothing was checked": ([], False)}


@pytest.mark.parametrize(("checks", "verdict"), VERDICTS.values(), ids=VERDICTS)
def test_a_report_holds_only_if_something_was_checked_and_all_of_it_held(checks, verdict):
    assert Report(checks).held is verdict


def test_a_folder_that_is_not_empty_is_not_written_into(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    command = [sys.executable, "-m", "p2p_oicp", "demo", "--keep", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "is not an empty folder" in ended.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
