"""``p2p-oicp cluster``: real nodes that other commands find, and nothing left running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from p2p_oicp.simulator.local_cluster import STATE_FILE
from tests.support.waiting import eventually_blocking, listens

TIMEOUT_SECONDS = 120.0


@contextmanager
def cluster_up(folder, *options):
    command = [sys.executable, "-m", "p2p_oicp", "cluster", "up", "--json", "--dir", str(folder), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=TIMEOUT_SECONDS)


def lines_of(process, kind):
    """Return what the cluster prints until there is a line of this kind, which is the last."""
    lines = []
    for line in process.stdout:
        lines.append(json.loads(line))
        if lines[-1]["kind"] == kind:
            return lines
    pytest.fail(process.stderr.read())


@pytest.mark.parametrize("secure", ["none", "signed", "mtls"])
def test_a_day_of_simulated_drivers_leaves_the_same_records_on_both_sides(tmp_path, secure):
    options = ("--cpo", "1", "--emp", "1", "--secure", secure, "--simulate", "--day", "1")
    with cluster_up(tmp_path / "c", *options) as process:
        *sessions, day = lines_of(process, "cluster")[1:] + lines_of(process, "day")
    assert day["sessions"] == len(sessions) > 10
    assert {session["operator"] for session in sessions} == {"DE*C01"}
    assert (day["missing"], day["failed"], process.returncode) == ([], 0, 130)


def test_a_running_cluster_is_shown_and_its_nodes_are_killed_and_restarted(tmp_path, p2p_oicp):
    folder = tmp_path / "c"
    with cluster_up(folder, "--cpo", "1", "--emp", "1", "--backend", "emp-1=http://127.0.0.1:9") as process:
        (started,) = lines_of(process, "cluster")
        assert json.loads(p2p_oicp("cluster", "status", "--json", "--dir", folder).out) == started["nodes"]
        assert [node["backend"] for node in started["nodes"]] == ["none", "http://127.0.0.1:9"]
        assert p2p_oicp("cluster", "kill", "emp-1", "--dir", folder).code == 0
        status = p2p_oicp("cluster", "status", "--dir", folder)
        assert (status.code, "down" in status.out) == (1, True)
        assert "does not run" in p2p_oicp("cluster", "kill", "emp-1", "--dir", folder).err
        assert p2p_oicp("cluster", "restart", "emp-1", "--dir", folder).code == 0
        assert p2p_oicp("cluster", "status", "--dir", folder).code == 0
        assert "expected one of cpo-1, emp-1" in p2p_oicp("cluster", "kill", "emp-9", "--dir", folder).err
        assert "a cluster runs in this folder" in p2p_oicp("cluster", "up", "--dir", folder).err
    ports = [int(node["backend_url"].rpartition(":")[2]) for node in started["nodes"]]
    eventually_blocking(lambda: not any(map(listens, ports)), TIMEOUT_SECONDS, "a node is left")
    assert "no cluster runs" in p2p_oicp("cluster", "status", "--dir", folder).err


def test_a_folder_whose_cluster_was_killed_is_used_again(tmp_path):
    with cluster_up(tmp_path / "c", "--cpo", "1", "--emp", "0") as process:
        lines_of(process, "cluster")
        state = json.loads((tmp_path / "c" / STATE_FILE).read_text())
    # Its process id is another program's by now.
    (tmp_path / "c" / STATE_FILE).write_text(json.dumps(state | {"pid": os.getpid()}))
    with cluster_up(tmp_path / "c", "--cpo", "1", "--emp", "0") as process:
        assert lines_of(process, "cluster")


MISTAKES = {
    "no node": (["--cpo", "0", "--emp", "0"], "expected at least one node"),
    "a backend of nobody": (["--backend", "cpo-7=http://127.0.0.1:9000"], "cpo-7: no such node; expected one of cpo-1"),
    "a backend without URL": (["--backend", "cpo-1"], "expected one such as cpo-1="),
    "a port too high": (["--port", "65530"], "10 ports are needed"),
}


@pytest.mark.parametrize(("options", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_before_anything_starts(tmp_path, p2p_oicp, options, words):
    outcome = p2p_oicp("cluster", "up", "--dir", tmp_path / "c", *options)
    assert (outcome.code, words in outcome.err) == (2, True), outcome.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--node", "alpha=http://127.0.0.1:8321"], "expected one such as cpo-1 or emp-3"),
        (["--node", "cpo-1"], "--node cpo-1: expected one such as cpo-1="),
        (["--node", "cpo-1=http://127.0.0.1:8321", "--host", "192.0.2.1"], "cannot listen there"),
    ],
    ids=["another name", "no URL", "another machine's address"],
)
def test_a_simulation_that_cannot_begin_says_why(p2p_oicp, options, words):
    outcome = p2p_oicp("cluster", "simulate", "--port", "9001", *options)
    assert (outcome.code, words in outcome.err) == (2, True), outcome.err


def test_a_folder_with_other_things_is_left_alone(tmp_path, p2p_oicp):
    (tmp_path / "thesis.txt").touch()
    outcome = p2p_oicp("cluster", "up", "--dir", tmp_path)
    assert (outcome.code, "is neither empty nor the folder of a cluster" in outcome.err) == (2, True)
    (tmp_path / "cluster.json").write_text("[]")
    assert "cannot be read" in p2p_oicp("cluster", "status", "--dir", tmp_path).err


def test_a_cluster_that_did_not_end_in_order_is_reported_as_gone(tmp_path, p2p_oicp):
    state = {"pid": 2**22 + 1, "url": "http://127.0.0.1:9", "token": "x"}
    (tmp_path / "cluster.json").write_text(json.dumps(state))
    outcome = p2p_oicp("cluster", "status", "--dir", tmp_path)
    assert (outcome.code, "does not run any more" in outcome.err) == (2, True)
