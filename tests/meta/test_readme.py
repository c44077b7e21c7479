"""The commands and the program of the README work as they stand."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from p2p_oicp.simulator.node_files import free_ports
from tests.support.paths import ROOT
from tests.support.waiting import eventually_blocking, listens

README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", README, re.DOTALL | re.MULTILINE))
COMMAND = f'p2p-oicp() {{ {shlex.quote(sys.executable)} -m p2p_oicp "$@"; }}\n'
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.upper().startswith("P2P_OICP_")},
    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
}
TIMEOUT_SECONDS = 60.0


def blocks(section: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", SECTIONS[section], re.DOTALL)


def shell(text: str, folder: Path) -> str:
    done = subprocess.run(
        ["/bin/bash", "-euc", COMMAND + text], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def ports() -> list[int]:
    return free_ports(4)


def with_free_ports(text: str, ports: list[int]) -> str:
    """Return the text with free ports, which is all that differs from the README."""
    alpha = f'--operator "DE*ALF" --peer-port {ports[0]} --backend-port {ports[1]}'
    beta = text.replace("8330", str(ports[2])).replace("8331", str(ports[3]))
    return beta.replace('--operator "DE*ALF"', alpha)


@contextmanager
def running(block: str, folder: Path) -> Iterator[subprocess.Popen]:
    # exec: a signal then reaches the node and not the shell around it.
    text = re.sub(r"p2p-oicp (?=run|hub)", f"exec {shlex.quote(sys.executable)} -m p2p_oicp ", block)
    with subprocess.Popen(["/bin/bash", "-euc", text], cwd=folder, env=ENVIRONMENT, stderr=subprocess.PIPE) as node:
        try:
            yield node
        finally:
            node.send_signal(signal.SIGINT)
            node.communicate(timeout=TIMEOUT_SECONDS)


def test_two_nodes_of_your_own(tmp_path, ports):
    setup, *starts, pairing, third = blocks("Two nodes of your own", "bash")
    shell(with_free_ports(setup, ports), tmp_path)
    with ExitStack() as stack:
        nodes = [stack.enter_context(running(start, tmp_path)) for start in starts]
        for port in ports:
            eventually_blocking(lambda port=port: listens(port), TIMEOUT_SECONDS, f"nobody listens on {port}")
        assert "DE-BET" in shell(f"export COLUMNS=200\n{pairing}", tmp_path)
        eventually_blocking(
            lambda: "DE*ALF*E1" in shell(third, tmp_path), TIMEOUT_SECONDS, "the status did not reach the other node"
        )
    assert [node.returncode for node in nodes] == [0, 0]


def test_the_python_example(tmp_path, ports):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
    shell(
        'p2p-oicp init . --name A --operator "DE*ALF" --provider DE-ALF --insecure '
        f"--peer-port {ports[0]} --backend-port {ports[1]}",
        tmp_path,
    )
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert "start DE*ALF*E1 for DE-ALF-C12345678-X\n" in done.stdout
    assert re.search(r"^[0-9a-f-]{36} Success$", done.stdout, re.MULTILINE)


def test_the_start_is_ten_lines_at_most():
    assert len(SECTIONS["See it"].strip().splitlines()) <= 10


def test_the_readme_is_short():
    assert len(README.splitlines()) < 150
