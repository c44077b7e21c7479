"""The guides: their commands run, their options exist, their settings are read, their tables are complete."""

import json
import re
import shlex
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
from typer.main import get_command

from p2p_oicp.cli import app, load_command
from p2p_oicp.config import load_settings
from p2p_oicp.config.hub import load_hub_settings, load_script
from p2p_oicp.config.peers_file import load_peers
from p2p_oicp.simulator.node_files import free_ports
from tests.meta.test_readme import COMMAND, ENVIRONMENT, TIMEOUT_SECONDS, running
from tests.support.messages import A_CPO, B_EMP, UID, authorize_start, cdr
from tests.support.paths import ROOT
from tests.support.prometheus import METRICS
from tests.support.waiting import eventually_blocking, listens

GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
NODE = f'[node]\nname = "Alpha"\noperators = ["{A_CPO}"]\nproviders = ["{B_EMP}"]\n'
#: Done in another way here, or not on the machine of a test.
NOT_RUN = (
    "p2p-oicp peers join",
    "p2p-oicp hub",
    "p2p-oicp cluster up",
    "p2p-oicp flow --cluster",
    "p2p-oicp webhooks",
    "p2p-oicp ocpi",
)
PROXIES = {"caddy": "caddy/Caddyfile", "haproxy": "haproxy/haproxy.cfg", "nginx": "nginx/p2p-oicp.conf"}
INIT = "p2p-oicp init {folder} --name {name} {party} --peer-port {peer} --backend-port {backend}"
PARTNER = "Beta Mobility"
OF_THE_HUB = {"hub.toml": load_hub_settings, "script.toml": load_script}
HUB_PORT = "8330"


class Block(NamedTuple):
    guide: str
    language: str
    text: str


def blocks_of(guide: Path) -> list[Block]:
    found = re.findall(r"^ *```(\w+)\n(.*?)^ *```", guide.read_text(), re.DOTALL | re.MULTILINE)
    return [Block(guide.stem, language, text) for language, text in found]


BLOCKS = [block for guide in GUIDES for block in blocks_of(guide)]
LINES = [
    (block.guide, line.strip())
    for block in BLOCKS
    if block.language == "bash"
    for line in block.text.replace("\\\n", " ").splitlines()
    if line.strip() and not line.strip().startswith("#")
]
COMMANDS = list(dict.fromkeys((guide, line) for guide, line in LINES if line.startswith("p2p-oicp ")))
TOML = [block for block in BLOCKS if block.language == "toml"]
IDS = [f"{guide}: {line}" for guide, line in COMMANDS]


def test_the_readme_links_each_guide():
    text = (ROOT / "README.md").read_text()
    assert [guide.name for guide in GUIDES if f"docs/guides/{guide.name}" not in text] == []


@pytest.mark.parametrize(("guide", "line"), COMMANDS, ids=IDS)
def test_a_command_of_a_guide_and_its_options_exist(guide, line):
    name, *rest = shlex.split(line, comments=True)[1:]
    if name == "--version":
        return
    assert name in get_command(app).commands, guide
    command = load_command(name)
    while isinstance(command, typer.core.TyperGroup):
        command = command.commands[rest.pop(0)]
    options = {option for parameter in command.params for option in parameter.opts}
    assert [word for word in rest if word.startswith("-") and word not in options] == []


@pytest.mark.parametrize("block", TOML, ids=lambda block: f"{block.guide}: {block.text.splitlines()[1]}")
def test_settings_of_a_guide_are_read(block, tmp_path):
    file = block.text.splitlines()[0].removeprefix("# ")
    if (load := OF_THE_HUB.get(file)) is not None:
        (tmp_path / file).write_text(block.text)
        assert load(tmp_path / file).model_fields_set
        return
    assert file in {"node.toml", "peers.toml"}
    (tmp_path / "node.toml").write_text(NODE + (block.text if file == "node.toml" else ""))
    settings = load_settings(tmp_path / "node.toml", with_secrets=False)
    assert settings.node.name == "Alpha"
    if file == "peers.toml":
        (tmp_path / "peers.toml").write_text(block.text)
        assert load_peers(tmp_path / "peers.toml")


def test_the_guide_has_every_metric_with_its_labels():
    text = (ROOT / "docs" / "guides" / "monitoring.md").read_text()
    table = text.split("| metric | labels | meaning |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|", table, re.MULTILINE)
    assert {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows} == METRICS


@pytest.mark.parametrize(("language", "file"), PROXIES.items())
def test_what_a_guide_shows_of_a_proxy_stands_in_its_file(language, file):
    (block,) = [block for block in BLOCKS if block.language == language]
    lines = {line.split("#")[0].strip() for line in (ROOT / "contrib" / file).read_text().splitlines()}
    assert {line.split("#")[0].strip() for line in block.text.splitlines()} <= lines


def test_the_commands_of_the_guides_run(tmp_path):
    *ports, hub_port = free_ports(5)
    party = f'--operator "{A_CPO}"'
    run(tmp_path, INIT.format(folder="alpha", name="Alpha", party=party, peer=ports[0], backend=ports[1]))
    party, name = f"--provider {B_EMP}", f"'{PARTNER}'"
    run(tmp_path, INIT.format(folder="beta", name=name, party=party, peer=ports[2], backend=ports[3]))
    with ExitStack() as stack:
        for name in ("alpha", "beta"):
            stack.enter_context(running(f"p2p-oicp run --config {name}/node.toml", tmp_path))
        stack.enter_context(running(f"p2p-oicp hub --port {hub_port}", tmp_path))
        for port in (*ports, hub_port):
            eventually_blocking(lambda port=port: listens(port), TIMEOUT_SECONDS, f"nobody listens on {port}")
        session = prepare(tmp_path)
        lines = {line: line.replace(HUB_PORT, str(hub_port)) for _, line in LINES if is_run(line)}
        results = {line: result_of(tmp_path, text, session, ports[1]) for line, text in lines.items()}
    assert len(results) > 15
    # The record of this session is accepted at once, and the guide's is not.
    results = {line: result for line, result in results.items() if "there is nothing to send again" not in result[1]}
    failed = {line: text for line, (code, text) in results.items() if code not in {0, 1} or "Traceback" in text}
    assert not failed


def is_run(line: str) -> bool:
    return line.startswith(("p2p-oicp ", "curl ")) and not line.startswith(NOT_RUN)


def prepare(folder: Path) -> str:
    """Pair the nodes, as the guide does; charge once; return the SessionID."""
    link = run(folder, "p2p-oicp peers invite --expires 24h --config alpha/node.toml").split()[-1]
    run(folder, f"p2p-oicp peers join {shlex.quote(link)} --yes --config beta/node.toml")
    run(folder, f"p2p-oicp tokens add {UID} --config beta/node.toml")
    (folder / "start.json").write_text(json.dumps(authorize_start()))
    answer = run(folder, "p2p-oicp send authorize-start start.json --config alpha/node.toml")
    session = re.search(r'"SessionID": *"([^"]+)"', answer)[1]
    (folder / "cdr.json").write_text(json.dumps(cdr(session)))
    run(folder, "p2p-oicp send charge-detail-record cdr.json --config alpha/node.toml")
    return session


def result_of(folder: Path, line: str, session: str, backend_port: int) -> tuple[int, str]:
    """Run a command at the node that it is for: at Alpha, or else at Beta."""
    for name, partner in (("alpha", PARTNER), ("beta", "Alpha")):
        text = line.replace("--config node.toml", f"--config {name}/node.toml").replace("8321", str(backend_port))
        text = text.replace("SESSION-ID", session).replace(" NAME ", f" {shlex.quote(partner)} ")
        code, output, errors = execute(folder, text)
        if code in {0, 1}:
            break
    return code, f"{output}{errors}"


def run(folder: Path, line: str) -> str:
    code, output, errors = execute(folder, line)
    assert code == 0, f"{line}\n{output}\n{errors}"
    return output


def execute(folder: Path, line: str) -> tuple[int, str, str]:
    command = ["/bin/bash", "-euc", COMMAND + line]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=90, check=False)
    return done.returncode, done.stdout, done.stderr
