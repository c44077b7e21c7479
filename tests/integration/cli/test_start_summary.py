"""What `p2p-oicp run` says at a terminal, where a person has started it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from p2p_oicp.simulator.node_files import free_ports
from tests.support.terminals import Terminal


@pytest.fixture
def ports():
    return [str(port) for port in free_ports(2)]


@pytest.fixture
def config(tmp_path, p2p_oicp, ports):
    def create(*options: str):
        folder, listeners = tmp_path / "alpha", ("--peer-port", ports[0], "--backend-port", ports[1])
        named = (
            "--name",
            "Alpha Charging",
            "--operator",
            "DE*ALF",
            "--peer-port",
            ports[0],
            "--backend-port",
            ports[1],
        )
        assert p2p_oicp("init", folder, *named, *listeners, *options).code == 0
        return folder / "node.toml"

    return create


def summary(config) -> str:
    terminal = Terminal("run", "--config", str(config))
    terminal.read_until("p2p-oicp status")
    terminal.interrupt()
    assert terminal.exit_code() == 0
    return " ".join(terminal.text.split())


def test_a_person_sees_who_the_node_is_how_it_is_reached_and_what_to_do_next(config, ports):
    text = summary(config())
    assert "Alpha Charging is up (p2p-oicp " in text
    assert f"CPO for DE*ALF peers call http://127.0.0.1:{ports[0]}" in text
    assert f"own systems call http://127.0.0.1:{ports[1]}/api/oicp" in text
    assert "peers prove signature peers none yet" in text
    assert "What next: p2p-oicp peers invite" in text
    assert "INSECURE" not in text


def test_what_is_insecure_is_named(config):
    path = config("--insecure")
    path.write_text(path.read_text().replace('# url = "https://', 'url = "http://'))
    text = summary(path)
    assert "INSECURE: require = []: whoever reaches the peer API can speak for any party." in text
    assert "INSECURE: peers call http://oicp.example.com: what is sent is not encrypted." in text


def test_without_a_terminal_there_is_only_the_log(config):
    command = [sys.executable, "-m", "p2p_oicp", "run", "--config", str(config())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while "node.ready" not in (line := process.stderr.readline()):
            assert line
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert "node.stopped" in err
