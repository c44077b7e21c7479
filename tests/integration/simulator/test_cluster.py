"""Node processes: what happens when they do not behave."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

import pytest

from p2p_oicp.simulator import Cluster, NodeFailed, NodeSpec
from tests.support.waiting import eventually

A = NodeSpec("node A", operators=("DE*GEF",))
B = NodeSpec("node B", providers=("DE-GDF",))

# Programs that stand in for a node; each finds its configuration's path in its last argument.
READY = """
import http.server, signal, sys, tomllib
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *args): pass
port = tomllib.load(open(sys.argv[-1], "rb"))["backend_api"]["port"]
signal.signal(signal.SIGTERM, {on_term})
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
OBEDIENT = READY.format(on_term="lambda *_: sys.exit(0)")
SULKING = READY.format(on_term="lambda *_: sys.exit(3)")
DEAF = READY.format(on_term="signal.SIG_IGN")
BROKEN = "import sys; sys.exit('node.toml: port: something is wrong')"
HANGING = "import threading; print('thinking', flush=True); threading.Event().wait()"


def cluster(directory: Path, program: str, *specs: NodeSpec, timeout: float = 20.0) -> Cluster:
    return Cluster(directory, specs or (A,), command=(sys.executable, "-c", program), timeout=timeout)


async def test_nodes_are_ready_when_the_block_begins_and_gone_when_it_ends(tmp_path):
    async with cluster(tmp_path, OBEDIENT, A, B) as nodes:
        assert nodes["node A"].is_running
        assert nodes["node B"].is_running
        with socket.create_connection(("127.0.0.1", nodes["node B"].ports.backend)):
            pass
    assert [node.process.returncode for node in nodes.nodes.values()] == [0, 0]


async def test_a_node_is_killed_and_started_again_on_the_same_port(tmp_path):
    async with cluster(tmp_path, OBEDIENT) as nodes:
        node = nodes["node A"]
        ports, first = node.ports, node.process.pid
        await node.kill()
        assert not node.is_running
        await node.start()
        assert (node.ports, node.is_running) == (ports, True)
        await node.restart()
        assert node.process.pid != first


async def test_a_node_that_exits_while_starting_is_reported_with_its_log(tmp_path):
    with pytest.raises(NodeFailed, match=r"node A exited with 1 while starting\nnode.toml: port: something is wrong"):
        async with cluster(tmp_path, BROKEN):
            pass


async def test_a_node_that_never_becomes_ready_is_killed(tmp_path):
    nodes = cluster(tmp_path, HANGING, A, B, timeout=0.5)
    with pytest.raises(NodeFailed, match=r"is not ready after 0.5 s"):
        async with nodes:
            pass
    assert not any(node.is_running for node in nodes.nodes.values())


ENDS = {
    "with another code": (SULKING, "exited with 3 after SIGTERM"),
    "never": (DEAF, "still runs 0.5 s after SIGTERM"),
}


@pytest.mark.parametrize(("program", "words"), ENDS.values(), ids=ENDS)
async def test_a_node_that_does_not_end_in_order_is_reported(tmp_path, program, words):
    nodes = cluster(tmp_path, program)
    with pytest.raises(NodeFailed, match=words):
        async with nodes:
            nodes["node A"].timeout = 0.5
    assert not nodes["node A"].is_running


async def test_an_error_in_the_block_ends_all_nodes_and_stays_the_error(tmp_path):
    nodes = cluster(tmp_path, DEAF, A, B)
    with pytest.raises(ZeroDivisionError):
        async with nodes:
            raise ZeroDivisionError
    assert not any(node.is_running for node in nodes.nodes.values())


async def test_what_does_not_run_can_neither_be_stopped_nor_killed_and_what_runs_not_started(tmp_path):
    async with cluster(tmp_path, OBEDIENT) as nodes:
        node = nodes["node A"]
        with pytest.raises(NodeFailed, match="runs already"):
            await node.start()
        await node.kill()
        for step in (node.kill, node.stop, node.restart):
            with pytest.raises(NodeFailed, match="does not run"):
                await step()


async def test_settings_in_our_environment_do_not_reach_the_nodes(tmp_path, monkeypatch):
    monkeypatch.setenv("P2P_OICP_NODE__NAME", "another")
    program = "import os, sys; sys.exit(repr([name for name in os.environ if name.startswith('P2P_OICP')]))"
    with pytest.raises(NodeFailed, match=r"\n\[\]$"):
        async with cluster(tmp_path, program):
            pass


async def test_a_cancelled_start_leaves_no_process(tmp_path):
    nodes = cluster(tmp_path, HANGING)
    starting = asyncio.ensure_future(nodes.__aenter__())
    await eventually(lambda: nodes["node A"].process is not None, timeout=20)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not nodes["node A"].is_running
