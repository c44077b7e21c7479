"""The image, the composition and the systemd unit: read by a parser, and what they start is started here."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from p2p_oicp.config import load_settings
from p2p_oicp.simulator.node_files import free_ports
from tests.support.paths import ROOT

UNIT = ROOT / "contrib" / "systemd" / "p2p-oicp@.service"
#: The folder of the image and of the unit, which is another one in these tests.
FOLDER = "/var/lib/p2p-oicp"
PARTIES = {"P2P_OICP_NODE__NAME": "Alpha Charging", "P2P_OICP_NODE__OPERATORS": "DE*ALF"}


class Instruction(NamedTuple):
    name: str
    value: str

    def arguments(self) -> list[str]:
        """Return the exec form; the shell form would run a shell as process 1, which passes no signal on."""
        return json.loads(self.value)


def instructions() -> list[Instruction]:
    """Return the instructions of the Dockerfile, each in one line."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (ROOT / "Dockerfile").read_text())
    lines = text.replace("\\\n", " ").splitlines()
    return [Instruction(*line.split(maxsplit=1)) for line in lines if line.strip()]


def last(name: str) -> Instruction:
    return next(found for found in reversed(instructions()) if found.name == name)


def image_environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in shlex.split(last("ENV").value))


def in_scratch(arguments: list[str], folder: Path) -> list[str]:
    """Return a command of the image or the unit with this environment's program and a folder of the test."""
    program = [sys.executable, "-m", "p2p_oicp"] if Path(arguments[0]).name == "p2p-oicp" else [sys.executable]
    return [
        *program,
        *(argument.replace(f"{FOLDER}/%i", FOLDER).replace(FOLDER, str(folder)) for argument in arguments[1:]),
    ]


def environment(**variables: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("P2P_OICP_")}
    return inherited | {"PYTHONPATH": str(ROOT)} | variables


def port_variables() -> dict[str, str]:
    names = ("P2P_OICP_PEER_API__PORT", "P2P_OICP_BACKEND_API__PORT")
    return dict(zip(names, map(str, free_ports(2)), strict=True))


def identity() -> dict[str, int]:
    """Return the user that the image names, where this process may become it and it may run this interpreter."""
    number = int(re.search(r"useradd .*--uid (\d+)", (ROOT / "Dockerfile").read_text()).group(1))
    try:
        subprocess.run([sys.executable, "-c", ""], user=number, group=number, check=True, capture_output=True)
    except (PermissionError, subprocess.CalledProcessError):
        return {}
    return {"user": number, "group": number}


@pytest.fixture
def folder(tmp_path):
    """The volume of the image: empty, of mode 0700, of the user that the image names."""
    path = tmp_path / "volume"
    path.mkdir(mode=0o700)
    if owner := identity():
        os.chown(path, owner["user"], owner["group"])
    return path


def wait_until_ready(process, port: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as response:
                assert response.status == 200
                return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError


def test_the_image_starts_a_node_from_the_environment_alone_as_its_user_in_its_folder(folder):
    ports = port_variables()
    settings = image_environment() | PARTIES | ports | {"P2P_OICP_PEER_API__URL": "http://alpha:8320"}
    settings.pop("PATH")
    command = in_scratch([*last("ENTRYPOINT").arguments(), *last("CMD").arguments()], folder)
    process = subprocess.Popen(
        command, cwd=folder, env=environment(**settings), stderr=subprocess.PIPE, text=True, **identity()
    )
    try:
        wait_until_ready(process, ports["P2P_OICP_BACKEND_API__PORT"])
        healthcheck = re.search(r"CMD (\[.*\])", last("HEALTHCHECK").value).group(1)
        checked = subprocess.run(in_scratch(json.loads(healthcheck), folder), env=environment(**ports), check=False)
        assert checked.returncode == 0
    finally:
        process.send_signal(getattr(signal, last("STOPSIGNAL").value))
        _, log = process.communicate(timeout=30)
    assert process.returncode == 0, log
    assert {json.loads(line)["event"] for line in log.splitlines()} >= {"node.ready", "node.stopped"}
    assert {"data", "keys"} <= {path.name for path in folder.iterdir()}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")} <= {0o600, 0o700}


def test_a_node_from_the_environment_has_the_same_key_after_a_restart_and_never_a_second_one(
    folder, p2p_oicp, monkeypatch, request
):
    taken = socket.create_server(("127.0.0.1", 0))  # so that each start ends at once, after the keys were read
    request.addfinalizer(taken.close)
    for name, value in (PARTIES | {"P2P_OICP_PEER_API__PORT": str(taken.getsockname()[1])}).items():
        monkeypatch.setenv(name, value)
    config = folder / "node.toml"
    assert "choose another port" in p2p_oicp("run", "--config", config).err
    key = (folder / "keys" / "node.key").read_bytes()
    p2p_oicp("run", "--config", config)
    assert (folder / "keys" / "node.key").read_bytes() == key
    shutil.rmtree(folder / "keys")
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "node.sqlite3").touch()
    outcome = p2p_oicp("run", "--config", config)
    assert (outcome.code, "node.key" in outcome.err) == (2, True)


def test_what_the_environment_lacks_is_named_as_a_variable(folder, p2p_oicp, monkeypatch):
    monkeypatch.setenv("P2P_OICP_NODE__OPERATORS", "DE*ALF")
    assert "environment variable P2P_OICP_NODE__NAME: missing" in p2p_oicp("run", "--config", folder / "node.toml").err


def test_the_image_is_built_from_files_that_are_there_and_its_user_is_not_root():
    found = instructions()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for instruction in found:
        if instruction.name == "COPY" and "--from" not in instruction.value:
            *sources, _ = instruction.value.split()
            for source in sources:
                assert (ROOT / source).exists()
                assert f"!{source.removeprefix('./')}" in ignored
    assert last("USER").value not in {"root", "0"}
    assert last("WORKDIR").value == FOLDER == json.loads(last("VOLUME").value)[0]
    assert all(re.fullmatch(r"python:3\.\d+-slim( AS build)?", each.value) for each in found if each.name == "FROM")
    assert not {"ADD", "MAINTAINER"} & {each.name for each in found}
    names = [each.name for each in found]
    assert names.index("USER", names.index("HEALTHCHECK") - 10) < names.index("ENTRYPOINT")


def test_the_lock_of_the_image_has_what_a_node_needs_in_the_versions_of_the_tests():
    def locked(name):
        return dict(re.findall(r"(?m)^([a-z0-9-]+)(?:\[[^]]*\])?==(\S+)", (ROOT / name).read_text()))

    node, everything = locked("requirements-node.lock"), locked("requirements.lock")
    assert node.items() <= everything.items()
    assert {"aiohttp", "sqlalchemy", "cryptography"} <= node.keys()
    assert not {"pytest", "mypy", "ruff"} & node.keys()


@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_each_service_of_the_composition_is_a_node(name, monkeypatch, tmp_path):
    composition = yaml.safe_load((ROOT / "compose.yaml").read_text())
    service = composition["services"][name]
    for variable, value in service["environment"].items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("P2P_OICP_PEER_API__HOST", image_environment()["P2P_OICP_PEER_API__HOST"])
    settings = load_settings(tmp_path / "node.toml")
    assert settings.peer_api.url == f"http://{name}:8320"
    assert service["volumes"] == [f"{name}:{FOLDER}"]
    assert service["read_only"]
    assert set(composition["volumes"]) == {"alpha", "beta"}


class Composition:
    """The composition of a cluster, in a scratch environment: each service is a process, each host name is loopback."""

    def __init__(self, folder: Path) -> None:
        self.services = yaml.safe_load((ROOT / "compose.cluster.yaml").read_text())["services"]
        self.configs = yaml.safe_load((ROOT / "compose.cluster.yaml").read_text())["configs"]
        self.folder = folder
        self.nodes = [name for name in self.services if name != "backends"]
        ports = free_ports(3 * len(self.nodes))
        self.ports = {f"{name}:{port}": ports.pop() for name in self.nodes for port in (8320, 8321)}
        # The backends listen at one port after the other.
        self.ports |= {f"backends:{9001 + index}": min(ports) + index for index in range(len(self.nodes))}

    def here(self, text: str) -> str:
        for address, port in self.ports.items():
            text = text.replace(address, f"127.0.0.1:{port}")
        return text.replace("--port=9001", f"--port={self.ports['backends:9001']}").replace("0.0.0.0", "127.0.0.1")

    def start(self, name: str) -> subprocess.Popen[str]:
        """Start a service by the command, the environment and the files that it names."""
        service, folder = self.services[name], self.folder / name
        folder.mkdir(mode=0o700)
        variables = image_environment() | {
            key: self.here(value) for key, value in service.get("environment", {}).items()
        }
        variables.pop("PATH")
        for config in service.get("configs", ()):
            file = folder / "peers.toml"
            file.write_text(self.here(self.configs[config["source"]]["content"]))
            assert variables["P2P_OICP_PEERS_FILE"] == config["target"]
            variables["P2P_OICP_PEERS_FILE"] = str(file)
        if name in self.nodes:
            variables["P2P_OICP_PEER_API__HOST"] = "127.0.0.1"
            variables["P2P_OICP_PEER_API__PORT"] = str(self.ports[f"{name}:8320"])
            variables["P2P_OICP_BACKEND_API__PORT"] = str(self.ports[f"{name}:8321"])
        arguments = service.get("command") or last("CMD").arguments()
        command = in_scratch([*last("ENTRYPOINT").arguments(), *map(self.here, arguments)], folder)
        return subprocess.Popen(
            command, cwd=folder, env=environment(**variables), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )


def test_the_composition_of_a_cluster_lives_a_day_and_all_records_agree(tmp_path):
    composition = Composition(tmp_path)
    composition.services["backends"]["command"] += ["--day=2", "--json"]
    nodes = {name: composition.start(name) for name in composition.nodes}
    try:
        for name, process in nodes.items():
            wait_until_ready(process, str(composition.ports[f"{name}:8321"]))
        assert list(composition.services["backends"]["depends_on"]) == composition.nodes
        with composition.start("backends") as backends:
            out, err = backends.communicate(timeout=120)
        assert backends.returncode == 0, err
        *sessions, day = map(json.loads, out.splitlines())
        assert {each["operator"] for each in sessions} == {"DE*C01", "DE*C02"}
        assert {each["provider"] for each in sessions} == {"DE-M01", "DE-M02", "DE-M03"}
        assert (day["failed"], day["missing"], day["sessions"]) == (0, [], len(sessions))
    finally:
        for process in nodes.values():
            process.terminate()
        logs = [process.communicate(timeout=30)[1] for process in nodes.values()]
    assert [process.returncode for process in nodes.values()] == [0] * 5, logs


def test_each_service_of_the_cluster_is_hardened_has_a_volume_and_a_port_of_its_own():
    composition = yaml.safe_load((ROOT / "compose.cluster.yaml").read_text())
    nodes = {name: each for name, each in composition["services"].items() if name != "backends"}
    assert [each["volumes"] for each in nodes.values()] == [[f"{name}:{FOLDER}"] for name in nodes]
    assert set(composition["volumes"]) == set(nodes)
    assert len({each["ports"][0] for each in nodes.values()}) == len(nodes) == 5
    assert all(each["ports"][0].startswith("127.0.0.1:") for each in nodes.values())
    for each in composition["services"].values():
        assert (each["read_only"], each["cap_drop"]) == (True, ["ALL"])


@pytest.fixture
def unit() -> dict[str, str]:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read(UNIT)
    return dict(parser["Service"])


def test_the_unit_starts_a_node_that_tells_systemd_when_it_serves(unit, folder, tmp_path):
    command = in_scratch(unit["ExecStart"].split(), folder)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        variables = PARTIES | port_variables() | {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        process = subprocess.Popen(command, cwd=folder, env=environment(**variables), stderr=subprocess.PIPE)
        try:
            heard = {manager.recv(100) for _ in range(4)}
            assert heard == {b"READY=1", b"WATCHDOG=1"}
            process.send_signal(signal.SIGTERM)
            while (message := manager.recv(100)) == b"WATCHDOG=1":
                pass
            assert message == b"STOPPING=1"
        finally:
            process.terminate()
            _, log = process.communicate(timeout=30)
    assert process.returncode == 0, log
    assert (unit["Type"], unit["User"], unit["StateDirectory"]) == ("notify", "p2p-oicp", "p2p-oicp/%i")
    assert unit["WorkingDirectory"] == f"{FOLDER}/%i"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_the_unit_is_one_that_systemd_reads_and_is_hardened(tmp_path):
    scratch = tmp_path / "p2p-oicp@alpha.service"
    scratch.write_text(UNIT.read_text().replace("/opt/p2p-oicp/bin/p2p-oicp run", f"{shutil.which('true')} run"))
    checked = subprocess.run(
        [shutil.which("systemd-analyze"), "verify", scratch], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    hardened = subprocess.run(
        [shutil.which("systemd-analyze"), "security", "--offline=true", "--threshold=25", scratch],
        capture_output=True,
        text=True,
        check=False,
    )
    assert hardened.returncode == 0, hardened.stdout
