"""The demonstration, with real node processes."""

from __future__ import annotations

import errno
import io
import json
import socket
import subprocess
import sys
import tomllib

from p2p_oicp.simulator.demo import JsonTimeline, run_demo
from p2p_oicp.simulator.demo.scenes import SCENES


async def test_every_check_of_the_roaming_day_holds(tmp_path):
    stream = io.StringIO()
    report = await run_demo(tmp_path, JsonTimeline(stream))
    assert report.failed == []
    assert [scene for scene, _ in report.by_scene()] == [title for title, _ in SCENES]
    assert report.seconds < 60
    kinds = {json.loads(line)["kind"] for line in stream.getvalue().splitlines()}
    assert kinds == {"scene", "exchange", "event", "check", "summary"}
    assert len(list(tmp_path.glob("node ?/**/node.sqlite3"))) == 2


async def test_a_node_that_cannot_start_is_a_failed_check_with_its_reason(tmp_path, monkeypatch):
    monkeypatch.setattr("p2p_oicp.simulator.demo.world.OPERATOR", type("Id", (), {"text": "not an id"}))
    report = await run_demo(tmp_path, JsonTimeline(io.StringIO()))
    (check,) = report.failed
    assert (report.held, check.sentence) == (False, "the day was played to its end")
    assert "not an id" in check.detail


def test_closing_the_output_leaves_no_node_behind(tmp_path):
    command = [sys.executable, "-m", "p2p_oicp", "demo", "--json", "--keep", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        assert "node A and node B are up" in demo.stdout.readline()
        demo.stdout.close()
        assert demo.wait(timeout=30) == 141
        assert "Traceback" not in demo.stderr.read()
    for file in tmp_path.glob("*/node.toml"):
        port = tomllib.loads(file.read_text())["peer_api"]["port"]
        # Not by binding: the closed connections of the demonstration still hold the port for a minute.
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED
