"""Ctrl-C ends each command that takes long at once, with 130: nothing has failed, and nothing half done is left."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading

import pytest

from p2p_oicp.config import load_settings
from p2p_oicp.simulator.node_files import free_ports
from p2p_oicp.storage import open_for_change
from tests.support.terminals import Terminal

_SLOW_BACKUP = """
import time
from p2p_oicp import cli
from p2p_oicp.cli import archive
write = archive.back_up
def slowly(*arguments):
    result = write(*arguments)
    time.sleep(60)
    return result
archive.back_up = slowly
cli.main()
"""


@pytest.fixture
def silent_port():
    """Return the port of a listener that takes every request and answers none."""
    connections = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            try:
                while True:
                    connections.append(listening.accept()[0])
            except OSError:
                return

        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    for connection in connections:
        connection.close()


@pytest.fixture
def config(tmp_path, p2p_oicp, silent_port):
    """A node whose backend API hangs."""
    ports = ("--peer-port", free_ports(1)[0], "--backend-port", silent_port)
    assert p2p_oicp("init", tmp_path / "node", "--name", "Beta", "--provider", "DE-BET", *ports).code == 0
    return tmp_path / "node" / "node.toml"


@pytest.fixture
def files(tmp_path):
    (tmp_path / "pull.json").write_text('{"ProviderID": "DE-BET"}')
    (tmp_path / "feed.json").write_text(
        '{"EVSEStatuses": [{"OperatorID": "DE*ALF", "EVSEStatusRecord": [{"EvseID": "DE*ALF*E1", '
        '"EVSEStatus": "Available"}]}]}'
    )
    os.mkfifo(tmp_path / "archive")
    return tmp_path


COMMANDS = {
    "a message": "send pull-evse-status {files}/pull.json --config {config}",
    "a feed": "send push-evse-status {files}/feed.json --url http://127.0.0.1:{port}",
    "reconciling": "cdrs reconcile --config {config}",
    "a check": "doctor --config {config}",
    "status": "status --config {config}",
    "another try": "retry --config {config}",
    "peers": "peers list --config {config}",
    "a descriptor": "peers inspect http://127.0.0.1:{port}",
    "joining": "peers join http://127.0.0.1:{port}/p2p/v1/pairings#token=abc&key=def --config {config}",
    "evidence": "evidence export 0190d2b4-7d1c-7a51-8b2e-4f7f4f0e8f11 --config {config}",
    "what was said": "exchanges list --follow --config {config}",
    "a pull": "pull {files}/snapshot --url http://127.0.0.1:{port} --provider DE-BET",
    "scenarios": "scenarios --cpo http://127.0.0.1:{port} --emp http://127.0.0.1:{port} --operator DE*ALF "
    "--provider DE-BET --cpo-port {cpo_port} --emp-port {emp_port}",
    "restoring": "restore {files}/archive {files}/new",
}


# The line of the program that says that it has begun, after everything was imported: its interrupt handler is Python's.
_BEGUN = "import sys, p2p_oicp.cli as cli; print('begun', flush=True); cli.main()"


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_command_that_waits_ends_with_130_and_says_nothing_of_a_failure(command, config, files, silent_port):
    cpo_port, emp_port = free_ports(2)
    values = {"config": config, "files": files, "port": silent_port, "cpo_port": cpo_port, "emp_port": emp_port}
    arguments = [each.format(**values) for each in command.split()]
    process = subprocess.Popen(
        [sys.executable, "-c", _BEGUN, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "begun\n"
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.5)  # it waits for the silent side
    process.send_signal(2)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert "FAIL" not in out.upper()
    assert "Traceback" not in err


def test_a_backup_that_is_interrupted_leaves_no_file(config, files):
    with open_for_change(load_settings(config).storage.file):
        pass
    target = files / "beta.tar"
    terminal = Terminal("backup", str(target), "--config", str(config), program=("-c", _SLOW_BACKUP))
    terminal.read_until("Backing up")
    terminal.interrupt()
    assert terminal.exit_code() == 130
    assert not [file.name for file in files.iterdir() if file.name.startswith("beta.tar")]
